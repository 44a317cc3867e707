"""Impartial multi-task learning, loss part."""

from __future__ import annotations

from typing import ClassVar, final

from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.contract.options import Limits, Real
from polytask.balance.toolbox.scales import LogScales

__all__ = ["IMTLL"]


@final
class IMTLL(LossMethod):
    """Weights e^(s_i), learned by descending Σ e^(s_i)·L_i − s_i, which makes every weighted loss equal to one.

    At rest s_i = −log L_i and the weight is 1/L_i.

    Args:
        lr: Learning rate of the s_i. The paper trains them with the network's optimizer; 1e-3 is Adam's usual rate.

    Raises:
        ConfigError: ``lr`` is not positive.

    Examples:
        >>> import torch
        >>> IMTLL().weights(torch.tensor([0.5, 2.0]))
        tensor([1., 1.])

    Notes:
        The s_i are learned by an Adam of their own, without weight decay, and kept within [−10, 10]: a loss that
        reaches zero or turns negative would otherwise send its weight to infinity. The paper's base e is kept fixed.

    References:
        Liu et al., "Towards impartial multi-task learning", ICLR 2021.
    """

    limits: ClassVar[Limits] = {"lr": Real(0, open_low=True)}
    card = Card(
        title="IMTL-L",
        paper="Liu et al., ICLR 2021",
        url="https://openreview.net/forum?id=IMPnRXEWpvr",
        idea="Learn one scale per loss so that all weighted losses are alike.",
        cost="1",
        invariances=("order of tasks", "at rest: scale of each loss"),
        verified=("at rest the weights are 1/L", "torch.optim.Adam on the published objective, step by step"),
        notes="Means little for losses that can be negative.",
    )

    def __init__(self, lr: float = 1e-3) -> None:
        super().__init__()
        self.lr = lr
        self._scales = LogScales(self.state, lr)

    def solve(self, evidence: Evidence) -> Solution:
        """e^s."""
        scales = self._scales.read(evidence.tasks)
        return Solution(scales, remember=self._scales.step(evidence, scales))
