"""Capped joint feature selection: features beyond a cap are no longer shrunk (multi-stage)."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution
from polytask.linear.core.oracle import Oracle
from polytask.linear.core.penalties import L1, L21, Penalty
from polytask.linear.core.problem import Problem
from polytask.linear.penalised import RidgeFamily
from polytask.linear.stages import StagedFamily, StagedSolution
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = [
    "CappedFeatureClassifier",
    "CappedFeatureClassifierCV",
    "CappedFeatureRegressor",
    "CappedFeatureRegressorCV",
]

Array = NDArray[Any]


@parameters
class CappedFeature(StagedFamily, RidgeFamily):
    """α Σ_j min(‖W_j‖, θ), plus ½·ridge‖W‖².

    Args:
        cap: θ.
        norm: Norm of the rows.
        slope: Slope of the penalty beyond the cap, relative to the slope before it.
    """

    cap: float | None = None
    norm: str = "l1"
    slope: float = 1e-3

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "cap": [None, Interval(Real, 0, None, closed="neither")],
        "norm": [StrOptions({"l1", "l2"})],
        "slope": [Interval(Real, 0, 1, closed="right")],
    }

    def _penalty(self, alpha: float, problem: Problem) -> Penalty:
        """The first stage's."""
        return L1(alpha) if self.norm == "l1" else L21(alpha)

    def _sizes(self, W: Array) -> Array:
        return np.asarray(np.abs(W).sum(axis=1) if self.norm == "l1" else np.sqrt(np.einsum("jt,jt->j", W, W)))

    def _solve(
        self, problem: Problem, alpha: float, init: tuple[Array, Array] | None, oracle: Oracle | None = None
    ) -> Solution:
        weighted: Any = L1 if self.norm == "l1" else L21
        slope = float(self.slope)

        def following(W: Array, state: tuple[Array, float]) -> tuple[Array, float]:
            sizes, cap = self._sizes(W), state[1]
            if np.isnan(cap):  # after the first stage
                cap = 0.2 * float(sizes.max(initial=0.0))
            return np.where(sizes > cap, slope, 1.0).astype(W.dtype), cap

        def value(W: Array, state: tuple[Array, float]) -> float:
            sizes, cap = self._sizes(W), state[1]
            return alpha * float(np.sum(np.minimum(sizes, cap) + slope * np.maximum(sizes - cap, 0)))

        first = (np.ones(problem.n_features, problem.design.dtype), np.nan if self.cap is None else float(self.cap))
        return self._in_stages(
            problem,
            first,
            lambda state: weighted(alpha, state[0]),
            following,
            value,
            coupling=self._coupling(alpha, problem),
            init=init,
            oracle=oracle,
        )

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        super()._describe(problem, alpha, solution)
        assert isinstance(solution, StagedSolution)
        weights, cap = solution.state
        sizes = self._sizes(solution.W)
        self.cap_ = 0.2 * float(sizes.max(initial=0.0)) if np.isnan(cap) else cap
        self.selected_ = np.flatnonzero(sizes)
        self.free_ = np.flatnonzero(weights < 1)


@final
@parameters
class CappedFeatureRegressor(CappedFeature, FixedAlpha, MultiTaskRegressor):
    """Regression in which all tasks select the same features, and clearly selected features are not shrunk (MSMTFL).

    min over W, b of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·w_t − b_t)² + α Σ_j min(‖W_j‖, θ + ρ(‖W_j‖ − θ)) + (ridge/2) ‖W‖_F²

    with θ = ``cap``, ρ = ``slope`` and n̄ the mean number of rows per task. The problem is not convex: the first stage
    is the lasso (joint feature selection for ``norm="l2"``), every later one weighs the rows that exceeded θ by ρ.
    θ → ∞ or ρ = 1 is the first stage alone, θ → 0 with ρ → 0 least squares.

    Args:
        alpha: Weight α > 0 of the penalty; :meth:`alpha_max` is where all coefficients vanish.
        cap: θ > 0, in units of ‖W_j‖; None takes a fifth of the largest row after the first stage.
        norm: ``"l1"`` (as published) or ``"l2"``, the norm of a feature's coefficients.
        slope: ρ in (0, 1].
        stages: Largest number of convex problems.
        ridge: Weight of ½‖W‖² ≥ 0.
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col, unseen: See :class:`LinearMultiTask`.

    Attributes:
        selected_: Indices of the features in use.
        free_: Indices of the features weighed by ρ in the last stage.
        cap_: θ.
        stage_objectives_: Objective after every stage, non-increasing.
        dual_gap_: Certified gap of the last stage, a convex problem; it says nothing about other local minima.
        coef_, intercept_, tasks_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 8))
        >>> Y = X[:, [1, 4]] @ np.array([[1.0, 2.0, -1.0], [1.5, -1.0, 1.0]])
        >>> model = CappedFeatureRegressor(alpha=0.2).fit(X, Y)
        >>> model.free_.tolist(), model.coef_[0, [1, 4]].round(2).tolist()
        ([1, 4], [1.0, 1.5])

    Notes:
        The original stops at the cap (ρ = 0) and fixes the number of stages. A small slope keeps every stage's dual
        problem bounded, and with it the certificate.

    References:
        Gong, Ye & Zhang (2013), Multi-stage multi-task feature learning.
    """


@final
@parameters
class CappedFeatureClassifier(CappedFeature, FixedAlpha, MultiTaskClassifier):
    """Binary classification in which clearly selected features are not shrunk.

    As :class:`CappedFeatureRegressor` with a loss of :class:`MultiTaskClassifier`.
    A feature that separates the classes has no finite coefficient unless it is shrunk: the default slope is larger.
    """

    slope: float = 0.1


@final
@parameters
class CappedFeatureRegressorCV(CappedFeature, CrossValidated, MultiTaskRegressor):
    """:class:`CappedFeatureRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class CappedFeatureClassifierCV(CappedFeature, CrossValidated, MultiTaskClassifier):
    """:class:`CappedFeatureClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""

    slope: float = 0.1
