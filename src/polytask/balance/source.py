"""The contract of gradient evidence: collect before any weight is known, apply the combination afterwards."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
from typing import ClassVar, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balance.evidence import Block
from polytask.balance.gradients import Step, accumulate, task_gradients
from polytask.balance.rows import GradientRows, Mix
from polytask.errors import MethodError

__all__ = ["Array", "GradientSource", "Judged", "fitting"]

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
    def apply_own(self, step: Step, tasks: Sequence[str], factors: Float[Array, "K"]) -> None:
        """Give the own parameters of these tasks their own gradient, times what the heads policy says."""
        for task, factor in zip(tasks, factors.tolist(), strict=True):
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


def fitting(
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


def _added(previous: Sequence[Tensor | None], gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Entry-wise sum of two lists of gradients, in which ``None`` is zero."""
    return [
        old if new is None else new if old is None else old + new for old, new in zip(previous, gradients, strict=True)
    ]
