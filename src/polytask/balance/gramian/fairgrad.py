"""Alpha-fair gradients."""

from __future__ import annotations

from typing import ClassVar, final

from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.contract.options import Limits, Real
from polytask.solvers.power import newton_power

__all__ = ["FairGrad"]


@final
class FairGrad(GramianMethod):
    """The step that is α-fair in the tasks' gains: the a > 0 with (Ga)_i^α = p_i^α/a_i, G = JJᵀ, and step Jᵀa.

    g_iᵀd = (Ga)_i is the gain of task i; the step maximises Σ of their α-fair utilities. α = 1 is Nash-MTL
    (proportional fairness), α = 2 the least total delay, α → ∞ the best worst case; p are the task weights times K.

    Args:
        alpha: Fairness α > 0. The paper's experiments use 2; the default 1 is its released class's.

    Raises:
        ConfigError: ``alpha`` is not in (0, 10].

    Examples:
        >>> import torch
        >>> FairGrad(alpha=2.0).weights(torch.tensor([[1.0, 0.0], [0.0, 8.0]]))
        tensor([1.0000, 0.2500])

    Notes:
        Solved to rounding by a Newton method in place of a general least-squares routine; where float64 has too few
        digits for that, a warning gives the error left.
        α = 0 is the plain sum, which ``equal`` gives at the cost of one backward pass, and is refused.
        The weights fall like s^(−2α/(1+α)) when all gradients grow by s.
        Where some convex combination of the gradients vanishes there is no solution; a ridge of 1e-10 on the cosines'
        diagonal keeps the weights finite.

    References:
        Ban, Ji, "Fair resource allocation in multi-task learning", ICML 2024.
    """

    uses_preference = True
    limits: ClassVar[Limits] = {"alpha": Real(0, 10, open_low=True)}
    card = Card(
        title="FairGrad",
        paper="Ban, Ji, ICML 2024",
        url="https://arxiv.org/abs/2402.15638",
        idea="Share the step's gain among the tasks α-fairly.",
        cost="K through the shared part",
        invariances=("order of tasks",),
        verified=(
            "its defining equation to 1e-7, norms e^±10, α up to 10",
            "120-digit arithmetic",
            "closed form for orthogonal gradients",
            "TorchJD",
            "α = 1 is Nash-MTL",
        ),
        notes="Large α with norms far apart leaves tasks with large gradients next to nothing: weights below 1e-60.",
        preference="weight of the task's utility: (Ga)_i^α = q_i^α/a_i",
        heads="as in the authors' code",
    )

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha

    def solve(self, evidence: Evidence) -> Solution:
        """The α-fair weights."""
        return Solution(*newton_power(evidence.inner, evidence.preference * evidence.size, 1.0 / self.alpha))
