"""Estimators that minimise loss + ½ tr(W M Wᵀ) + Ω_α(W), at one α or along a path."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval

from polytask.errors import ConfigError
from polytask.linear.base import LinearMultiTask, parameters
from polytask.linear.core.engine import Solution, make_oracle
from polytask.linear.core.newton import curvature, solve
from polytask.linear.core.oracle import Oracle
from polytask.linear.core.penalties import Penalty
from polytask.linear.core.problem import Problem
from polytask.linear.layout import read_table

__all__ = ["PathResult", "PenalisedFamily", "RidgeFamily", "pull_at_zero"]

Array = NDArray[Any]

#: relative gap that no fit of a cross-validation exceeds
_ROUGHEST = 1e-2


@final
@dataclass(frozen=True)
class PathResult:
    """Solutions along a decreasing sequence of α.

    Attributes:
        alphas: (A,), decreasing.
        coefs: (A, T, d).
        intercepts: (A, T).
        dual_gaps: (A,).
        objectives: (A,).
        n_iters: (A,).
        tasks: Labels (T,).
    """

    alphas: Array
    coefs: Array
    intercepts: Array
    dual_gaps: Array
    objectives: Array
    n_iters: Array
    tasks: Array


@parameters
class PenalisedFamily(LinearMultiTask):
    """A family of estimators: it names its penalty, and inherits everything else."""

    #: whether α multiplies a norm of W, so that a large enough α makes all coefficients zero
    _alpha_scales_norm: ClassVar[bool] = True
    #: whether a ridge, where the family has one, says something that α does not
    _ridge_pays: ClassVar[bool] = True

    @abstractmethod
    def _penalty(self, alpha: float, problem: Problem) -> Penalty:
        """Ω_α for this problem."""

    def _coupling(self, alpha: float, problem: Problem) -> float | Array:
        """M: a matrix (T, T), or a multiple of the identity."""
        return 0.0

    def _solve(
        self, problem: Problem, alpha: float, init: tuple[Array, Array] | None, oracle: Oracle | None = None
    ) -> Solution:
        """Minimise at one α."""
        return solve(
            problem,
            self._penalty(alpha, problem),
            coupling=self._coupling(alpha, problem),
            init=init,
            tol=self.tol,
            max_iter=self.max_iter,
            oracle=oracle,
        )

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        """Set the family's own fitted attributes."""

    def _finish(self, problem: Problem, alpha: float, solution: Solution) -> tuple[Array, Array]:
        self.n_iter_ = max(solution.n_iter, 1)
        self.dual_gap_ = solution.gap
        self.objective_ = solution.objective
        self._describe(problem, alpha, solution)
        return solution.W, solution.b

    def _probe(self) -> PenalisedFamily:
        """A copy that has not been fitted, at one value of every parameter of the penalty."""
        return type(self)(**self.get_params(deep=False))

    def alpha_max(self, X: Any, y: Any = None, task: Any = None, sample_weight: Any = None) -> float:
        """Smallest α at which all coefficients are zero.

        Args:
            X: As in fit.
            y: As in fit.
            task: As in fit.
            sample_weight: As in fit.

        Raises:
            ConfigError: The penalty of this estimator never makes all coefficients zero.
        """
        probe = self._probe()
        return probe._alpha_max(probe._problem(probe._encode(read_table(probe, X, y, task, sample_weight))))

    def _alpha_max(self, problem: Problem) -> float:
        penalty = self._penalty(1.0, problem)
        if not (penalty.homogeneous and self._alpha_scales_norm):
            raise ConfigError(f"{type(self).__name__} has no alpha at which all coefficients are zero")
        return penalty.gauge(pull_at_zero(problem))

    def path(
        self,
        X: Any,
        y: Any = None,
        task: Any = None,
        sample_weight: Any = None,
        *,
        alphas: int | Sequence[float] = 30,
        eps: float = 1e-2,
    ) -> PathResult:
        """Fit along a decreasing sequence of α, each from the solution before it.

        Args:
            X: As in fit.
            y: As in fit.
            task: As in fit.
            sample_weight: As in fit.
            alphas: Values, or how many to space geometrically from :meth:`alpha_max`.
            eps: Smallest α over the largest one, when their number is given.
        """
        probe = self._probe()
        table = probe._encode(read_table(probe, X, y, task, sample_weight))
        problem = probe._problem(table)
        result = probe._path(problem, probe._grid(problem, alphas, eps))
        units = probe._units(table)
        if units is None:
            return result
        return replace(result, coefs=result.coefs * units[:, None], intercepts=result.intercepts * units)

    def _grid(self, problem: Problem, alphas: Any, eps: float) -> Array:
        if isinstance(alphas, int | np.integer):
            top, eps = self._range(problem, eps)
            return np.geomspace(top, eps * top, int(alphas)) if alphas > 1 else np.array([top])
        grid = np.sort(np.asarray(alphas, dtype=float))[::-1]
        if grid.ndim != 1 or grid.size == 0 or grid[-1] <= 0:
            raise ConfigError(f"alphas must be a number of values or positive values, found {alphas!r}")
        return grid

    def _range(self, problem: Problem, eps: float) -> tuple[float, float]:
        """Largest α of the automatic grid, and the ratio of the smallest to it."""
        if not self._alpha_scales_norm:
            # nothing makes all coefficients zero: from far above the data's curvature to far below
            return 10 * max(curvature(problem), 1e-12), eps**2
        top = self._alpha_max(problem)
        return (top if top > 0 else 1.0), eps

    def _descent(self, problem: Problem, alphas: Array, oracle: Oracle, *, rough: bool) -> Iterator[Solution]:
        """Solutions down the path, each from the one before.

        ``rough`` asks for a gap relative to the first objective instead of each one's own, which shrinks along the
        path: enough to compare losses on other rows, or to start from.
        """
        solver, first = self, np.nan
        init: tuple[Array, Array] | None = None
        for alpha in alphas:
            solution = solver._solve(problem, float(alpha), init, oracle)
            init = (solution.V, solution.b)
            first = solution.objective if np.isnan(first) else first
            if rough and 0 < solution.objective < first:
                solver = copy.copy(self)
                solver.tol = max(self.tol, min(self.tol * first / solution.objective, _ROUGHEST))
            yield solution

    def _path(self, problem: Problem, alphas: Array, *, rough: bool = False) -> PathResult:
        solutions = list(self._descent(problem, alphas, make_oracle(problem), rough=rough))
        return PathResult(
            alphas=np.asarray(alphas),
            coefs=np.stack([s.W.T for s in solutions]),
            intercepts=np.stack([problem.intercept(s.W, s.b) for s in solutions]),
            dual_gaps=np.array([s.gap for s in solutions]),
            objectives=np.array([s.objective for s in solutions]),
            n_iters=np.array([s.n_iter for s in solutions]),
            tasks=problem.tasks,
        )


@parameters
class RidgeFamily(PenalisedFamily):
    """A family whose penalty comes with ½·ridge‖W‖².

    Args:
        ridge: Weight of ½‖W‖² ≥ 0.
    """

    ridge: float = 0.0

    _parameter_constraints: ClassVar[dict[str, Any]] = {"ridge": [Interval(Real, 0, None, closed="left")]}

    def _coupling(self, alpha: float, problem: Problem) -> float | Array:
        return float(self.ridge)


def pull_at_zero(problem: Problem) -> Array:
    """Minus the loss's gradient at W = 0 with the best intercepts (d, T)."""
    oracle = make_oracle(problem)
    W, b = problem.zeros(), np.zeros(problem.n_tasks, problem.design.dtype)
    image, _ = oracle.refit(oracle.image(W, b), b)
    return np.asarray(-oracle.gradient(image)[0])
