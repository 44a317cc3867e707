"""Methods that are a procedure: rounds, or one step after another, instead of one convex problem."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from polytask.errors import ConfigError
from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution
from polytask.linear.core.newton import solve
from polytask.linear.core.oracle import Oracle
from polytask.linear.core.penalties import Penalty
from polytask.linear.core.problem import Problem
from polytask.linear.core.spectral import Quadratic
from polytask.linear.penalised import PenalisedFamily

__all__ = ["Procedure", "single_tasks"]

Array = NDArray[Any]


@parameters
class Procedure(PenalisedFamily):
    """A family without a convex penalty: its ``_solve`` is a procedure, and α one of its numbers.

    ``dual_gap_`` certifies its last convex step, the rest held fixed.
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
