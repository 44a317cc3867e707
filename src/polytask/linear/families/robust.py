"""Robust multi-task learning: a common subspace for most tasks, and outlier tasks of their own."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, final

import numpy as np
from sklearn.utils._param_validation import Interval

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution
from polytask.linear.core.penalties import Columns, InfimalSum, Penalty
from polytask.linear.core.problem import Problem
from polytask.linear.core.spectral import TraceNorm
from polytask.linear.families.trace_norm import numerical_rank
from polytask.linear.penalised import RidgeFamily
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = [
    "RobustLowRankClassifier",
    "RobustLowRankClassifierCV",
    "RobustLowRankRegressor",
    "RobustLowRankRegressorCV",
]


@parameters
class RobustLowRank(RidgeFamily):
    """α‖P‖_* + α·outlier Σ_t ‖q_t‖ for W = P + Q, plus ½·ridge‖W‖².

    Args:
        outlier: Weight of the outlier tasks' part relative to the low-rank one.
    """

    outlier: float | None = None

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "outlier": [None, Interval(Real, 0, None, closed="neither")],
    }

    def _penalty(self, alpha: float, problem: Problem) -> Penalty:
        # the middle, in logarithms, of the range (1/√T, 1) where both parts live
        ratio = problem.n_tasks**-0.25 if self.outlier is None else self.outlier
        return InfimalSum([TraceNorm(alpha), Columns(alpha * ratio)])

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        low_rank, outlier = solution.V
        self.coef_low_rank_ = np.ascontiguousarray(low_rank.T)
        self.coef_outlier_ = np.ascontiguousarray(outlier.T)
        self.outlier_tasks_ = problem.tasks[np.any(outlier != 0, axis=0)]
        self.rank_ = numerical_rank(np.linalg.svd(low_rank, compute_uv=False))


@final
@parameters
class RobustLowRankRegressor(RobustLowRank, FixedAlpha, MultiTaskRegressor):
    """Regression with coefficients of low rank for most tasks, and a few outlier tasks (RMTL).

    min over P, Q, b of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·(p_t + q_t) − b_t)²
    + α ‖P‖_* + α s Σ_t ‖q_t‖_2 + (ridge/2) ‖P + Q‖_F²

    with s = ``outlier`` and n̄ the mean number of rows per task. s ≥ 1 leaves no outlier task (trace norm alone),
    s ≤ T^(−1/2) no low-rank part (every task alone).

    Args:
        alpha: Weight α > 0 of the low-rank part; :meth:`alpha_max` is where all coefficients vanish.
        outlier: s > 0; None takes T^(−1/4), the middle of the useful range.
        ridge: Weight of ½‖W‖² ≥ 0.
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col, unseen: See :class:`LinearMultiTask`.

    Attributes:
        coef_low_rank_: P, (T, d).
        coef_outlier_: Q, (T, d).
        outlier_tasks_: Labels of the tasks with q_t ≠ 0.
        rank_: Rank of P.
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(200, 6))
        >>> W = np.outer(np.ones(6), [1.0, 2.0, -1.0, 1.0, 2.0])
        >>> W[:, 3] += 4 * rng.normal(size=6)
        >>> RobustLowRankRegressor(alpha=0.5).fit(X, X @ W).outlier_tasks_.tolist()
        [3]

    Notes:
        Only P + Q and the objective are unique; the parts are those the solver ends at.

    References:
        Chen, Zhou & Ye (2011), Integrating low-rank and group-sparse structures for robust multi-task learning.
    """


@final
@parameters
class RobustLowRankClassifier(RobustLowRank, FixedAlpha, MultiTaskClassifier):
    """Binary classification with coefficients of low rank for most tasks, and a few outlier tasks.

    As :class:`RobustLowRankRegressor` with a loss of :class:`MultiTaskClassifier`.
    """


@final
@parameters
class RobustLowRankRegressorCV(RobustLowRank, CrossValidated, MultiTaskRegressor):
    """:class:`RobustLowRankRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class RobustLowRankClassifierCV(RobustLowRank, CrossValidated, MultiTaskClassifier):
    """:class:`RobustLowRankClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
