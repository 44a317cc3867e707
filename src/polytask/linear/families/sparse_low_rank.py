"""Sparse plus low rank: a common subspace, and single coefficients outside it."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, final

import numpy as np
from sklearn.utils._param_validation import Interval

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution
from polytask.linear.core.penalties import L1, InfimalSum, Penalty
from polytask.linear.core.problem import Problem
from polytask.linear.core.spectral import TraceNorm
from polytask.linear.families.trace_norm import numerical_rank
from polytask.linear.penalised import RidgeFamily
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = [
    "SparseLowRankClassifier",
    "SparseLowRankClassifierCV",
    "SparseLowRankRegressor",
    "SparseLowRankRegressorCV",
]


@parameters
class SparseLowRank(RidgeFamily):
    """α‖P‖_* + α·sparse‖Q‖_1 for W = P + Q, plus ½·ridge‖W‖².

    Args:
        sparse: Weight of the sparse part relative to the low-rank one.
    """

    sparse: float | None = None

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "sparse": [None, Interval(Real, 0, None, closed="neither")],
    }

    def _penalty(self, alpha: float, problem: Problem) -> Penalty:
        ratio = self.sparse
        if ratio is None:
            ratio = (problem.n_features * problem.n_tasks) ** -0.25
        return InfimalSum([TraceNorm(alpha), L1(alpha * ratio)])

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        low_rank, sparse = solution.V
        self.coef_low_rank_ = np.ascontiguousarray(low_rank.T)
        self.coef_sparse_ = np.ascontiguousarray(sparse.T)
        self.rank_ = numerical_rank(np.linalg.svd(low_rank, compute_uv=False))


@final
@parameters
class SparseLowRankRegressor(SparseLowRank, FixedAlpha, MultiTaskRegressor):
    """Regression with coefficients W = P + Q, P of low rank and Q sparse.

    min over P, Q, b of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·(p_t + q_t) − b_t)² + α ‖P‖_* + α s ‖Q‖_1 + (ridge/2) ‖P + Q‖_F²

    with s = ``sparse`` and n̄ the mean number of rows per task. s ≥ 1 leaves no sparse part (trace norm alone),
    s ≤ (dT)^(−1/2) no low-rank one (lasso).

    Args:
        alpha: Weight α > 0 of the low-rank part; :meth:`alpha_max` is where all coefficients vanish.
        sparse: s > 0; None takes (dT)^(−1/4), the middle of the useful range.
        ridge: Weight of ½‖W‖² ≥ 0.
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col, unseen: See :class:`LinearMultiTask`.

    Attributes:
        coef_low_rank_: P, (T, d).
        coef_sparse_: Q, (T, d).
        rank_: Rank of P.
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(200, 6))
        >>> W = np.outer([1.0, -1.0, 1.0, -1.0, 1.0, -1.0], [1.0, 2.0, -1.0, 1.0])
        >>> W[2, 1] += 5
        >>> model = SparseLowRankRegressor(alpha=0.2).fit(X, X @ W)
        >>> model.rank_, np.argwhere(np.abs(model.coef_sparse_) > 1).tolist()
        (1, [[1, 2]])

    Notes:
        Chen, Liu & Ye bound ‖P‖_* and penalise Q. Here both are penalised: the two forms have the same solutions as
        their parameters vary, and the penalised one has a duality gap.

    References:
        Chen, Liu & Ye (2010), Learning incoherent sparse and low-rank patterns from multiple tasks.
    """


@final
@parameters
class SparseLowRankClassifier(SparseLowRank, FixedAlpha, MultiTaskClassifier):
    """Binary classification with coefficients that are low rank plus sparse.

    As :class:`SparseLowRankRegressor` with a loss of :class:`MultiTaskClassifier`.
    """


@final
@parameters
class SparseLowRankRegressorCV(SparseLowRank, CrossValidated, MultiTaskRegressor):
    """:class:`SparseLowRankRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class SparseLowRankClassifierCV(SparseLowRank, CrossValidated, MultiTaskClassifier):
    """:class:`SparseLowRankClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
