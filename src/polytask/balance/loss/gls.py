"""Geometric loss strategy."""

from __future__ import annotations

from typing import final

import numpy as np

from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.toolbox.values import positive

__all__ = ["GLS"]


@final
class GLS(LossMethod):
    """Descends the geometric mean Π L_i^(p_i) of the losses.

    L_i is the loss and p_i the preference of task i (1/K by default, summing to one). The weights are its gradient,
    w_i = p_i·Π_j L_j^(p_j)/L_i, computed in logarithms.

    Examples:
        >>> import torch
        >>> GLS().weights(torch.tensor([1.0, 2.0, 4.0]))
        tensor([0.6667, 0.3333, 0.1667])

    Notes:
        Every loss must be above zero; otherwise a ``MethodError`` names the task. The paper's focused variant, which
        repeats some tasks in the product, is had by giving those tasks a larger weight.

    References:
        Chennupati et al., "MultiNet++: multi-stream feature aggregation and geometric loss strategy for multi-task
        learning", CVPR workshops 2019.
    """

    uses_preference = True
    card = Card(
        title="GLS",
        paper="Chennupati et al., CVPR workshops 2019",
        url="https://arxiv.org/abs/1904.08492",
        idea="Descend the geometric mean of the losses, whose direction ignores their scales.",
        cost="1",
        invariances=("order of tasks", "direction: a factor on each loss separately"),
        verified=("gradient of the geometric mean by automatic differentiation", "TorchJD's GeometricMean"),
        notes="The step vanishes with the first loss that comes near zero.",
        preference="exponent of the task's loss in the mean",
    )

    def solve(self, evidence: Evidence) -> Solution:
        """p·exp(Σ p log L)/L."""
        positive(self, evidence)
        logs = np.log(evidence.losses)
        return Solution(evidence.preference * np.exp(evidence.preference @ logs - logs))
