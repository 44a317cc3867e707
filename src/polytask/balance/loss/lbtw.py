"""Loss-balanced task weighting."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np

from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.contract.options import Limits, Real
from polytask.errors import MethodError

__all__ = ["LBTW"]


@final
class LBTW(LossMethod):
    """Weights (L_i/L_i⁰)^α, normalised to sum to K, with L_i⁰ the task's first loss in the present epoch.

    A task whose loss has fallen since the epoch's first batch gets less weight. Every epoch starts with ones.

    Args:
        alpha: How strongly; 0 is equal weights. 0.5 in the released configuration, and 0.1 in another of the paper's
            runs.

    Raises:
        ConfigError: ``alpha`` is negative.

    Examples:
        >>> import torch
        >>> LBTW().weights(torch.tensor([0.5, 2.0]))
        tensor([1., 1.])

    Notes:
        Needs ``balancer.end_epoch()``; without it every loss is measured against its very first value. A task absent
        from the epoch's first batch is measured against the first loss it shows. Losses may be zero (and then weigh
        nothing; all of them zero: ones); a negative one is refused with a ``MethodError`` that names the task.

    References:
        Liu, Liang, Gitter, "Loss-balanced task weighting to reduce negative transfer in multi-task learning", AAAI
        student abstracts 2019.
    """

    limits: ClassVar[Limits] = {"alpha": Real(0)}
    card = Card(
        title="LBTW",
        paper="Liu, Liang, Gitter, AAAI student abstracts 2019",
        url="https://doi.org/10.1609/aaai.v33i01.33019977",
        idea="Weigh down the tasks whose loss has fallen since the epoch's first batch.",
        cost="1",
        invariances=("order of tasks", "a factor on each loss separately (in the weights)"),
        verified=("the released recursion, step by step",),
        notes="One unlucky first batch decides over the whole epoch.",
    )

    def __init__(self, alpha: float = 0.5) -> None:
        super().__init__()
        self.alpha = alpha
        # Zero stands for a task that has shown no positive loss in this epoch.
        self.state.declare("first", 0.0, reduce="mean")

    def solve(self, evidence: Evidence) -> Solution:
        """K·ratio^α/Σ ratio^α."""
        negative = [task for task, loss in zip(evidence.tasks, evidence.losses, strict=True) if loss < 0]
        if negative:
            raise MethodError(
                f"LBTW takes powers of loss ratios and needs losses of at least zero, found negative losses of "
                f"{', '.join(negative)} at step {evidence.step}; add a constant to them"
            )
        first = self.state.read("first", evidence.tasks)
        ratio = np.divide(evidence.losses, first, out=np.ones(evidence.size), where=first > 0)
        power = ratio**self.alpha
        weights = evidence.size * power / power.sum() if power.sum() > 0 else np.ones(evidence.size)
        return Solution(weights, remember={"first": np.where(first > 0, first, evidence.losses)})

    def end_epoch(self) -> None:
        """Measure against new first losses."""
        seen = list(self.state.state_dict()["first"])
        self.state.write("first", seen, np.zeros(len(seen)))
