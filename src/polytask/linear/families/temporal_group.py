"""Temporal group lasso: the same few features at all times, with coefficients that change slowly."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution
from polytask.linear.core.fused import order_of_tasks
from polytask.linear.core.penalties import L21, Penalty
from polytask.linear.core.problem import Problem
from polytask.linear.penalised import PenalisedFamily
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = [
    "TemporalGroupClassifier",
    "TemporalGroupClassifierCV",
    "TemporalGroupRegressor",
    "TemporalGroupRegressorCV",
]

Array = NDArray[Any]


@parameters
class TemporalGroup(PenalisedFamily):
    """α‖W‖_{2,1} + α·smooth/2 Σ_t ‖w_{t+1} − w_t‖² + α·shrink/2 ‖W‖².

    Args:
        smooth: Weight of the squared changes relative to the norm ≥ 0.
        shrink: Weight of the squared coefficients relative to the norm ≥ 0.
        order: Task labels from first to last.
    """

    smooth: float = 1.0
    shrink: float = 0.0
    order: Any = None

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "smooth": [Interval(Real, 0, None, closed="left")],
        "shrink": [Interval(Real, 0, None, closed="left")],
        "order": [None, "array-like"],
    }

    def _penalty(self, alpha: float, problem: Problem) -> Penalty:
        return L21(alpha)

    def _coupling(self, alpha: float, problem: Problem) -> Array:
        T = problem.n_tasks
        changes = np.diff(np.eye(T)[order_of_tasks(self.order, problem.tasks)], axis=0)
        return np.asarray(alpha * (self.smooth * changes.T @ changes + self.shrink * np.eye(T)))

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        self.selected_ = np.flatnonzero(np.any(solution.W != 0, axis=1))


@final
@parameters
class TemporalGroupRegressor(TemporalGroup, FixedAlpha, MultiTaskRegressor):
    """Regression at successive times with the same few features and slowly changing coefficients (TGL).

    min over W, b of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·w_t − b_t)²
    + α (Σ_j ‖W_j‖_2 + (s/2) Σ_t ‖w_{t+1} − w_t‖² + (r/2) ‖W‖_F²)

    with s = ``smooth``, r = ``shrink``, the tasks t in the order of time and n̄ the mean number of rows per task.

    Args:
        alpha: Weight α > 0 of the penalty; :meth:`alpha_max` is where all coefficients vanish.
        smooth: s ≥ 0, in units of 1/coefficient; s → ∞ makes all tasks equal.
        shrink: r ≥ 0, in units of 1/coefficient.
        order: Task labels from first to last; None takes sorted labels. A task that is absent from a fold is skipped:
            its neighbours become adjacent.
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col, unseen: See :class:`LinearMultiTask`.

    Attributes:
        selected_: Indices of the features in use.
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 5))
        >>> Y = X[:, [2]] * [1.0, 1.1, 1.2, 1.3] + 0.1 * rng.normal(size=(60, 4))
        >>> TemporalGroupRegressor(alpha=0.1).fit(X, Y).selected_.tolist()
        [2]

    References:
        Zhou, Yuan, Liu & Ye (2011), A multi-task learning formulation for predicting disease progression.
    """


@final
@parameters
class TemporalGroupClassifier(TemporalGroup, FixedAlpha, MultiTaskClassifier):
    """Binary classification at successive times with the same few features and slowly changing coefficients.

    As :class:`TemporalGroupRegressor` with a loss of :class:`MultiTaskClassifier`.
    """


@final
@parameters
class TemporalGroupRegressorCV(TemporalGroup, CrossValidated, MultiTaskRegressor):
    """:class:`TemporalGroupRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class TemporalGroupClassifierCV(TemporalGroup, CrossValidated, MultiTaskClassifier):
    """:class:`TemporalGroupClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
