"""Conflict-free inverse gradients."""

from __future__ import annotations

from typing import final

import numpy as np

from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.solvers.spectral import equiangular

__all__ = ["ConFIG"]

_VANISHING = 1e-14


@final
class ConFIG(GramianMethod):
    """The direction d̂ with equal cosines to all gradients, as long as their projections together: (Σ g_iᵀd̂)·d̂.

    d̂ is the unit vector along U⁺q, where the rows of U are the unit gradients, U⁺ is the pseudo-inverse and q are the
    task weights scaled to a mean of one, the paper's direction weights: cosines are in the proportion q, equal for
    equal weights. Two tasks of equal weight give the bisector with length (‖g₁‖ + ‖g₂‖)·cos(angle/2).

    Examples:
        >>> import torch
        >>> ConFIG().weights(torch.tensor([[1.0, 0.0], [0.0, 9.0]]))
        tensor([2.0000, 0.6667])

    Notes:
        Only inner products are needed: U⁺q = Uᵀ(UUᵀ)⁺q. The direction is IMTL-G's, the length differs.
        Where gradients are dependent, no direction may have such cosines. d̂ is then the least-squares one, as in the
        authors' code: it may oppose a task, but never the sum of the losses, as the step is that sum's gradient
        projected on d̂. With two opposite gradients of equal weight the step vanishes.

    References:
        Liu, Chu, Thuerey, "ConFIG: towards conflict-free training of physics informed neural networks", ICLR 2025.
    """

    uses_preference = True
    card = Card(
        title="ConFIG",
        paper="Liu, Chu, Thuerey, ICLR 2025",
        url="https://arxiv.org/abs/2408.11104",
        idea="Make the same angle with every gradient, and step as far as the gradients agree.",
        cost="K through the shared part",
        invariances=("order of tasks", "direction: a factor on each loss separately"),
        verified=("equal cosines and length", "closed form for two tasks", "TorchJD"),
        notes="Nearly dependent gradients give weights of both signs; dependent ones may have no equal angles at all.",
        preference="direction weight of the paper: cosines are in the proportion q",
    )

    def solve(self, evidence: Evidence) -> Solution:
        """The equiangular weights, times the sum of projections over the squared length of the step they give."""
        weights = equiangular(evidence.inner, evidence.emphasis)
        gain = evidence.inner @ weights
        norms = np.sqrt(np.diag(evidence.inner))
        squared, reach = float(weights @ gain), float(abs(weights) @ norms)
        if squared > _VANISHING * reach * reach:
            return Solution(weights * (gain.sum() / squared))
        # Here the step is rounding; the limit of the formula for equal projections keeps the weights finite.
        return Solution(weights * (norms.sum() / reach))
