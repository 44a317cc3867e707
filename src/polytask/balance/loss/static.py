"""Weights chosen by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.contract.options import Limits, PerTask, Real
from polytask.balance.toolbox.values import per_task

__all__ = ["Static"]


@final
class Static(LossMethod):
    """Fixed weights w_i: descends Σ w_i·L_i, L_i being the loss of task i.

    The same objective as a weight on each task, kept with the method so that weights can be searched over as its
    options.

    Args:
        weight: w_i ≥ 0, one for all tasks or by task name (1 for tasks left out). No default is better than another;
            1 is the plain sum.

    Raises:
        ConfigError: A weight is negative or not finite.

    Examples:
        >>> import torch
        >>> Static({"depth": 0.1}).weights(torch.tensor([0.5, 2.0]), tasks=["depth", "normals"])
        tensor([0.1000, 1.0000])

    Notes:
        Weights are not normalised: doubling them doubles the step. Every properly Pareto-optimal point of convex
        losses is the optimum for some weights; points in a dent of a non-convex front are the optimum for none.

    References:
        Xin et al., "Do current multi-task optimization methods in deep learning even help?", NeurIPS 2022.
    """

    limits: ClassVar[Limits] = {"weight": PerTask(Real(0))}
    constant = True
    card = Card(
        title="Static weights",
        paper="Xin et al., NeurIPS 2022",
        url="https://arxiv.org/abs/2209.11379",
        idea="Descend a fixed weighted sum of the losses.",
        cost="1",
        invariances=("order of tasks",),
        verified=("gradient of the weighted sum by automatic differentiation",),
        notes="Good weights have to be searched for; tuned ones are hard to beat.",
    )

    def __init__(self, weight: float | Mapping[str, float] = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def solve(self, evidence: Evidence) -> Solution:
        """The given weights."""
        return Solution(per_task(self.weight, evidence.tasks, 1.0))
