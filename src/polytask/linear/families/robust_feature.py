"""Robust feature learning: features shared by most tasks, and outlier tasks with features of their own."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, final

import numpy as np
from sklearn.utils._param_validation import Interval

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution
from polytask.linear.core.penalties import L21, Columns, InfimalSum, Penalty
from polytask.linear.core.problem import Problem
from polytask.linear.penalised import RidgeFamily
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = [
    "RobustFeatureClassifier",
    "RobustFeatureClassifierCV",
    "RobustFeatureRegressor",
    "RobustFeatureRegressorCV",
]


@parameters
class RobustFeature(RidgeFamily):
    """α‖P‖_{2,1} + α·outlier Σ_t ‖q_t‖ for W = P + Q, plus ½·ridge‖W‖².

    Args:
        outlier: Weight of the outlier tasks' part relative to the shared one.
    """

    outlier: float | None = None

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "outlier": [None, Interval(Real, 0, None, closed="neither")],
    }

    def _penalty(self, alpha: float, problem: Problem) -> Penalty:
        # the middle, in logarithms, of the range (1/√T, √d) where both parts live
        ratio = (problem.n_features / problem.n_tasks) ** 0.25 if self.outlier is None else self.outlier
        return InfimalSum([L21(alpha), Columns(alpha * ratio)])

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        shared, outlier = solution.V
        self.coef_shared_ = np.ascontiguousarray(shared.T)
        self.coef_outlier_ = np.ascontiguousarray(outlier.T)
        self.outlier_tasks_ = problem.tasks[np.any(outlier != 0, axis=0)]
        self.selected_ = np.flatnonzero(np.any(shared != 0, axis=1))


@final
@parameters
class RobustFeatureRegressor(RobustFeature, FixedAlpha, MultiTaskRegressor):
    """Regression with the same few features for most tasks, and a few outlier tasks (rMTFL).

    min over P, Q, b of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·(p_t + q_t) − b_t)²
    + α ‖P‖_{2,1} + α s Σ_t ‖q_t‖_2 + (ridge/2) ‖P + Q‖_F²

    with s = ``outlier`` and n̄ the mean number of rows per task. s ≥ √d leaves no outlier task (joint features alone),
    s ≤ T^(−1/2) no shared part (every task alone).

    Args:
        alpha: Weight α > 0 of the shared part; :meth:`alpha_max` is where all coefficients vanish.
        outlier: s > 0; None takes (d/T)^(1/4), the middle of the useful range.
        ridge: Weight of ½‖W‖² ≥ 0.
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col, unseen: See :class:`LinearMultiTask`.

    Attributes:
        coef_shared_: P, (T, d).
        coef_outlier_: Q, (T, d).
        outlier_tasks_: Labels of the tasks with q_t ≠ 0.
        selected_: Indices of the features in P.
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(200, 8))
        >>> W = np.zeros((8, 6))
        >>> W[:2] = rng.normal(size=(2, 6))
        >>> W[:, 4] = 2 * rng.normal(size=8)
        >>> model = RobustFeatureRegressor(alpha=0.3).fit(X, X @ W)
        >>> model.selected_.tolist(), model.outlier_tasks_.tolist()
        ([0, 1], [4])

    Notes:
        Only P + Q and the objective are unique; the parts are those the solver ends at.

    References:
        Gong, Ye & Zhang (2012), Robust multi-task feature learning.
    """


@final
@parameters
class RobustFeatureClassifier(RobustFeature, FixedAlpha, MultiTaskClassifier):
    """Binary classification with the same few features for most tasks, and a few outlier tasks.

    As :class:`RobustFeatureRegressor` with a loss of :class:`MultiTaskClassifier`.
    """


@final
@parameters
class RobustFeatureRegressorCV(RobustFeature, CrossValidated, MultiTaskRegressor):
    """:class:`RobustFeatureRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class RobustFeatureClassifierCV(RobustFeature, CrossValidated, MultiTaskClassifier):
    """:class:`RobustFeatureClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
