"""Priority-constrained descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np

from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.contract.options import Limits, PerTask, Real, TaskName
from polytask.errors import ConfigError
from polytask.solvers.nnqp import nnqp
from polytask.solvers.scaling import correlation, definite

__all__ = ["PCD"]

Array = np.ndarray
_INFEASIBLE = 1e-6
_VANISHING = 1e-14


@final
class PCD(GramianMethod):
    """Follow the primary gradient as closely as a guaranteed share of progress for every other task allows.

    With ĝ_i = g_i/√v_i, v_i the bias-corrected average of ‖g_i‖² over the steps so far, minimise ½‖d − ĝ_main‖² over
    ĝ_jᵀd ≥ τ_j·‖ĝ_j‖² for the other tasks j; the step is d rescaled to the length of g_main.

    Args:
        primary: Name of the task that matters most.
        tau: τ in [0, 1], for all other tasks or by name (0 where not named); 0.02 in the paper.
        beta: Decay of the averages, 0.999 in the paper; 0 scales by the current norms.

    Raises:
        ConfigError: An option is outside its limits.

    Examples:
        >>> import torch
        >>> method = PCD(primary="main", tau=0.0)
        >>> method.weights(torch.tensor([[1.0, -0.6], [-0.6, 1.0]]), tasks=["main", "aux"])
        tensor([1.2500, 0.7500])

    Notes:
        Task weights scale the guarantees: τ_j is multiplied by p_j/p_main.
        Where no direction serves all constraints they are dropped, as in the paper, and the step is g_main.
        The paper adds 1e-8 to v_i; a gradient that is zero takes no part here, so nothing has to be added and tiny
        gradients are scaled like large ones.
        The paper makes no step while the primary gradient is zero. Here the others then get weight 1, or the
        task weight, as in a step in which the primary task is absent.

    References:
        "Not all objectives are born equal: priority-constrained descent for hierarchical multi-objective optimization",
        TMLR 2026.
    """

    uses_preference = True
    limits: ClassVar[Limits] = {"primary": TaskName(), "tau": PerTask(Real(0, 1)), "beta": Real(0, 1, open_high=True)}
    card = Card(
        title="PCD",
        paper="TMLR 2026",
        url="https://arxiv.org/abs/2606.29521",
        idea="Serve one task first, and guarantee the others a little progress.",
        cost="K through the shared part",
        invariances=("order of tasks", "a constant factor on each secondary loss"),
        verified=("KKT conditions", "closed form for two tasks", "TorchJD"),
        notes="Many constraints can bend the step far away from the primary gradient.",
        preference="scales the guaranteed progress: τ_j·q_j/q_main for the other tasks",
    )

    def __init__(self, primary: str, tau: float | Mapping[str, float] = 0.02, beta: float = 0.999) -> None:
        super().__init__()
        self.primary, self.tau, self.beta = primary, tau, beta
        if isinstance(tau, Mapping) and primary in tau:
            raise ConfigError(f"tau is for the other tasks, found one for the primary task {primary!r}; leave it out")
        self.state.declare("square", 0.0, reduce="same")
        self.state.declare("count", 0.0, reduce="same")

    def solve(self, evidence: Evidence) -> Solution:
        """The primary task's scale, the constraints' multipliers, and the primary gradient's length."""
        old, count = self.state.read("square", evidence.tasks), self.state.read("count", evidence.tasks) + 1
        square = self.beta * old + (1 - self.beta) * np.diag(evidence.inner)
        news = {"square": square, "count": count}
        if self.primary not in evidence.tasks:
            return Solution(evidence.emphasis, remember=news)
        main = evidence.tasks.index(self.primary)
        others = np.flatnonzero(np.arange(evidence.size) != main)
        cosines, norms = correlation(evidence.inner)
        size = norms / np.sqrt(square / (1 - self.beta**count))
        tau = np.array([self._share(evidence.tasks[i]) for i in others])
        tau = tau * evidence.preference[others] / evidence.preference[main]
        lack = cosines[others, main] * size[main] - tau * size[others]
        pull, iterations = nnqp(definite(cosines[np.ix_(others, others)]), lack) if len(others) else (lack, 0)
        slack = cosines[np.ix_(others, others)] @ pull + lack
        if len(others) and slack.min() < -_INFEASIBLE * abs(lack).max():
            pull = np.zeros(len(others))
        # Coefficients of the unit gradients, then of the gradients.
        units = np.zeros(evidence.size)
        units[main], units[others] = size[main], pull
        squared = float(units @ cosines @ units)
        if squared <= _VANISHING * abs(units).sum() ** 2:
            return Solution(np.zeros(evidence.size), iterations, remember=news)
        return Solution(units * (norms[main] / norms) / np.sqrt(squared), iterations, remember=news)

    def _share(self, task: str) -> float:
        return float(self.tau.get(task, 0.0)) if isinstance(self.tau, Mapping) else self.tau
