"""Where gradient evidence comes from: all shared parameters, the shared representation, or some of the parameters.

A source is an axis of its own, orthogonal to the method: it collects the tasks' gradients before any weight is known,
and applies the weights afterwards. ``.grad`` is written in ``apply`` only, after everything that can fail.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balance.gradients import Step, accumulate, backward_weighted, task_gradients
from polytask.balance.partition import reached
from polytask.balance.rows import GradientRows
from polytask.errors import MethodError, unknown

__all__ = ["FeatureSource", "GradientSource", "ParameterSource", "SubsetSource", "source_of"]

Array = np.ndarray


class GradientSource(abc.ABC):
    """Collects one step's gradients and, once weights are known, puts the combination into ``.grad``."""

    def __init__(self) -> None:
        self._own: list[tuple[Tensor | None, ...]] = []

    @abc.abstractmethod
    def collect(self, step: Step, features: Sequence[Tensor]) -> Float[Array, "K K"]:
        """One backward pass per task; the Gramian of what the method judges by, times ``step.loss_scale``²."""

    @abc.abstractmethod
    def apply(self, step: Step, weights: Float[Array, "K"], rows: Sequence[int]) -> int:
        """Give the shared parameters Σ w_k·∇L_k over the tasks at ``rows``; returns the further backward passes."""

    @final
    def apply_own(self, step: Step, weights: Float[Array, "K"], rows: Sequence[int]) -> None:
        """Give every kept task's own parameters its own gradient, under the heads policy."""
        for row, weight in zip(rows, weights.tolist(), strict=True):
            factor = weight if step.heads == "weighted" else 1.0
            for parameter, gradient in zip(step.own[step.tasks[row]], self._own[row], strict=False):
                if gradient is not None:
                    accumulate(parameter, gradient, factor)

    @final
    def release(self) -> None:
        """Drop the collected gradients of single tasks; the row buffers stay."""
        self._own = []


@final
class ParameterSource(GradientSource):
    """Exact gradients with respect to every shared parameter: K backward passes, K·P numbers."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: GradientRows | None = None

    def collect(self, step: Step, features: Sequence[Tensor]) -> Float[Array, "K K"]:
        """See :class:`GradientSource`."""
        rows = self._rows = _fitting(self._rows, step.shared, len(step.tasks))
        self._own = _fill(step, [(rows, step.shared)], step.retain_graph)
        return rows.gramian(len(step.tasks))

    def apply(self, step: Step, weights: Float[Array, "K"], rows: Sequence[int]) -> int:
        """See :class:`GradientSource`."""
        assert self._rows is not None
        _add(step.shared, self._rows.combine(weights, rows))
        return 0


@final
class FeatureSource(GradientSource):
    """Gradients at the shared representation: K passes through the heads, one through the trunk."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: GradientRows | None = None
        self._late_rows: GradientRows | None = None
        self._upstream: tuple[tuple[int, ...], set[int]] | None = None
        self._features: Sequence[Tensor] = ()
        self._late: list[Tensor] = []

    def collect(self, step: Step, features: Sequence[Tensor]) -> Float[Array, "K K"]:
        """See :class:`GradientSource`."""
        if not features:
            raise MethodError(
                "grads='features' needs the shared representation: balancer.backward(losses, features=z), where z is "
                "the tensor the heads were applied to; grads='params' needs nothing"
            )
        upstream = self._reached(step.shared, features)
        self._features = features
        self._late = [tensor for tensor in step.shared if id(tensor) not in upstream]
        rows = self._rows = _fitting(self._rows, features, len(step.tasks))
        buffers = [(rows, features)]
        if self._late:
            self._late_rows = _fitting(self._late_rows, self._late, len(step.tasks))
            buffers.append((self._late_rows, self._late))
        self._own = _fill(step, buffers, step.retain_graph, must_reach=features)
        return rows.gramian(len(step.tasks))

    def apply(self, step: Step, weights: Float[Array, "K"], rows: Sequence[int]) -> int:
        """See :class:`GradientSource`."""
        assert self._rows is not None
        if self._late and self._late_rows is not None:
            _add(self._late, self._late_rows.combine(weights, rows))
        late = {id(tensor) for tensor in self._late}
        upstream = [tensor for tensor in step.shared if id(tensor) not in late]
        if not upstream:
            return 0
        mixed = self._rows.combine(weights, rows)
        seeds = [gradient.to(tensor.dtype) for gradient, tensor in zip(mixed, self._features, strict=True)]
        torch.autograd.backward(list(self._features), seeds, inputs=upstream, retain_graph=step.retain_graph)
        self._features = ()
        return 1

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

    def collect(self, step: Step, features: Sequence[Tensor]) -> Float[Array, "K K"]:
        """See :class:`GradientSource`."""
        rows = self._rows = _fitting(self._rows, self._tensors, len(step.tasks))
        self._own = _fill(step, [(rows, self._tensors)], True)
        return rows.gramian(len(step.tasks))

    def apply(self, step: Step, weights: Float[Array, "K"], rows: Sequence[int]) -> int:
        """See :class:`GradientSource`."""
        kept = step.keep(rows)
        shared_only = Step(kept.losses, kept.shared, {}, "none", kept.retain_graph, kept.loss_scale)
        return backward_weighted(shared_only, weights)


def source_of(grads: str | Iterable[Tensor]) -> GradientSource:
    """The gradient evidence that ``grads=`` names: ``"params"``, ``"features"`` or some parameters."""
    if not isinstance(grads, str):
        return SubsetSource(grads)
    if grads == "params":
        return ParameterSource()
    if grads == "features":
        return FeatureSource()
    raise MethodError(unknown("gradient evidence", grads, ("params", "features")))


def _fill(
    step: Step,
    buffers: Sequence[tuple[GradientRows, Sequence[Tensor]]],
    retain_graph: bool,
    must_reach: Sequence[Tensor] = (),
) -> list[tuple[Tensor | None, ...]]:
    """Run one pass per task, write the rows; returns the gradients of the tasks' own parameters."""
    tensors = [tensor for _, group in buffers for tensor in group]
    own: list[tuple[Tensor | None, ...]] = []
    for row, task in enumerate(step.tasks):
        last = row == len(step.tasks) - 1
        gradients, private = task_gradients(step, task, tensors, retain_graph=retain_graph or not last)
        if must_reach and all(gradient is None for gradient in gradients[: len(must_reach)]):
            raise MethodError(
                f"the loss of task {task!r} does not depend on features=; pass the tensor the heads were applied to, "
                "not one that was computed again"
            )
        start = 0
        for rows, group in buffers:
            rows.write(row, gradients[start : start + len(group)])
            start += len(group)
        own.append(private)
    return own


def _fitting(rows: GradientRows | None, tensors: Sequence[Tensor], tasks: int) -> GradientRows:
    """The buffer itself if the gradients fit into it, a new one otherwise."""
    if rows is not None and rows.fits(tensors, tasks):
        return rows
    return GradientRows(tensors, tasks)


@torch.no_grad()
def _add(parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """Add combined gradients, which nothing else refers to, to ``.grad``."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if parameter.grad is None:
            parameter.grad = gradient.to(parameter.dtype)
        else:
            parameter.grad.add_(gradient)
