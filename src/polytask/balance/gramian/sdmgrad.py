"""Direction-oriented multi-objective descent."""

from __future__ import annotations

from typing import ClassVar, final

from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.contract.options import Limits, Real
from polytask.solvers.simplex import simplex_qp

__all__ = ["SDMGrad"]


@final
class SDMGrad(GramianMethod):
    """MGDA pulled towards the mean gradient: the step Jᵀ(w + λp)/(1 + λ), w minimising ‖Jᵀ(w + λp)‖² over the simplex.

    p are the task weights, Σp_i = 1. λ = 0 is MGDA; λ → ∞ is the weighted mean.

    Args:
        lam: λ ≥ 0, the pull towards the mean; 0.3 in the paper's Cityscapes and NYUv2 runs.

    Raises:
        ConfigError: ``lam`` is negative.

    Examples:
        >>> import torch
        >>> SDMGrad(lam=1.0).weights(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
        tensor([0.7500, 0.2500])

    Notes:
        This is the deterministic method, whose problem is solved exactly. Released code takes 20 projected gradient
        steps, which end well above the minimum when norms differ.
        The stochastic method estimates the problem's gradient from independent batches and is not this.

    References:
        Xiao, Ban, Ji, "Direction-oriented multi-objective learning: simple and provable stochastic algorithms",
        NeurIPS 2023.
    """

    uses_preference = True
    limits: ClassVar[Limits] = {"lam": Real(0)}
    card = Card(
        title="SDMGrad (deterministic)",
        paper="Xiao, Ban, Ji, NeurIPS 2023",
        url="https://arxiv.org/abs/2305.18409",
        idea="Find a common descent direction that leans towards the mean gradient.",
        cost="K through the shared part",
        invariances=("order of tasks", "one common factor on all losses"),
        verified=("KKT conditions to 1e-9", "MGDA at λ = 0", "MGDA on rows shifted by λ times the mean"),
        notes="With large λ a step may raise the loss of a task.",
        preference="weight in the mean gradient the step leans towards",
        heads="as in the authors' code",
    )

    def __init__(self, lam: float = 0.3) -> None:
        super().__init__()
        self.lam = lam

    def solve(self, evidence: Evidence) -> Solution:
        """The simplex program with linear term λGp, then the mixture."""
        preference = evidence.preference
        shares, iterations = simplex_qp(evidence.inner, self.lam * (evidence.inner @ preference))
        return Solution((shares + self.lam * preference) / (1 + self.lam), iterations)
