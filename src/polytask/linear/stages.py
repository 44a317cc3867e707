"""Non-convex penalties by a sequence of convex problems, each certified, with an objective that never rises."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval

from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution, make_oracle
from polytask.linear.core.newton import solve
from polytask.linear.core.oracle import Oracle
from polytask.linear.core.penalties import Penalty
from polytask.linear.core.problem import Problem
from polytask.linear.penalised import PenalisedFamily

__all__ = ["StagedFamily", "StagedSolution"]

Array = NDArray[Any]


@dataclass(frozen=True)
class StagedSolution(Solution):
    """The last stage's solution; ``objective`` is the non-convex one, ``gap`` the certificate of the last stage.

    ``state`` is what the last stage's convex problem was made from.

    Attributes:
        objectives: Non-convex objective after every stage, non-increasing.
    """

    objectives: tuple[float, ...] = ()


@parameters
class StagedFamily(PenalisedFamily):
    """A family without a convex objective: its ``_solve`` goes through stages.

    Args:
        stages: Largest number of convex problems.
    """

    stages: int = 50

    _parameter_constraints: ClassVar[dict[str, Any]] = {"stages": [Interval(Integral, 1, None, closed="left")]}

    def _in_stages(
        self,
        problem: Problem,
        first: Any,
        convex: Callable[[Any], Penalty],
        following: Callable[[Array, Any], Any],
        value: Callable[[Array, Any], float],
        *,
        coupling: float | Array,
        init: tuple[Array, Array] | None,
        oracle: Oracle | None = None,
    ) -> StagedSolution:
        """Majorise and minimise: solve a convex problem, tighten its penalty at the solution, again.

        The stages end when one lowers the objective by less than ``tol``, or does not reach its gap.

        Args:
            problem: Data and loss.
            first: State of the first stage.
            convex: Convex penalty of a state.
            following: State of the next stage, from coefficients (d, T) and this state.
            value: Non-convex penalty of coefficients, given the state that follows them.
            coupling: As in :func:`polytask.linear.solve`.
            init: Start of the first stage; its minimum does not depend on it.
            oracle: Kept oracle of the problem.
        """
        oracle = make_oracle(problem) if oracle is None else oracle
        objectives: list[float] = []
        state, kept, iterations = first, None, 0
        drop = np.inf
        for _ in range(self.stages):
            penalty = convex(state)
            solution = solve(
                problem, penalty, coupling=coupling, init=init, tol=self.tol, max_iter=self.max_iter, oracle=oracle
            )
            iterations += solution.n_iter
            after = following(solution.W, state)
            objective = float(solution.objective - penalty.value(solution.V) + value(solution.W, after))
            drop = objectives[-1] - objective if objectives else np.inf
            if drop < 0:  # by less than the gaps
                break
            objectives.append(objective)
            kept, used = solution, state
            if drop <= self.tol * abs(objective) or not solution.converged:  # which has been warned of
                break
            state, init = after, (solution.V, solution.b)
        assert kept is not None
        if kept.converged and drop > self.tol * abs(objectives[-1]) and self.stages > 1:
            warnings.warn(
                f"the objective still falls after {self.stages} stages: by {drop:.3g} of {objectives[-1]:.3g} in "
                f"the last one, and tol asks for a share of {self.tol:.2g}; raise stages or tol",
                ConvergenceWarning,
                stacklevel=3,
            )
        plain = {f.name: getattr(kept, f.name) for f in fields(Solution)}
        plain |= {"objective": objectives[-1], "n_iter": iterations, "state": used}
        return StagedSolution(**plain, objectives=tuple(objectives))

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        assert isinstance(solution, StagedSolution)
        self.stage_objectives_ = np.array(solution.objectives)
