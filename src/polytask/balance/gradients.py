"""One step's passes through autograd: gradients of single tasks, and of the weighted sum of all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.errors import MethodError

__all__ = ["Heads", "Step", "accumulate", "backward_weighted", "poison", "task_gradients"]

Array = np.ndarray
Heads = Literal["plain", "weighted", "transformed", "none"]


@dataclasses.dataclass(frozen=True)
class Step:
    """What a step differentiates, and how.

    Attributes:
        losses: Scalar loss of every task that takes part.
        shared: Parameters whose gradient is combined from several tasks.
        own: For every task, the parameters that get its own gradient.
        heads: What those get: the gradient as it is, times the task's weight or the slope of its transformed loss, or
            nothing.
        retain_graph: Keep the graph for the caller.
        loss_scale: Factor every loss is multiplied by before differentiation (mixed precision; halved with a twin, so
            that the sum of both batches' gradients is their mean).
        twin: The same tasks' losses on another batch, for methods that compare two.
        judge: Losses on part of the batch, for ``grads="sub_batch"``.
    """

    losses: Mapping[str, Tensor]
    shared: Sequence[Tensor]
    own: Mapping[str, Sequence[Tensor]]
    heads: Heads
    retain_graph: bool = False
    loss_scale: float = 1.0
    twin: Mapping[str, Tensor] | None = None
    judge: Mapping[str, Tensor] | None = None

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that take part."""
        return tuple(self.losses)

    def keep(self, rows: Sequence[int]) -> Step:
        """The same step with only the tasks at these positions."""
        names = [self.tasks[row] for row in rows]
        return dataclasses.replace(self, losses={name: self.losses[name] for name in names})

    def without_heads(self) -> Step:
        """The same step for the shared parameters only."""
        return dataclasses.replace(self, heads="none")


def task_gradients(
    step: Step, task: str, tensors: Sequence[Tensor], *, retain_graph: bool
) -> tuple[tuple[Tensor | None, ...], tuple[Tensor | None, ...]]:
    """One task's backward pass, through only what it needs.

    Returns:
        Gradients with respect to ``tensors``, and to the task's own parameters; ``None`` where the loss does not reach.

    Raises:
        MethodError: A compiled part of the graph is made for one backward pass only.
    """
    loss = step.losses[task]
    own = step.own[task] if step.heads != "none" else ()
    try:
        gradients = torch.autograd.grad(
            loss,
            [*tensors, *own],
            grad_outputs=None if step.loss_scale == 1.0 else torch.full_like(loss, step.loss_scale),
            retain_graph=retain_graph,
            allow_unused=True,
        )
    except RuntimeError as error:
        if "donated" not in str(error):
            raise
        raise MethodError(
            "torch.compile made a graph that can be differentiated once, and a gradient method passes through it once "
            "per task; set torch._functorch.config.donated_buffer = False before the first step"
        ) from error
    return gradients[: len(tensors)], gradients[len(tensors) :]


def backward_weighted(step: Step, weights: Float[Array, "K"], own_factors: Float[Array, "K"] | None = None) -> int:
    """Add the gradient of Σ w_i·L_i to the shared parameters' ``.grad``, and what ``step.heads`` says to the others'.

    With ``heads="weighted"`` this is ``(Σ w_i·L_i).backward()``. With ``"plain"`` or ``"transformed"`` a second pass,
    which stops at the shared representation, gives every task's own parameters its gradient times ``own_factors``.

    Args:
        step: What is differentiated.
        weights: w.
        own_factors: One per task; ones by default.

    Returns:
        The number of backward passes.
    """
    losses = list(step.losses.values())
    factors = (weights * step.loss_scale).tolist()
    seeds = [torch.full_like(loss, factor) for loss, factor in zip(losses, factors, strict=True)]
    if step.heads == "weighted":
        torch.autograd.backward(losses, seeds, retain_graph=step.retain_graph)
        return 1
    own = [tensor for task in step.losses for tensor in step.own[task]] if step.heads != "none" else []
    passes = 0
    if step.shared:
        keep = step.retain_graph or bool(own)
        torch.autograd.backward(losses, seeds, inputs=list(step.shared), retain_graph=keep)
        passes += 1
    if own:
        scales = np.full(len(losses), step.loss_scale) if own_factors is None else own_factors * step.loss_scale
        seeds = [torch.full_like(loss, scale) for loss, scale in zip(losses, scales.tolist(), strict=True)]
        once = list({id(tensor): tensor for tensor in own}.values())
        torch.autograd.backward(losses, seeds, inputs=once, retain_graph=step.retain_graph)
        passes += 1
    return passes


def poison(parameters: Sequence[Tensor]) -> None:
    """Make ``.grad`` NaN, for a gradient scaler to find."""
    for parameter in parameters:
        accumulate(parameter, torch.full_like(parameter, torch.nan))


@torch.no_grad()
def accumulate(parameter: Tensor, gradient: Tensor, factor: float = 1.0) -> None:
    """Add ``factor``·``gradient`` to ``parameter.grad`` as ``loss.backward()`` would; never aliases ``gradient``."""
    if parameter.grad is None:
        parameter.grad = torch.empty_like(parameter).copy_(gradient)
        if factor != 1.0:
            parameter.grad.mul_(factor)
    else:
        parameter.grad.add_(gradient, alpha=factor)
