"""Dynamic task prioritization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np

from polytask.balance.contract.asks import VALIDATION_METRICS
from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.contract.options import Limits, PerTask, Real
from polytask.balance.toolbox.values import RunningMean, per_task
from polytask.errors import MethodError

__all__ = ["DTP"]


@final
class DTP(LossMethod):
    """Weights −(1 − κ_i)^γ_i·log κ_i, the focal form: difficult tasks first.

    κ_i in (0, 1] is the running mean of how well task i does, such as its accuracy; 1 is mastery, and then the weight
    is zero. Losses are not looked at.

    Args:
        gamma: γ ≥ 0, how strongly easy tasks are put back, for all tasks or by name (1 for tasks left out). 0 gives
            −log κ. The paper tunes it; 1 is a place to start.
        rate: Weight of a new metric in its running mean, in (0, 1]. The paper's value is not known here; 0.1.
        floor: Smallest κ, in (0, 1], so that a task that fails completely keeps a finite weight; 0.1 as in public
            implementations.

    Raises:
        ConfigError: An option is outside its limits.

    Examples:
        >>> import torch
        >>> method = DTP()
        >>> method.observe_metrics({"easy": 0.9, "hard": 0.3})
        >>> method.weights(torch.tensor([0.5, 2.0]), tasks=["easy", "hard"])
        tensor([0.0105, 0.8428])

    Notes:
        Needs ``balancer.observe_metrics({task: metric})``, as often as there is news (each batch in the paper);
        ``Trainer`` gives it each task's primary metric after every validation, where that is in [0, 1]. A
        metric outside [0, 1] is refused with a ``MethodError`` that names the task; turn an error e into one by
        exp(−e) or 1 − e. A task without metrics yet has weight 1. The paper's second, example-wise part is the focal
        loss as a task's loss.

    References:
        Guo et al., "Dynamic task prioritization for multitask learning", ECCV 2018.
    """

    asks = frozenset({VALIDATION_METRICS})
    limits: ClassVar[Limits] = {
        "gamma": PerTask(Real(0)),
        "rate": Real(0, 1, open_low=True),
        "floor": Real(0, 1, open_low=True),
    }
    card = Card(
        title="DTP",
        paper="Guo et al., ECCV 2018",
        url="https://doi.org/10.1007/978-3-030-01270-0_17",
        idea="Weigh the tasks by how badly they do on their own metric.",
        cost="1",
        invariances=("order of tasks", "losses"),
        verified=("two other implementations' formula, read", "its limits"),
        notes="Metrics of different tasks have to be comparable; a task's weight can reach zero.",
    )

    def __init__(self, gamma: float | Mapping[str, float] = 1.0, rate: float = 0.1, floor: float = 0.1) -> None:
        super().__init__()
        self.gamma, self.rate, self.floor = gamma, rate, floor
        self._skill = RunningMean(self.state, "metric", rate, reduce="same")

    def observe_metrics(self, values: Mapping[str, float]) -> None:
        """Take in how well tasks do, in [0, 1], 1 being best."""
        bad = [f"{task} = {value:g}" for task, value in values.items() if not 0 <= value <= 1]
        if bad:
            raise MethodError(f"DTP needs metrics in [0, 1] where 1 is best, found {', '.join(bad)}; rescale them")
        _, news = self._skill.take(list(values), np.array(list(values.values()), dtype=np.float64))
        self.state.remember(list(values), news)

    def solve(self, evidence: Evidence) -> Solution:
        """−(1 − κ)^γ·log κ."""
        skill = self._skill.read(evidence.tasks, np.nan)
        kappa = np.clip(skill, self.floor, 1.0)
        weights = -((1 - kappa) ** per_task(self.gamma, evidence.tasks, 1.0)) * np.log(kappa)
        return Solution(np.where(np.isnan(skill), 1.0, weights + 0.0))
