"""Low rank: all tasks live in a common low-dimensional subspace (trace norm)."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution
from polytask.linear.core.penalties import Penalty
from polytask.linear.core.problem import Problem
from polytask.linear.core.spectral import TraceNorm
from polytask.linear.penalised import RidgeFamily
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = [
    "TraceNormClassifier",
    "TraceNormClassifierCV",
    "TraceNormRegressor",
    "TraceNormRegressorCV",
    "numerical_rank",
]

Array = NDArray[Any]


def numerical_rank(values: Array) -> int:
    """Number of singular values, in decreasing order, that are not zero but for rounding."""
    return int(np.sum(values > 1e-9 * max(float(values.max(initial=0.0)), np.finfo(float).tiny)))


@parameters
class LowRank(RidgeFamily):
    """α‖W‖_* + ½·ridge‖W‖²."""

    def _penalty(self, alpha: float, problem: Problem) -> Penalty:
        return TraceNorm(alpha)

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        left, values, right = np.linalg.svd(solution.W, full_matrices=False)
        k = self.rank_ = numerical_rank(values)
        self.singular_values_ = values[:k]
        self.components_ = left[:, :k].T
        self.task_loadings_ = right[:k].T * values[:k]


@final
@parameters
class TraceNormRegressor(LowRank, FixedAlpha, MultiTaskRegressor):
    """Regression in which the tasks' coefficients span a low-dimensional subspace.

    min over W, b of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·w_t − b_t)² + α ‖W‖_* + (ridge/2) ‖W‖_F²

    with ‖W‖_* the sum of the singular values of W (d, T) and n̄ the mean number of rows per task.

    Args:
        alpha: Weight α > 0 of the penalty; :meth:`alpha_max` is where all coefficients vanish.
        ridge: Weight of ½‖W‖² ≥ 0.
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col, unseen: See :class:`LinearMultiTask`.

    Attributes:
        rank_: Rank of the coefficients.
        components_: Orthonormal directions in feature space (rank, d).
        task_loadings_: The tasks' coordinates in them (T, rank).
        singular_values_: (rank,).
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 8))
        >>> Y = X @ np.outer(np.arange(8), [1.0, -1.0, 2.0, 0.5])
        >>> TraceNormRegressor(alpha=0.5).fit(X, Y).rank_
        1

    References:
        Pong, Tseng, Ji & Ye (2010), Trace norm regularization: reformulations, algorithms, and multi-task learning.
    """


@final
@parameters
class TraceNormClassifier(LowRank, FixedAlpha, MultiTaskClassifier):
    """Binary classification in which the tasks' coefficients span a low-dimensional subspace.

    As :class:`TraceNormRegressor` with a loss of :class:`MultiTaskClassifier`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(80, 6))
        >>> Y = (X[:, [2]] * [1.0, -1.0] > 0).astype(int)
        >>> TraceNormClassifier(alpha=0.1).fit(X, Y).rank_
        1
    """


@final
@parameters
class TraceNormRegressorCV(LowRank, CrossValidated, MultiTaskRegressor):
    """:class:`TraceNormRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class TraceNormClassifierCV(LowRank, CrossValidated, MultiTaskClassifier):
    """:class:`TraceNormClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
