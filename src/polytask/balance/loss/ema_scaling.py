"""Losses scaled by their exponential moving averages."""

from __future__ import annotations

from typing import ClassVar, Literal, final

from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.contract.options import Choice, Limits, Real
from polytask.balance.toolbox.values import RunningMean, positive

__all__ = ["EMAScaling"]


@final
class EMAScaling(LossMethod):
    """Scales every loss by its exponential moving average m_i: descends Σ L_i/m_i.

    m_i is the average of loss i over the past and present steps.

    Args:
        rate: Weight of a new value in the average, in (0, 1]. The authors' value is not known here; 0.1.
        total: ``"free"`` for the weights 1/m_i; ``"k"`` divides them by their mean, so that they sum to the number of
            tasks and only the balance between tasks changes, not the learning rate.

    Raises:
        ConfigError: ``rate`` is outside (0, 1], or ``total`` is unknown.

    Examples:
        >>> import torch
        >>> EMAScaling().weights(torch.tensor([0.5, 2.0]))
        tensor([2.0000, 0.5000])
        >>> EMAScaling(total="k").weights(torch.tensor([0.5, 2.0]))
        tensor([1.6000, 0.4000])

    Notes:
        An average that is zero or negative is refused with a ``MethodError`` that names the task. The averages are
        free of the bias towards their start, so the weighted loss of the first step is the number of tasks. The paper
        has further variants, which multiply these weights by training rates; they are not implemented.

    References:
        Lakkapragada, Sleiman, Surabhi, Wall, "Mitigating negative transfer in multi-task learning with exponential
        moving average loss weighting strategies", arXiv 2211.12999, 2022.
    """

    limits: ClassVar[Limits] = {"rate": Real(0, 1, open_low=True), "total": Choice(("free", "k"))}
    card = Card(
        title="EMA loss scaling",
        paper="Lakkapragada, Sleiman, Surabhi, Wall, 2022",
        url="https://arxiv.org/abs/2211.12999",
        idea="Scale each loss by its own observed magnitude.",
        cost="1",
        invariances=("order of tasks", "a factor on each loss separately (in the weighted losses)"),
        verified=(
            "the rule as the abstract states it; the averaging constant is ours",
            "the discounted mean by hand, step by step",
        ),
        notes="The weight of a loss that goes to zero goes to infinity.",
    )

    def __init__(self, rate: float = 0.1, total: Literal["free", "k"] = "free") -> None:
        super().__init__()
        self.rate, self.total = rate, total
        self._mean = RunningMean(self.state, "loss", rate, reduce="mean")

    def solve(self, evidence: Evidence) -> Solution:
        """1/m, or that over its mean."""
        mean, news = self._mean.take(evidence.tasks, evidence.losses)
        positive(self, evidence, "mean loss", mean)
        weights = 1 / mean if self.total == "free" else evidence.size / mean / (1 / mean).sum()
        return Solution(weights, remember=news)
