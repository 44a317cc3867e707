"""Orthogonal task gradients, by a penalty that is differentiated along with the losses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balance.contract.method import Card
from polytask.balance.contract.options import Choice, Limits, Real
from polytask.balance.contract.penalty import PenaltyMethod, differentiable_rows
from polytask.errors import MethodError

__all__ = ["OrthogonalGradients", "gradient_orthogonality"]


@final
class OrthogonalGradients(PenaltyMethod):
    """Descends Σ L_i + α·Σ_{i<j} cos²(∇L_i, ∇L_j): tasks that use the shared parameters in ways of their own.

    The gradients are those with respect to the shared parameters θ; the penalty's own gradient goes to every parameter
    that they depend on, heads included. It is zero where the tasks' gradients are orthogonal.

    Args:
        alpha: α ≥ 0, price of alignment in the losses' unit, which has to be found for the problem; 1 by default, which
            is this library's choice. 0 is the plain sum.
        reduce: ``"sum"`` over pairs, or their ``"mean"``, which does not grow with the number of tasks.

    Raises:
        ConfigError: An option is outside its limits.

    Examples:
        >>> shared = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> losses = {"a": shared[0] ** 2, "b": (shared[0] * shared[1]) ** 2}
        >>> print(f"{OrthogonalGradients(alpha=0.5).total(losses, [shared]):.4f}")
        5.4000

    Notes:
        The paper takes the gradients at the last shared layer: pass its parameters as the balancer's ``grads``, which
        also saves most of the time and memory; by default θ are all shared parameters. The sum over pairs and its
        factor α are this library's reading of the paper's text, whose constants could not be checked; a public
        reimplementation takes the mean over pairs.
        Task weights multiply the losses and not the penalty, which no factor on a loss changes. Tasks whose loss does
        not reach θ, or whose gradient vanishes there, take no part in it. ``MethodError`` where the model cannot be
        differentiated twice (compiled graphs, fused attention, some functions of one's own).

    References:
        Suteu, Guo, "Regularizing deep multi-task networks using orthogonal gradients", arXiv 1912.06844.
    """

    limits: ClassVar[Limits] = {"alpha": Real(0), "reduce": Choice(("sum", "mean"))}
    card = Card(
        title="Orthogonal gradients",
        paper="Suteu, Guo, arXiv 2019",
        url="https://arxiv.org/abs/1912.06844",
        idea="Charge the tasks for gradients that point along each other, or against.",
        cost="K down to the judged parameters, with a graph, and one through all of it",
        invariances=("order of tasks", "the penalty: a factor on each loss separately"),
        verified=(
            "autograd of the written loss, in all parameters",
            "finite differences of the total",
            "α = 0 is the plain sum",
        ),
        notes="Needs second derivatives. The paper's constants could not be checked.",
    )

    def __init__(self, alpha: float = 1.0, reduce: Literal["sum", "mean"] = "sum") -> None:
        super().__init__()
        self.alpha, self.reduce = alpha, reduce

    def penalty(self, rows: Float[Tensor, "K P"]) -> Float[Tensor, ""]:
        """The price of the rows' squared cosines."""
        return self.alpha * _squared_cosines(rows, self.reduce)


def gradient_orthogonality(
    losses: Mapping[str, Tensor],
    parameters: Iterable[Tensor],
    *,
    reduce: Literal["sum", "mean"] = "sum",
) -> Float[Tensor, ""]:
    """Σ_{i<j} cos²(∇L_i, ∇L_j) over the given parameters, with a graph: a measure, or a penalty in a loop of one's own.

    Args:
        losses: Scalar loss per task, with a graph.
        parameters: What the gradients are taken with respect to, e.g. the last shared layer's weight.
        reduce: ``"sum"`` over pairs, or ``"mean"``.

    Returns:
        The penalty, a scalar with a graph; zero for fewer than two tasks with a gradient.

    Raises:
        MethodError: There are no parameters, or ``reduce`` is not one of the words.

    Examples:
        >>> shared = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> losses = {"a": shared[0] ** 2, "b": (shared[0] * shared[1]) ** 2}
        >>> print(f"{gradient_orthogonality(losses, [shared]):.4f}")
        0.8000
    """
    tensors = list(parameters)
    if not tensors:
        raise MethodError("gradient_orthogonality needs parameters: pass e.g. those of the last shared layer")
    if reduce not in ("sum", "mean"):
        raise MethodError(f"reduce must be 'sum' or 'mean', found {reduce!r}")
    return _squared_cosines(torch.stack(differentiable_rows(list(losses.values()), tensors)), reduce)


def _squared_cosines(rows: Float[Tensor, "K P"], reduce: str) -> Float[Tensor, ""]:
    """Sum or mean of the squared cosines of all pairs of rows that are not zero."""
    if rows.shape[1] == 0:
        return rows.new_zeros(())
    largest = rows.detach().abs().amax(1)
    moving = largest != 0
    # Scaled first, so that the norm of a tiny gradient does not underflow; a zero row has no direction.
    scaled = rows[moving] / largest[moving, None]
    units = scaled / scaled.norm(dim=1, keepdim=True)
    first, second = torch.triu_indices(len(units), len(units), 1, device=rows.device)
    if len(first) == 0:
        return rows.new_zeros(())
    squares = (units @ units.T)[first, second].square()
    total: Tensor = squares.sum() if reduce == "sum" else squares.mean()
    return total
