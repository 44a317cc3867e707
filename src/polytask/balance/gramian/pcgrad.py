"""Projecting conflicting gradients."""

from __future__ import annotations

from typing import final

import numpy as np

from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.toolbox.draws import partners
from polytask.solvers.projection import sequential_projection
from polytask.solvers.scaling import correlation

__all__ = ["PCGrad"]

Array = np.ndarray


@final
class PCGrad(GramianMethod):
    """The sum of the gradients after each has lost its negative components along the others, one after the other.

    For every task i and the other tasks j in random order: where g_i^{PC}·g_j < 0, take (g_i^{PC}·g_j/‖g_j‖²)·g_j away
    from g_i^{PC}. The step is Σ K·p_i·g_i^{PC}, p the task weights, Σp_i = 1.

    Examples:
        >>> import torch
        >>> PCGrad().weights(torch.tensor([[1.0, -0.5], [-0.5, 2.0]]))
        tensor([1.5000, 1.2500])

    Notes:
        The paper's text sums in one place and averages in another; this sums, as its released code does.
        The order depends on seed, step and the tasks' names only: every process of a run draws the same.
        The result may still oppose a task when K ≥ 3, see UPGrad.

    References:
        Yu et al., "Gradient surgery for multi-task learning", NeurIPS 2020.
    """

    uses_preference = True
    card = Card(
        title="PCGrad",
        paper="Yu et al., NeurIPS 2020",
        url="https://arxiv.org/abs/2001.06782",
        idea="Remove from each gradient what points against another.",
        cost="K through the shared part",
        invariances=("order of tasks", "one common factor on all losses"),
        verified=("a direct loop over rows", "closed form for two tasks"),
        notes="Random; for three tasks and more conflicts may remain.",
        preference="multiplies the task's gradient after its conflicts are removed",
    )

    def solve(self, evidence: Evidence) -> Solution:
        """Weights of the summed projected gradients."""
        size = evidence.size
        if size == 1:
            return Solution(np.ones(1))
        share = size * evidence.preference
        if size == 2:
            return Solution(_two(evidence.inner, share))
        cosines, norms = correlation(evidence.inner)
        coefficients = sequential_projection(cosines, partners(evidence))
        return Solution((share * norms) @ coefficients / norms)


def _two(gramian: Array, share: Array) -> Array:
    """Closed form: each gradient loses its component along the other if that component is negative."""
    (a, b), (_, c) = gramian.tolist()
    p, q = share.tolist()
    return np.array([p - q * b / a, q - p * b / c]) if b < 0 else share
