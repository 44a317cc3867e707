"""Non-convex fused sparse group lasso: as the convex one, with less shrinkage of the features in use."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution
from polytask.linear.core.fused import FusedRows, order_of_tasks
from polytask.linear.core.oracle import Oracle
from polytask.linear.core.penalties import Penalty
from polytask.linear.core.problem import Problem
from polytask.linear.penalised import RidgeFamily, pull_at_zero
from polytask.linear.stages import StagedFamily, StagedSolution
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = [
    "NonconvexFusedClassifier",
    "NonconvexFusedClassifierCV",
    "NonconvexFusedRegressor",
    "NonconvexFusedRegressorCV",
]

Array = NDArray[Any]


@parameters
class NonconvexFused(StagedFamily, RidgeFamily):
    """α Σ_j √‖W_j‖_1 + α·fused ‖R W‖_1 (``"separate"``), or α Σ_j √(‖W_j‖_1 + fused ‖R W_j‖_1) (``"joint"``).

    Args:
        fused: Weight of the changes ≥ 0.
        form: Whether the changes stand under the root.
        order: Task labels from first to last.
        stages: Largest number of convex problems.
        smoothing: Size of ‖W_j‖ at which the root turns linear.
    """

    fused: float = 1.0
    form: str = "separate"
    order: Any = None
    smoothing: float = 1e-3

    _alpha_scales_norm: ClassVar[bool] = False
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "fused": [Interval(Real, 0, None, closed="left")],
        "form": [StrOptions({"separate", "joint"})],
        "order": [None, "array-like"],
        "smoothing": [Interval(Real, 0, None, closed="neither")],
    }

    def _penalty(self, alpha: float, problem: Problem) -> Penalty:
        """The first stage's."""
        return self._convex(alpha, problem, np.ones(problem.n_features, problem.design.dtype))

    def _convex(self, alpha: float, problem: Problem, weights: Array) -> Penalty:
        changes = alpha * self.fused * (weights if self.form == "joint" else np.ones_like(weights))
        return FusedRows(alpha * weights, changes, 0.0, order_of_tasks(self.order, problem.tasks))

    def _range(self, problem: Problem, eps: float) -> tuple[float, float]:
        return max(self._penalty(1.0, problem).gauge(pull_at_zero(problem)), 1e-12), eps

    def _solve(
        self, problem: Problem, alpha: float, init: tuple[Array, Array] | None, oracle: Oracle | None = None
    ) -> Solution:
        order = order_of_tasks(self.order, problem.tasks)

        def parts(W: Array) -> tuple[Array, Array]:
            entries, changes = np.abs(W).sum(axis=1), np.abs(np.diff(W[:, order], axis=1)).sum(axis=1)
            rooted = entries + self.fused * changes if self.form == "joint" else entries
            return np.sqrt(rooted + self.smoothing), changes

        def value(W: Array, state: Array) -> float:
            roots, changes = parts(W)
            outside = 0.0 if self.form == "joint" else self.fused * float(changes.sum())
            return alpha * (float(np.sum(roots - np.sqrt(self.smoothing))) + outside)

        return self._in_stages(
            problem,
            np.ones(problem.n_features, problem.design.dtype),
            lambda weights: self._convex(alpha, problem, weights),
            lambda W, _: (0.5 / parts(W)[0]).astype(W.dtype),  # slope of the root: its tangent lies above it
            value,
            coupling=self._coupling(alpha, problem),
            init=init,
            oracle=oracle,
        )

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        super()._describe(problem, alpha, solution)
        assert isinstance(solution, StagedSolution)
        self.selected_ = np.flatnonzero(np.any(solution.W != 0, axis=1))
        steps = np.diff(solution.W[:, order_of_tasks(self.order, problem.tasks)], axis=1)
        self.n_changes_ = (steps != 0).sum(axis=1)


@final
@parameters
class NonconvexFusedRegressor(NonconvexFused, FixedAlpha, MultiTaskRegressor):
    """Regression at successive times with few features whose coefficients change rarely, with little shrinkage (nFSGL).

    min over W, b of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·w_t − b_t)²
    + α Σ_j (√(‖W_j‖_1 + ε) + f Σ_t |W_j,t+1 − W_jt|) + (ridge/2) ‖W‖_F²

    with f = ``fused``, ε = ``smoothing``, the tasks t in the order of time and n̄ the mean number of rows per task.
    ``form="joint"`` takes α Σ_j √(‖W_j‖_1 + f Σ_t |W_j,t+1 − W_jt| + ε). The problem is not convex: after a first stage
    with ‖W_j‖_1 in place of the root, every stage replaces the root by its tangent at the last coefficients.

    Args:
        alpha: Weight α > 0 of the penalty.
        fused: f ≥ 0; f → ∞ makes all tasks equal.
        form: ``"separate"`` or ``"joint"``.
        order: Task labels from first to last; None takes sorted labels. A task that is absent from a fold is skipped:
            its neighbours become adjacent.
        stages: Largest number of convex problems.
        smoothing: ε > 0, in units of coefficients: smaller rows are shrunk as by a norm.
        ridge: Weight of ½‖W‖² ≥ 0.
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col, unseen: See :class:`LinearMultiTask`.

    Attributes:
        selected_: Indices of the features in use.
        n_changes_: Number of times at which a feature's coefficient changes (d,).
        stage_objectives_: Objective after every stage, non-increasing (its value at W = 0 is the loss there).
        dual_gap_: Certified gap of the last stage, a convex problem; it says nothing about other local minima.
        coef_, intercept_, tasks_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 5))
        >>> Y = X[:, [2]] * [0.0, 0.0, 1.0, 1.0] + 0.1 * rng.normal(size=(60, 4))
        >>> NonconvexFusedRegressor(alpha=0.1).fit(X, Y).n_changes_.tolist()
        [0, 0, 1, 0, 0]

    References:
        Zhou, Liu, Narayan & Ye (2012), Modeling disease progression via fused sparse group lasso.
    """


@final
@parameters
class NonconvexFusedClassifier(NonconvexFused, FixedAlpha, MultiTaskClassifier):
    """Binary classification at successive times with few features whose coefficients change rarely.

    As :class:`NonconvexFusedRegressor` with a loss of :class:`MultiTaskClassifier`.
    """


@final
@parameters
class NonconvexFusedRegressorCV(NonconvexFused, CrossValidated, MultiTaskRegressor):
    """:class:`NonconvexFusedRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class NonconvexFusedClassifierCV(NonconvexFused, CrossValidated, MultiTaskClassifier):
    """:class:`NonconvexFusedClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
