"""Joint feature selection: all tasks use the same few features (ℓ2,1)."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import MultiTaskElasticNet
from sklearn.utils._param_validation import Interval

from polytask.linear.base import MultiTaskClassifier, MultiTaskRegressor, parameters
from polytask.linear.engine import Solution, solve
from polytask.linear.oracle import Oracle
from polytask.linear.penalised import CrossValidated, FixedAlpha, PenalisedFamily
from polytask.linear.penalties import L21, Penalty
from polytask.linear.problem import Problem

__all__ = [
    "JointFeatureClassifier",
    "JointFeatureClassifierCV",
    "JointFeatureRegressor",
    "JointFeatureRegressorCV",
]

Array = NDArray[Any]


@parameters
class JointFeature(PenalisedFamily):
    """α‖W‖_{2,1} + ½·ridge‖W‖².

    Args:
        ridge: Weight of ½‖W‖² ≥ 0.
    """

    ridge: float = 0.0

    _parameter_constraints: ClassVar[dict[str, Any]] = {"ridge": [Interval(Real, 0, None, closed="left")]}

    def _penalty(self, alpha: float, problem: Problem) -> Penalty:
        return L21(alpha)

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        self.selected_ = np.flatnonzero(np.any(solution.W != 0, axis=1))


@final
@parameters
class JointFeatureRegressor(JointFeature, FixedAlpha, MultiTaskRegressor):
    """Regression in which all tasks select the same features.

    min over W, b of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·w_t − b_t)² + α Σ_j ‖W_j‖_2 + (ridge/2) ‖W‖_F²

    with n̄ the mean number of rows per task and W_j the coefficients of feature j in all tasks. With the same complete
    inputs for all tasks this is scikit-learn's ``MultiTaskLasso`` (``MultiTaskElasticNet`` with a ridge).

    Args:
        alpha: Weight α > 0 of the penalty; :meth:`alpha_max` is where all coefficients vanish.
        ridge: Weight of ½‖W‖² ≥ 0.
        loss: ``"squared"`` (``"auto"``), ``"huber"``, or a :class:`Loss`.
        fit_intercept: Whether each task has an unpenalised intercept.
        task_weight: ``"samples"`` or ``"equal"``, see :class:`LinearMultiTask`.
        tol: Relative duality gap asked for.
        max_iter: Iterations before a ConvergenceWarning.
        warm_start: Start from the last fit, tasks matched by label.
        task_col: Column of X with the task labels.
        unseen: ``"error"``.

    Attributes:
        coef_: (T, d); (d,) when fitted on one vector y without tasks.
        intercept_: (T,) or a number.
        tasks_: Task labels (T,).
        selected_: Indices of the features in use.
        dual_gap_: Certified distance of the objective from its minimum.
        objective_: Objective.
        n_iter_: Iterations.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 8))
        >>> Y = X[:, [1, 4]] @ np.array([[1.0, 2.0, -1.0], [1.5, -1.0, 1.0]])
        >>> JointFeatureRegressor(alpha=0.2).fit(X, Y).selected_.tolist()
        [1, 4]

    References:
        Obozinski, Taskar & Jordan (2010), Joint covariate selection and joint subspace selection for multiple
        classification problems; Argyriou, Evgeniou & Pontil (2008), Convex multi-task feature learning.
    """

    def _solve(
        self, problem: Problem, alpha: float, init: tuple[Array, Array] | None, oracle: Oracle | None = None
    ) -> Solution:
        return super()._solve(problem, alpha, init, oracle)


@final
@parameters
class JointFeatureClassifier(JointFeature, FixedAlpha, MultiTaskClassifier):
    """Binary classification in which all tasks select the same features.

    As :class:`JointFeatureRegressor` with the loss log(1 + exp(−y z)), y = ±1, or ½(1 − y z)_+² (``"squared_hinge"``).

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(80, 6))
        >>> Y = (X[:, [2]] * [1.0, -1.0] > 0).astype(int)
        >>> JointFeatureClassifier(alpha=0.1).fit(X, Y).selected_.tolist()
        [2]
    """


@final
@parameters
class JointFeatureRegressorCV(JointFeature, CrossValidated, MultiTaskRegressor):
    """:class:`JointFeatureRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class JointFeatureClassifierCV(JointFeature, CrossValidated, MultiTaskClassifier):
    """:class:`JointFeatureClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
