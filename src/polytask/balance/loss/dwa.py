"""Dynamic weight average."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np

from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.contract.options import Limits, Real

__all__ = ["DWA"]


@final
class DWA(LossMethod):
    """Weights K·softmax(r_i/T), r_i the ratio of task i's mean losses over the last two epochs.

    A task whose loss falls slowly (r_i near or above one) is weighed up. Weights are one in the first two epochs, and
    sum to the number of tasks present.

    Args:
        temperature: T > 0; 2 in the paper. Large values mean equal weights.

    Raises:
        ConfigError: ``temperature`` is not positive.

    Examples:
        >>> import torch
        >>> DWA().weights(torch.tensor([0.5, 2.0]))
        tensor([1., 1.])

    Notes:
        Needs ``balancer.end_epoch()``; without it the weights stay one. An epoch in which a task was absent does not
        count for it. A task without a usable ratio (fewer than two epochs, or a mean that is not positive) has r_i = 1.

    References:
        Liu, Johns, Davison, "End-to-end multi-task learning with attention", CVPR 2019.
    """

    limits: ClassVar[Limits] = {"temperature": Real(0, open_low=True)}
    card = Card(
        title="DWA",
        paper="Liu, Johns, Davison, CVPR 2019",
        url="https://arxiv.org/abs/1803.10704",
        idea="Weigh up the tasks whose loss falls most slowly.",
        cost="1",
        invariances=("order of tasks", "a factor on each loss separately (in the weights)"),
        verified=("its formula by hand", "equal ratios give ones"),
        notes="Reacts once per epoch; a noisy loss looks like a slow one.",
    )

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        self.temperature = temperature
        for name in ("total", "count"):
            self.state.declare(name, 0.0, reduce="sum")
        for name in ("last", "before"):
            self.state.declare(name, 0.0, reduce="mean")

    def solve(self, evidence: Evidence) -> Solution:
        """K·softmax(r/T); the losses are added to the epoch's means."""
        last, before = (self.state.read(name, evidence.tasks) for name in ("last", "before"))
        usable = (last > 0) & (before > 0)
        ratio = np.divide(last, before, out=np.ones(evidence.size), where=usable) / self.temperature
        pull = np.exp(ratio - ratio.max())
        total, count = (self.state.read(name, evidence.tasks) for name in ("total", "count"))
        news = {"total": total + evidence.losses, "count": count + 1}
        return Solution(evidence.size * pull / pull.sum(), remember=news)

    def end_epoch(self) -> None:
        """Shift the means of the tasks seen in this epoch by one epoch."""
        seen = [task for task, count in self.state.state_dict()["count"].items() if count > 0]
        self.state.write("before", seen, self.state.read("last", seen))
        self.state.write("last", seen, self.state.read("total", seen) / self.state.read("count", seen))
        for name in ("total", "count"):
            self.state.write(name, seen, np.zeros(len(seen)))
