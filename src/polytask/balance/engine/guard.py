"""At the balancer's door: which losses take part in a step, and what happens to those that are not finite."""

from __future__ import annotations

import collections
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, final

import torch
from torch import Tensor

from polytask.balance.contract.method import Method
from polytask.balance.contract.options import task_names
from polytask.balance.contract.record import StepRecord
from polytask.balance.engine.gradients import Step, finite_alone, stacked
from polytask.balance.engine.graph import reached
from polytask.balance.engine.transaction import BrokenGradientError, Transaction, all_finite
from polytask.errors import NonFiniteError, TaskError, unknown
from polytask.remedies import setting

__all__ = ["Guard"]

Once = Callable[[Sequence[str], Sequence[str], Callable[[], None]], StepRecord]
"""A step for some tasks, with others left out; it calls its last argument when ``.grad`` is complete."""

_SKIPS_IN_A_ROW = 10
_SCALES = 32
"""Powers of two from here on are taken for a loss scale."""


@final
class Guard:
    """Checks names, shapes and finiteness; counts what was skipped.

    Args:
        tasks: The names that may occur; any name when ``None``.
        policy: ``"raise"`` on a value that is not finite, or ``"skip"`` the task, ten times in a row at most.
        method: A method whose options may name tasks.

    Raises:
        TaskError: The method names a task that is not among ``tasks``.
    """

    def __init__(self, tasks: Sequence[str] | None, policy: Literal["raise", "skip"], method: Method) -> None:
        self._tasks = tasks
        self._allowed = None if tasks is None else frozenset(tasks)
        self._policy = policy
        self.skips: collections.Counter[str] = collections.Counter()
        self._named = list(task_names(method))
        self._first = True
        if tasks is not None:
            self._recognise(tasks)

    def _recognise(self, known: Iterable[str]) -> None:
        """Check, once, the names in the method's options: against all tasks, or those of the first batch."""
        known = list(known)
        for where, task, needed in self._named:
            if task not in known and (needed or self._tasks is not None):
                later = "" if self._tasks is not None else "; if it comes in later batches, pass all names in tasks="
                raise TaskError(f"{where} names an {unknown('task', task, known)}{later}")
        self._named = []

    def admit(
        self, losses: Mapping[str, Tensor | None], step: int
    ) -> tuple[dict[str, Tensor], dict[str, float], list[str]]:
        """Losses that take part, their values, and the tasks skipped for a loss that is not finite.

        Raises:
            TaskError: A name is unknown, or a loss is not one number with a graph.
            NonFiniteError: A loss is not finite and is not to be skipped (again).
        """
        given = self._fitting(losses)
        if self._named and losses:
            self._recognise(losses)
        if self._first and given:
            self._first = False
            _warn_of_scaling(given)
        values = dict(zip(given, _values(given), strict=True))
        if all(map(math.isfinite, values.values())):
            return given, values, []
        broken = {name: value for name, value in values.items() if not math.isfinite(value)}
        self.refuse("loss", broken, step)
        kept = {name: loss for name, loss in given.items() if name not in broken}
        return kept, {name: values[name] for name in kept}, list(broken)

    def admit_twins(
        self, losses: Mapping[str, Tensor | None], twin: Mapping[str, Tensor | None] | None, step: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor] | None, dict[str, float], list[str]]:
        """As :meth:`admit` for two batches: both batches' losses of the tasks in both, and the means of their values.

        A task that is absent from one batch, or is to be skipped in one, is left out of the other.
        """
        one, values, skipped = self.admit(losses, step)
        if twin is None:
            return one, None, values, skipped
        asked = {name: loss for name, loss in twin.items() if name not in skipped}
        other, more, broken = self.admit(asked, step)
        both = [name for name in one if name in other]
        means = {name: (values[name] + more[name]) / 2 for name in both}
        return {name: one[name] for name in both}, {name: other[name] for name in both}, means, skipped + broken

    def admit_judge(self, judge: Mapping[str, Tensor] | None) -> None:
        """Check names and shapes of losses that are only judged by; their gradients show what is not finite."""
        if judge is not None:
            self._fitting(judge)

    def _fitting(self, losses: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
        """The losses that are there, each of them one real number with a graph under the name of a task."""
        if not isinstance(losses, Mapping):
            raise TaskError(
                f"losses must be a dictionary from names of tasks to scalar tensors, found {type(losses).__name__}"
            )
        given = {name: loss for name, loss in losses.items() if loss is not None}
        for name, loss in given.items():
            if not isinstance(name, str):
                raise TaskError(f"names of tasks must be strings, found {name!r}; pass {{'{name}': loss, …}}")
            if self._allowed is not None and name not in self._allowed:
                raise TaskError(
                    f"losses has an {unknown('task', name, self._tasks or ())}. To skip a task, leave it out"
                )
            if not isinstance(loss, Tensor):
                raise TaskError(
                    f"loss of task {name!r} must be a tensor with a graph, found {type(loss).__name__} {loss!r}; pass "
                    "what the loss function returned, without .item()"
                )
            if loss.numel() != 1 or not loss.requires_grad:
                raise TaskError(
                    f"loss of task {name!r} must be one number with a graph, found shape {tuple(loss.shape)}, "
                    f"requires_grad={loss.requires_grad}; average it over the batch and do not detach it"
                )
            if loss.is_complex() or loss.is_meta:
                found = f"dtype {loss.dtype}" if loss.is_complex() else "one on the 'meta' device, without a value"
                raise TaskError(
                    f"loss of task {name!r} must be a real number, found {found}; take .abs() or .real of complex "
                    "values, and build the model on a real device"
                )
        return given

    def refuse(self, what: str, broken: Mapping[str, float], step: int) -> None:
        """Raise for tasks that are not finite, unless they may be skipped (see :meth:`count`)."""
        often = ""
        if self.skips_allowed:
            if all(self.skips[name] + 1 < _SKIPS_IN_A_ROW for name in broken):
                return
            often = f", skipped {_SKIPS_IN_A_ROW} times in a row"
        found = ", ".join(f"{name!r} is {value}" for name, value in broken.items())
        raise NonFiniteError(
            f"{what} of task {found} at step {step}{often}; parameters and method state are unchanged. Look for a mean "
            "over no labels, a logarithm of zero or a learning rate that is too high, or set "
            f"{setting('nonfinite', 'skip')}"
        )

    @property
    def skips_allowed(self) -> bool:
        """Whether a task whose loss or gradient is not finite may be left out."""
        return self._policy == "skip"

    def attempt(
        self,
        step: Step,
        tasks: Sequence[str],
        leaves: Sequence[Tensor],
        once: Once,
        number: int,
        collected: Callable[[Sequence[Tensor]], set[str]] = lambda leaves: set(),
    ) -> StepRecord:
        """Run ``once``, all or nothing, again without tasks whose gradients are not finite where those may be skipped.

        Args:
            step: What is differentiated.
            tasks: Who takes part.
            leaves: All parameters that ``once`` may write to.
            once: Fills ``.grad`` for the tasks it is given, settles, and lets the method learn.
            number: Number of the step.
            collected: Tasks with gradients by these leaves that were collected, and are not finite.

        Raises:
            NonFiniteError: Tasks are not to be skipped (again), or each of them by itself is finite.
            BrokenGradientError: A gradient is not finite, and a gradient scaler is to find it.
        """
        left, skipped = list(tasks), list[str]()
        while True:
            try:
                with Transaction(leaves, step.aside) as transaction:
                    return once(left, skipped, transaction.settle)
            except BrokenGradientError as broken:
                if step.scaled:
                    raise
                guilty = self._guilty(step, left, broken.leaves, collected(broken.leaves))
            if not guilty:
                advice = "numbers that are too large" if self.skips_allowed else "the task with nonfinite='skip'"
                raise NonFiniteError(
                    f"the combined gradient of tasks {', '.join(left)} is not finite at step {number}; parameters and "
                    f"method state are unchanged. Look for {advice}, for a square root or logarithm of zero, or for "
                    ".grad that was not finite before"
                )
            self.refuse("gradient", dict.fromkeys(guilty, math.nan), number)
            left = [task for task in left if task not in guilty]
            skipped += guilty

    def _guilty(self, step: Step, tasks: Sequence[str], broken: Sequence[Tensor], collected: set[str]) -> list[str]:
        """The tasks because of which these parameters' gradients are not finite, as far as can be told."""
        guilty = {task for task in tasks if task in collected}
        if self.skips_allowed and step.retain_graph:
            guilty |= {task for task in tasks if not finite_alone(step, task, broken)}
        if not self.skips_allowed:
            guilty |= _owners(step, broken) if len(tasks) > 1 else set(tasks)
        return [task for task in tasks if task in guilty]

    def check_memory(self, memory: Iterable[tuple[str, str, Sequence[str], Tensor]], number: int) -> None:
        """Raise :class:`NonFiniteError` for vectors that are not to be remembered."""
        memory = list(memory)
        if all_finite([values for *_, values in memory]):
            return
        found = next(f"{name!r} of tasks {', '.join(tasks)}" for name, _, tasks, v in memory if not all_finite([v]))
        raise NonFiniteError(
            f"what the method remembers as {found} would not be finite at step {number}; parameters and method state "
            "are unchanged. Look for gradients that are too large"
        )

    def count(self, passed: Iterable[str], skipped: Sequence[str]) -> None:
        """After a step: the runs of skips of tasks that took part are over, and the others' are one longer."""
        if self.skips or skipped:
            for name in passed:
                self.skips.pop(name, None)
            self.skips.update(skipped)

    def restore(self, skips: Mapping[str, int], steps: int) -> None:
        """Take over the runs of skips of a saved balancer, which has been through the first batch."""
        self.skips = collections.Counter(skips)
        if steps:
            self._named = []


def _values(losses: Mapping[str, Tensor]) -> list[float]:
    """Loss values; in one transfer where they are on another device and alike, or are one vector."""
    given = [*losses.values()]
    if all(loss.is_cpu and loss._base is None for loss in given):
        return [loss.item() for loss in given]
    values = [math.nan] * len(given)
    with torch.no_grad():
        for tensor, at in stacked(given):
            found = tensor.reshape(-1).tolist()
            for position, value in zip(range(len(given)) if isinstance(at, slice) else at, found, strict=True):
                values[position] = value
    return values


def _owners(step: Step, broken: Sequence[Tensor]) -> set[str]:
    """Tasks that alone reach one of these parameters."""
    reaching: dict[int, set[str]] = {}
    for task, loss in step.losses.items():
        for key in reached(loss):
            reaching.setdefault(key, set()).add(task)
    found = [reaching.get(id(leaf), set()) for leaf in broken]
    return set().union(*(tasks for tasks in found if len(tasks) == 1))


def _warn_of_scaling(losses: Mapping[str, Tensor]) -> None:
    """Warn where losses look like what ``GradScaler.scale`` returns: a method would take the factor for their size."""
    factors = set()
    for loss in losses.values():
        factor = getattr(loss.grad_fn, "_saved_other", None)
        if type(loss.grad_fn).__name__ != "MulBackward0" or not isinstance(factor, Tensor) or factor.numel() != 1:
            return
        factors.add(float(factor.detach()))
    if len(factors) == 1 and (factor := factors.pop()) >= _SCALES and math.frexp(factor)[0] == 0.5:
        warnings.warn(
            f"every loss is a product with {factor:g}, as if scaled by a gradient scaler; a method that looks at "
            "losses or at lengths of gradients then gives other weights. Pass the losses as they are, and "
            "balancer.backward(losses, scaler=scaler)",
            stacklevel=5,
        )
