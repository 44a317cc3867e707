"""Fused sparse group lasso: features that matter at some times, with coefficients that change rarely."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, final

import numpy as np
from sklearn.utils._param_validation import Interval

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution
from polytask.linear.core.fused import FusedRows, order_of_tasks
from polytask.linear.core.penalties import Penalty
from polytask.linear.core.problem import Problem
from polytask.linear.penalised import RidgeFamily
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = [
    "FusedSparseGroupClassifier",
    "FusedSparseGroupClassifierCV",
    "FusedSparseGroupRegressor",
    "FusedSparseGroupRegressorCV",
]


@parameters
class FusedSparseGroup(RidgeFamily):
    """α(ρ‖W‖_1 + (1 − ρ)‖W‖_{2,1} + fused Σ_j Σ_t |W_j,t+1 − W_jt|), plus ½·ridge‖W‖².

    Args:
        fused: Weight of the changes relative to the other terms ≥ 0.
        l1_ratio: ρ.
        order: Task labels from first to last.
    """

    fused: float = 1.0
    l1_ratio: float = 0.5
    order: Any = None

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "fused": [Interval(Real, 0, None, closed="left")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "order": [None, "array-like"],
    }

    def _penalty(self, alpha: float, problem: Problem) -> Penalty:
        order = order_of_tasks(self.order, problem.tasks)
        return FusedRows(alpha * self.l1_ratio, alpha * self.fused, alpha * (1 - self.l1_ratio), order)

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        self.selected_ = np.flatnonzero(np.any(solution.W != 0, axis=1))
        steps = np.diff(solution.W[:, order_of_tasks(self.order, problem.tasks)], axis=1)
        self.n_changes_ = (steps != 0).sum(axis=1)


@final
@parameters
class FusedSparseGroupRegressor(FusedSparseGroup, FixedAlpha, MultiTaskRegressor):
    """Regression at successive times with few features whose coefficients change rarely (cFSGL).

    min over W, b of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·w_t − b_t)²
    + α (ρ ‖W‖_1 + (1 − ρ) Σ_j ‖W_j‖_2 + f Σ_j Σ_t |W_j,t+1 − W_jt|) + (ridge/2) ‖W‖_F²

    with f = ``fused``, ρ = ``l1_ratio``, the tasks t in the order of time and n̄ the mean number of rows per task.

    Args:
        alpha: Weight α > 0 of the penalty; :meth:`alpha_max` is where all coefficients vanish.
        fused: f ≥ 0; 0 is :class:`JointFeatureRegressor` with this ``l1_ratio``, f → ∞ makes all tasks equal.
        l1_ratio: ρ in [0, 1]; 1 allows a feature to matter at some times only.
        order: Task labels from first to last; None takes sorted labels. A task that is absent from a fold is skipped:
            its neighbours become adjacent.
        ridge: Weight of ½‖W‖² ≥ 0.
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col, unseen: See :class:`LinearMultiTask`.

    Attributes:
        selected_: Indices of the features in use.
        n_changes_: Number of times at which a feature's coefficient changes (d,).
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 5))
        >>> Y = X[:, [2]] * [0.0, 0.0, 1.0, 1.0] + 0.1 * rng.normal(size=(60, 4))
        >>> FusedSparseGroupRegressor(alpha=0.1).fit(X, Y).n_changes_.tolist()
        [0, 0, 1, 0, 0]

    References:
        Zhou, Liu, Narayan & Ye (2012), Modeling disease progression via fused sparse group lasso.
    """


@final
@parameters
class FusedSparseGroupClassifier(FusedSparseGroup, FixedAlpha, MultiTaskClassifier):
    """Binary classification at successive times with few features whose coefficients change rarely.

    As :class:`FusedSparseGroupRegressor` with a loss of :class:`MultiTaskClassifier`.
    """


@final
@parameters
class FusedSparseGroupRegressorCV(FusedSparseGroup, CrossValidated, MultiTaskRegressor):
    """:class:`FusedSparseGroupRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class FusedSparseGroupClassifierCV(FusedSparseGroup, CrossValidated, MultiTaskClassifier):
    """:class:`FusedSparseGroupClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
