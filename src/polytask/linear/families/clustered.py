"""Convex task clustering: tasks in few groups with similar coefficients, without naming the groups in advance."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import MEAN_TASK, parameters
from polytask.linear.core.cluster_norm import ClusterNorm
from polytask.linear.core.engine import Solution
from polytask.linear.core.problem import Problem
from polytask.linear.penalised import PenalisedFamily
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = [
    "ClusterNormFamily",
    "ClusteredTasksClassifier",
    "ClusteredTasksClassifierCV",
    "ClusteredTasksRegressor",
    "ClusteredTasksRegressorCV",
    "group_columns",
    "group_means",
]

Array = NDArray[Any]


def group_columns(W: Array, groups: int) -> Array:
    """Labels (T,) of the columns of W by k-means, numbered by first appearance.

    Args:
        W: (d, T).
        groups: Number of groups; fewer when there are fewer different columns.

    Examples:
        >>> import numpy as np
        >>> group_columns(np.array([[5.0, 1.0, 5.1, 1.1]]), 2).tolist()
        [0, 1, 0, 1]
    """
    from sklearn.cluster import KMeans

    groups = max(1, min(groups, np.unique(W, axis=1).shape[1]))
    labels = KMeans(groups, n_init=10, random_state=0).fit(np.ascontiguousarray(W.T, dtype=float)).labels_
    _, first, codes = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[codes])


def group_means(W: Array, labels: Array) -> Array:
    """Mean coefficients of every group (k, d)."""
    return np.stack([W[:, labels == g].mean(axis=1) for g in np.unique(labels)])


@parameters
class ClusterNormFamily(PenalisedFamily):
    """(α/2)(1 + η) min over 0 ≤ M ≤ I, tr M ≤ k of tr(W (ηI + M)⁻¹ Wᵀ): convex task clustering and convex ASO.

    Args:
        eta: η > 0.
    """

    eta: float = 0.1

    _alpha_scales_norm: ClassVar[bool] = False
    _parameter_constraints: ClassVar[dict[str, Any]] = {"eta": [Interval(Real, 0, None, closed="neither")]}

    def _directions(self) -> float:
        """Bound k on tr M."""
        raise NotImplementedError

    def _penalty(self, alpha: float, problem: Problem) -> ClusterNorm:
        center = bool(getattr(self, "center", False))
        eta, smaller = float(self.eta), min(problem.n_features, problem.n_tasks)
        total = self._directions() + eta * smaller
        return ClusterNorm(alpha * (1 + eta), eta, 1 + eta, total, alpha if center else None)


@parameters
class ClusteredTasks(ClusterNormFamily):
    """Cluster norm of the coefficients, or of their differences from the mean, and the groups read from them.

    Args:
        n_clusters: Number of groups k ≥ 1; need not be an integer.
        center: Whether the mean of the tasks is penalised apart.
    """

    n_clusters: float = 2
    center: bool = True

    _shared: ClassVar[str] = MEAN_TASK
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "n_clusters": [Interval(Real, 1, None, closed="left")],
        "center": ["boolean"],
    }

    def _directions(self) -> float:
        # k centres around their mean span k − 1 directions
        return float(self.n_clusters) - float(self.center)

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        W = solution.W
        rest = W - W.mean(axis=1, keepdims=True) if self.center else W
        _, values, right = np.linalg.svd(rest, full_matrices=False)
        penalty = self._penalty(alpha, problem)
        budgets = penalty.budgets(values) - self.eta
        self.task_relation_ = (right.T * budgets) @ right
        self.task_groups_ = group_columns(W, round(float(self.n_clusters)))
        self.group_coef_ = group_means(W, self.task_groups_)


@final
@parameters
class ClusteredTasksRegressor(ClusteredTasks, FixedAlpha, MultiTaskRegressor):
    """Regression in which the tasks form k groups with similar coefficients, found by a convex problem.

    min over W, b, M of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·w_t − b_t)²
    + (α/2) T ‖w̄‖² + (α/2)(1 + η) tr((W − w̄1ᵀ)(ηI + M)⁻¹(W − w̄1ᵀ)ᵀ)

    over 0 ≤ M ≤ I (T, T) with trace at most k − 1, w̄ the mean of the tasks and n̄ the mean number of rows per task.
    The weight of ½‖·‖² is α for the mean and for the differences between groups, α(1 + 1/η) inside the groups.
    ``center=False`` drops w̄ and takes tr M ≤ k. One group is :class:`MeanRegularizedRegressor` with α/η and ridge α;
    η → ∞ or k ≥ min(d, T) + 1 is ridge regression per task.

    Args:
        alpha: Weight α > 0 of the penalty.
        n_clusters: k ≥ 1.
        eta: η > 0; the smaller, the closer the tasks of a group.
        center: Whether the mean of the tasks is penalised apart (Jacob et al.) or not (Zhou et al.).
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col: See :class:`LinearMultiTask`.
        unseen: ``"error"``, or ``"shared"``: unseen tasks are predicted by the mean coefficients and intercept.

    Attributes:
        mean_coef_, mean_intercept_: Means over the tasks.
        task_groups_: Groups of the tasks (T,), by k-means of their coefficients: M only relaxes the groups.
        group_coef_: Mean coefficients of every group (k, d).
        task_relation_: M, (T, T).
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 4))
        >>> W = rng.normal(size=(4, 2))[:, [0, 1, 0, 1]] + 0.1 * rng.normal(size=(4, 4))
        >>> ClusteredTasksRegressor(alpha=0.01).fit(X, X @ W).task_groups_.tolist()
        [0, 1, 0, 1]

    Notes:
        Solved on the singular values of W alone, where M has a closed form.

    References:
        Jacob, Bach & Vert (2009), Clustered multi-task learning: a convex formulation; Zhou, Chen & Ye (2011),
        Clustered multi-task learning via alternating structure optimization.
    """


@final
@parameters
class ClusteredTasksClassifier(ClusteredTasks, FixedAlpha, MultiTaskClassifier):
    """Binary classification in which the tasks form k groups with similar coefficients.

    As :class:`ClusteredTasksRegressor` with a loss of :class:`MultiTaskClassifier`.
    """


@final
@parameters
class ClusteredTasksRegressorCV(ClusteredTasks, CrossValidated, MultiTaskRegressor):
    """:class:`ClusteredTasksRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class ClusteredTasksClassifierCV(ClusteredTasks, CrossValidated, MultiTaskClassifier):
    """:class:`ClusteredTasksClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
