"""Nash's bargaining solution over the tasks' gradients."""

from __future__ import annotations

from typing import final

from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.engine.gradients import Heads
from polytask.solvers.power import newton_power

__all__ = ["NashMTL"]


@final
class NashMTL(GramianMethod):
    """The bargain in which every task gains alike: the a > 0 with a_i·(Ga)_i = p_i, G = JJᵀ, and step Jᵀa.

    It maximises Σ p_i·log(g_iᵀd) over directions d of a fixed length; p are the task weights times K (ones by default).
    The step's length is √K whatever the losses: ‖Jᵀa‖² = Σp_i = K.

    Examples:
        >>> import torch
        >>> NashMTL().weights(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
        tensor([1.0000, 0.5000])

    Notes:
        Solved to rounding by Newton's method. Public code runs 20 convex–concave steps, which do not converge when the
        gradients' norms differ much, starts them from the previous step's answer, and clips the step to norm one: use
        the trainer's ``clip`` for that, which then always acts.
        Task weights other than one give the generalised bargain of AuxiNash (Shamsian et al., ICML 2023).
        Where some convex combination of the gradients vanishes there is no bargain; a ridge of 1e-10 on the cosines'
        diagonal keeps the weights finite, and the step nearly vanishes.

    References:
        Navon et al., "Multi-task learning as a bargaining game", ICML 2022.
    """

    uses_preference = True
    heads: Heads = "weighted"
    card = Card(
        title="Nash-MTL",
        paper="Navon et al., ICML 2022",
        url="https://arxiv.org/abs/2202.01017",
        idea="Agree on the direction that maximises the product of the tasks' gains.",
        cost="K through the shared part",
        invariances=("order of tasks", "a factor on each loss separately"),
        verified=("a∘Ga = 1 to 1e-6, norms e^±10", "closed form for two tasks", "the paper's toy problem"),
        notes="The step's length never shrinks: use a decaying learning rate or clipping.",
        preference="weight of the logarithm of the task's gain: a_i·(Ga)_i = q_i, AuxiNash's bargain",
        heads="the authors' code descends Σ a_i·L_i with all parameters",
    )

    def solve(self, evidence: Evidence) -> Solution:
        """The bargaining weights."""
        return Solution(*newton_power(evidence.inner, evidence.preference * evidence.size))
