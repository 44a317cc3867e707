"""Improvable gap balancing, first version."""

from __future__ import annotations

from typing import ClassVar, final

from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.contract.options import Limits, Whole
from polytask.balance.toolbox.values import EpochMean, positive, softmax

__all__ = ["IGBv1"]


@final
class IGBv1(LossMethod):
    """Descends Σ λ_i·log L_i with λ = K·softmax(L_i/B_i), so the weights are λ_i/L_i.

    L_i is the loss of task i and B_i its mean over an early epoch; what is left of it, L_i/B_i, is the improvable gap.
    Until that epoch is over, λ is one.

    Args:
        base_epoch: The epoch, counted from 0, whose mean losses are the base. 1 by the released code's default.

    Raises:
        ConfigError: ``base_epoch`` is negative.

    Examples:
        >>> import torch
        >>> IGBv1().weights(torch.tensor([0.5, 2.0]))
        tensor([2.0000, 0.5000])

    Notes:
        Needs ``balancer.end_epoch()``. Every loss must be above zero; otherwise a ``MethodError`` names the task. A
        task that was absent from the whole base epoch is measured against the first loss it shows later.

    References:
        Dai, Fei, Lu, "Improvable gap balancing for multi-task learning", UAI 2023.
    """

    limits: ClassVar[Limits] = {"base_epoch": Whole()}
    card = Card(
        title="IGB v1",
        paper="Dai, Fei, Lu, UAI 2023",
        url="https://arxiv.org/abs/2307.15429",
        idea="On log losses, weigh up the tasks that are furthest from done.",
        cost="1",
        invariances=("order of tasks", "direction: a factor on each loss separately"),
        verified=("the released code, read, step by step", "equal gaps give the sum of logarithms"),
        notes="In the second version, `igb_v2`, a reinforcement learner draws λ.",
    )

    def __init__(self, base_epoch: int = 1) -> None:
        super().__init__()
        self.base_epoch = base_epoch
        self._base = EpochMean(self.state, "base", base_epoch)

    def solve(self, evidence: Evidence) -> Solution:
        """K·softmax(L/B)/L."""
        positive(self, evidence)
        news = self._base.take(evidence)
        if not self._base.known(evidence):
            return Solution(1 / evidence.losses, remember=news)
        gap = evidence.losses / self._base.read(evidence)
        return Solution(evidence.size * softmax(gap) / evidence.losses, remember=news)
