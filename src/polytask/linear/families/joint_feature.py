"""Joint feature selection: all tasks use the same few features (ℓ2,1)."""

from __future__ import annotations

import warnings
from functools import partial
from numbers import Real
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import MultiTaskElasticNet
from sklearn.utils._param_validation import Interval, StrOptions

from polytask.errors import ConfigError
from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import parameters
from polytask.linear.core.design import SharedDesign, is_sparse
from polytask.linear.core.engine import Solution
from polytask.linear.core.newton import solve
from polytask.linear.core.oracle import Oracle
from polytask.linear.core.penalties import L21, L1Inf, Penalty, SparseGroup
from polytask.linear.core.problem import Problem
from polytask.linear.penalised import RidgeFamily
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = [
    "JointFeatureClassifier",
    "JointFeatureClassifierCV",
    "JointFeatureRegressor",
    "JointFeatureRegressorCV",
]

Array = NDArray[Any]


@parameters
class JointFeature(RidgeFamily):
    """α‖W‖ with a norm that sums over rows, plus ½·ridge‖W‖².

    Args:
        norm: Norm of the rows.
        l1_ratio: Share of ‖W‖_1 in the penalty.
    """

    norm: str = "l2"
    l1_ratio: float = 0.0

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "norm": [StrOptions({"l2", "linf"})],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
    }

    def _penalty(self, alpha: float, problem: Problem) -> Penalty:
        if self.norm == "linf":
            if self.l1_ratio:
                raise ConfigError(f"l1_ratio={self.l1_ratio} needs norm='l2'")
            return L1Inf(alpha)
        return SparseGroup(alpha, self.l1_ratio) if self.l1_ratio else L21(alpha)

    def _solve(
        self, problem: Problem, alpha: float, init: tuple[Array, Array] | None, oracle: Oracle | None = None
    ) -> Solution:
        penalty = self._penalty(alpha, problem)
        dense: Any = None
        if isinstance(penalty, L21) and _is_multi_task_lasso(problem):
            dense = partial(_coordinate_descent, alpha=alpha, ridge=self.ridge)
        return solve(
            problem,
            penalty,
            coupling=self._coupling(alpha, problem),
            init=init,
            tol=self.tol,
            max_iter=self.max_iter,
            oracle=oracle,
            dense_solver=dense,
        )

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        self.selected_ = np.flatnonzero(np.any(solution.W != 0, axis=1))


def _is_multi_task_lasso(problem: Problem) -> bool:
    """Squared loss on the same complete, dense rows for all tasks, of one weight, and Gram matrices do not pay."""
    design = problem.design
    return (
        isinstance(design, SharedDesign)
        and not is_sparse(design.X)
        and design.offset is None
        and problem.loss.quadratic
        and bool(np.ptp(problem.weight) == 0)
        and problem.n_features > design.gram_features(problem.weight)
    )


def _coordinate_descent(problem: Problem, W: Array, gap: float, *, alpha: float, ridge: float) -> Array:
    """scikit-learn's coordinate descent: the better tool when many rows are active and Gram matrices do not pay."""
    X, y, n = problem.design.X, problem.y, problem.y.shape[0]
    model = MultiTaskElasticNet(
        alpha=alpha + ridge,
        l1_ratio=alpha / (alpha + ridge),
        fit_intercept=False,
        copy_X=False,
        warm_start=True,
        max_iter=1000,
        # its gap is n times ours, and its tolerance is relative to ‖Y‖²
        tol=max(gap * n / max(float(np.vdot(y, y)), 1e-300), 1e-12),
    )
    model.coef_ = np.asfortranarray(W.T)
    with warnings.catch_warnings(), config_context(assume_finite=True, skip_parameter_validation=True):
        warnings.simplefilter("ignore", ConvergenceWarning)  # the engine's certificate decides
        return np.asarray(model.fit(X, y).coef_.T)


@final
@parameters
class JointFeatureRegressor(JointFeature, FixedAlpha, MultiTaskRegressor):
    """Regression in which all tasks select the same features.

    min over W, b of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·w_t − b_t)² + α Σ_j ‖W_j‖_2 + (ridge/2) ‖W‖_F²

    with n̄ the mean number of rows per task and W_j the coefficients of feature j in all tasks; ``norm="linf"`` takes
    ‖W_j‖_∞, and ``l1_ratio`` = ρ takes (1 − ρ)‖W_j‖_2 + ρ‖W_j‖_1 (few tasks per selected feature). With the same
    complete inputs for all tasks this is scikit-learn's ``MultiTaskLasso`` (``MultiTaskElasticNet`` with a ridge).

    Args:
        alpha: Weight α > 0 of the penalty; :meth:`alpha_max` is where all coefficients vanish.
        norm: ``"l2"`` or ``"linf"``, the norm of a feature's coefficients.
        l1_ratio: ρ in [0, 1].
        ridge: Weight of ½‖W‖² ≥ 0.
        loss: ``"squared"`` (``"auto"``), ``"huber"``, or a :class:`Loss`.
        fit_intercept: Whether each task has an unpenalised intercept.
        task_weight: ``"samples"`` or ``"equal"``, see :class:`LinearMultiTask`.
        tol: Relative duality gap asked for.
        max_iter: Iterations before a ConvergenceWarning.
        warm_start: Start from the last fit, tasks matched by label.
        task_col: Column of X with the task labels.
        unseen: ``"error"``.

    Attributes:
        coef_: (T, d); (d,) when fitted on one vector y without tasks.
        intercept_: (T,) or a number.
        tasks_: Task labels (T,).
        selected_: Indices of the features in use.
        dual_gap_: Certified distance of the objective from its minimum.
        objective_: Objective.
        n_iter_: Iterations.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 8))
        >>> Y = X[:, [1, 4]] @ np.array([[1.0, 2.0, -1.0], [1.5, -1.0, 1.0]])
        >>> JointFeatureRegressor(alpha=0.2).fit(X, Y).selected_.tolist()
        [1, 4]

    References:
        Obozinski, Taskar & Jordan (2010), Joint covariate selection and joint subspace selection for multiple
        classification problems; Argyriou, Evgeniou & Pontil (2008), Convex multi-task feature learning.
    """


@final
@parameters
class JointFeatureClassifier(JointFeature, FixedAlpha, MultiTaskClassifier):
    """Binary classification in which all tasks select the same features.

    As :class:`JointFeatureRegressor` with a loss of :class:`MultiTaskClassifier`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(80, 6))
        >>> Y = (X[:, [2]] * [1.0, -1.0] > 0).astype(int)
        >>> JointFeatureClassifier(alpha=0.1).fit(X, Y).selected_.tolist()
        [2]
    """


@final
@parameters
class JointFeatureRegressorCV(JointFeature, CrossValidated, MultiTaskRegressor):
    """:class:`JointFeatureRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class JointFeatureClassifierCV(JointFeature, CrossValidated, MultiTaskClassifier):
    """:class:`JointFeatureClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
