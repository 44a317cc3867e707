"""Clustered tasks by alternation: groups by k-means or spectral relaxation, coefficients by a convex problem."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import MEAN_TASK, parameters
from polytask.linear.core.engine import Solution, make_oracle
from polytask.linear.core.oracle import Oracle
from polytask.linear.core.penalties import Penalty
from polytask.linear.core.problem import Problem
from polytask.linear.core.spectral import Quadratic
from polytask.linear.families.clustered import group_columns, group_means
from polytask.linear.stages import StagedFamily, StagedSolution
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = ["TaskGroupsClassifier", "TaskGroupsClassifierCV", "TaskGroupsRegressor", "TaskGroupsRegressorCV"]

Array = NDArray[Any]


def _projector(labels: Array) -> Array:
    """The (T, T) matrix that replaces every task by its group's mean."""
    same = labels[:, None] == labels[None, :]
    return np.asarray(same / same.sum(axis=1, keepdims=True))


@parameters
class TaskGroups(StagedFamily):
    """(α/2) tr(W (I − F Fᵀ) Wᵀ) + (ridge/2) ‖W‖², F the normalised indicators of the groups or any k directions.

    Args:
        n_clusters: Number of groups k.
        assign: How F is found.
        ridge: Weight of ½‖W‖² > 0.
    """

    n_clusters: int = 2
    assign: str = "kmeans"
    ridge: float = 1e-3
    stages: int = 100

    _alpha_scales_norm: ClassVar[bool] = False
    _shared: ClassVar[str] = MEAN_TASK
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "assign": [StrOptions({"kmeans", "spectral"})],
        "ridge": [Interval(Real, 0, None, closed="neither")],
    }

    def _penalty(self, alpha: float, problem: Problem) -> Penalty:
        """Where the alternation starts: one group."""
        return self._quadratic(alpha, np.full((problem.n_tasks, problem.n_tasks), 1 / problem.n_tasks))

    def _quadratic(self, alpha: float, H: Array) -> Quadratic:
        return Quadratic((alpha + self.ridge) * np.eye(len(H)) - alpha * H)

    def _assign(self, W: Array, H: Array) -> Array:
        """F Fᵀ that fits W best, or ``H`` if the new one fits no better."""
        T = W.shape[1]
        if self.assign == "spectral":
            vectors = np.linalg.eigh(W.T @ W)[1][:, max(T - self.n_clusters, 0) :]
            new = np.asarray(vectors @ vectors.T)
        else:
            new = _projector(group_columns(W, self.n_clusters))
        return new if np.linalg.norm(W - W @ new) < np.linalg.norm(W - W @ H) else H

    def _solve(
        self, problem: Problem, alpha: float, init: tuple[Array, Array] | None, oracle: Oracle | None = None
    ) -> Solution:
        oracle = make_oracle(problem) if oracle is None else oracle
        T = problem.n_tasks
        # two starts: tasks on their own, whose groups are noisy, and tasks around one mean, whose groups are biased
        best: StagedSolution | None = None
        for first in (np.eye(T), np.full((T, T), 1 / T)):
            found = self._in_stages(
                problem,
                first,
                lambda H: self._quadratic(alpha, H),
                lambda W, H: self._assign(W, H if np.linalg.matrix_rank(H) <= self.n_clusters else np.zeros((T, T))),
                lambda W, H: self._quadratic(alpha, H).value(W),
                coupling=0.0,
                init=init,
                oracle=oracle,
            )
            best = found if best is None or found.objective < best.objective else best
        assert best is not None
        return best

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        super()._describe(problem, alpha, solution)
        assert isinstance(solution, StagedSolution)
        W, H = solution.W, solution.state
        values, vectors = np.linalg.eigh(H)
        # groups of the last stage; for the spectral relaxation, of the tasks in the directions it found
        self.task_groups_ = group_columns(vectors[:, values > 0.5].T, self.n_clusters)
        self.group_coef_ = group_means(W, self.task_groups_)


@final
@parameters
class TaskGroupsRegressor(TaskGroups, FixedAlpha, MultiTaskRegressor):
    """Regression in which the tasks form k groups with similar coefficients, found by alternation.

    min over W, b and groups of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·w_t − b_t)²
    + (α/2) Σ_t ‖w_t − c_g(t)‖² + (ridge/2) ‖W‖_F²

    with c_g the mean coefficients of group g and n̄ the mean number of rows per task. The problem is not convex; rounds
    of k-means and of a convex problem for W lower the objective until it stays, from two starts.
    ``assign="spectral"`` replaces the groups by the k directions among the tasks with the largest variance, which
    relaxes the problem. k = 1 is :class:`MeanRegularizedRegressor`, k ≥ T ridge regression per task.

    Args:
        alpha: Weight α > 0 of the distances from the groups' means.
        n_clusters: k ≥ 1.
        assign: ``"kmeans"`` or ``"spectral"``.
        ridge: Weight of ½‖W‖² > 0.
        stages: Largest number of rounds from a start.
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col: See :class:`LinearMultiTask`.
        unseen: ``"error"``, or ``"shared"``: unseen tasks are predicted by the mean coefficients and intercept.

    Attributes:
        task_groups_: Groups of the tasks (T,).
        group_coef_: Mean coefficients of every group (k, d).
        mean_coef_, mean_intercept_: Means over the tasks.
        stage_objectives_: Objective after every round, non-increasing.
        dual_gap_: Certified gap of the last convex problem; it says nothing about other groups.
        coef_, intercept_, tasks_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 4))
        >>> W = rng.normal(size=(4, 2))[:, [0, 1, 0, 1]] + 0.1 * rng.normal(size=(4, 4))
        >>> TaskGroupsRegressor(alpha=0.1).fit(X, X @ W).task_groups_.tolist()
        [0, 1, 0, 1]

    Notes:
        The convex relaxation is :class:`ClusteredTasksRegressor`.

    References:
        Zhou, Chen & Ye (2011), Clustered multi-task learning via alternating structure optimization; Zha, He, Ding,
        Simon & Gu (2001), Spectral relaxation for k-means clustering.
    """


@final
@parameters
class TaskGroupsClassifier(TaskGroups, FixedAlpha, MultiTaskClassifier):
    """Binary classification in which the tasks form k groups with similar coefficients, found by alternation.

    As :class:`TaskGroupsRegressor` with a loss of :class:`MultiTaskClassifier`.
    """


@final
@parameters
class TaskGroupsRegressorCV(TaskGroups, CrossValidated, MultiTaskRegressor):
    """:class:`TaskGroupsRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class TaskGroupsClassifierCV(TaskGroups, CrossValidated, MultiTaskClassifier):
    """:class:`TaskGroupsClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
