"""Aligned multi-task learning."""

from __future__ import annotations

from typing import ClassVar, Literal, final

from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.contract.options import Choice, Limits
from polytask.solvers.spectral import align

__all__ = ["AlignedMTL"]


@final
class AlignedMTL(GramianMethod):
    """The mean of the gradients after making them orthogonal and equally long: w = σ·G^(−½)·p.

    G = JJᵀ, p are the task weights with Σp_i = 1, and σ² is the smallest eigenvalue of G on its range (or the median,
    the lower one of two in the middle, or the mean), so that the linear system of gradients J has condition number one.

    Args:
        scale_mode: ``"min"`` (the paper's, which guarantees convergence), ``"median"`` or ``"rmse"``.

    Raises:
        ConfigError: ``scale_mode`` is not one of the words.

    Examples:
        >>> import torch
        >>> AlignedMTL().weights(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
        tensor([0.5000, 0.2500])

    Notes:
        The released code sums the aligned gradients; this averages them, as the paper's convex combination does.
        Solved in float64; rows whose norms differ by more than 1e5 by Jacobi's method, which keeps the small ones.

    References:
        Senushkin et al., "Independent component alignment for multi-task learning", CVPR 2023.
    """

    uses_preference = True
    limits: ClassVar[Limits] = {"scale_mode": Choice(("min", "median", "rmse"))}
    card = Card(
        title="Aligned-MTL",
        paper="Senushkin et al., CVPR 2023",
        url="https://arxiv.org/abs/2305.19000",
        idea="Remove conflict and dominance by orthogonalising the gradients.",
        cost="K through the shared part",
        invariances=("order of tasks", "one common factor on all losses"),
        verified=("B·G·B = σ²·I", "closed form for two tasks", "60-digit arithmetic", "TorchJD"),
        notes="Two nearly equal tasks make σ, and with it the step, small.",
        preference="share of the task's aligned gradient in the sum",
        heads="the default of the authors' code, which has weighted heads as an option",
    )

    def __init__(self, scale_mode: Literal["min", "median", "rmse"] = "min") -> None:
        super().__init__()
        self.scale_mode: Literal["min", "median", "rmse"] = scale_mode

    def solve(self, evidence: Evidence) -> Solution:
        """The aligned weights."""
        return Solution(align(evidence.inner, evidence.preference, self.scale_mode))
