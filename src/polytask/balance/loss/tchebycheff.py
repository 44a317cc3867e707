"""The worst of the losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np

from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.contract.options import Limits, PerTask, Real
from polytask.balance.toolbox.values import per_task

__all__ = ["Tchebycheff"]


@final
class Tchebycheff(LossMethod):
    """Descends max_i λ_i·(L_i − z_i): only the task that is worst off at the moment.

    L_i is the loss of task i, z_i a reference point and λ_i K times the preference (1 by default). The weight of the
    worst task is its λ_i, all others are zero; several that are equally bad share (a subgradient).

    Args:
        reference: z, the ideal value of each loss, for all tasks or by name (0 for tasks left out).

    Raises:
        ConfigError: ``reference`` is not finite.

    Examples:
        >>> import torch
        >>> Tchebycheff().weights(torch.tensor([0.5, 2.0]))
        tensor([0., 1.])

    Notes:
        Every weakly Pareto-optimal point is the optimum for some λ, also in the dents of a non-convex front, where
        weighted sums find nothing. Losses of any sign are fine. The heads of the other tasks get no gradient in this
        step (``heads="plain"`` gives them their own).

    References:
        Bowman, "On the relationship of the Tchebycheff norm and the efficient frontier of multiple-criteria
        objectives", Lecture Notes in Economics and Mathematical Systems 130, 1976.
    """

    uses_preference = True
    limits: ClassVar[Limits] = {"reference": PerTask(Real())}
    card = Card(
        title="Tchebycheff",
        paper="Bowman, 1976",
        url="https://doi.org/10.1007/978-3-642-87563-2_5",
        idea="Descend the worst of the losses.",
        cost="1",
        invariances=("order of tasks", "one factor on all losses (without a reference)"),
        verified=("gradient of the maximum by automatic differentiation", "the limit of STCH for small μ"),
        notes="Jumps from task to task; STCH is its smooth version.",
        preference="weight of the task's loss in the worst case",
    )

    def __init__(self, reference: float | Mapping[str, float] = 0.0) -> None:
        super().__init__()
        self.reference = reference

    def solve(self, evidence: Evidence) -> Solution:
        """λ of the worst task."""
        rate = evidence.size * evidence.preference
        height = rate * (evidence.losses - per_task(self.reference, evidence.tasks, 0.0))
        worst = height == height.max()
        return Solution(np.where(worst, rate / worst.sum(), 0.0))
