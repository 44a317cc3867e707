"""Group optimisation for multi-task alignment."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np

from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.contract.options import Limits, Real, Whole
from polytask.balance.toolbox.values import positive, softmax
from polytask.solvers import kmeans_line

__all__ = ["GO4Align"]

Array = np.ndarray


@final
class GO4Align(LossMethod):
    """Weights q_i = p_i·Σ_j L_j/L_i, replaced by the mean over tasks with a like q.

    L_i is the loss of task i and p = softmax(−η·S_i) its risk, S_i the sum of its losses so far, the present one
    included. The q_i are grouped by k-means on the line, and each task gets its group's centre.

    Args:
        groups: Number of groups G. 1 (the released code's default) gives every task the mean of q; the number of
            tasks or more gives q itself.
        step_size: η ≥ 0; 1e-4 in the released code. 0 keeps p uniform, and the ungrouped direction is that of Σ log L.

    Raises:
        ConfigError: ``groups`` is below 1, or ``step_size`` is negative.

    Examples:
        >>> import torch
        >>> GO4Align(groups=2, step_size=0.0).weights(torch.tensor([1.0, 1.25, 4.0]))
        tensor([1.8750, 1.8750, 0.5208])

    Notes:
        Every loss must be above zero; otherwise a ``MethodError`` names the task. The grouping is the exact optimum of
        k-means, found by dynamic programming, where the released code starts from random centres without a seed. The
        sum of an absent task's losses stands still, and p is a softmax over the tasks present; with all of them
        present this is the released multiplicative update. η has the unit of an inverse loss.

    References:
        Shen et al., "GO4Align: group optimization for multi-task alignment", NeurIPS 2024.
    """

    limits: ClassVar[Limits] = {"groups": Whole(1), "step_size": Real(0)}
    card = Card(
        title="GO4Align",
        paper="Shen et al., NeurIPS 2024",
        url="https://arxiv.org/abs/2404.06486",
        idea="Give groups of tasks with a like risk one common weight.",
        cost="1",
        invariances=("order of tasks",),
        verified=("the released recursion, step by step", "grouping against all partitions"),
        notes="With one group it is the plain sum with a changing learning rate.",
    )

    def __init__(self, groups: int = 2, step_size: float = 1e-4) -> None:
        super().__init__()
        self.groups, self.step_size = groups, step_size
        self.state.declare("total", 0.0, reduce="mean")

    def solve(self, evidence: Evidence) -> Solution:
        """Centres of the groups of q."""
        positive(self, evidence)
        total = self.state.read("total", evidence.tasks) + evidence.losses
        risk = softmax(-self.step_size * total)
        raw = risk * evidence.losses.sum() / evidence.losses
        labels = kmeans_line(raw, min(self.groups, evidence.size))
        centres = np.bincount(labels, raw) / np.bincount(labels)
        return Solution(centres[labels], remember={"total": total})
