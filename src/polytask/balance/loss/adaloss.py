"""Losses divided by their running means."""

from __future__ import annotations

from typing import ClassVar, final

from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.contract.options import Limits, Real
from polytask.balance.toolbox.values import RunningMean, positive

__all__ = ["AdaLoss"]


@final
class AdaLoss(LossMethod):
    """Weights 1/L̄_i, with L̄_i the running mean of loss i, the present value included.

    With the mean in the place of the expectation, the step is that of Σ log E[L_i]: the geometric mean of the
    expected losses, which no factor on a loss changes.

    Args:
        rate: Weight of a new value in the mean, in (0, 1]. The authors' value is not known here; 0.01 averages over
            about a hundred steps.

    Raises:
        ConfigError: ``rate`` is outside (0, 1].

    Examples:
        >>> import torch
        >>> AdaLoss().weights(torch.tensor([0.5, 2.0]))
        tensor([2.0000, 0.5000])

    Notes:
        A mean that is zero or negative is refused with a ``MethodError`` that names the task. The means are free of
        the bias towards their start. Proportionality is all the paper states of the weights; here a task whose loss
        stands still has a weighted loss of 1. With ``rate=1`` this is ``si_log``.

    References:
        Hu, Dey, Hebert, Bagnell, "Learning anytime predictions in neural networks via adaptive loss balancing", AAAI
        2019.
    """

    limits: ClassVar[Limits] = {"rate": Real(0, 1, open_low=True)}
    card = Card(
        title="AdaLoss",
        paper="Hu, Dey, Hebert, Bagnell, AAAI 2019",
        url="https://arxiv.org/abs/1708.06832",
        idea="Divide every loss by its running mean.",
        cost="1",
        invariances=("order of tasks", "a factor on each loss separately"),
        verified=(
            "the rule as the abstract states it; the averaging constant is ours",
            "a constant loss weighs in at 1",
        ),
        notes="The weight of a loss that goes to zero goes to infinity.",
    )

    def __init__(self, rate: float = 0.01) -> None:
        super().__init__()
        self.rate = rate
        self._mean = RunningMean(self.state, "loss", rate, reduce="mean")

    def solve(self, evidence: Evidence) -> Solution:
        """1/L̄."""
        mean, news = self._mean.take(evidence.tasks, evidence.losses)
        positive(self, evidence, "mean loss", mean)
        return Solution(1 / mean, remember=news)
