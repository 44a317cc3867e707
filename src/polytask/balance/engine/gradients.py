"""One step's passes through autograd: gradients of single tasks, and of the weighted sum of all."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.errors import MethodError, TaskError

__all__ = [
    "COMPILE_ADVICE",
    "Heads",
    "Step",
    "accumulate",
    "accumulate_all",
    "backward_weighted",
    "finite_alone",
    "in_words",
    "poison",
    "stacked",
    "task_gradients",
]

Array = np.ndarray
Heads = Literal["plain", "weighted", "transformed", "none"]
COMPILE_ADVICE = (
    "Before anything is compiled, set both torch._functorch.config.donated_buffer = False and "
    "torch.compiler.config.force_disable_caches = True (graphs cached on disk ignore the first one), or leave that "
    "part of the model uncompiled"
)


@dataclasses.dataclass(frozen=True)
class Step:
    """What a step differentiates, and how.

    Attributes:
        losses: Scalar loss of every task that takes part.
        shared: Parameters whose gradient is combined from several tasks.
        own: For every task, the parameters and other leaves that get its own gradient.
        heads: What those get: the gradient as it is, times the task's weight or the slope of its transformed loss, or
            nothing.
        retain_graph: Keep the graph for the caller.
        loss_scale: Factor every loss is multiplied by before differentiation (mixed precision; halved with a twin, so
            that the sum of both batches' gradients is their mean).
        twin: The same tasks' losses on another batch, for methods that compare two.
        judge: Losses on part of the batch, for ``grads="sub_batch"``.
        scaled: Whether a gradient scaler looks for gradients that are not finite.
        aside: Leaves among ``own`` that are no parameters.
        reached: Leaves of the losses' graphs, where they are all that a step needs to know.
        compiled: Whether there is a compiled function in the losses' graphs.
    """

    losses: Mapping[str, Tensor]
    shared: Sequence[Tensor]
    own: Mapping[str, Sequence[Tensor]]
    heads: Heads
    retain_graph: bool = False
    loss_scale: float = 1.0
    twin: Mapping[str, Tensor] | None = None
    judge: Mapping[str, Tensor] | None = None
    scaled: bool = False
    aside: Sequence[Tensor] = ()
    reached: Sequence[Tensor] = ()
    compiled: bool = False

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that take part."""
        return tuple(self.losses)

    @property
    def leaves(self) -> list[Tensor]:
        """What the step may write to: the shared parameters, and those of the tasks that take part."""
        own = (tensor for task in self.losses for tensor in self.own.get(task, ()))
        return [*self.reached, *self.shared, *own]

    def only(self, tasks: Sequence[str]) -> Step:
        """The same step with only these tasks."""
        if len(tasks) == len(self.losses) and all(map(self.losses.__contains__, tasks)):
            return self
        return dataclasses.replace(self, losses={name: self.losses[name] for name in tasks if name in self.losses})

    def keep(self, rows: Sequence[int]) -> Step:
        """The same step with only the tasks at these positions."""
        return self.only([self.tasks[row] for row in rows])

    def without_heads(self) -> Step:
        """The same step for the shared parameters only."""
        return dataclasses.replace(self, heads="none")


def task_gradients(
    step: Step, task: str, tensors: Sequence[Tensor], *, retain_graph: bool
) -> tuple[tuple[Tensor | None, ...], tuple[Tensor | None, ...]]:
    """One task's backward pass, through only what it needs.

    Returns:
        Gradients with respect to ``tensors``, and to the task's own parameters; ``None`` where the loss does not reach.

    """
    loss = step.losses[task]
    own = step.own[task] if step.heads != "none" else ()
    if not tensors and not own:
        return (), ()
    with in_words():
        gradients = torch.autograd.grad(
            loss,
            [*tensors, *own],
            grad_outputs=None if step.loss_scale == 1.0 else torch.full_like(loss, step.loss_scale),
            retain_graph=retain_graph,
            allow_unused=True,
        )
    return gradients[: len(tensors)], gradients[len(tensors) :]


def finite_alone(step: Step, task: str, leaves: Sequence[Tensor]) -> bool:
    """Whether one task's gradient by these parameters is finite, as far as can be told; the graph is kept."""
    for losses in (step.losses, step.twin or {}):
        if task in losses:
            try:
                found = torch.autograd.grad(losses[task], list(leaves), retain_graph=True, allow_unused=True)
            except RuntimeError as error:
                if "use_reentrant" not in str(error):  # such a part of a graph lets nobody look behind it
                    raise
                return True
            if not all(bool(torch.isfinite(gradient).all()) for gradient in found if gradient is not None):
                return False
    return True


@final
class in_words:  # noqa: N801 - a context manager that reads like the functions of contextlib, at a fraction of the cost
    """Say what to do where a graph cannot be differentiated (again).

    Raises:
        MethodError: A compiled part of the graph is made for one backward pass only.
        TaskError: The graph is gone.
    """

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, RuntimeError) or isinstance(error, torch.OutOfMemoryError):
            return
        if "donated" in str(error):
            raise MethodError(
                "torch.compile made a graph that can be differentiated once, and this step has to pass through it "
                f"several times. {COMPILE_ADVICE}"
            ) from error
        if "backward through the graph a second time" in str(error):
            raise TaskError(
                "the losses' graph was freed by an earlier backward pass: compute the losses anew for every step, or "
                "pass retain_graph=True where the graph is used first"
            ) from error


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
    given = stacked(step.losses.values())
    losses = [loss for loss, _ in given]
    seeds = _seeds(given, weights * step.loss_scale)
    if step.heads == "weighted":
        with in_words():
            torch.autograd.backward(losses, seeds, retain_graph=step.retain_graph)
        return 1
    own = [tensor for task in step.losses for tensor in step.own[task]] if step.heads != "none" else []
    passes = 0
    if step.shared:
        keep = step.retain_graph or bool(own)
        with in_words():
            torch.autograd.backward(losses, seeds, inputs=list(step.shared), retain_graph=keep)
        passes += 1
    if own:
        scales = np.full(len(weights), step.loss_scale) if own_factors is None else own_factors * step.loss_scale
        seeds = _seeds(given, scales)
        once = list({id(tensor): tensor for tensor in own}.values())
        with in_words():
            torch.autograd.backward(losses, seeds, inputs=once, retain_graph=step.retain_graph)
        passes += 1
    return passes


def stacked(losses: Iterable[Tensor]) -> list[tuple[Tensor, slice | list[int]]]:
    """The losses as few tensors where they can be, each with the positions of the losses that are its entries.

    Whatever is done to one vector costs a fraction of doing it K times. Losses that were one vector before, which
    ``unbind`` took apart, are that vector again.

    Examples:
        >>> a, b = torch.ones(2, requires_grad=True).mul(2).unbind()
        >>> stacked([a, b])
        [(tensor([2., 2.], grad_fn=<MulBackward0>), [0, 1])]
    """
    given = list(losses)
    whole = _taken_apart(given)
    if whole is not None:
        return whole
    kind = given[0].dtype
    if all(loss.dtype is kind for loss in given):
        with contextlib.suppress(RuntimeError):  # they differ in shape, or are on several devices
            return [(torch.stack(given), slice(None))]
    return [(loss, [i]) for i, loss in enumerate(given)]


def _taken_apart(losses: Sequence[Tensor]) -> list[tuple[Tensor, slice | list[int]]] | None:
    """The vectors whose entries, all of them and in order, the losses are; ``None`` where that is not so."""
    found: dict[object, tuple[Tensor, list[int]]] = {}
    for position, loss in enumerate(losses):
        base = loss._base
        node = loss.grad_fn
        if base is None or node is None:
            return None
        if node not in found:
            straight = type(node).__name__ == "UnbindBackward0" and node.next_functions[0][0] is base.grad_fn
            if base.ndim != 1 or not straight:
                return None
            found[node] = (base, [])
        at = found[node][1]
        if loss.output_nr != len(at) or loss._backward_hooks or loss.retains_grad:
            return None
        at.append(position)
    if any(len(at) != len(base) for base, at in found.values()):
        return None
    return [*found.values()]


def _seeds(losses: Iterable[tuple[Tensor, slice | list[int]]], factors: Float[Array, "K"]) -> list[Tensor]:
    """The gradients to start from: one factor per loss, in the form of :func:`stacked`."""
    seeds = [torch.tensor(factors[at].tolist(), dtype=loss.dtype, device=loss.device) for loss, at in losses]
    return [seed if loss.ndim == 1 else seed.reshape(loss.shape) for seed, (loss, _) in zip(seeds, losses, strict=True)]


@torch.no_grad()
def accumulate_all(every: Sequence[tuple[Tensor, Tensor, float]]) -> None:
    """:func:`accumulate` for parameters, gradients and factors, with one call for all that it is simple for."""
    simple: dict[int, tuple[Tensor, Tensor, float]] = {}
    others: list[tuple[Tensor, Tensor, float]] = []
    for entry in every:
        parameter, gradient, _ = entry
        new = parameter.grad is None and id(parameter) not in simple
        if new and gradient.layout == torch.strided and gradient.stride() == parameter.stride():
            simple[id(parameter)] = entry
        else:
            others.append(entry)
    if simple:
        parameters, gradients, factors = zip(*simple.values(), strict=True)
        for parameter, fresh in zip(parameters, torch._foreach_mul(gradients, factors), strict=True):
            parameter.grad = fresh
    for parameter, gradient, factor in others:
        accumulate(parameter, gradient, factor)


def poison(parameters: Sequence[Tensor]) -> None:
    """Make ``.grad`` NaN, for a gradient scaler to find."""
    for parameter in parameters:
        accumulate(parameter, torch.full_like(parameter, torch.nan))


@torch.no_grad()
def accumulate(parameter: Tensor, gradient: Tensor, factor: float = 1.0) -> None:
    """Add ``factor``·``gradient`` to ``parameter.grad`` as ``loss.backward()`` would; never aliases ``gradient``."""
    if gradient.layout != torch.strided:
        gradient = gradient * factor
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
    elif parameter.grad is None:
        parameter.grad = torch.empty_like(parameter).copy_(gradient)
        if factor != 1.0:
            parameter.grad.mul_(factor)
    else:
        parameter.grad.add_(gradient, alpha=factor)
