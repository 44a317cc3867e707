"""Projection of the mean gradient onto the dual cone."""

from __future__ import annotations

from typing import final

from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.solvers.nnqp import nnqp
from polytask.solvers.scaling import correlation, definite

__all__ = ["DualProj"]


@final
class DualProj(GramianMethod):
    """The nearest direction to the weighted mean gradient that no task objects to.

    Minimise ‖d − Σ p_i·g_i‖² over g_jᵀd ≥ 0 for all j, with p the task weights, Σp_i = 1. The weights are p + v, where
    v ≥ 0 are the multipliers of the constraints.

    Examples:
        >>> import torch
        >>> DualProj().weights(torch.tensor([[1.0, -2.0], [-2.0, 9.0]]))
        tensor([1.0000, 0.5000])

    Notes:
        Gradient episodic memory projects the current task's gradient; averaging all tasks' gradients first makes the
        method symmetric. UPGrad projects each gradient before averaging.
        Solved on the cosines' scale, with 1e-10 on the unit diagonal only where gradients are dependent.

    References:
        Lopez-Paz, Ranzato, "Gradient episodic memory for continual learning", NeurIPS 2017.
    """

    uses_preference = True
    card = Card(
        title="DualProj",
        paper="Lopez-Paz, Ranzato, NeurIPS 2017",
        url="https://arxiv.org/abs/1706.08840",
        idea="Project the mean gradient so that it harms no task.",
        cost="K through the shared part",
        invariances=("order of tasks", "one common factor on all losses"),
        verified=("optimality conditions", "closed form for two tasks", "TorchJD where norms are balanced"),
        notes="The largest gradient leads, the others only avoid harm.",
        preference="weight in the mean gradient that is projected; no task is opposed whatever the weights",
    )

    def solve(self, evidence: Evidence) -> Solution:
        """Preference plus the multipliers."""
        preference = evidence.preference
        gain = evidence.inner @ preference
        if gain.min() >= 0:
            return Solution(preference.copy())
        cosines, norms = correlation(evidence.inner)
        pull, iterations = nnqp(definite(cosines), gain / norms)
        return Solution(preference + pull / norms, iterations)
