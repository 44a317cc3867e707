"""Sum of log losses."""

from __future__ import annotations

from typing import final

from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.toolbox.values import positive

__all__ = ["SILog"]


@final
class SILog(LossMethod):
    """Descends Σ log L_i: weights 1/L_i, so a factor on a task's loss changes nothing.

    Examples:
        >>> import torch
        >>> SILog().weights(torch.tensor([0.5, 2.0]))
        tensor([2.0000, 0.5000])

    Notes:
        Every loss must be above zero; otherwise a ``MethodError`` names the task. Nothing is added inside the
        logarithm, which would make small losses scale-dependent again.

    References:
        Navon et al., "Multi-task learning as a bargaining game", ICML 2022 (its scale-invariant baseline).
    """

    card = Card(
        title="Scale-invariant log",
        paper="Navon et al., ICML 2022 (baseline)",
        url="https://arxiv.org/abs/2202.01017",
        idea="Descend the sum of the logarithms of the losses.",
        cost="1",
        invariances=("order of tasks", "a factor on each loss separately"),
        verified=("gradient of the sum of logarithms by automatic differentiation",),
        notes="The weight of a loss that goes to zero goes to infinity: clip gradients, or floor the loss.",
    )

    def solve(self, evidence: Evidence) -> Solution:
        """1/L."""
        positive(self, evidence)
        return Solution(1 / evidence.losses)
