"""Impartial multi-task learning, losses and gradients."""

from __future__ import annotations

from typing import ClassVar, final

from jaxtyping import Float
from numpy import ndarray

from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.contract.options import Limits, Real
from polytask.balance.engine.gradients import Heads
from polytask.balance.toolbox.scales import LogScales, rescaled
from polytask.solvers.spectral import equiangular

__all__ = ["IMTL"]


@final
class IMTL(GramianMethod):
    """IMTL-L's learned loss scales e^(s_i), then IMTL-G's equal projections for the gradients e^(s_i)·g_i.

    The s_i descend Σ e^(s_i)·L_i − s_i. The weights are e^(s_i)·w_i with w those of IMTL-G, Σ|w_i| = 1, for the scaled
    gradients: the direction is IMTL-G's, its length follows the scaled losses.

    Args:
        lr: Learning rate of the s_i, as in IMTL-L.

    Raises:
        ConfigError: ``lr`` is not positive.

    Examples:
        >>> import torch
        >>> IMTL().weights(torch.tensor([[1.0, 0.0], [0.0, 9.0]]))
        tensor([0.7500, 0.2500])

    Notes:
        As in IMTL-L the s_i have an Adam of their own and stay within [−10, 10].
        Each head descends its scaled loss e^(s_i)·L_i (``heads="transformed"``), as in the paper.

    References:
        Liu et al., "Towards impartial multi-task learning", ICLR 2021.
    """

    uses_preference = True
    limits: ClassVar[Limits] = {"lr": Real(0, open_low=True)}
    heads: Heads = "transformed"
    card = Card(
        title="IMTL",
        paper="Liu et al., ICLR 2021",
        url="https://openreview.net/forum?id=IMPnRXEWpvr",
        idea="Learn loss scales, and step with equal projections on the scaled gradients.",
        cost="K through the shared part",
        invariances=("order of tasks", "direction: a factor on each loss separately"),
        verified=("IMTL-G applied to rows scaled by IMTL-L", "equal projections"),
        notes="Nearly dependent gradients give weights of both signs; dependent ones may have no equal angles at all.",
        preference="proportion of the projections, as in IMTL-G; loss scales are learned without it",
        heads="as in the paper, where each head descends its scaled loss e^s·L",
    )

    def __init__(self, lr: float = 1e-3) -> None:
        super().__init__()
        self.lr = lr
        self._scales = LogScales(self.state, lr)

    def loss_slopes(self, evidence: Evidence) -> Float[ndarray, "K"]:
        """e^s."""
        return self._scales.read(evidence.tasks)

    def solve(self, evidence: Evidence) -> Solution:
        """e^s times the equiangular weights of the scaled rows."""
        scales = self._scales.read(evidence.tasks)
        weights = scales * equiangular(rescaled(evidence.inner, scales), evidence.emphasis)
        return Solution(weights, remember=self._scales.step(evidence, scales))
