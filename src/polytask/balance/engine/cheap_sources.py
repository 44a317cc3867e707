"""Gradient evidence with less memory or time than exact gradients of all shared parameters on the whole batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import final

import numpy as np
from jaxtyping import Float
from torch import Tensor

from polytask.balance.engine.gradients import Step, backward_weighted, task_gradients
from polytask.balance.engine.rows import GradientRows, Mix
from polytask.balance.engine.source import Array, GradientSource, Judged, fitting, judged_by
from polytask.balance.engine.weak import WeakTensors
from polytask.errors import MethodError

__all__ = ["LowMemorySource", "SubBatchSource", "SubsetSource"]


@final
class SubsetSource(GradientSource):
    """Gradients with respect to some shared parameters, then one backward pass of the weighted sum for all of them.

    Args:
        tensors: The parameters to judge by, e.g. those of the last shared block.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        self._tensors = WeakTensors(dict(enumerate(tensors)))
        if not self._tensors:
            raise MethodError("grads= holds no parameters; pass 'params', 'features' or at least one parameter")
        self._rows: GradientRows | None = None

    def collect(self, step: Step, features: Iterable[Tensor]) -> Judged:
        """See :class:`GradientSource`."""
        tensors = judged_by(self._tensors)
        self._rows = fitting(self._rows, tensors, len(step.tasks))
        self._fill(step, [(self._rows, tensors)], retain_graph=True)
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

    def collect(self, step: Step, features: Iterable[Tensor]) -> Judged:
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


@final
class SubBatchSource(GradientSource):
    """Gradients of losses on part of the batch, then one backward pass of the weighted sum of the whole batch's losses.

    A task that has no loss on that part takes no part in the problem and keeps its preference as weight.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rows: GradientRows | None = None

    def collect(self, step: Step, features: Iterable[Tensor]) -> Judged:
        """See :class:`GradientSource`."""
        if step.judge is None:
            raise MethodError(
                "grads='sub_batch' needs the losses on part of the batch: balancer.backward(losses, judge=those), "
                "where those come from a forward pass of some of the rows; grads='params' needs nothing"
            )
        self._rows = fitting(self._rows, step.shared, len(step.tasks))
        for row, task in enumerate(step.tasks):
            if task not in step.judge:
                self._rows.write(row, [None] * len(step.shared))
        window = {task: row for row, task in enumerate(step.tasks) if task in step.judge}
        known = {task: step.judge[task] for task in window}
        part = dataclasses.replace(step.without_heads(), losses=known, retain_graph=False)
        for task, row in window.items():
            gradients, _ = task_gradients(part, task, step.shared, retain_graph=task != next(reversed(window)))
            self._rows.write(row, gradients)
        return step.tasks, self._rows.gramian(len(step.tasks))

    def apply(self, step: Step, mix: Mix, weights: Float[Array, "K"], rows: Sequence[int]) -> int:
        """See :class:`GradientSource`."""
        return backward_weighted(step.keep(rows), weights)


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
