"""Performance-informed variance reduction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np

from polytask.balance.contract.asks import SINGLE_TASK_GAPS
from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.contract.options import Limits, Real
from polytask.balance.toolbox.values import softmax
from polytask.errors import MethodError
from polytask.solvers.power import newton_power

__all__ = ["PIVRG"]


@final
class PIVRG(GramianMethod):
    """FairGrad with α = 2 that cares more for the tasks furthest behind their single-task models.

    The weights a > 0 solve (Ga)_i² = ω_i/a_i, G = JJᵀ, with ω = K·softmax(δ/T). δ_i is what task i has lost against
    its single-task model, in percent and positive when it is worse; T = max((max δ − min δ)/log B, T_min), so that no
    two ω differ by more than the factor B.

    Args:
        bound: B > 1; 2 in the authors' code, 1.8 in its Cityscapes and QM9 runs.
        temperature: T_min > 0, in percent; 10 in the authors' code, 20 for Cityscapes and 100 for QM9. Differences of
            δ that are small against it do not count.

    Raises:
        ConfigError: ``bound`` is not above 1 or ``temperature`` not above 0.

    Examples:
        >>> import torch
        >>> method = PIVRG()
        >>> method.weights(torch.eye(2), tasks=["a", "b"])
        tensor([1., 1.])
        >>> method.observe_metrics({"a": 30.0, "b": -5.0})
        >>> method.weights(torch.eye(2), tasks=["a", "b"])
        tensor([1.1006, 0.8736])

    Notes:
        Needs ``balancer.observe_metrics({task: δ})``, once an epoch in the authors' code: −100·s·(M − M_STL)/M_STL for
        a metric M with s = 1 where higher is better and s = −1 where lower is, averaged over a task's metrics. Measure
        it on validation data; that code takes the test set for two of its data sets. Without it, and for tasks without
        a δ, this is FairGrad. The authors' code multiplies the step by K and clips it to norm one.
        Task weights p_i, times K, count as in FairGrad: (Ga)_i² = (K·p_i)²·ω_i/a_i.

    References:
        Qin, Wang, Yan, "Revisiting fairness in multitask learning: a performance-driven approach for variance
        reduction", CVPR 2025.
    """

    uses_preference = True
    asks = frozenset({SINGLE_TASK_GAPS})
    limits: ClassVar[Limits] = {"bound": Real(1, open_low=True), "temperature": Real(0, open_low=True)}
    card = Card(
        title="PIVRG",
        paper="Qin, Wang, Yan, CVPR 2025",
        url="https://openaccess.thecvf.com/content/CVPR2025/html/Qin_Revisiting_Fairness_in_Multitask_Learning_A_Performance-Driven_Approach_for_Variance_CVPR_2025_paper.html",
        idea="Share the step's gain fairly, with more for tasks that are furthest behind their single-task models.",
        cost="K through the shared part",
        invariances=("order of tasks", "one number added to all δ"),
        verified=(
            "the authors' code, read: its equation to 1e-9 and by scipy's least squares",
            "equal δ give FairGrad with α = 2",
        ),
        notes="Needs single-task models first, and δ of different metrics must be comparable.",
        preference="as in FairGrad: multiplies (Ga)_i² by q_i²",
    )

    def __init__(self, bound: float = 2.0, temperature: float = 10.0) -> None:
        super().__init__()
        self.bound, self.temperature = bound, temperature
        self.state.declare("lag", 0.0, reduce="same")

    def observe_metrics(self, values: Mapping[str, float]) -> None:
        """Take in what tasks have lost against their single-task models, in percent, positive when worse."""
        bad = [f"{task} = {value:g}" for task, value in values.items() if not math.isfinite(value)]
        if bad:
            raise MethodError(f"PIVRG needs finite differences to single-task models, found {', '.join(bad)}")
        self.state.write("lag", list(values), np.array(list(values.values()), dtype=np.float64))

    def solve(self, evidence: Evidence) -> Solution:
        """The α-fair weights for ω."""
        lag = self.state.read("lag", evidence.tasks)
        temperature = max(float(np.ptp(lag)) / math.log(self.bound), self.temperature)
        omega = evidence.size * softmax(lag / temperature)
        liking = evidence.size * evidence.preference * np.sqrt(omega)
        return Solution(*newton_power(evidence.inner, liking, 0.5))
