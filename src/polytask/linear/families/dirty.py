"""Dirty model: features shared by all tasks, plus features of single tasks."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, final

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution
from polytask.linear.core.penalties import Dirty, Penalty
from polytask.linear.core.problem import Problem
from polytask.linear.penalised import RidgeFamily
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = [
    "DirtyModelClassifier",
    "DirtyModelClassifierCV",
    "DirtyModelRegressor",
    "DirtyModelRegressorCV",
]


@parameters
class DirtyModel(RidgeFamily):
    """min over P + Q = W of α Σ_j ‖P_j‖ + α·specific‖Q‖_1, plus ½·ridge‖W‖².

    Args:
        specific: Weight of the task-specific part relative to the shared one.
        norm: Norm of the rows of the shared part.
    """

    specific: float | None = None
    norm: str = "linf"

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "specific": [None, Interval(Real, 0, None, closed="neither")],
        "norm": [StrOptions({"linf", "l2"})],
    }

    def _penalty(self, alpha: float, problem: Problem) -> Penalty:
        ratio = self.specific
        if ratio is None:
            # the middle, in logarithms, of the range where both parts live: (1/T, 1) or (1/√T, 1)
            ratio = problem.n_tasks ** (-0.5 if self.norm == "linf" else -0.25)
        return Dirty(alpha, alpha * ratio, self.norm)

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        penalty = self._penalty(alpha, problem)
        assert isinstance(penalty, Dirty)
        shared, specific = penalty.split(solution.W)
        self.coef_shared_, self.coef_specific_ = np.ascontiguousarray(shared.T), np.ascontiguousarray(specific.T)


@final
@parameters
class DirtyModelRegressor(DirtyModel, FixedAlpha, MultiTaskRegressor):
    """Regression with coefficients W = P + Q: rows of P are used by all tasks, entries of Q by single ones.

    min over P, Q, b of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·(p_t + q_t) − b_t)²
    + α Σ_j ‖P_j‖_∞ + α s ‖Q‖_1 + (ridge/2) ‖P + Q‖_F²

    with s = ``specific`` and n̄ the mean number of rows per task. W is unique where each task's data are; of the splits
    (P, Q) with the smallest penalty one is reported. s ≥ 1 leaves no specific part, s ≤ 1/T no shared one.

    Args:
        alpha: Weight α > 0 of the shared part; :meth:`alpha_max` is where all coefficients vanish.
        specific: s > 0; None takes T^(−1/2) (T^(−1/4) for ``norm="l2"``), the middle of the useful range.
        norm: ``"linf"`` (as published) or ``"l2"`` for the rows of P.
        ridge: Weight of ½‖W‖² ≥ 0.
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col, unseen: See :class:`LinearMultiTask`.

    Attributes:
        coef_shared_: P, (T, d).
        coef_specific_: Q, (T, d).
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(100, 5))
        >>> Y = X[:, [0]] * [2.0, -2.0, 2.0] + X[:, [3]] * [0.0, 3.0, 0.0]
        >>> model = DirtyModelRegressor(alpha=0.3).fit(X, Y)
        >>> model.coef_shared_[:, 0].round(1).tolist(), (model.coef_specific_[:, 3] != 0).tolist()
        ([1.9, -1.9, 1.9], [False, True, False])

    Notes:
        The problem is solved on W with the infimal convolution of the two norms, not alternately on P and Q.

    References:
        Jalali, Ravikumar, Sanghavi & Ruan (2010), A dirty model for multi-task learning.
    """


@final
@parameters
class DirtyModelClassifier(DirtyModel, FixedAlpha, MultiTaskClassifier):
    """Binary classification with shared and task-specific features.

    As :class:`DirtyModelRegressor` with a loss of :class:`MultiTaskClassifier`.
    """


@final
@parameters
class DirtyModelRegressorCV(DirtyModel, CrossValidated, MultiTaskRegressor):
    """:class:`DirtyModelRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class DirtyModelClassifierCV(DirtyModel, CrossValidated, MultiTaskClassifier):
    """:class:`DirtyModelClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
