"""One optimizer step, in the one order in which its operations are correct.

0. *schedule*: tasks that do not count in this step are taken out of its batch.
   *seats*: parts of the model that listen see the step's targets, and may replace them (:class:`polytask.share.Seat`).
1. *forward*: every part of the batch through the model (autocast under mixed precision), losses in float32.
2. *unscale, reduce, solve, apply*: :meth:`polytask.balance.Balancer.backward`. Under fp16 the gradients in ``.grad``
   carry the loss scale afterwards, while the method has seen losses and gradients without it.
3. *unscale* ``.grad``, so that what follows works in natural units.
4. *average* over the micro-batches of the window, when the method solved for each of them. Under exact accumulation
   every micro-batch's losses were weighted by its share of the window's labels before 2, and 2 happened once.
   Losses of the seats' own are added to ``.grad`` here, outside of the balancing, and the seats are told of the step.
5. *clip* the combined gradient.
6. *step* the optimizer and then the scheduler; not when fp16 found an overflow, in which case the method's state is put
   back as well.
7. *second look*: methods that ask for it get the losses again that they saw in 2.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from polytask.balance import Balancer, StepRecord
from polytask.data import Batch, halves
from polytask.errors import NonFiniteError
from polytask.schedule import Schedule
from polytask.train.forward import Forward, frozen_side_effects, random_state
from polytask.train.meter import EpochMeter
from polytask.train.optim import clip_by_norm
from polytask.train.seating import replace_targets

__all__ = ["Stepper"]


@dataclasses.dataclass
class _Gathered:
    """What the passes of one window left.

    Attributes:
        seen: The method's records, with the label counts they stand for.
        used: Steps of the method.
        extra: Values of the seats' own losses.
        again: Passes to repeat for a second look: batch, random state, the tasks' shares of the window's labels.
    """

    seen: list[tuple[StepRecord | None, dict[str, int]]] = dataclasses.field(default_factory=list)
    used: int = 0
    extra: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    again: list[tuple[Batch, list[Tensor], dict[str, float]]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Stepper:
    """Takes optimizer steps.

    Attributes:
        forward: The model and how to call it.
        balancer: The engine.
        optimizer: Steps on ``.grad``.
        scheduler: Advanced after each optimizer step, unless it waits for a validation score (see :meth:`validated`).
        scaler: Dynamic loss scale of fp16; ``None`` otherwise.
        clip: Largest norm of the combined gradient.
        exact: Whether a window of several micro-batches is one step of the method, or one for each.
        schedule: Says which tasks count in a step; ``None``: all.
        meter: Is told every record and every label count.
        taken: Optimizer steps taken.
    """

    forward: Forward
    balancer: Balancer
    optimizer: Optimizer
    scheduler: LRScheduler | None
    scaler: torch.amp.GradScaler | None
    clip: float | None
    meter: EpochMeter
    exact: bool = True
    schedule: Schedule | None = None
    taken: int = 0

    def __post_init__(self) -> None:
        self._parameters: list[Tensor] = [p for group in self.optimizer.param_groups for p in group["params"]]
        self._moves = self.forward.device.type != "cpu"
        self._by_step = None if isinstance(self.scheduler, ReduceLROnPlateau) else self.scheduler

    def step(self, window: Sequence[Batch]) -> bool:
        """Take one step on the micro-batches of ``window``.

        Absent tasks' own parameters keep ``.grad = None``, so that an optimizer with momentum leaves them alone.

        Args:
            window: One micro-batch or more.

        Returns:
            Whether the parameters were stepped: not when no task had a label, or fp16 overflowed.

        Raises:
            NonFiniteError: A loss or gradient is not finite and the balancer's policy is to raise; parameters and
                method are as they were before the step.
        """
        self._clear()
        if self.schedule is not None:
            counting = self.schedule.next()
            window = [batch.only(counting) for batch in window]
        batches = [batch.to(self.forward.device, non_blocking=True) if self._moves else batch for batch in window]
        if not self.forward.seats.listens:
            return self._step(batches)
        with self.forward.seats.undone_on_error():
            batches, self.forward.replaced = replace_targets(self.forward.seats, self.forward.tasks, batches)
            return self._step(batches)

    def _clear(self) -> None:
        """``optimizer.zero_grad(set_to_none=True)``, without what PyTorch does around it."""
        if type(self.optimizer).zero_grad is not Optimizer.zero_grad:
            self.optimizer.zero_grad(set_to_none=True)
            return
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def _step(self, batches: Sequence[Batch]) -> bool:
        balancer = self.balancer
        before = balancer.state_dict() if self.scaler is not None else None
        exact = self.exact and len(batches) > 1
        gathered = self._gather(batches) if exact else self._each(batches)
        done = [record for record, _ in gathered.seen if record is not None and record.tasks]
        if done:
            loss_scale = 1.0 if self.scaler is None else self.scaler.get_scale()
            self.forward.seats.after_backward(done[-1], loss_scale=loss_scale)
        stepped = gathered.used > 0 and self._apply(1 if exact else gathered.used)
        overflowed = gathered.used > 0 and not stepped
        if overflowed and before is not None:
            balancer.load_state_dict(before)
        for record, counts in gathered.seen:
            self.meter.add(None if overflowed else record, counts)
        self.meter.add_extra(gathered.extra)
        if not stepped:
            return False
        self.taken += 1
        if self._by_step is not None:
            self._by_step.step()
        if balancer.needs_after_step:
            self._look_again(gathered.again)
        return True

    def validated(self, score: float) -> None:
        """Let a scheduler that waits for it know the validation score; one that is not defined is passed over."""
        if isinstance(self.scheduler, ReduceLROnPlateau) and math.isfinite(score):
            self.scheduler.step(score)

    def _each(self, batches: Sequence[Batch]) -> _Gathered:
        """One step of the method per micro-batch; the gradients add up."""
        gathered = _Gathered()
        for batch in batches:
            random = self._random()
            record, counts = self._twice(batch, gathered) if self.balancer.needs_twin else self._once(batch, gathered)
            gathered.seen.append((record, counts))
            if record is not None and record.tasks:
                gathered.used += 1
                gathered.again = [(batch, random, {})]
        return gathered

    def _once(self, batch: Batch, gathered: _Gathered) -> tuple[StepRecord | None, dict[str, int]]:
        losses = self.forward.losses(batch)
        if not losses.values:
            return None, losses.counts
        self._add_extra(losses.extra, gathered)
        return self.balancer.backward(losses.values, losses.features, scaler=self.scaler), losses.counts

    def _twice(self, batch: Batch, gathered: _Gathered) -> tuple[StepRecord | None, dict[str, int]]:
        """The halves of a batch as two: a task with no label in one is absent, and its labels do not count."""
        first, second = (self.forward.losses(half) for half in halves(batch))
        both = [task for task in first.values if task in second.values]
        counts = {task: first.counts[task] + second.counts[task] for task in both}
        if not both:
            return None, counts
        self._add_extra({name: (loss + second.extra[name]) / 2 for name, loss in first.extra.items()}, gathered)
        return self.balancer.backward(first.values, twin=second.values, scaler=self.scaler), counts

    def _gather(self, batches: Sequence[Batch]) -> _Gathered:
        """One step of the method for all micro-batches: losses are means over the labels of the whole window."""
        gathered = _Gathered()
        counts = [self.forward.counts(batch) for batch in batches]
        total = {task: sum(count[task][0] for count in counts) for task in self.forward.tasks.names}
        mass = {task: sum(count[task][1] for count in counts) for task in self.forward.tasks.names}
        labelled = [
            (batch, count)
            for batch, count in zip(batches, counts, strict=True)
            if any(number for number, _ in count.values())
        ]
        record = None
        for i, (batch, count) in enumerate(labelled):
            shares = {task: own / mass[task] for task, (number, own) in count.items() if number}
            gathered.again.append((batch, self._random(), shares))
            found = self.forward.losses(batch)
            self._add_extra(found.extra, gathered, 1 / len(labelled))
            losses = {task: loss * shares[task] for task, loss in found.values.items()}
            if i < len(labelled) - 1:
                self.balancer.accumulate(losses, scaler=self.scaler)
            else:
                record = self.balancer.backward(losses, scaler=self.scaler)
        gathered.used = int(record is not None and bool(record.tasks))
        gathered.seen.append((record, total))
        return gathered

    def _add_extra(self, extra: Mapping[str, Tensor], gathered: _Gathered, share: float = 1.0) -> None:
        """Add the gradients of the seats' own losses; the graph is kept for the tasks' passes."""
        if not extra:
            return
        for name, loss in extra.items():
            value = float(loss.detach())
            if not math.isfinite(value):
                raise NonFiniteError(
                    f"the extra loss {name!r} is {value} at step {self.balancer.step}; parameters are unchanged. Look "
                    "at the part of the model that gives it in extra_losses()"
                )
            gathered.extra.setdefault(name, []).append(value)
        total = torch.stack(list(extra.values())).sum() * share
        (total if self.scaler is None else self.scaler.scale(total)).backward(retain_graph=True)

    def _random(self) -> list[Tensor]:
        """Random state before a forward pass, where that pass will be repeated."""
        return random_state() if self.balancer.needs_after_step else []

    def _apply(self, used: int) -> bool:
        """Unscale, average, clip, step; returns whether the optimizer stepped."""
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        if used > 1:
            for parameter in self._parameters:
                if parameter.grad is not None:
                    parameter.grad.div_(used)
        if self.clip is not None:
            clip_by_norm(self._parameters, self.clip)
        if self.scaler is None:
            self.optimizer.step()
            return True
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return self.scaler.get_scale() >= scale

    def _look_again(self, passes: Sequence[tuple[Batch, list[Tensor], dict[str, float]]]) -> None:
        """The same losses with the new parameters: same dropout masks, no update of running statistics."""
        found: dict[str, Tensor] = {}
        for batch, random, shares in passes:
            with torch.no_grad(), frozen_side_effects(self.forward.model, random):
                for task, loss in self.forward.losses(batch).values.items():
                    found[task] = found.get(task, torch.zeros_like(loss)) + loss * shares.get(task, 1.0)
        self.balancer.after_step(found)

    def rates(self) -> dict[str | None, float]:
        """Learning rate of each parameter group, by its name."""
        found: dict[str | None, float] = {}
        for i, group in enumerate(self.optimizer.param_groups):
            name: Any = group.get("name", None if i == 0 else f"group {i}")
            found[name] = float(group["lr"])
        return found

    def state_dict(self) -> dict[str, Any]:
        """Optimizer, scheduler, scaler and the unfinished epoch's records."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "meter": self.meter.state_dict(),
            "taken": self.taken,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])
        self.meter.load_state_dict(state["meter"])
        self.taken = int(state["taken"])
