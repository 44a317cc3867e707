"""Unconflicting projection of gradients."""

from __future__ import annotations

from typing import final

import numpy as np

from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.solvers.nnqp import nnqp_many
from polytask.solvers.scaling import correlation, definite

__all__ = ["UPGrad"]


@final
class UPGrad(GramianMethod):
    """The mean of the gradients after projecting each onto the cone of directions that no task objects to.

    Task i's gradient g_i goes to the nearest d with g_jᵀd ≥ 0 for every task j; the step is Σ p_i·d_i, with p the
    task weights, Σp_i = 1. So the step conflicts with no task, and without conflicts it is the weighted mean.

    Examples:
        >>> import torch
        >>> UPGrad().weights(torch.tensor([[1.0, -0.5], [-0.5, 1.0]]))
        tensor([0.7500, 0.7500])

    Notes:
        With unit vectors u_j = g_j/‖g_j‖ the projection of u_i is u_i + Σ_j z_j·u_j, where z ≥ 0 solves a quadratic
        program with the matrix of cosines and its i-th column. Nothing depends on the gradients' norms, so tasks with
        small gradients are protected like all others; the only regularisation is 1e-10 on the unit diagonal.

    References:
        Quinton, Rey, "Jacobian descent for multi-objective optimization", arXiv 2406.16232 (2024).
    """

    uses_preference = True
    card = Card(
        title="UPGrad",
        paper="Quinton, Rey, 2024",
        url="https://arxiv.org/abs/2406.16232",
        idea="Project every gradient so that it harms no task, then average.",
        cost="K through the shared part",
        invariances=("order of tasks", "one common factor on all losses"),
        verified=(
            "no task's gradient opposes the step, norms e^±10",
            "closed form for two tasks",
            "TorchJD where norms are balanced",
        ),
        notes="A task with large gradients still has a large share in the step.",
        preference="weight of the task's projected gradient in the mean; no task is opposed whatever the weights",
    )

    def solve(self, evidence: Evidence) -> Solution:
        """Sum of the projected gradients' weights."""
        if evidence.size == 2:
            return Solution(_two(evidence.inner, evidence.preference))
        cosines, norms = correlation(evidence.inner)
        pull, iterations = nnqp_many(definite(cosines), cosines)
        share = evidence.preference * norms
        return Solution((share + pull @ share) / norms, iterations)


def _two(gramian: np.ndarray, preference: np.ndarray) -> np.ndarray:
    """Closed form: each gradient loses its component along the other if that component is negative."""
    (a, b), (_, c) = gramian.tolist()
    p, q = preference.tolist()
    if b >= 0:
        return preference
    return np.array([p - q * b / a, q - p * b / c])
