"""Convex feature learning: the tasks share a metric on features, learned with them (squared trace norm)."""

from __future__ import annotations

from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import StrOptions

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution
from polytask.linear.core.penalties import Penalty
from polytask.linear.core.problem import Problem
from polytask.linear.core.spectral import SquaredL21, SquaredTraceNorm
from polytask.linear.penalised import RidgeFamily
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = [
    "FeatureLearningClassifier",
    "FeatureLearningClassifierCV",
    "FeatureLearningRegressor",
    "FeatureLearningRegressorCV",
    "SquaredNormFamily",
    "normalised_root",
]

Array = NDArray[Any]


def normalised_root(W: Array) -> Array:
    """(W Wᵀ)^{1/2} / tr (W Wᵀ)^{1/2}: the matrix D of trace 1 that minimises tr(Wᵀ D⁻¹ W), which is then ‖W‖_*².

    Args:
        W: (d, T) for a covariance of features; its transpose for a covariance of tasks.

    Returns:
        (d, d); the identity over d for W = 0.

    Examples:
        >>> import numpy as np
        >>> normalised_root(np.diag([3.0, 1.0])).tolist()
        [[0.75, 0.0], [0.0, 0.25]]
    """
    left, values, _ = np.linalg.svd(W, full_matrices=False)
    total = values.sum()
    if not total > 0:
        return np.eye(len(W)) / len(W)
    return np.asarray((left * (values / total)) @ left.T)


@parameters
class SquaredNormFamily(RidgeFamily):
    """(α/2)‖W‖_*², or (α/2)‖W‖_{2,1}² for ``diagonal``, plus ½·ridge‖W‖²: the core of MTFL and of linear MTRL.

    Minimising (α/2) tr(Wᵀ D⁻¹ W) over D ≥ 0 (d, d) with tr D ≤ 1, or (α/2) tr(W C⁻¹ Wᵀ) over C ≥ 0 (T, T) with
    tr C ≤ 1, gives the first norm; over diagonal D the second.
    """

    _alpha_scales_norm: ClassVar[bool] = False

    def _penalty(self, alpha: float, problem: Problem) -> Penalty:
        return SquaredL21(alpha) if self._is_diagonal() else SquaredTraceNorm(alpha)

    def _is_diagonal(self) -> bool:
        return str(getattr(self, "metric", "full")) == "diagonal"


@parameters
class FeatureLearning(SquaredNormFamily):
    """Squared norms, and the metric behind them.

    Args:
        metric: ``"full"`` or ``"diagonal"``.
    """

    metric: str = "full"

    _parameter_constraints: ClassVar[dict[str, Any]] = {"metric": [StrOptions({"full", "diagonal"})]}

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        if self.metric == "full":
            self.feature_covariance_ = normalised_root(solution.W)
        else:
            norms = np.linalg.norm(solution.W, axis=1)
            total = norms.sum()
            self.feature_covariance_ = np.diag(norms / total if total > 0 else np.full(len(norms), 1 / len(norms)))


@final
@parameters
class FeatureLearningRegressor(FeatureLearning, FixedAlpha, MultiTaskRegressor):
    """Regression with a metric on the features that all tasks learn together (MTFL).

    min over W, b, D of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·w_t − b_t)² + (α/2) Σ_t w_t·D⁻¹w_t + (ridge/2) ‖W‖_F²

    over D ≥ 0 (d, d) with trace at most 1, which equals the penalty (α/2) ‖W‖_*²; with a diagonal D it equals
    (α/2) ‖W‖_{2,1}² and selects features. n̄ is the mean number of rows per task.

    Args:
        alpha: Weight α > 0 of the penalty.
        metric: ``"full"`` or ``"diagonal"`` D.
        ridge: Weight of ½‖W‖² ≥ 0.
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col, unseen: See :class:`LinearMultiTask`.

    Attributes:
        feature_covariance_: D (d, d): (W Wᵀ)^{1/2} over its trace, or the diagonal matrix of ‖W_j‖ / ‖W‖_{2,1}.
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 3))
        >>> model = FeatureLearningRegressor(alpha=0.01).fit(X, X @ np.outer([1.0, 1.0, 0.0], [1.0, 2.0, -1.0]))
        >>> model.feature_covariance_.round(1).tolist()
        [[0.5, 0.5, ...0.0], [0.5, 0.5, ...0.0], [...0.0, ...0.0, 0.0]]

    Notes:
        Solved as one convex problem in W. The published alternation between W and a smoothed D slows down so much for
        little smoothing that it ends above the minimum. α is twice the original γ.

    References:
        Argyriou, Evgeniou & Pontil (2008), Convex multi-task feature learning.
    """


@final
@parameters
class FeatureLearningClassifier(FeatureLearning, FixedAlpha, MultiTaskClassifier):
    """Binary classification with a metric on the features that all tasks learn together.

    As :class:`FeatureLearningRegressor` with a loss of :class:`MultiTaskClassifier`.
    """


@final
@parameters
class FeatureLearningRegressorCV(FeatureLearning, CrossValidated, MultiTaskRegressor):
    """:class:`FeatureLearningRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class FeatureLearningClassifierCV(FeatureLearning, CrossValidated, MultiTaskClassifier):
    """:class:`FeatureLearningClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
