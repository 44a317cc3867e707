"""The contract of gradient evidence: collect before any weight is known, apply the combination afterwards."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
from typing import ClassVar, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balance.contract.evidence import Block
from polytask.balance.engine.aliases import beside_features
from polytask.balance.engine.gradients import Step, accumulate_all, task_gradients
from polytask.balance.engine.rows import GradientRows, Mix
from polytask.balance.engine.transaction import entries
from polytask.balance.engine.weak import WeakTensors
from polytask.errors import MethodError

__all__ = ["Array", "GradientSource", "Judged", "add_to", "fitting", "judged_by"]

Array = np.ndarray
Judged = tuple[tuple[str, ...], Float[Array, "K K"]]
"""Names of the tasks, and the inner products of their gradients in that order."""


class GradientSource(abc.ABC):
    """Collects one step's gradients and, once the combination is known, puts it into ``.grad``.

    Attributes:
        passes: Backward passes that collecting took, where it was not one per task; 0 otherwise.
    """

    has_coordinates: ClassVar[bool] = False
    """Whether the rows of all shared parameters (or features) are at hand, as coordinate-wise methods need."""
    passes_again: ClassVar[bool] = True
    """Whether :meth:`apply` goes through the graph of the losses once more."""

    def __init__(self) -> None:
        self._own: dict[str, dict[int, tuple[Tensor, Tensor]]] = {}
        self.passes = 0

    @abc.abstractmethod
    def collect(self, step: Step, features: Iterable[Tensor]) -> Judged:
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
    def _keep_own(self, step: Step, task: str, gradients: Sequence[Tensor | None]) -> None:
        """Add up the gradients of a task's own parameters, for :meth:`apply_own`."""
        if step.heads != "none":
            add_to(self._own.setdefault(task, {}), step.own[task], gradients)

    @final
    def apply_own(self, step: Step, tasks: Sequence[str], factors: Float[Array, "K"]) -> None:
        """Give the own parameters of these tasks their own gradient, times what the heads policy says."""
        every = [
            (parameter, gradient, factor)
            for task, factor in zip(tasks, factors.tolist(), strict=True)
            for parameter, gradient in self._own.get(task, {}).values()
        ]
        accumulate_all(every)

    @final
    def broken_own(self, leaves: Sequence[Tensor]) -> set[str]:
        """Tasks with a collected gradient of their own, by one of these leaves, that is not finite."""
        asked = {id(leaf) for leaf in leaves}
        return {
            task
            for task, gradients in self._own.items()
            if not all(
                bool(torch.isfinite(entries(gradient)).all())
                for leaf, gradient in gradients.values()
                if id(leaf) in asked
            )
        }

    @property
    def own_leaves(self) -> list[Tensor]:
        """Leaves with a collected gradient for :meth:`apply_own`."""
        return [leaf for gradients in self._own.values() for leaf, _ in gradients.values()]

    def release(self) -> None:
        """Drop the collected gradients of single tasks; the row buffers stay."""
        self._own = {}
        self.passes = 0

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
                raise beside_features(task)
            known = task in window
            row = window.setdefault(task, first + len(window))
            start = 0
            for rows, group in buffers:
                rows.write(row, gradients[start : start + len(group)], add=known)
                start += len(group)
            self._keep_own(step, task, own)


def judged_by(tensors: WeakTensors[int]) -> list[Tensor]:
    """Those of the parameters given as ``grads=`` that are not frozen now.

    Raises:
        MethodError: There are none, or some have gone with their model, as with that of a balancer that was copied.
    """
    alive = tensors.alive()
    if len(alive) < tensors.count:
        raise MethodError(
            f"{tensors.count - len(alive)} of {tensors.count} parameters given as grads= are gone, with their model "
            "or because the balancer is a copy; pass those of the model in use, or copy model and balancer together"
        )
    trained = [tensor for tensor in alive.values() if tensor.requires_grad]
    if not trained:
        raise MethodError("all parameters given as grads= are frozen; pass some that are trained, or 'params'")
    return trained


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


def add_to(
    sums: dict[int, tuple[Tensor, Tensor]], tensors: Sequence[Tensor], gradients: Sequence[Tensor | None]
) -> None:
    """Add gradients to what a window has gathered for the same tensors; ``None`` is zero."""
    for tensor, gradient in zip(tensors, gradients, strict=True):
        if gradient is not None:
            before = sums.get(id(tensor))
            sums[id(tensor)] = (tensor, gradient if before is None else before[1] + gradient)
