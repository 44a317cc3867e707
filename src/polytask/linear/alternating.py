"""What the methods share that minimise a non-convex objective by alternation."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from polytask.linear.core.engine import Solution

__all__ = ["finish", "objective_path", "settled"]

Array = NDArray[Any]


def objective_path(solution: Solution) -> Array:
    """Objective after each round."""
    return np.array([value for _, value, _ in solution.history])


def settled(history: list[float], tol: float) -> bool:
    """Whether the last round lowered the objective by at most ``tol`` relative to it."""
    return len(history) > 1 and history[-2] - history[-1] <= tol * abs(history[-1])


def finish(
    W: Array, b: Array, history: list[float], n_iter: int, done: bool, tol: float, gap: float, *, state: Any
) -> Solution:
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
    return Solution(W, b, W, history[-1], gap, n_iter, np.zeros_like(W), done, record, state)
