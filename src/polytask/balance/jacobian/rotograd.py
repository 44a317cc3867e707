"""RotoGrad's homogenisation of gradient magnitudes; its rotations are a module of :mod:`polytask.share`."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np

from polytask.balance.contract.method import Block, Card, Combined, Evidence, JacobianMethod, Need, Solution
from polytask.balance.contract.options import Limits, Whole
from polytask.balance.toolbox.coordinates import OwnSteps, weighted_sum, wide

__all__ = ["RotoGrad"]


@final
class RotoGrad(JacobianMethod):
    """Feature gradients of equal length, led by the tasks that have converged least.

    With d_i = ‖∂L_i/∂Z‖ over the whole batch and d_i⁰ its value in the task's first step (again after the burn-in),
    α_i = (d_i/d_i⁰)/Σ_j(d_j/d_j⁰): every task's gradient gets the length C = Σ_j α_j·d_j. The step is
    Σ_i K·p_i·C·(∂L_i/∂Z)/d_i through the trunk, p the task weights, Σp_i = 1.

    The other half of the method, the rotations in front of the heads, is :class:`polytask.share.Rotations`.

    Args:
        burn_in: Steps after which d_i⁰ is taken anew; 20 in the authors' code.

    Raises:
        ConfigError: ``burn_in`` is not a whole number ≥ 0.

    Examples:
        >>> import torch
        >>> RotoGrad().direction(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
        tensor([2., 2.])

    Notes:
        For ``grads="features"``. Without the rotations this is only the scale part.

    References:
        Javaloy, Valera, "RotoGrad: gradient homogenization in multitask learning", ICLR 2022.
    """

    needs: ClassVar[Need] = "features"
    uses_preference = True
    limits: ClassVar[Limits] = {"burn_in": Whole(0)}
    card = Card(
        title="RotoGrad",
        paper="Javaloy, Valera, ICLR 2022",
        url="https://arxiv.org/abs/2103.02631",
        idea="Gradients at the features get one length, and rotations in front of the heads one direction.",
        cost="K through the heads, 1 through the trunk",
        invariances=("order of tasks", "one common factor on all losses"),
        verified=(
            "the authors' formulas, step by step",
            "equal norms after scaling",
            "rotations align planted gradients",
        ),
        notes="Use with polytask.share.Rotations between trunk and heads; alone it is the scale part.",
        preference="multiplies the common length of the task's gradient",
    )

    def __init__(self, burn_in: int = 20) -> None:
        super().__init__()
        self.burn_in = burn_in
        self._steps = OwnSteps(self.state)
        self.state.declare("first", 0.0, reduce="same")

    def solve(self, evidence: Evidence) -> Solution:
        """C/d_i."""
        norms = np.sqrt(np.diag(evidence.inner))
        steps = self._steps.before(evidence.tasks)
        again = (steps == 0) | (steps == self.burn_in)
        first = np.where(again, norms, self.state.read("first", evidence.tasks))
        ratios = norms / first
        length = ratios @ norms / ratios.sum()
        news = {"first": first} | self._steps.take(evidence.tasks)
        return Solution(evidence.emphasis * length / norms, remember=news)

    def combine(self, block: Block, evidence: Evidence, solution: Solution) -> Combined:
        """The sum of the rescaled gradients."""
        return Combined(weighted_sum(solution.weights, wide(block.rows)))
