"""Penalty-based boundary intersection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np

from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.contract.options import Limits, PerTask, Real
from polytask.balance.toolbox.values import per_task

__all__ = ["PBI"]


@final
class PBI(LossMethod):
    """Descends d₁ + θ·d₂: progress along a preference ray, plus a penalty for straying from it.

    With f = L − z, losses L less a reference point z, and the unit ray v along the preference, d₁ = vᵀf is the
    distance along the ray and d₂ = ‖f − d₁v‖ the distance from it. The weights are v + θ·(f − d₁v)/d₂, and v on the
    ray itself.

    Args:
        theta: Penalty θ ≥ 0; 5 in the paper. 0 is a weighted sum.
        reference: z, the ideal value of each loss, for all tasks or by name (0 for tasks left out).

    Raises:
        ConfigError: ``theta`` is negative, or ``reference`` is not finite.

    Examples:
        >>> import torch
        >>> PBI(theta=1.0).weights(torch.tensor([1.0, 1.0]))
        tensor([0.7071, 0.7071])
        >>> PBI(theta=0.5).weights(torch.tensor([1.0, 2.0]))
        tensor([0.3536, 1.0607])

    Notes:
        The ray is that of the task weights. A task that is better off than the ray asks for can get a negative
        weight, which raises its loss: for θ above 1 and two equal tasks, always. Losses of any sign are fine.

    References:
        Zhang, Li, "MOEA/D: a multiobjective evolutionary algorithm based on decomposition", IEEE Transactions on
        Evolutionary Computation 11, 2007.
    """

    uses_preference = True
    limits: ClassVar[Limits] = {"theta": Real(0), "reference": PerTask(Real())}
    card = Card(
        title="PBI",
        paper="Zhang, Li, IEEE TEVC 2007",
        url="https://doi.org/10.1109/TEVC.2007.892759",
        idea="Follow a preference ray towards zero losses, and stay on it.",
        cost="1",
        invariances=("order of tasks", "one factor on all losses (without a reference)"),
        verified=("gradient of the definition by automatic differentiation", "TorchJD's PBI"),
        notes="Trades tasks against each other on purpose: a loss may be raised to reach the ray.",
        preference="direction of the ray",
    )

    def __init__(self, theta: float = 5.0, reference: float | Mapping[str, float] = 0.0) -> None:
        super().__init__()
        self.theta, self.reference = theta, reference

    def solve(self, evidence: Evidence) -> Solution:
        """The ray, plus θ times the unit vector away from it."""
        ray = evidence.preference / np.linalg.norm(evidence.preference)
        above = evidence.losses - per_task(self.reference, evidence.tasks, 0.0)
        away = above - (ray @ above) * ray
        distance = np.linalg.norm(away)
        # Below rounding, the direction away from the ray is noise.
        if distance <= 8 * np.finfo(float).eps * np.linalg.norm(above):
            return Solution(ray)
        return Solution(ray + self.theta * away / distance)
