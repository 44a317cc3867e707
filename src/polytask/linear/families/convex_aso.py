"""Convex alternating structure optimisation: shared predictive directions in feature space."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, final

import numpy as np
from sklearn.utils._param_validation import Interval

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution
from polytask.linear.core.problem import Problem
from polytask.linear.families.clustered import ClusterNormFamily
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = [
    "AlternatingStructureClassifier",
    "AlternatingStructureClassifierCV",
    "AlternatingStructureRegressor",
    "AlternatingStructureRegressorCV",
]


@parameters
class AlternatingStructure(ClusterNormFamily):
    """Cluster norm with k shared directions of features.

    Args:
        n_components: Number of directions k > 0; need not be an integer.
    """

    n_components: float = 2

    _parameter_constraints: ClassVar[dict[str, Any]] = {"n_components": [Interval(Real, 0, None, closed="neither")]}

    def _directions(self) -> float:
        return float(self.n_components)

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        left, values, right = np.linalg.svd(solution.W, full_matrices=False)
        budgets = self._penalty(alpha, problem).budgets(values) - self.eta
        self.feature_relation_ = (left * budgets) @ left.T
        kept = min(max(round(float(self.n_components)), 1), len(values))
        self.components_ = left[:, :kept].T
        self.task_loadings_ = right[:kept].T * values[:kept]


@final
@parameters
class AlternatingStructureRegressor(AlternatingStructure, FixedAlpha, MultiTaskRegressor):
    """Regression with k directions of features that all tasks may use cheaply (convex ASO).

    min over W, b, M of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·w_t − b_t)² + (α/2)(1 + η) tr(Wᵀ (ηI + M)⁻¹ W)

    over 0 ≤ M ≤ I (d, d) with trace at most k, and n̄ the mean number of rows per task. Coefficients along the k shared
    directions weigh α, all others α(1 + 1/η). As a function of W it is the penalty of
    :class:`ClusteredTasksRegressor` with ``center=False``, where M is (T, T): both fit the same coefficients.

    Args:
        alpha: Weight α > 0 of the penalty.
        n_components: k > 0; from min(d, T) on it is ridge regression per task.
        eta: η > 0; the smaller, the more costly other directions.
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col, unseen: See :class:`LinearMultiTask`.

    Attributes:
        components_: The shared directions, orthonormal (k, d).
        task_loadings_: The tasks' coordinates in them (T, k).
        feature_relation_: M, (d, d).
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 4))
        >>> Y = X @ np.outer([1.0, 1.0, 0.0, 0.0], [1.0, -2.0, 3.0])
        >>> AlternatingStructureRegressor(alpha=0.01, n_components=1).fit(X, Y).components_.round(1).tolist()
        [[...0.7, ...0.7, ...0.0, ...0.0]]

    References:
        Chen, Tang, Liu & Ye (2009), A convex formulation for learning shared structures from multiple tasks; Ando &
        Zhang (2005), A framework for learning predictive structures from multiple tasks and unlabeled data.
    """


@final
@parameters
class AlternatingStructureClassifier(AlternatingStructure, FixedAlpha, MultiTaskClassifier):
    """Binary classification with k directions of features that all tasks may use cheaply.

    As :class:`AlternatingStructureRegressor` with a loss of :class:`MultiTaskClassifier`.
    """


@final
@parameters
class AlternatingStructureRegressorCV(AlternatingStructure, CrossValidated, MultiTaskRegressor):
    """:class:`AlternatingStructureRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class AlternatingStructureClassifierCV(AlternatingStructure, CrossValidated, MultiTaskClassifier):
    """:class:`AlternatingStructureClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
