"""The training loop: plain, forward and straight."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from polytask.balance import Balancer, Method
from polytask.data import MultiTaskData, MultiTaskLoader, Source, given_rows
from polytask.data.weighing import balanced_tasks
from polytask.errors import CheckpointError, ConfigError, unknown
from polytask.remedies import setting, worded
from polytask.schedule import Schedule, get_schedule
from polytask.share import Seats
from polytask.tasks import Task, TaskSet
from polytask.train import checkpoint as checkpoints
from polytask.train.demands import check_evidence, check_losses, check_metrics, check_validation
from polytask.train.evaluation import Evaluation, evaluate, predict, sources_of
from polytask.train.forward import Forward
from polytask.train.history import History
from polytask.train.identity import check_identity, check_options, check_owner, check_schedule, complete
from polytask.train.options import TrainOptions
from polytask.train.rehearsal import rehearse
from polytask.train.run import Run
from polytask.train.stopping import EarlyStopping
from polytask.train.store import Store, opened, starting_point, write
from polytask.train.surroundings import (
    Interrupted,
    Interrupts,
    Progress,
    Tracking,
    seeded,
    threads,
)
from polytask.train.together import way_of
from polytask.version import __version__

__all__ = ["Trainer"]

logger = logging.getLogger("polytask")

Rows = Any
"""Whatever :func:`~polytask.data.given_rows` takes."""
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
        schedule: Which tasks count in which step: a registry name, a table with ``name`` and options, or a
            :class:`~polytask.schedule.Schedule`; every fit begins it anew. All tasks in all steps by default.
        out: Directory for the checkpoint and trackers' files; nothing is written without it.
        identity: Plain values that determine the numbers besides model, tasks and options, such as the fingerprint of
            the data. They are kept in the checkpoint, and one with others is not resumed from.
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
        schedule: str | Mapping[str, Any] | Schedule | None = None,
        out: str | Path | None = None,
        identity: Mapping[str, Any] | None = None,
        progress: bool = True,
        on_epoch: Callable[[History], None] | None = None,
        **overrides: Any,
    ) -> None:
        given = options if isinstance(options, TrainOptions) else TrainOptions(**dict(options or {}))
        self.options = given.replace(**overrides) if overrides else given
        self.tasks = TaskSet.of(tasks)
        self.schedule = get_schedule(schedule)
        self.out = None if out is None else Path(out)
        self.identity = None if identity is None else dict(identity)
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
        self.balancer.know(self.model)
        Seats.of(self.model).check(self.model, self.tasks)
        check_losses(self.model, self.tasks)
        check_metrics(self.balancer.method, self.tasks)
        check_evidence(self.balancer)
        if self.options.accumulate > 1 and self.options.accumulation == "exact" and not self.balancer.can_accumulate:
            raise ConfigError(
                f"exact accumulation needs the balancer's exact gradients ({setting('grads', 'params')} without "
                f"low_memory) and a method that looks at one batch; set {setting('accumulation', 'per_micro_batch')}, "
                f"or {setting('accumulate', 1)} with a larger batch_size"
            )
        self._forward = Forward(
            self.model,
            self.tasks,
            device=self.device,
            precision=self.options.precision,
            features=self.balancer.needs_features,
            together=way_of(self.balancer, self.options),
        )
        self._run: Run | None = None
        self._store: Store | None = None

    # ------------------------------------------------------------------------------------------------ training

    def fit(
        self,
        train: Rows | MultiTaskLoader | MultiTaskData,
        val: Rows | None = None,
        *,
        resume: Literal["auto"] | bool | str | Path = False,
    ) -> History:
        """Train, and leave the model with the parameters of its best epoch (or last, see ``restore``).

        A fresh fit starts from the model's present parameters and from nothing else: a new optimizer, a method that
        has learned nothing (also when the balancer was used before), the loader's first epoch, an empty history. Only
        an optimizer or scheduler *object* among the options goes on from where it is; a factory makes a new one for
        each fit. The global random generators are seeded for its duration and put back afterwards.

        Args:
            train: A :class:`~polytask.data.MultiTaskLoader` or a :class:`~polytask.data.MultiTaskData`; or rows from
                which a loader is made: a source, sources by name, ``(inputs, {task: targets})``, a map-style dataset
                or list of rows ``(inputs, {task: target})``, or a ``DataLoader`` over one. Of that, the dataset,
                ``collate_fn``, ``batch_size``, ``shuffle`` and ``drop_last`` are taken; the order of rows is drawn from
                ``seed``, so that it can be resumed, and rows are read in this process.
            val: Rows to select and stop by, in any of these forms; the dataset's own by default.
            resume: ``False``: start. ``True``: go on from the checkpoint in ``out``. ``"auto"``: go on if there is one
                (one that is damaged is moved aside). A path: go on from there. On a CPU the result equals that of an
                uninterrupted run bit for bit.

        Returns:
            The history, also kept as ``history``.

        Raises:
            ConfigError: Early stopping without validation data.
            DataError: There are no rows in what was given.
            CheckpointError: There is no checkpoint to resume from, it is damaged, or it belongs to another run.
            StorageError: The checkpoint cannot be written, or another process trains in the same place.
            NonFiniteError: A loss or gradient is not finite, or the optimizer has made a parameter infinite; the
                checkpoint is as it was.
            Interrupted: Ctrl-C; the run can be resumed.
        """
        loader, val = self._data(train, val)
        self._forward.tasks = balanced_tasks(self.tasks, loader.sources.values())
        with (
            self._stored(),
            threads(self.options.threads),
            seeded(self.options.seed),
            Interrupts() as interrupts,
        ):
            start = starting_point(self._store, resume)
            if start is None:
                self.balancer.reset()
            run = Run(self._forward, self.tasks, self.balancer, loader, val, self.options, self.schedule)
            self.history = run.history
            rehearse(self._forward, self.balancer, loader)
            if start is not None:
                self._continue(run, *start)
            logger.info("%s", loader.describe_epoch())
            if self.balancer.needs_twin:
                logger.info("%s compares the two halves of every batch", type(self.balancer.method).__name__)
            self._run = run  # what save() writes, for as long as it is true
            try:
                self._go(run, interrupts)
            finally:
                self._run = None
        run.finish()
        return self.history

    def _go(self, run: Run, interrupts: Interrupts) -> None:
        with (
            Tracking(self._accelerator, self.options) as tracking,
            Progress(self.progress, self.options.epochs, run.windows, self.history.epochs) as bar,
        ):
            while not run.finished:
                rows = len(self.history.rows)
                run.epoch(interrupts, bar, self._save)
                if len(self.history.rows) > rows:  # otherwise the epoch was interrupted, after saving
                    tracking.log(self.history.rows[rows:])
                    self._save()
                    if self.on_epoch is not None:
                        self.on_epoch(self.history)
                if interrupts.requested and not run.finished:
                    self._interrupted()

    # ------------------------------------------------------------------------------------------------ use

    def evaluate(self, source: Rows) -> Evaluation:
        """Metrics, losses and label counts of every task over ``source``, with the present parameters.

        Args:
            source: Rows in any form that :meth:`fit` takes; sources by name count as one.
        """
        return evaluate(self._forward, self.tasks, source, self.options.eval_batch_size)

    def predict(self, source: Rows) -> dict[str, Tensor]:
        """Predictions in natural units (values, probabilities, rates, quantiles), by task, (N, …) each, on the CPU.

        Args:
            source: Rows, whose targets are not read, or bare inputs: a tensor, array or frame, or several by name.
        """
        return predict(self._forward, self.tasks, source, self.options.eval_batch_size)

    def save(self, path: str | Path) -> None:
        """Write a checkpoint to the directory ``path``: whole or not at all.

        During a fit (from ``on_epoch``) it can be resumed from; before and after, it holds parameters, method and
        history.

        Raises:
            CheckpointError: Something else is there.
            StorageError: It cannot be written; what was there before is intact.
        """
        state: dict[str, Any] = {"balancer": self.balancer.state_dict()}
        if self._run is not None:
            state |= {"run": self._run.state_dict()}
        meta = {
            "polytask": __version__,
            "tasks": list(self.tasks.names),
            "kinds": {name: task.kind for name, task in self.tasks.items()},
            "method": type(self.balancer.method).__name__,
            "options": self.options.to_dict(),
            "schedule": None if self.schedule is None else self.schedule.describe(),
            "identity": self.identity,
            "epoch": self.history.epochs,
            "step": self.history.steps if self._run is None else self._run.stepper.taken,
            "best_epoch": self.history.best_epoch,
        }
        best = None if self._run is None else self._run.best
        found = checkpoints.Checkpoint(meta, checkpoints.weights(self.model), best, state, self.history.to_dict())
        if self._store is not None and self._store.path == Path(path):
            self._store.write(found)
        else:
            write(Path(path), found)

    def load(self, path: str | Path) -> None:
        """Take over parameters, method state and history from a checkpoint, to evaluate or predict.

        The parameters are those of the best epoch, or of the last one with ``restore="last"``. To go on training, use
        ``fit(..., resume=path)`` instead.

        Raises:
            CheckpointError: There is none, or it belongs to other tasks, another method or another model.
        """
        found = checkpoints.read(Path(path))
        self._check_owner(found, str(path))
        best = found.best if self.options.restore == "best" and found.best is not None else found.model
        checkpoints.load_weights(self.model, best, str(path))
        with complete(str(path)):
            self.balancer.load_state_dict(found.state["balancer"])
            self.history = History.from_dict(found.history)

    # ------------------------------------------------------------------------------------------------ set-up

    def _check_options(self) -> None:
        options = self.options
        for name in options.task_lr:
            if name not in self.tasks:
                raise ConfigError(unknown("task in task_lr", name, self.tasks.names))
        EarlyStopping(self.tasks.names, options.stop)
        Tracking.check(options.trackers)
        if options.trackers and self.out is None:
            raise ConfigError(f"trackers ({', '.join(options.trackers)}) need a place for their files: pass out=")

    def _accelerate(self) -> Any:
        from accelerate import Accelerator  # slow to import, and needed only when something is trained

        # Precision stays out of it: accelerate keeps one setting per process, and trainers of one process may differ.
        return Accelerator(log_with=list(self.options.trackers) or None, project_dir=self.out)

    def _data(
        self, train: Rows | MultiTaskLoader | MultiTaskData, val: Rows | None
    ) -> tuple[MultiTaskLoader, Source | dict[str, Source] | None]:
        options = self.options
        if isinstance(train, MultiTaskData):
            val = train.val if val is None else val
            train = train.train
        if val is None:
            check_validation(self.balancer, options, self.schedule)
        if not isinstance(train, MultiTaskLoader):
            given = given_rows(train, self.tasks.names)
            size = given.batching.get("batch_size", options.batch_size)
            if size != options.batch_size and "batch_size" in options.model_fields_set:
                raise ConfigError(
                    f"the DataLoader has batches of {size} rows and batch_size= is {options.batch_size}; leave one out"
                )
            train = MultiTaskLoader(given.sources, **{"batch_size": size, "seed": options.seed, **given.batching})
        if self.balancer.needs_twin and max(train.batch_sizes.values()) < 2:
            raise ConfigError(
                f"{type(self.balancer.method).__name__} compares the two halves of every batch: batch_size must be at "
                "least 2, found 1"
            )
        return train, None if val is None else sources_of(val, self.tasks.names)

    # ------------------------------------------------------------------------------------------------ checkpoints

    @contextlib.contextmanager
    def _stored(self) -> Iterator[None]:
        """Keep the place of the checkpoint for this fit, and find out before any training that it can be written."""
        if self.out is None:
            yield
            return
        with opened(self.out / "checkpoint") as store:
            self._store = store
            try:
                yield
            finally:
                self._store = None

    def _check_owner(self, found: checkpoints.Checkpoint, where: str) -> None:
        check_owner(found.meta, list(self.tasks.names), type(self.balancer.method).__name__, where)

    def _continue(self, run: Run, found: checkpoints.Checkpoint, path: Path) -> None:
        """Take over everything from a checkpoint, if it is one of this run."""
        self._check_owner(found, str(path))
        if "run" not in found.state:
            raise CheckpointError(
                f"{path} was saved outside of training, so there is nothing to go on with; use trainer.load(path) and "
                "a fresh fit"
            )
        free = _FREE if self.options.scheduler is None else tuple(name for name in _FREE if name != "epochs")
        check_options(found.meta, self.options.to_dict(), free, str(path))
        check_schedule(found.meta, self.schedule, str(path))
        check_identity(found.meta, self.identity, str(path))
        checkpoints.load_weights(self.model, found.model, str(path))
        with complete(str(path)):
            self.balancer.load_state_dict(found.state["balancer"])
            self.history = run.history = History.from_dict(found.history)
            run.best = found.best
            run.load_state_dict(found.state["run"])
        logger.info("resumed from %s: epoch %d, step %d", path, self.history.epochs, run.stepper.taken)

    def _save(self) -> None:
        if self.out is not None:
            self.save(self.out / "checkpoint")

    def _interrupted(self) -> None:
        place = None if self.out is None else self.out / "checkpoint"
        if place is None:
            message = "interrupted; nothing was saved, because the trainer has no out="
        else:
            go_on = worded(". Call fit(..., resume=True) with the same arguments to go on", "")
            message = f"interrupted; saved to {place}{go_on}"
        logger.warning("%s", message)
        raise Interrupted(message, place)
