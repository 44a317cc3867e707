"""The lasso of each task on its own: the baseline that shares nothing but α (ℓ1)."""

from __future__ import annotations

from typing import final

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import parameters
from polytask.linear.core.penalties import L1, Penalty
from polytask.linear.core.problem import Problem
from polytask.linear.penalised import RidgeFamily
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = ["TaskLassoClassifier", "TaskLassoClassifierCV", "TaskLassoRegressor", "TaskLassoRegressorCV"]


@parameters
class TaskLasso(RidgeFamily):
    """α‖W‖_1 + ½·ridge‖W‖²."""

    def _penalty(self, alpha: float, problem: Problem) -> Penalty:
        return L1(alpha)


@final
@parameters
class TaskLassoRegressor(TaskLasso, FixedAlpha, MultiTaskRegressor):
    """Lasso (elastic net with a ridge) regression of every task, with one α.

    min over W, b of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·w_t − b_t)² + α ‖W‖_1 + (ridge/2) ‖W‖_F²

    with n̄ the mean number of rows per task. With ``task_weight="equal"`` each task is scikit-learn's ``Lasso`` at α.

    Args:
        alpha: Weight α > 0 of the penalty; :meth:`alpha_max` is where all coefficients vanish.
        ridge: Weight of ½‖W‖² ≥ 0.
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col, unseen: See :class:`LinearMultiTask`.

    Attributes:
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 4))
        >>> model = TaskLassoRegressor(alpha=0.1).fit(X, X[:, [0, 3]])
        >>> (model.coef_ != 0).astype(int).tolist()
        [[1, 0, 0, 0], [0, 0, 0, 1]]

    References:
        Tibshirani (1996), Regression shrinkage and selection via the lasso.
    """


@final
@parameters
class TaskLassoClassifier(TaskLasso, FixedAlpha, MultiTaskClassifier):
    """ℓ1-penalised binary classification of every task, with one α.

    As :class:`TaskLassoRegressor` with a loss of :class:`MultiTaskClassifier`.
    """


@final
@parameters
class TaskLassoRegressorCV(TaskLasso, CrossValidated, MultiTaskRegressor):
    """:class:`TaskLassoRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class TaskLassoClassifierCV(TaskLasso, CrossValidated, MultiTaskClassifier):
    """:class:`TaskLassoClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
