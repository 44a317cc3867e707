"""Mean-regularised tasks: every task's coefficients stay close to their mean."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, final

import numpy as np
from sklearn.utils._param_validation import Interval

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import MEAN_TASK, parameters
from polytask.linear.core.penalties import Penalty
from polytask.linear.core.problem import Problem
from polytask.linear.core.spectral import Quadratic
from polytask.linear.penalised import PenalisedFamily
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = [
    "MeanRegularizedClassifier",
    "MeanRegularizedClassifierCV",
    "MeanRegularizedRegressor",
    "MeanRegularizedRegressorCV",
]


@parameters
class MeanRegularized(PenalisedFamily):
    """(α/2) Σ_t ‖w_t − w̄‖² + (ridge/2) Σ_t ‖w_t‖².

    Args:
        ridge: Weight of ½‖W‖² > 0.
    """

    ridge: float = 1e-3

    _shared: ClassVar[str] = MEAN_TASK
    _alpha_scales_norm: ClassVar[bool] = False
    _parameter_constraints: ClassVar[dict[str, Any]] = {"ridge": [Interval(Real, 0, None, closed="neither")]}

    def _penalty(self, alpha: float, problem: Problem) -> Penalty:
        T = problem.n_tasks
        return Quadratic((alpha + self.ridge) * np.eye(T) - alpha / T)


@final
@parameters
class MeanRegularizedRegressor(MeanRegularized, FixedAlpha, MultiTaskRegressor):
    """Regression in which every task's coefficients are drawn to the tasks' mean.

    min over W, b of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·w_t − b_t)² + (α/2) Σ_t ‖w_t − w̄‖² + (ridge/2) Σ_t ‖w_t‖²

    with w̄ = Σ_t w_t/T and n̄ the mean number of rows per task. α → ∞ is one ridge regression pooled over the tasks,
    α → 0 a ridge regression per task.

    Args:
        alpha: Weight α > 0 of the distance from the mean.
        ridge: Weight of ½‖W‖² > 0. The default keeps the problem well posed and hardly shrinks standardised features.
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col: See :class:`LinearMultiTask`.
        unseen: ``"error"``, or ``"shared"``: unseen tasks are predicted by the mean coefficients and intercept.

    Attributes:
        mean_coef_: w̄, (d,).
        mean_intercept_: Mean of the intercepts.
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(50, 3))
        >>> model = MeanRegularizedRegressor(alpha=1e6).fit(X, X @ np.ones((3, 2)) + X[:, [0]] * [1.0, -1.0])
        >>> model.coef_.round(2).tolist()
        [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]

    Notes:
        Evgeniou & Pontil write w_t = w_0 + v_t with (λ1/T) Σ ‖v_t‖² + λ2 ‖w_0‖². Eliminating w_0 gives this problem
        with ridge/2 = λ1 λ2 / (T (λ1 + λ2)) and α/2 = λ1² / (T (λ1 + λ2)).

    References:
        Evgeniou & Pontil (2004), Regularized multi-task learning.
    """


@final
@parameters
class MeanRegularizedClassifier(MeanRegularized, FixedAlpha, MultiTaskClassifier):
    """Binary classification in which every task's coefficients are drawn to the tasks' mean.

    As :class:`MeanRegularizedRegressor` with the loss log(1 + exp(−y z)), y = ±1, or ½(1 − y z)_+²
    (``"squared_hinge"``, close to the hinge loss of the original).
    """


@final
@parameters
class MeanRegularizedRegressorCV(MeanRegularized, CrossValidated, MultiTaskRegressor):
    """:class:`MeanRegularizedRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class MeanRegularizedClassifierCV(MeanRegularized, CrossValidated, MultiTaskClassifier):
    """:class:`MeanRegularizedClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
