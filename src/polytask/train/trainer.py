"""The training loop: plain, forward and straight."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

import polytask
from polytask.balance import Balancer, Method
from polytask.balance.sources import FeatureSource
from polytask.data import Batch, Inputs, MultiTaskData, MultiTaskLoader, Part, Source
from polytask.errors import CheckpointError, ConfigError, unknown
from polytask.tasks import Task, TaskSet
from polytask.train import checkpoint as checkpoints
from polytask.train.evaluation import Evaluation, evaluate, predict
from polytask.train.forward import Forward, frozen_side_effects
from polytask.train.history import History
from polytask.train.meter import EpochMeter, EpochSummary
from polytask.train.optim import build_optimizer, build_scheduler
from polytask.train.options import TrainOptions
from polytask.train.steps import Stepper
from polytask.train.stopping import EarlyStopping, Verdict
from polytask.train.surroundings import (
    Interrupted,
    Interrupts,
    Progress,
    Tracking,
    generators,
    restore_generators,
    seeded,
    threads,
)

__all__ = ["Trainer"]

logger = logging.getLogger("polytask")

Sources = Source | Mapping[str, Source]
# what may differ between a checkpoint and the run that goes on from it, without changing any step already taken
_FREE = ("epochs", "patience", "restore", "threads", "device", "eval_batch_size", "checkpoint_every", "trackers")


@final
class Trainer:
    """Trains a model on several tasks.

    Args:
        model: A :class:`~polytask.share.MultiTaskModel`, or any module whose ``forward(inputs)`` returns a dictionary
            from task names to predictions. It is moved to the device and trained in place; never wrapped.
        tasks: What to learn. Other targets in the data are ignored, so that one task alone can be trained on the data
            of many.
        method: Balancing method: a registry name, a method, or a configured :class:`~polytask.balance.Balancer`.
        options: How to train.
        out: Directory for the checkpoint and trackers' files; nothing is written without it.
        progress: Whether to show a progress bar (on a terminal only).
        on_epoch: Called with the history after every epoch, for reporting; it cannot change the run.
        **overrides: Single options, replacing those in ``options``.

    Raises:
        ConfigError: An option is unknown or does not fit the model and tasks.

    Examples:
        >>> import torch
        >>> from polytask.data import TensorSource
        >>> from polytask.tasks import Task
        >>> class Net(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.trunk, self.a, self.b = torch.nn.Linear(4, 8), torch.nn.Linear(8, 1), torch.nn.Linear(8, 1)
        ...     def forward(self, x):
        ...         z = self.trunk(x).relu()
        ...         return {"a": self.a(z), "b": self.b(z)}
        >>> x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
        >>> source = TensorSource(x, {"a": x[:, 0], "b": (x[:, 1] > 0).long()})
        >>> trainer = Trainer(Net(), [Task("a"), Task("b", "binary")], epochs=2, batch_size=16)
        >>> history = trainer.fit(source, val=source)
        >>> history.epochs, history.labels_seen
        (2, {'a': 128, 'b': 128})
        >>> trainer.predict(x[:3])["b"].shape
        torch.Size([3])
    """

    def __init__(
        self,
        model: nn.Module,
        tasks: TaskSet | Iterable[Task] | Mapping[str, Task],
        method: str | Method | Balancer = "equal",
        *,
        options: TrainOptions | Mapping[str, Any] | None = None,
        out: str | Path | None = None,
        progress: bool = True,
        on_epoch: Callable[[History], None] | None = None,
        **overrides: Any,
    ) -> None:
        given = options if isinstance(options, TrainOptions) else TrainOptions(**dict(options or {}))
        self.options = given.replace(**overrides) if overrides else given
        self.tasks = TaskSet.of(tasks)
        self.out = None if out is None else Path(out)
        self.progress = progress
        self.on_epoch = on_epoch
        self.history = History()
        self._check_options()
        self._accelerator = self._accelerate()
        self.device: torch.device = torch.device("cpu") if self.options.device == "cpu" else self._accelerator.device
        self.model = model.to(self.device)
        self.balancer = (
            method
            if isinstance(method, Balancer)
            else Balancer(method, tasks=self.tasks, seed=self.options.seed, announce=None)
        )
        self._forward = Forward(
            self.model,
            self.tasks,
            device=self.device,
            precision=self.options.precision,
            features=_reads_features(self.balancer),
        )
        self._stopping = EarlyStopping(
            self.tasks.names, self.options.stop, patience=self.options.patience, min_delta=self.options.min_delta
        )
        self._best: dict[str, Tensor] | None = None
        self._stepper: Stepper | None = None
        self._loader: MultiTaskLoader | None = None
        self._within = (0, 0.0)  # optimizer steps and seconds of the unfinished epoch

    # ------------------------------------------------------------------------------------------------ training

    def fit(
        self,
        train: MultiTaskLoader | Sources | MultiTaskData,
        val: Sources | None = None,
        *,
        resume: Literal["auto"] | bool | str | Path = False,
    ) -> History:
        """Train, and leave the model with the parameters of its best epoch (or last, see ``restore``).

        A fresh fit starts from the model's present parameters, with a new optimizer and the loader's first epoch. The
        global random generators are seeded for its duration and put back afterwards.

        Args:
            train: A loader; or a source, sources by name, or a dataset, from which a loader is made.
            val: Rows to select and stop by; the dataset's own by default.
            resume: ``False``: start. ``True``: go on from the checkpoint in ``out``. ``"auto"``: go on if there is
            one. A
                path: go on from there. On a CPU the result equals that of a run that was never interrupted, bit for
                bit.

        Returns:
            The history, also kept as ``history``.

        Raises:
            ConfigError: Early stopping without validation data.
            CheckpointError: There is no checkpoint to resume from, it belongs to another run, or one cannot be written.
            NonFiniteError: A loss or gradient is not finite.
            Interrupted: Ctrl-C; the run can be resumed.
        """
        loader, val = self._data(train, val)
        start = self._resume_from(resume)
        windows = -(-len(loader) // self.options.accumulate)
        with threads(self.options.threads), seeded(self.options.seed), Interrupts() as interrupts:
            self._start(loader, windows)
            if start is not None:
                self._continue(start)
            logger.info("%s", loader.describe_epoch())
            tracking = Tracking(
                self._accelerator if self.options.trackers else None, "tracking", self.options.to_dict()
            )
            try:
                with Progress(self.progress, self.options.epochs, windows, self.history.epochs) as bar:
                    for epoch in range(self.history.epochs + 1, self.options.epochs + 1):
                        if self._stopping.stopped:
                            break
                        self._epoch(epoch, windows, val, interrupts, bar, tracking)
            finally:
                tracking.close()
        self._finish()
        return self.history

    def _epoch(
        self,
        epoch: int,
        windows: int,
        val: Sources | None,
        interrupts: Interrupts,
        bar: Progress,
        tracking: Tracking,
    ) -> None:
        stepper, loader = self._running()
        self.model.train()
        done, spent = self._within
        since = time.perf_counter()
        for window in _windows(loader, self.options.accumulate):
            stepper.step(window)
            done += 1
            bar.advance()
            if done == windows:
                break
            every = self.options.checkpoint_every
            if interrupts.requested or (every is not None and done % every == 0):
                self._within = (done, spent + time.perf_counter() - since)
                self._save()
                if interrupts.requested:
                    self._interrupted()
        self.balancer.end_epoch()
        self._synchronize()
        self.history.epoch_seconds.append(spent + time.perf_counter() - since)
        self._within = (0, 0.0)
        summary = stepper.meter.summary()
        stepper.meter.reset()
        first = len(self.history.rows)
        self.history.add_training(epoch, stepper.taken, summary, stepper.rates())
        verdict = self._validate(epoch, val)
        self._log(epoch, summary, verdict, bar)
        tracking.log(
            {
                f"{r['split']}/{r['task'] or 'all'}/{r['quantity']}": r["value"]
                for r in self.history.rows[first:]
                if not r["other"]
            },
            stepper.taken,
        )
        self._save()
        if self.on_epoch is not None:
            self.on_epoch(self.history)
        if interrupts.requested and epoch < self.options.epochs and not self._stopping.stopped:
            self._interrupted()

    def _validate(self, epoch: int, val: Sources | None) -> Verdict | None:
        if val is None:
            self.history.best_epoch = epoch
            return None
        since = time.perf_counter()
        found = self.evaluate(val)
        values = {
            name: (found.metrics[name][task.primary], task.directions[task.primary])
            for name, task in self.tasks.items()
            if task.primary in found.metrics.get(name, {})
        }
        verdict = self._stopping.update(epoch, values)
        if verdict.best and self.options.restore == "best":
            self._best = checkpoints.weights(self.model)
        history, stepper = self.history, self._running()[0]
        history.add_validation(epoch, stepper.taken, found, verdict)
        history.best_epoch = self._stopping.best_epoch or epoch
        history.best_epochs = dict(self._stopping.best_epochs)
        history.stopped = verdict.reason
        history.val_seconds.append(time.perf_counter() - since)
        return verdict

    def _finish(self) -> None:
        if self._best is not None and self.options.restore == "best":
            checkpoints.load_weights(self.model, self._best, "the best epoch")
        if self.device.type == "cuda":
            self.history.peak_memory = torch.cuda.max_memory_allocated(self.device)

    # ------------------------------------------------------------------------------------------------ use

    def evaluate(self, source: Sources) -> Evaluation:
        """Metrics, losses and label counts of every task over ``source``, with the present parameters.

        Args:
            source: A source, or sources by name, which count as one.
        """
        return evaluate(self._forward, self.tasks, source, self.options.eval_batch_size)

    def predict(self, source: Inputs | Sources) -> dict[str, Tensor]:
        """Predictions in natural units (values, probabilities, rates, quantiles), by task, (N, …) each, on the CPU.

        Args:
            source: A source, whose targets are not read, or bare inputs.
        """
        return predict(self._forward, self.tasks, source, self.options.eval_batch_size)

    def save(self, path: str | Path) -> None:
        """Write a checkpoint to the directory ``path``: whole or not at all.

        Raises:
            CheckpointError: It cannot be written; what was there before is intact.
        """
        state: dict[str, Any] = {"balancer": self.balancer.state_dict(), "history": self.history.to_dict()}
        if self._stepper is not None and self._loader is not None:
            state |= {
                "stepper": self._stepper.state_dict(),
                "loader": self._loader.state_dict(),
                "stopping": self._stopping.state_dict(),
                "generators": generators(),
                "within": list(self._within),
            }
        meta = {
            "polytask": polytask.__version__,
            "tasks": list(self.tasks.names),
            "kinds": {name: task.kind for name, task in self.tasks.items()},
            "method": type(self.balancer.method).__name__,
            "options": self.options.to_dict(),
            "epoch": self.history.epochs,
            "step": self._stepper.taken if self._stepper is not None else 0,
            "best_epoch": self.history.best_epoch,
        }
        checkpoints.write(Path(path), checkpoints.Checkpoint(meta, checkpoints.weights(self.model), self._best, state))

    def load(self, path: str | Path) -> None:
        """Take over parameters, method state and history from a checkpoint, to evaluate or predict.

        The parameters are those of the best epoch, or of the last one with ``restore="last"``. To go on training, use
        ``fit(..., resume=path)`` instead.

        Raises:
            CheckpointError: There is none, or it belongs to other tasks, another method or another model.
        """
        found = self._fitting(Path(path))
        best = found.best if self.options.restore == "best" and found.best is not None else found.model
        checkpoints.load_weights(self.model, best, str(path))
        self.balancer.load_state_dict(found.state["balancer"])
        self.history = History.from_dict(found.state["history"])

    # ------------------------------------------------------------------------------------------------ set-up

    def _check_options(self) -> None:
        options = self.options
        for name in options.task_lr:
            if name not in self.tasks:
                raise ConfigError(unknown("task in task_lr", name, self.tasks.names))
        Tracking.check(options.trackers)
        if options.trackers and self.out is None:
            raise ConfigError(f"trackers ({', '.join(options.trackers)}) need a place for their files: pass out=")

    def _accelerate(self) -> Any:
        from accelerate import Accelerator  # slow to import, and needed only when something is trained

        # Precision stays out of it: accelerate keeps one setting per process, and trainers of one process may differ.
        return Accelerator(log_with=list(self.options.trackers) or None, project_dir=self.out)

    def _data(
        self, train: MultiTaskLoader | Sources | MultiTaskData, val: Sources | None
    ) -> tuple[MultiTaskLoader, Sources | None]:
        options = self.options
        if isinstance(train, MultiTaskData):
            val = train.val if val is None else val
            train = train.train
        if val is None and options.patience is not None and options.stop is not None:
            raise ConfigError("patience= needs validation data: pass val=, or leave patience out")
        if not isinstance(train, MultiTaskLoader):
            train = MultiTaskLoader(train, batch_size=options.batch_size, seed=options.seed)
        return train, val

    def _start(self, loader: MultiTaskLoader, windows: int) -> None:
        options = self.options
        loader.set_epoch(0)
        optimizer = build_optimizer(self.model, options)
        scheduler = build_scheduler(optimizer, options, options.epochs * windows)
        scaler = torch.amp.GradScaler(self.device.type) if options.precision == "fp16" else None
        meter = EpochMeter(self.tasks.names)
        self._stepper = Stepper(self._forward, self.balancer, optimizer, scheduler, scaler, options.clip, meter)
        self._loader = loader
        self._stopping.reset()
        self._best = None
        self._within = (0, 0.0)
        self.history = History()
        self._rehearse(loader)

    def _rehearse(self, loader: MultiTaskLoader) -> None:
        """One forward pass per source that leaves no trace, to learn what the tasks share before the first step.

        Otherwise it would depend on which tasks happen to have labels in the first batches, also after a resume.
        """
        self.model.train()
        reached: set[int] = set()
        with frozen_side_effects(self.model):
            for name, source in loader.sources.items():
                rows = torch.arange(min(loader.batch_sizes[name], len(source)))
                part = self._forward.to_device(Part(*source.batch(rows)))
                predictions = self._forward.predictions(part.inputs, part.targets)
                self.balancer.partition.see({task: value.sum() for task, value in predictions.items()})
        logger.info("parameters: %s", self.balancer.partition)
        for found in self.balancer.partition.reach.values():
            reached |= set(found)
        left = [name for name, p in self.model.named_parameters() if p.requires_grad and id(p) not in reached]
        if left:
            logger.warning("no task depends on these parameters, they will not train: %s", ", ".join(left))
        norms = sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.model.modules())
        if norms and len(loader.sources) > 1:
            logger.warning(
                "%d BatchNorm layers see %d sources in separate passes; their evaluation statistics will be a blend",
                norms,
                len(loader.sources),
            )

    # ------------------------------------------------------------------------------------------------ checkpoints

    def _resume_from(self, resume: Literal["auto"] | bool | str | Path) -> Path | None:
        if resume is False:
            return None
        if not isinstance(resume, bool) and resume != "auto":
            return Path(resume)
        if self.out is None:
            raise CheckpointError(f"resume={resume!r} looks for the checkpoint in out=, which was not given")
        place = self.out / "checkpoint"
        return None if resume == "auto" and checkpoints.find(place) is None else place

    def _fitting(self, path: Path) -> checkpoints.Checkpoint:
        """The checkpoint at ``path``, if it is one of these tasks and this method."""
        found = checkpoints.read(path)
        checkpoints.check_tasks(found.meta["tasks"], list(self.tasks.names), str(path))
        method = type(self.balancer.method).__name__
        if found.meta["method"] != method:
            raise CheckpointError(
                f"{path} was written with method {found.meta['method']}; this run has {method}. Use the same method, "
                "or start "
                "without resume"
            )
        return found

    def _continue(self, path: Path) -> None:
        """Take over everything from a checkpoint."""
        stepper, loader = self._running()
        found = self._fitting(path)
        if "stepper" not in found.state:
            raise CheckpointError(
                f"{path} was saved before any training; load it with trainer.load and start fit afresh"
            )
        saved, mine = found.meta["options"], self.options.to_dict()
        fixed = [key for key in mine if key not in _FREE or (key == "epochs" and self.options.scheduler is not None)]
        differing = [
            f"{key}: {saved.get(key)!r} there, {mine[key]!r} here" for key in fixed if saved.get(key) != mine[key]
        ]
        if differing:
            raise CheckpointError(
                f"{path} was written with other options ({'; '.join(differing)}); resume with the same ones, or start "
                "without "
                f"resume. Without a scheduler these may change: {', '.join(_FREE)}"
            )
        checkpoints.load_weights(self.model, found.model, str(path))
        stepper.load_state_dict(found.state["stepper"])
        loader.load_state_dict(found.state["loader"])
        self._stopping.load_state_dict(found.state["stopping"])
        self._best = found.best
        self._within = (int(found.state["within"][0]), float(found.state["within"][1]))
        self.history = History.from_dict(found.state["history"])
        restore_generators(found.state["generators"])
        logger.info("resumed from %s: epoch %d, step %d", path, self.history.epochs, stepper.taken)

    def _save(self) -> None:
        if self.out is not None:
            self.save(self.out / "checkpoint")

    def _interrupted(self) -> None:
        place = None if self.out is None else self.out / "checkpoint"
        if place is None:
            message = "interrupted; nothing was saved, because the trainer has no out="
        else:
            message = f"interrupted; saved to {place}. Call fit(..., resume=True) with the same arguments to go on"
        logger.warning("%s", message)
        raise Interrupted(message, place)

    # ------------------------------------------------------------------------------------------------ words

    def _log(self, epoch: int, summary: EpochSummary, verdict: Verdict | None, bar: Progress) -> None:
        for task, count in summary.labels.items():
            if count == 0:
                logger.warning("task %r had no labels in epoch %d; it was not trained", task, epoch)
        losses = ", ".join(
            f"{task} {summary.losses.get(task, float('nan')):.4g} ({count:,} labels)"
            for task, count in summary.labels.items()
        )
        mark = "" if verdict is None else f"; validation score {verdict.score:+.4f}{' (best)' if verdict.best else ''}"
        logger.info("epoch %d/%d: training loss %s%s", epoch, self.options.epochs, losses, mark)
        bar.note(f"epoch {epoch}/{self.options.epochs}", mark.removeprefix("; validation "))
        if verdict is not None and verdict.stop:
            logger.info("stopped after epoch %d: %s", epoch, verdict.reason)

    def _running(self) -> tuple[Stepper, MultiTaskLoader]:
        assert self._stepper is not None
        assert self._loader is not None
        return self._stepper, self._loader

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _windows(loader: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Consecutive batches in groups of ``size``; the last group may be smaller. Never reads ahead."""
    batches = iter(loader)
    while window := list(itertools.islice(batches, size)):
        yield window


def _reads_features(balancer: Balancer) -> bool:
    """Whether ``backward`` wants the shared representation."""
    return balancer.method.needs == "gramian" and isinstance(balancer._source, FeatureSource)
