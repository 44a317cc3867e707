"""Conflict-free inverse gradients."""

from __future__ import annotations

from typing import final

import numpy as np

from polytask.balance.method import Card, Evidence, GramianMethod, Solution
from polytask.solvers.spectral import equiangular

__all__ = ["ConFIG"]

_VANISHING = 1e-14


@final
class ConFIG(GramianMethod):
    """The direction d̂ with equal cosines to all gradients, as long as their projections together: (Σ g_iᵀd̂)·d̂.

    d̂ is the unit vector along U⁺1, where the rows of U are the unit gradients and U⁺ is the pseudo-inverse. Two tasks
    give the bisector with length (‖g₁‖ + ‖g₂‖)·cos(angle/2).

    Examples:
        >>> import torch
        >>> ConFIG().weights(torch.tensor([[1.0, 0.0], [0.0, 9.0]]))
        tensor([2.0000, 0.6667])

    Notes:
        Only inner products are needed: U⁺1 = Uᵀ(UUᵀ)⁺1. The direction is IMTL-G's, the length differs.
        Where no direction has positive projections on all gradients, e.g. for opposite ones, the step vanishes.

    References:
        Liu, Chu, Thuerey, "ConFIG: towards conflict-free training of physics informed neural networks", ICLR 2025.
    """

    card = Card(
        title="ConFIG",
        paper="Liu, Chu, Thuerey, ICLR 2025",
        url="https://arxiv.org/abs/2408.11104",
        idea="Make the same angle with every gradient, and step as far as the gradients agree.",
        cost="K through the shared part",
        invariances=("order of tasks", "direction: a factor on each loss separately"),
        verified=("equal cosines and length", "closed form for two tasks", "TorchJD"),
        notes="Nearly dependent gradients give weights of both signs.",
    )

    def solve(self, evidence: Evidence) -> Solution:
        """The equiangular weights, times the sum of projections over the squared length of the step they give."""
        weights = equiangular(evidence.inner)
        gain = evidence.inner @ weights
        norms = np.sqrt(np.diag(evidence.inner))
        squared, reach = float(weights @ gain), float(abs(weights) @ norms)
        if squared > _VANISHING * reach * reach:
            return Solution(weights * (gain.sum() / squared))
        # Here the step is rounding; the limit of the formula for equal projections keeps the weights finite.
        return Solution(weights * (norms.sum() / reach))
