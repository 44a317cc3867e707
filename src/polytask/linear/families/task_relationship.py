"""Relationship learning: a covariance of the tasks, learned with their coefficients (MTRL)."""

from __future__ import annotations

from typing import final

import numpy as np

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution
from polytask.linear.core.problem import Problem
from polytask.linear.families.feature_learning import SquaredNormFamily, normalised_root
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = [
    "TaskRelationshipClassifier",
    "TaskRelationshipClassifierCV",
    "TaskRelationshipRegressor",
    "TaskRelationshipRegressorCV",
]


@parameters
class TaskRelationship(SquaredNormFamily):
    """(α/2) tr(W C⁻¹ Wᵀ) minimised over C, which is (α/2)‖W‖_*², plus ½·ridge‖W‖²."""

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        self.task_covariance_ = normalised_root(solution.W.T)
        spread = np.sqrt(np.diag(self.task_covariance_))
        alive = np.where(spread > 0, spread, 1)
        self.task_correlation_ = self.task_covariance_ / np.outer(alive, alive)
        np.fill_diagonal(self.task_correlation_, 1.0)


@final
@parameters
class TaskRelationshipRegressor(TaskRelationship, FixedAlpha, MultiTaskRegressor):
    """Regression that learns which tasks are related, unrelated or opposed (MTRL).

    min over W, b, C of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·w_t − b_t)² + (α/2) tr(W C⁻¹ Wᵀ) + (ridge/2) ‖W‖_F²

    over C ≥ 0 (T, T) with trace at most 1, the covariance of the tasks; n̄ is the mean number of rows per task. The
    minimum over C is at C = (WᵀW)^{1/2}/tr (WᵀW)^{1/2} and leaves the penalty (α/2) ‖W‖_*².

    Args:
        alpha: Weight α > 0 of the penalty; its inverse scales the covariance of the tasks.
        ridge: Weight of ½‖W‖² ≥ 0.
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col, unseen: See :class:`LinearMultiTask`.

    Attributes:
        task_covariance_: C (T, T), trace 1.
        task_correlation_: C with its diagonal scaled to 1; tasks without coefficients have correlation 0.
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 4))
        >>> y = X @ np.ones(4)
        >>> model = TaskRelationshipRegressor(alpha=0.1).fit(X, np.stack([y, y, -y], axis=1))
        >>> model.task_correlation_.round(2).tolist()
        [[1.0, 1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]

    Notes:
        Solved as one convex problem in W: without alternation, and with a certificate. It is the problem of
        :class:`FeatureLearningRegressor`, seen from the tasks' side. α is twice the original λ2, ridge twice its λ1.

    References:
        Zhang & Yeung (2010), A convex formulation for learning task relationships in multi-task learning.
    """


@final
@parameters
class TaskRelationshipClassifier(TaskRelationship, FixedAlpha, MultiTaskClassifier):
    """Binary classification that learns which tasks are related, unrelated or opposed.

    As :class:`TaskRelationshipRegressor` with a loss of :class:`MultiTaskClassifier`.
    """


@final
@parameters
class TaskRelationshipRegressorCV(TaskRelationship, CrossValidated, MultiTaskRegressor):
    """:class:`TaskRelationshipRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class TaskRelationshipClassifierCV(TaskRelationship, CrossValidated, MultiTaskClassifier):
    """:class:`TaskRelationshipClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
