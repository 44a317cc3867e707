"""The equiangular direction method."""

from __future__ import annotations

from typing import final

from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.toolbox.scales import rescaled
from polytask.solvers.scaling import correlation
from polytask.solvers.simplex import min_norm

__all__ = ["EDM"]


@final
class EDM(GramianMethod):
    """MGDA on unit gradients, brought back to their scale: d = Σ a_i·u_i / Σ(a_i/‖g_i‖), u_i = g_i/‖g_i‖.

    a ≥ 0, Σa_i = 1, gives the shortest convex combination of the u_i. Its cosine is the same with every gradient of
    positive weight and larger with the others. The weights (a_i/‖g_i‖) / Σ(a_j/‖g_j‖) sum to one.

    Task weights, scaled to a mean of one, are the proportion q of the cosines: the rows are u_i/q_i, and the cosine is
    at least q_i times a common number, with equality for gradients of positive weight.

    Examples:
        >>> import torch
        >>> EDM().weights(torch.tensor([[1.0, 0.0], [0.0, 9.0]]))
        tensor([0.7500, 0.2500])

    Notes:
        For two tasks this is IMTL-G. For more the two part: EDM never weighs a task negatively, and drops tasks that
        gain more than the others anyway.

    References:
        Katrutsa, Merkulov, Tursynbek, Oseledets, "Follow the bisector: a simple method for multi-objective
        optimization", arXiv 2007.06937 (2020).
    """

    uses_preference = True
    card = Card(
        title="EDM",
        paper="Katrutsa et al., 2020",
        url="https://arxiv.org/abs/2007.06937",
        idea="Step along the bisector of the gradients, whatever their lengths.",
        cost="K through the shared part",
        invariances=("order of tasks", "direction: a factor on each loss separately"),
        verified=("equal cosines on the support, larger ones off it", "the released two-task formula"),
        notes="Tasks whose gradients are noise get as much say as the others.",
        preference="proportion of the cosines: cos(g_i, d) ≥ c·q_i; no task's loss rises whatever the weights",
    )

    def solve(self, evidence: Evidence) -> Solution:
        """The weights, from the matrix of cosines."""
        cosines, norms = correlation(evidence.inner)
        scales = 1 / evidence.emphasis
        shares, iterations = min_norm(rescaled(cosines, scales))
        pull = scales * shares * (norms.min() / norms)
        return Solution(pull / pull.sum(), iterations)
