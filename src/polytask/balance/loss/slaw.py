"""Scaled loss approximate weighting."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np
from jaxtyping import Float

from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.contract.options import Limits, Real

__all__ = ["SLAW"]

Array = np.ndarray
_FLOOR = 1e-5


@final
class SLAW(LossMethod):
    """Weights K·(1/s_i)/Σ_j(1/s_j), with s_i the running standard deviation of loss i.

    How much a loss varies from step to step stands in for the length of its gradient, which would cost a backward
    pass. Mean and variance are plain averages over the first 1/(1−β) steps and exponential ones after that; the
    present loss is included. Weights are one in a task's first step.

    Args:
        beta: Weight of the past, β in [0, 1); 0.99 in the authors' code.

    Raises:
        ConfigError: ``beta`` is outside [0, 1).

    Examples:
        >>> import torch
        >>> SLAW().weights(torch.tensor([0.5, 2.0]))
        tensor([1., 1.])

    Notes:
        Deviations are floored at 1e-5 times the loss's root mean square, where the authors' code floors them at 1e-5:
        so losses may have any scale and sign. While a task has been seen once only, it gets the mean weight of the
        others. The variance is updated by deviations, which loses no digits, instead of as E[L²] − E[L]².

    References:
        Crawshaw, Košecká, "SLAW: scaled loss approximate weighting for efficient multi-task learning", arXiv
        2109.08218, 2021.
    """

    limits: ClassVar[Limits] = {"beta": Real(0, 1, open_high=True)}
    card = Card(
        title="SLAW",
        paper="Crawshaw, Košecká, 2021",
        url="https://arxiv.org/abs/2109.08218",
        idea="Balance the tasks' gradient lengths, estimated from how much their losses vary.",
        cost="1",
        invariances=("order of tasks", "from the second step on, a factor on each loss (in the weighted losses)"),
        verified=("the authors' running statistics, read, step by step",),
        notes="Weights are one in the first step. Variation from sampling counts like variation from learning.",
    )

    def __init__(self, beta: float = 0.99) -> None:
        super().__init__()
        self.beta = beta
        self.state.declare("mean", 0.0, reduce="mean")
        self.state.declare("variance", 0.0, reduce="same")
        self.state.declare("count", 0.0, reduce="same")

    def solve(self, evidence: Evidence) -> Solution:
        """Inverse deviations, normalised."""
        mean, variance, count = self._next(evidence)
        inverse = np.ones(evidence.size)
        known = (count > 1) & (mean**2 + variance > 0)
        if known.any():
            size = np.sqrt(mean[known] ** 2 + variance[known])
            inverse[known] = 1 / np.maximum(np.sqrt(variance[known]), _FLOOR * size)
            inverse[~known] = inverse[known].mean()
        news = {"mean": mean, "variance": variance, "count": count}
        return Solution(evidence.size * inverse / inverse.sum(), remember=news)

    def _next(self, evidence: Evidence) -> tuple[Float[Array, "K"], Float[Array, "K"], Float[Array, "K"]]:
        """Mean, variance and count with the present losses."""
        mean, variance, count = (self.state.read(name, evidence.tasks) for name in ("mean", "variance", "count"))
        count = count + 1
        rate = np.where(count <= round(1 / (1 - self.beta)), 1 / count, 1 - self.beta)
        step = evidence.losses - mean
        return mean + rate * step, (1 - rate) * (variance + rate * step**2), count
