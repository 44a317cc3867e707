"""What the methods share that minimise a non-convex objective by alternation."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from polytask.errors import ConfigError
from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution
from polytask.linear.core.newton import solve
from polytask.linear.core.oracle import Oracle
from polytask.linear.core.penalties import Penalty
from polytask.linear.core.problem import Problem
from polytask.linear.core.spectral import Quadratic
from polytask.linear.penalised import PenalisedFamily

__all__ = ["Alternating", "finish", "objective_path", "settled", "single_tasks"]

Array = NDArray[Any]


@parameters
class Alternating(PenalisedFamily):
    """A family without a convex objective: its ``_solve`` alternates.

    ``dual_gap_`` certifies the last convex step, the rest held fixed.
    """

    _alpha_scales_norm: ClassVar[bool] = False

    def _penalty(self, alpha: float, problem: Problem) -> Penalty:
        raise ConfigError(f"{type(self).__name__} minimises no convex penalty")

    def _alpha_max(self, problem: Problem) -> float:
        raise ConfigError(f"{type(self).__name__} has no alpha at which all coefficients are zero")

    def _start(self, problem: Problem, W: Array) -> tuple[Array, Array]:
        return W, np.zeros(problem.n_tasks, W.dtype)


def single_tasks(problem: Problem, ridge: float, tol: float, max_iter: int, oracle: Oracle | None = None) -> Solution:
    """A ridge regression (or ridge-penalised classification) per task: where alternations start.

    Kept with the oracle: along a path, whose α does not enter, it is computed once.
    """
    kept: dict[str, Any] = {} if oracle is None else oracle.kept
    known: tuple[float, float, Solution] | None = kept.get("single_tasks")
    if known is not None and known[0] == ridge and known[1] <= tol:
        return known[2]
    penalty = Quadratic(ridge * np.eye(problem.n_tasks))
    solution = solve(problem, penalty, tol=tol, max_iter=max_iter, oracle=oracle)
    kept["single_tasks"] = (ridge, tol, solution)
    return solution


def objective_path(solution: Solution) -> Array:
    """Objective after each round."""
    return np.array([value for _, value, _ in solution.history])


def settled(history: list[float], tol: float) -> bool:
    """Whether the last round lowered the objective by at most ``tol`` relative to it."""
    return len(history) > 1 and history[-2] - history[-1] <= tol * abs(history[-1])


def finish(W: Array, b: Array, history: list[float], n_iter: int, done: bool, tol: float, gap: float) -> Solution:
    """The result of an alternation as the engine's record (``gap``: of its last convex step); warns when cut short."""
    if not done:
        last = history[-2] - history[-1] if len(history) > 1 else np.nan
        warnings.warn(
            f"no convergence in {n_iter} rounds: the last one lowered the objective {history[-1]:.3g} by {last:.2g}, "
            f"and tol asks for {tol:.2g} of it; raise max_iter or tol, or scale the features",
            ConvergenceWarning,
            stacklevel=4,
        )
    record = [(k, value, np.nan) for k, value in enumerate(history)]
    return Solution(W, b, W, history[-1], gap, n_iter, np.zeros_like(W), done, record)
