"""Orthogonal task gradients as a differentiable penalty, for one's own loop."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.errors import MethodError

__all__ = ["gradient_orthogonality"]


def gradient_orthogonality(
    losses: Mapping[str, Tensor],
    parameters: Iterable[Tensor],
    *,
    reduce: Literal["sum", "mean"] = "sum",
) -> Float[Tensor, ""]:
    """Σ_{i<j} cos²(∇L_i, ∇L_j) over the given parameters, with a graph: add α times it to the sum of the losses.

    Minimising it needs a second differentiation: the gradients' dependence on all parameters, heads included. It is
    zero where the tasks' gradients are orthogonal, and unchanged by a factor on any loss.

    Args:
        losses: Scalar loss per task, with a graph.
        parameters: What the gradients are taken with respect to, e.g. the last shared layer's weight.
        reduce: ``"sum"`` over pairs, or ``"mean"``, which does not grow with the number of tasks.

    Returns:
        The penalty, a scalar with a graph; zero for fewer than two tasks with a gradient.

    Raises:
        MethodError: There are no parameters, or ``reduce`` is not one of the words.

    Examples:
        >>> shared = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> losses = {"a": shared[0] ** 2, "b": (shared[0] * shared[1]) ** 2}
        >>> penalty = gradient_orthogonality(losses, [shared])
        >>> print(f"{penalty:.4f}")
        0.8000
        >>> (sum(losses.values()) + 0.1 * penalty).backward()

    Notes:
        A penalty on gradients is not a rule that weighs or mixes them, so it is no method of the ``Balancer``: its own
        gradient goes to the trunk and to every head. Call ``backward`` on the sum yourself. K further backward passes
        with a graph, then one through them: about twice the time and memory of K passes.
        The sum over pairs and its factor α are this library's reading of the paper's text; α is yours to choose.
        Tasks whose loss does not reach the parameters, or whose gradient vanishes there, take no part.

    References:
        Suteu, Guo, "Regularizing deep multi-task networks using orthogonal gradients", arXiv 1912.06844.
    """
    tensors = list(parameters)
    if not tensors:
        raise MethodError("gradient_orthogonality needs parameters: pass e.g. those of the last shared layer")
    if reduce not in ("sum", "mean"):
        raise MethodError(f"reduce must be 'sum' or 'mean', found {reduce!r}")
    units = []
    for loss in losses.values():
        gradients = torch.autograd.grad(loss, tensors, create_graph=True, allow_unused=True)
        flat = torch.cat(
            [
                torch.zeros_like(tensor).flatten() if gradient is None else gradient.flatten()
                for gradient, tensor in zip(gradients, tensors, strict=True)
            ]
        )
        largest = flat.detach().abs().max()
        if largest > 0:
            # Scaled first, so that the norm of a tiny gradient does not underflow.
            flat = flat / largest
            units.append(flat / flat.norm())
    pairs = [(a @ b).square() for a, b in itertools.combinations(units, 2)]
    if not pairs:
        return tensors[0].new_zeros(())
    total = torch.stack(pairs)
    return total.sum() if reduce == "sum" else total.mean()
