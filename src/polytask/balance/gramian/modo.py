"""Multi-objective descent with double sampling."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np

from polytask.balance.contract.asks import TWIN_BATCH
from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.contract.options import Limits, Real
from polytask.balance.toolbox.scales import rescaled
from polytask.balance.toolbox.simplex import SimplexState
from polytask.solvers.simplex import project_simplex

__all__ = ["MoDo"]

Array = np.ndarray


@final
class MoDo(GramianMethod):
    """Weights that take one step per iteration down an unbiased estimate of the min-norm problem's gradient.

    λ ← Π(λ − γ(J₁J₂ᵀλ + ρλ)) from λ = 1/K, with J₁ and J₂ the tasks' gradients on two independent batches and Π the
    projection onto the simplex; the step is ½(J₁ + J₂)ᵀλ. With one batch, E[JJᵀ] is not E[J]E[J]ᵀ: the noise of the
    gradients adds to its diagonal, and pulls MGDA's weights away from noisy tasks.

    Args:
        gamma: γ, step size of λ; 0.1 in the authors' code. 0 keeps λ.
        rho: ρ, pull of λ towards equal weights; 0.1 in the authors' code.

    Raises:
        ConfigError: An option is outside its limits.

    Examples:
        >>> import torch
        >>> one, two = torch.tensor([[1.0, 0.0], [0.0, 3.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> MoDo(rho=0.0).direction(one, two)
        tensor([0.5500, 0.9000])

    Notes:
        Needs ``balancer.backward(losses, twin=other_losses)``; ``Trainer`` gives it the two halves of every batch. The
        step is the mean of both halves' gradients, as in the authors' code, so that learning rates are those of other
        methods; with their sum, as sometimes written, rates are twice as large.
        λ sums to one over the present tasks; an absent task keeps its part of the total.
        Task weights, scaled to a mean of one, divide the gradients, as in MGDA: λ follows the problem for rows g_i/q_i,
        and the weights are λ_i/q_i.

    References:
        Chen, Fernando, Ying, Chen, "Three-way trade-off in multi-objective learning: optimization, generalization and
        conflict-avoidance", NeurIPS 2023.
    """

    asks = frozenset({TWIN_BATCH})
    uses_preference = True
    limits: ClassVar[Limits] = {"gamma": Real(0), "rho": Real(0)}
    card = Card(
        title="MoDo",
        paper="Chen, Fernando, Ying, Chen, NeurIPS 2023",
        url="https://arxiv.org/abs/2305.20057",
        idea="Sample twice: weights that follow the min-norm problem of the mean gradients without the bias of noise.",
        cost="2K through the shared part, each over half of the rows where a batch is halved",
        invariances=("order of tasks",),
        verified=(
            "the authors' recursion, step by step",
            "its expectation over all pairs of batches",
            "converges to MGDA's weights where both batches are equal",
        ),
        notes="The step size of λ depends on the scale of the gradients.",
        preference="divides the gradients the weights are learned from: in the limit MGDA's promise g_iᵀd ≥ q_i·‖d‖²",
        heads="as in the authors' code",
    )

    def __init__(self, gamma: float = 0.1, rho: float = 0.1) -> None:
        super().__init__()
        self.gamma, self.rho = gamma, rho
        self._lambda = SimplexState(self.state)

    def solve(self, evidence: Evidence) -> Solution:
        """λ/q after λ's step."""
        weights = self._lambda.start(evidence)
        across = rescaled(evidence.across, 1 / evidence.emphasis)
        moved = project_simplex(weights - self.gamma * (across @ weights + self.rho * weights))
        return Solution(moved / evidence.emphasis, remember=self._lambda.take(evidence, moved))
