"""Direction-oriented multi-objective descent from independent batches."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np
from jaxtyping import Float

from polytask.balance.contract.asks import TWIN_BATCH
from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.contract.options import Limits, Real, Whole
from polytask.balance.toolbox.simplex import SimplexState
from polytask.solvers.simplex import project_simplex

__all__ = ["StochasticSDMGrad"]

Array = np.ndarray


@final
class StochasticSDMGrad(GramianMethod):
    """SDMGrad whose problem is estimated from two independent batches: the step ½(J₁ + J₂)ᵀ(w + λp)/(1 + λ).

    w takes S steps w ← Π(w − βm), m ← μm + A(w + λp), from where the last iteration left it, with A = J₁J₂ᵀ/s² and s
    the mean over tasks of √max(0, (J₁J₂ᵀ)_ii); p are the task weights, Σp_i = 1. E[J₁J₂ᵀ] = E[J]E[J]ᵀ: the problem
    is that of the mean gradients, without the noise that one batch adds to its diagonal.

    Args:
        lam: λ ≥ 0, the pull towards the mean; 0.3 in the paper's Cityscapes and NYUv2 runs.
        lr: β > 0, step size on the problem scaled by s²; 5 as in public code for three batches.
        momentum: μ in [0, 1); 0.5 as there.
        iterations: S ≥ 1; 20 as there.

    Raises:
        ConfigError: An option is outside its limits.

    Examples:
        >>> import torch
        >>> one, two = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> StochasticSDMGrad(lam=0.0, lr=0.1, iterations=200).direction(one, two)
        tensor([0.8000, 0.4000])

    Notes:
        The paper draws a third batch for the step, which makes the step given w unbiased, and fresh pairs for every
        inner iteration; this is the form that two batches allow. Both batches make the weights and both take part in
        the step, which therefore depends on its own weights, as in MoDo; the inner iterations share one pair, as in
        the authors' code. Where the two batches disagree about every task, s = 0 and w stays.
        A step size of 5 does not settle on every problem: S iterations are part of the method, not a solver. The
        authors released the deterministic form only, whose steps differ: 10 (vision) or 25 to 50 (reinforcement
        learning, from w = 1/K each time, keeping the best w), on a gradient that is twice A(w + λp).
        Use :class:`~polytask.balance.SDMGrad` where one batch is to be solved exactly.
        An absent task keeps its part of w's total. Needs ``balancer.backward(losses, twin=other_losses)``.

    References:
        Xiao, Ban, Ji, "Direction-oriented multi-objective learning: simple and provable stochastic algorithms",
        NeurIPS 2023.
    """

    asks = frozenset({TWIN_BATCH})
    uses_preference = True
    limits: ClassVar[Limits] = {
        "lam": Real(0),
        "lr": Real(0, open_low=True),
        "momentum": Real(0, 1, open_high=True),
        "iterations": Whole(1),
    }
    card = Card(
        title="SDMGrad (stochastic, two batches)",
        paper="Xiao, Ban, Ji, NeurIPS 2023",
        url="https://arxiv.org/abs/2305.18409",
        idea="A common descent direction near the mean gradient, judged by two independent batches.",
        cost="2K through the shared part, each over half of the rows where a batch is halved",
        invariances=("order of tasks", "one common factor on all losses"),
        verified=("the recursion, step by step", "deterministic SDMGrad where both batches are equal and β is small"),
        notes="Two of the paper's three batches: the third is for the step alone.",
        preference="weight in the mean gradient the step leans towards",
        heads="as in public code for three batches",
    )

    def __init__(self, lam: float = 0.3, lr: float = 5.0, momentum: float = 0.5, iterations: int = 20) -> None:
        super().__init__()
        self.lam, self.lr, self.momentum, self.iterations = lam, lr, momentum, iterations
        self._w = SimplexState(self.state)

    def solve(self, evidence: Evidence) -> Solution:
        """(w + λp)/(1 + λ) after S steps."""
        moved = self._moved(evidence)
        weights = (moved + self.lam * evidence.preference) / (1 + self.lam)
        return Solution(weights, self.iterations, remember=self._w.take(evidence, moved))

    def _moved(self, evidence: Evidence) -> Float[Array, "K"]:
        weights = self._w.start(evidence)
        scale = float(np.sqrt(np.maximum(np.diag(evidence.across), 0.0)).mean())
        if scale == 0.0:
            return weights
        unit = evidence.across / scale**2
        moving = np.zeros(evidence.size)
        for _ in range(self.iterations):
            moving = self.momentum * moving + unit @ (weights + self.lam * evidence.preference)
            weights = project_simplex(weights - self.lr * moving)
        return weights
