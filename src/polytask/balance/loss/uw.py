"""Uncertainty weighting."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np

from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.contract.options import Limits, Real
from polytask.balance.toolbox.adam import TaskAdam

__all__ = ["UW"]

_REACH = 10.0


@final
class UW(LossMethod):
    """Weights ½e^(−s_i), with s_i = log σ_i² learned by descending Σ ½e^(−s_i)·L_i + ½s_i.

    L_i is the loss and σ_i² the noise variance of task i; at rest s_i = log L_i and the weight is 1/(2L_i).

    Args:
        lr: Learning rate of the s_i. The paper trains them with the network's optimizer; 1e-3 is Adam's usual rate.
        start: First value of every s_i; 0 means weights of ½.

    Raises:
        ConfigError: ``lr`` is not positive, or ``start`` is outside [−10, 10].

    Examples:
        >>> import torch
        >>> UW().weights(torch.tensor([0.5, 2.0]))
        tensor([0.5000, 0.5000])

    Notes:
        The s_i are learned by an Adam of their own, without weight decay, and kept within [−10, 10]: a loss that
        reaches zero or turns negative would otherwise send its weight to infinity.
        The same form is used for every kind of task; for classification the paper has e^(−s)·L + ½s, which is this
        with the loss doubled, and could be had by a task weight of 2.

    References:
        Kendall, Gal, Cipolla, "Multi-task learning using uncertainty to weigh losses for scene geometry and semantics",
        CVPR 2018.
    """

    limits: ClassVar[Limits] = {"lr": Real(0, open_low=True), "start": Real(-_REACH, _REACH)}
    card = Card(
        title="UW",
        paper="Kendall, Gal, Cipolla, CVPR 2018",
        url="https://arxiv.org/abs/1705.07115",
        idea="Weigh each loss by the inverse of a learned noise variance.",
        cost="1",
        invariances=("order of tasks", "at rest: scale of each loss"),
        verified=("at rest the weights are 1/(2L)", "torch.optim.Adam on the published objective, step by step"),
        notes="Slow to follow when losses change quickly; means little for losses that can be negative.",
    )

    def __init__(self, lr: float = 1e-3, start: float = 0.0) -> None:
        super().__init__()
        self.lr, self.start = lr, start
        self._adam = TaskAdam(self.state, "log_variance", start=start, lr=lr)

    def solve(self, evidence: Evidence) -> Solution:
        """½e^(−s); one Adam step on s follows, whose gradient is ½ − ½e^(−s)·L."""
        weights = 0.5 * np.exp(-self.state.read("log_variance", evidence.tasks))
        news = self._adam.step(evidence.tasks, 0.5 - weights * evidence.losses, -_REACH, _REACH)
        return Solution(weights, remember=news)
