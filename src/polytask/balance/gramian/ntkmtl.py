"""Multi-task learning balanced by the tangent kernels of the tasks."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np

from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.contract.options import Limits, Real

__all__ = ["NTKMTL"]


@final
class NTKMTL(GramianMethod):
    """Weights (Σ_j λ_j/λ_i)^β: tasks whose loss falls slowly under its own gradient weigh more.

    λ_i is the largest eigenvalue of task i's tangent kernel with respect to its loss, the rate at which gradient flow
    on that loss alone lowers it. With one loss per task and step, as in the paper's experiments (n = 1), the kernel is
    the single number λ_i = ‖g_i‖², g_i the task's gradient.

    Args:
        power: β > 0; ½ in the paper. The released code uses 0.75 on NYUv2, which helps the slow tasks more.

    Raises:
        ConfigError: ``power`` is not in (0, 10].

    Examples:
        >>> import torch
        >>> NTKMTL().weights(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
        tensor([2.0000, 1.1547])

    Notes:
        With β = ½ the step is the sum of the unit gradients, times √Σ‖g_j‖². With larger β short gradients turn into
        the long ones.
        The released code multiplies the step by K and then clips it to norm one; use ``scale=`` and the trainer's
        ``clip`` for that. Kernels of several losses per task (n > 1) are not included. NTKMTL-SR, the cheap form, takes
        the gradients at the shared representation: ``Balancer("ntkmtl", grads="features")``, also with n = 1.

    References:
        Qin, Wang, Liao, Yan, "NTKMTL: mitigating task imbalance in multi-task learning from neural tangent kernel
        perspective", NeurIPS 2025.
    """

    computes = False
    limits: ClassVar[Limits] = {"power": Real(0, 10, open_low=True)}
    card = Card(
        title="NTKMTL",
        paper="Qin, Wang, Liao, Yan, NeurIPS 2025",
        url="https://arxiv.org/abs/2510.18258",
        idea="Weigh up the tasks whose loss falls slowly under its own gradient.",
        cost="K through the shared part",
        invariances=("order of tasks", "one common factor on all losses", "β = ½: direction, a factor on each loss"),
        verified=(
            "the authors' code, read, as a closed form",
            "eigenvalues of the kernels by automatic differentiation",
            "β = ½ gives all tasks the same length",
        ),
        notes="A task near its optimum has a short gradient and gets a large weight, however noisy it is.",
    )

    def __init__(self, power: float = 0.5) -> None:
        super().__init__()
        self.power = power

    def solve(self, evidence: Evidence) -> Solution:
        """(Σ‖g_j‖²/‖g_i‖²)^β."""
        rates = np.diag(evidence.inner)
        return Solution((rates.sum() / rates) ** self.power)
