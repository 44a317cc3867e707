"""Where gradient evidence comes from: all shared parameters, the shared representation, or some of the parameters.

A source is an axis of its own, orthogonal to the method: it collects the tasks' gradients before any weight is known,
and applies the combination afterwards. ``.grad`` is written in ``apply`` only, after everything that can fail.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable, Sequence
from typing import ClassVar, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balance.combination import weighted
from polytask.balance.gradients import Step, accumulate, backward_weighted, task_gradients
from polytask.balance.method import Block
from polytask.balance.partition import reached
from polytask.balance.rows import GradientRows, Mix
from polytask.errors import MethodError, unknown

__all__ = [
    "FeatureSource",
    "GradientSource",
    "LowMemorySource",
    "ParameterSource",
    "SubsetSource",
    "source_of",
    "weighted",
]

Array = np.ndarray
Judged = tuple[tuple[str, ...], Float[Array, "K K"]]
"""Names of the tasks, and the inner products of their gradients in that order."""


class GradientSource(abc.ABC):
    """Collects one step's gradients and, once the combination is known, puts it into ``.grad``."""

    has_coordinates: ClassVar[bool] = False
    """Whether the rows of all shared parameters (or features) are at hand, as coordinate-wise methods need."""

    def __init__(self) -> None:
        self._own: dict[str, list[Tensor | None]] = {}

    @abc.abstractmethod
    def collect(self, step: Step, features: Sequence[Tensor]) -> Judged:
        """One backward pass per task; tasks' names, and the Gramian of what is judged by, times ``loss_scale``²."""

    @abc.abstractmethod
    def apply(self, step: Step, mix: Mix, weights: Float[Array, "K"], rows: Sequence[int]) -> int:
        """Give the shared parameters the combined gradient of the tasks at ``rows``.

        Args:
            step: What was collected.
            mix: The combination, for sources that hold the rows.
            weights: The same as one weight per task of ``rows``, for sources that do not.
            rows: Positions of the tasks whose rows are mixed.

        Returns:
            The number of further backward passes.
        """

    def blocks(self, step: Step, rows: Sequence[int]) -> Iterable[Block]:
        """What was collected for the tasks at ``rows``, for sources that hold coordinates."""
        return ()

    @final
    def apply_own(self, step: Step, tasks: Sequence[str], weights: Float[Array, "K"]) -> None:
        """Give the own parameters of these tasks their own gradient, under the heads policy."""
        for task, weight in zip(tasks, weights.tolist(), strict=True):
            factor = weight if step.heads == "weighted" else 1.0
            for parameter, gradient in zip(step.own[task], self._own.get(task, ()), strict=False):
                if gradient is not None:
                    accumulate(parameter, gradient, factor)

    def release(self) -> None:
        """Drop the collected gradients of single tasks; the row buffers stay."""
        self._own = {}

    @final
    def _fill(
        self,
        step: Step,
        buffers: Sequence[tuple[GradientRows, Sequence[Tensor]]],
        *,
        retain_graph: bool,
        window: dict[str, int] | None = None,
        must_reach: Sequence[Tensor] = (),
        first: int = 0,
    ) -> None:
        """Run one pass per task, write the rows, and keep the gradients of the tasks' own parameters.

        With a ``window``, tasks that already have a row in it add to that row, and the others get the next free one,
        from ``first`` on. Own gradients add up until they are released.
        """
        tensors = [tensor for _, group in buffers for tensor in group]
        window = {} if window is None else window
        for position, task in enumerate(step.tasks):
            last = position == len(step.tasks) - 1
            gradients, own = task_gradients(step, task, tensors, retain_graph=retain_graph or not last)
            if must_reach and all(gradient is None for gradient in gradients[: len(must_reach)]):
                raise MethodError(
                    f"the loss of task {task!r} does not depend on features=; pass the tensor the heads were applied "
                    "to, not one that was computed again"
                )
            known = task in window
            row = window.setdefault(task, first + len(window))
            start = 0
            for rows, group in buffers:
                rows.write(row, gradients[start : start + len(group)], add=known)
                start += len(group)
            if step.heads != "none":
                self._own[task] = _added(self._own[task], own) if task in self._own else list(own)


@final
class ParameterSource(GradientSource):
    """Exact gradients with respect to every shared parameter: K backward passes, K·P numbers.

    Several micro-batches can be gathered before the combination is asked for: rows add up by task.

    Args:
        row_dtype: What rows are stored in; the parameters' dtype by default.
    """

    has_coordinates = True

    def __init__(self, row_dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self._rows: GradientRows | None = None
        self._row_dtype = row_dtype
        self._window: dict[str, int] = {}
        self._shared: tuple[int, ...] = ()

    def collect(self, step: Step, features: Sequence[Tensor]) -> Judged:
        """See :class:`GradientSource`; with a window open, over everything gathered since it was opened.

        With a twin, the inner products of 2K rows: the first batch's, then the twin's.
        """
        if step.twin is None:
            rows = self.gather(step)
            return tuple(self._window), rows.gramian(len(self._window))
        # Both batches may share a graph (one forward pass for both), so the first one's is kept.
        rows = self.gather(dataclasses.replace(step, retain_graph=True), capacity=2 * len(step.tasks))
        second = dataclasses.replace(step, losses=step.twin)
        self._fill(second, [(rows, step.shared)], retain_graph=step.retain_graph, first=len(step.tasks))
        return step.tasks, rows.gramian(2 * len(step.tasks))

    def gather(self, step: Step, capacity: int = 0) -> GradientRows:
        """Add one micro-batch's gradients to the open window, or open one for ``capacity`` tasks or more."""
        shared = tuple(id(tensor) for tensor in step.shared)
        if not self._window:
            self._shared = shared
            self._rows = _fitting(self._rows, step.shared, max(capacity, len(step.tasks)), dtype=self._row_dtype)
        assert self._rows is not None
        if shared != self._shared or len({*self._window, *step.tasks}) > self._rows.capacity:
            raise MethodError(
                "a task or shared parameter came up for the first time inside an accumulation window; let "
                "balancer.prepare(outputs) see every task's output once before training"
            )
        self._fill(step, [(self._rows, step.shared)], retain_graph=step.retain_graph, window=self._window)
        return self._rows

    def blocks(self, step: Step, rows: Sequence[int]) -> Iterable[Block]:
        """See :class:`GradientSource`."""
        assert self._rows is not None
        return self._rows.blocks(rows, tensors=step.shared)

    def apply(self, step: Step, mix: Mix, weights: Float[Array, "K"], rows: Sequence[int]) -> int:
        """See :class:`GradientSource`."""
        assert self._rows is not None
        if step.twin is not None:
            mix, rows = weighted(np.tile(weights, 2)), [*rows, *(len(step.tasks) + row for row in rows)]
        _add(step.shared, self._rows.mix(mix, rows, tensors=step.shared))
        return 0

    def release(self) -> None:
        """See :class:`GradientSource`; also closes the window."""
        super().release()
        self._window = {}


@final
class FeatureSource(GradientSource):
    """Gradients at the shared representation: K passes through the heads, one through the trunk."""

    has_coordinates = True

    def __init__(self) -> None:
        super().__init__()
        self._rows: GradientRows | None = None
        self._late_rows: GradientRows | None = None
        self._upstream: tuple[tuple[int, ...], set[int]] | None = None
        self._features: Sequence[Tensor] = ()
        self._late: list[Tensor] = []

    def collect(self, step: Step, features: Sequence[Tensor]) -> Judged:
        """See :class:`GradientSource`."""
        if not features:
            raise MethodError(
                "grads='features' needs the shared representation: balancer.backward(losses, features=z), where z is "
                "the tensor the heads were applied to; grads='params' needs nothing"
            )
        upstream = self._reached(step.shared, features)
        self._features = features
        self._late = [tensor for tensor in step.shared if id(tensor) not in upstream]
        self._rows = _fitting(self._rows, features, len(step.tasks))
        buffers = [(self._rows, features)]
        if self._late:
            self._late_rows = _fitting(self._late_rows, self._late, len(step.tasks), label="late:")
            buffers.append((self._late_rows, self._late))
        self._fill(step, buffers, retain_graph=step.retain_graph, must_reach=features)
        return step.tasks, self._rows.gramian(len(step.tasks))

    def blocks(self, step: Step, rows: Sequence[int]) -> Iterable[Block]:
        """See :class:`GradientSource`."""
        assert self._rows is not None
        return self._rows.blocks(rows, self._features, self._features)

    def apply(self, step: Step, mix: Mix, weights: Float[Array, "K"], rows: Sequence[int]) -> int:
        """See :class:`GradientSource`."""
        assert self._rows is not None
        mixed = self._rows.mix(mix, rows, self._features, self._features)
        if self._late and self._late_rows is not None:
            _add(self._late, self._late_rows.mix(weighted(weights), rows))
        late = {id(tensor) for tensor in self._late}
        upstream = [tensor for tensor in step.shared if id(tensor) not in late]
        if not upstream:
            return 0
        seeds = [gradient.to(tensor.dtype) for gradient, tensor in zip(mixed, self._features, strict=True)]
        torch.autograd.backward(list(self._features), seeds, inputs=upstream, retain_graph=step.retain_graph)
        return 1

    def release(self) -> None:
        """See :class:`GradientSource`."""
        super().release()
        self._features = ()

    def _reached(self, shared: Sequence[Tensor], features: Sequence[Tensor]) -> set[int]:
        """Ids of the leaves the features depend on; walked again only when the shared parameters change."""
        key = tuple(id(tensor) for tensor in shared)
        if self._upstream is None or self._upstream[0] != key:
            self._upstream = (key, set().union(*(reached(tensor) for tensor in features)))
        return self._upstream[1]


@final
class SubsetSource(GradientSource):
    """Gradients with respect to some shared parameters, then one backward pass of the weighted sum for all of them.

    Args:
        tensors: The parameters to judge by, e.g. those of the last shared block.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        self._tensors = list(tensors)
        if not self._tensors:
            raise MethodError("grads= holds no parameters; pass 'params', 'features' or at least one parameter")
        self._rows: GradientRows | None = None

    def collect(self, step: Step, features: Sequence[Tensor]) -> Judged:
        """See :class:`GradientSource`."""
        self._rows = _fitting(self._rows, self._tensors, len(step.tasks))
        self._fill(step, [(self._rows, self._tensors)], retain_graph=True)
        return step.tasks, self._rows.gramian(len(step.tasks))

    def apply(self, step: Step, mix: Mix, weights: Float[Array, "K"], rows: Sequence[int]) -> int:
        """See :class:`GradientSource`."""
        return backward_weighted(step.keep(rows).without_heads(), weights)


@final
class LowMemorySource(GradientSource):
    """Exact gradients in the memory of one: the Gramian is summed over blocks of parameters, a few at a time.

    The shared parameters are split into K blocks of about P/K numbers, from the losses downwards, and every task is
    differentiated once per block, each time through no more of the network than the block needs. The weighted sum's
    backward pass then applies the weights. About (K + 1)/2 times the work of :class:`ParameterSource`, and extra memory
    of P numbers (or of K times the largest single tensor) instead of K·P.
    """

    def collect(self, step: Step, features: Sequence[Tensor]) -> Judged:
        """See :class:`GradientSource`."""
        count = len(step.tasks)
        gramian = np.zeros((count, count))
        for i, block in enumerate(_blocks(step.shared, count)):
            rows = GradientRows(block, count)
            self._fill(step if i == 0 else step.without_heads(), [(rows, block)], retain_graph=True)
            gramian += rows.gramian(count)
        return step.tasks, gramian

    def apply(self, step: Step, mix: Mix, weights: Float[Array, "K"], rows: Sequence[int]) -> int:
        """See :class:`GradientSource`."""
        return backward_weighted(step.keep(rows).without_heads(), weights)


def source_of(
    grads: str | Iterable[Tensor], *, low_memory: bool = False, row_dtype: torch.dtype | None = None
) -> GradientSource:
    """The gradient evidence that ``grads=`` names: ``"params"``, ``"features"`` or some parameters."""
    if (low_memory or row_dtype is not None) and grads != "params":
        raise MethodError("low_memory= and row_dtype= are ways to store exact gradients: use them with grads='params'")
    if low_memory and row_dtype is not None:
        raise MethodError("low_memory= keeps no rows that row_dtype= could store; choose one of them")
    if not isinstance(grads, str):
        return SubsetSource(grads)
    if grads == "params":
        return LowMemorySource() if low_memory else ParameterSource(row_dtype)
    if grads == "features":
        return FeatureSource()
    raise MethodError(unknown("gradient evidence", grads, ("params", "features")))


def _blocks(tensors: Sequence[Tensor], count: int) -> list[list[Tensor]]:
    """Consecutive groups of about 1/``count`` of all numbers each."""
    budget = sum(tensor.numel() for tensor in tensors) / max(count, 1)
    groups: list[list[Tensor]] = [[]]
    filled = 0.0
    for tensor in tensors:
        if groups[-1] and filled + tensor.numel() > budget:
            groups.append([])
            filled = 0.0
        groups[-1].append(tensor)
        filled += tensor.numel()
    return groups


def _added(previous: Sequence[Tensor | None], gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Entry-wise sum of two lists of gradients, in which ``None`` is zero."""
    return [
        old if new is None else new if old is None else old + new for old, new in zip(previous, gradients, strict=True)
    ]


def _fitting(
    rows: GradientRows | None,
    tensors: Sequence[Tensor],
    tasks: int,
    *,
    label: str = "",
    dtype: torch.dtype | None = None,
) -> GradientRows:
    """The buffer itself if the gradients fit into it, a new one otherwise."""
    if rows is not None and rows.fits(tensors, tasks):
        return rows
    return GradientRows(tensors, tasks, label, dtype)


@torch.no_grad()
def _add(parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """Add combined gradients, which nothing else refers to, to ``.grad``."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if parameter.grad is None:
            if gradient.stride() == parameter.stride():
                parameter.grad = gradient.to(parameter.dtype)
            else:
                parameter.grad = torch.empty_like(parameter).copy_(gradient)  # e.g. channels last
        else:
            parameter.grad.add_(gradient)
