"""Uncertainty weighting with a regulariser that is never negative."""

from __future__ import annotations

import math
from typing import ClassVar, final

import numpy as np

from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.contract.options import Limits, Real
from polytask.balance.toolbox.adam import TaskAdam

__all__ = ["RevisedUW"]

_LOW, _HIGH = math.exp(-5), math.exp(5)


@final
class RevisedUW(LossMethod):
    """Weights 1/(2c_i²), with c_i learned by descending Σ L_i/(2c_i²) + ln(1 + c_i²).

    L_i is the loss of task i. Unlike ln c_i, the regulariser ln(1 + c_i²) is never negative, and so is the objective
    for losses that are not. At rest c_i² = (L_i + √(L_i² + 8L_i))/4.

    Args:
        lr: Learning rate of the c_i. The paper trains them with the network's optimizer; 1e-3 is Adam's usual rate.
        start: First value of every c_i; 1 means weights of ½. The paper names none.

    Raises:
        ConfigError: ``lr`` is not positive, or ``start`` is outside [e⁻⁵, e⁵].

    Examples:
        >>> import torch
        >>> RevisedUW().weights(torch.tensor([0.5, 2.0]))
        tensor([0.5000, 0.5000])

    Notes:
        The c_i are learned by an Adam of their own, without weight decay, and kept within [e⁻⁵, e⁵]: the objective
        depends on c_i² only, and a loss that is zero or negative would send its weight to infinity.

    References:
        Liebel, Körner, "Auxiliary tasks in multi-task learning", arXiv 1805.06334, 2018.
    """

    limits: ClassVar[Limits] = {"lr": Real(0, open_low=True), "start": Real(_LOW, _HIGH)}
    card = Card(
        title="Revised UW",
        paper="Liebel, Körner, 2018",
        url="https://arxiv.org/abs/1805.06334",
        idea="Uncertainty weighting with a regulariser that cannot become negative.",
        cost="1",
        invariances=("order of tasks",),
        verified=("the closed-form optimum", "torch.optim.Adam on the published objective, step by step"),
        notes="Slow to follow when losses change quickly; means little for losses that can be negative.",
    )

    def __init__(self, lr: float = 1e-3, start: float = 1.0) -> None:
        super().__init__()
        self.lr, self.start = lr, start
        self._adam = TaskAdam(self.state, "deviation", start=start, lr=lr)

    def solve(self, evidence: Evidence) -> Solution:
        """1/(2c²); one Adam step on c follows, whose gradient is −L/c³ + 2c/(1 + c²)."""
        c = self.state.read("deviation", evidence.tasks)
        news = self._adam.step(evidence.tasks, -evidence.losses / c**3 + 2 * c / (1 + c * c), _LOW, _HIGH)
        return Solution(0.5 / np.square(c), remember=news)
