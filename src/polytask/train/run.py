"""One fit: everything that changes while it goes on, and the walk through an epoch."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from polytask.balance import Balancer
from polytask.balance.contract.asks import VALIDATION_METRICS
from polytask.data import Batch, MultiTaskLoader, Source
from polytask.errors import ConfigError, NonFiniteError
from polytask.schedule import Schedule, Standing
from polytask.tasks import TaskSet
from polytask.train import checkpoint as checkpoints
from polytask.train.demands import skills
from polytask.train.evaluation import evaluate
from polytask.train.forward import Forward
from polytask.train.health import Health
from polytask.train.history import History
from polytask.train.meter import EpochMeter, EpochSummary
from polytask.train.optim import build_optimizer, build_scheduler
from polytask.train.options import TrainOptions
from polytask.train.steps import Stepper
from polytask.train.stopping import EarlyStopping, Verdict
from polytask.train.surroundings import Interrupts, Progress, generators, restore_generators

__all__ = ["Run"]

logger = logging.getLogger("polytask")


@final
class Run:
    """The state of a fit.

    Args:
        forward: The model and how to call it.
        tasks: What to learn.
        balancer: The engine.
        loader: Batches to learn from; it is set to its first epoch.
        val: Rows to select and stop by.
        options: How to train.
        schedule: Says which tasks count in a step, and begins anew; ``None``: all.

    Attributes:
        windows: Optimizer steps per epoch.
        best: Parameters of the best epoch, when they are to be restored.
        history: What happened.
    """

    def __init__(
        self,
        forward: Forward,
        tasks: TaskSet,
        balancer: Balancer,
        loader: MultiTaskLoader,
        val: Source | Mapping[str, Source] | None,
        options: TrainOptions,
        schedule: Schedule | None = None,
    ) -> None:
        self.forward = forward
        self.tasks = tasks
        self.loader = loader
        self.val = val
        self.options = options
        self.schedule = schedule
        if schedule is not None:
            schedule.begin(tasks.names, options.seed)
        self.windows = -(-len(loader) // options.accumulate)
        self.history = History()
        self.best: dict[str, Tensor] | None = None
        self.stopping = EarlyStopping(tasks.names, options.stop, patience=options.patience, min_delta=options.min_delta)
        optimizer = build_optimizer(forward.model, options)
        self.stepper = Stepper(
            forward,
            balancer,
            optimizer,
            build_scheduler(optimizer, options, options.epochs * self.windows),
            _scaler(forward.device) if options.precision == "fp16" else None,
            options.clip,
            EpochMeter(tasks.names),
            exact=options.accumulation == "exact",
            schedule=schedule,
        )
        self._health = Health(forward.model, optimizer)
        if val is None and isinstance(self.stepper.scheduler, ReduceLROnPlateau):
            raise ConfigError("ReduceLROnPlateau waits for the validation score: pass val= to fit()")
        self._within = (0, 0.0)  # steps and seconds of the epoch that has begun
        if val is not None:
            forward.meter.reset()  # made now: what metrics import at first is no time of the first validation
        loader.set_epoch(0)

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to do."""
        ended = self.schedule is not None and self.schedule.ended
        return self.history.epochs >= self.options.epochs or bool(self.stopping.stopped) or ended

    def epoch(self, interrupts: Interrupts, bar: Progress, save: Callable[[], None]) -> None:
        """Train for one epoch, or for what is left of it, and validate.

        Args:
            interrupts: Looked at after every step; after an interrupt the epoch is left unfinished.
            bar: Told of every step.
            save: Called when a checkpoint within the epoch is due.
        """
        every = self.options.checkpoint_every
        self.forward.model.train()
        done, spent = self._within
        since = time.perf_counter()
        for window in _windows(self.loader, self.options.accumulate):
            self._step(window)
            done += 1
            bar.advance()
            if done == self.windows:
                break
            if interrupts.requested or (every is not None and done % every == 0):
                self._within = (done, spent + time.perf_counter() - since)
                self._health.check(self.stepper.taken)
                save()
                if interrupts.requested:
                    return
        self._health.check(self.stepper.taken)
        self.stepper.balancer.end_epoch()
        if self.forward.device.type == "cuda":
            torch.cuda.synchronize(self.forward.device)
        self.history.epoch_seconds.append(spent + time.perf_counter() - since)
        self._within = (0, 0.0)
        summary = self.stepper.meter.summary()
        self.stepper.meter.reset()
        number = self.history.epochs + 1
        self.history.add_training(number, self.stepper.taken, summary, self.stepper.rates())
        if self.schedule is not None:
            for task, share in self.schedule.end_epoch().items():
                self.history.add(number, self.stepper.taken, "train", task, "active", share)
        self._say(number, summary, self._validate(number, summary), bar)

    def _step(self, window: list[Batch]) -> None:
        """One step; where it finds a loss that is not finite, the parameters may be the cause."""
        try:
            self.stepper.step(window)
        except NonFiniteError:
            self._health.check(self.stepper.taken)
            raise

    def _validate(self, epoch: int, summary: EpochSummary) -> Verdict | None:
        history = self.history
        if self.val is None:
            history.best_epoch = epoch
            return None
        since = time.perf_counter()
        found = evaluate(self.forward, self.tasks, self.val, self.options.eval_batch_size)
        values = {
            name: (found.metrics[name][task.primary], task.directions[task.primary])
            for name, task in self.tasks.items()
            if task.primary in found.metrics.get(name, {})
        }
        if VALIDATION_METRICS in self.stepper.balancer.asks:
            self.stepper.balancer.observe_metrics(skills(found, self.tasks))
        verdict = self.stopping.update(epoch, values)
        if self.schedule is not None:
            trained = {name: summary.losses[name] for name, count in summary.labels.items() if count}
            self.schedule.follow(Standing(epoch, trained, found.losses, values))
        self.stepper.validated(verdict.score)
        if verdict.best and self.options.restore == "best":
            self.best = checkpoints.weights(self.forward.model)
        history.add_validation(epoch, self.stepper.taken, found, verdict)
        history.best_epoch = self.stopping.best_epoch or epoch
        history.best_epochs = dict(self.stopping.best_epochs)
        ended = self.schedule is not None and self.schedule.ended
        history.stopped = verdict.reason or ("the schedule has ended every task" if ended else "")
        history.val_seconds.append(time.perf_counter() - since)
        return verdict

    def finish(self) -> None:
        """Leave the model with the parameters asked for."""
        if self.best is not None:
            checkpoints.load_weights(self.forward.model, self.best, "the best epoch")
        if self.forward.device.type == "cuda":
            self.history.peak_memory = torch.cuda.max_memory_allocated(self.forward.device)

    def state_dict(self) -> dict[str, Any]:
        """Everything but parameters, method and history: optimizer, position in the data, random state and so on."""
        return {
            "stepper": self.stepper.state_dict(),
            "loader": self.loader.state_dict(),
            "stopping": self.stopping.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "modules": _extra_state(self.forward.model),
            "generators": generators(),
            "within": list(self._within),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.loader.load_state_dict(state["loader"])
        self.stepper.load_state_dict(state["stepper"])
        self.stopping.load_state_dict(state["stopping"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        self._within = (int(state["within"][0]), float(state["within"][1]))
        modules = dict(self.forward.model.named_modules())
        for name, extra in state["modules"].items():
            modules[name].set_extra_state(extra)
        restore_generators(state["generators"])

    def _say(self, epoch: int, summary: EpochSummary, verdict: Verdict | None, bar: Progress) -> None:
        for task, count in summary.labels.items():
            if count == 0 and self.history.value("active", task) != 0.0:
                logger.warning("task %r had no labels in epoch %d; it was not trained", task, epoch)
        losses = ", ".join(
            f"{task} {summary.losses.get(task, float('nan')):.4g} ({count:,} labels)"
            for task, count in summary.labels.items()
        )
        score = "" if verdict is None else f"score {verdict.score:+.4f}{' (best)' if verdict.best else ''}"
        logger.info(
            "epoch %d/%d: training loss %s%s", epoch, self.options.epochs, losses, score and f"; validation {score}"
        )
        bar.note(f"epoch {epoch}/{self.options.epochs}", score)
        if verdict is not None and verdict.stop:
            logger.info("stopped after epoch %d: %s", epoch, verdict.reason)


def _extra_state(model: nn.Module) -> dict[str, Any]:
    """What modules keep beside parameters and buffers, by the module's name: plain values and tensors."""
    return {
        name: module.get_extra_state()
        for name, module in model.named_modules()
        if type(module).get_extra_state is not nn.Module.get_extra_state
    }


def _scaler(device: torch.device) -> torch.amp.GradScaler:
    """A loss scale that is ready for use; by itself it waits for a loss to scale, and the balancer scales them."""
    scaler = torch.amp.GradScaler(device.type)
    scaler.scale(torch.zeros((), device=device))
    return scaler


def _windows(loader: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Consecutive batches in groups of ``size``; the last group may be smaller. Never reads ahead."""
    batches = iter(loader)
    while window := list(itertools.islice(batches, size)):
        yield window
