"""Random gradient weighting."""

from __future__ import annotations

from typing import final

from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.loss.rlw import RLW

__all__ = ["RGW"]


@final
class RGW(GramianMethod):
    """Weights softmax(z), z ~ N(0, I) drawn anew at every step, on the shared gradients; they sum to one.

    Examples:
        >>> import torch
        >>> bool(RGW().weights(torch.eye(2), seed=3).sum() == 1)
        True

    Notes:
        On the shared part this is RLW with the same draw, at the price of K backward passes. The difference is in the
        heads: RLW weighs their gradients too, RGW leaves them alone.

    References:
        Lin, Ye, Zhang, "Reasonable effectiveness of random weighting: a litmus test for multi-task learning", TMLR
        2022.
    """

    computes = reads = False
    card = Card(
        title="RGW",
        paper="Lin, Ye, Zhang, TMLR 2022",
        url="https://arxiv.org/abs/2111.10603",
        idea="Weigh the shared gradients at random: a baseline for methods that combine gradients.",
        cost="K through the shared part",
        invariances=("order of tasks", "losses", "gradients"),
        verified=("the weights of RLW",),
    )

    def __init__(self) -> None:
        super().__init__()
        self._draw = RLW()

    def solve(self, evidence: Evidence) -> Solution:
        """RLW's weights."""
        return self._draw.solve(evidence)
