"""Learning with whom to share: tasks in groups, each with a subspace of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.alternating import finish, objective_path
from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution
from polytask.linear.core.newton import solve
from polytask.linear.core.oracle import Oracle
from polytask.linear.core.problem import Problem
from polytask.linear.core.spectral import SquaredTraceNorm
from polytask.linear.core.subproblem import select_tasks
from polytask.linear.procedure import Procedure, single_tasks
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = ["SharedGroupsClassifier", "SharedGroupsClassifierCV", "SharedGroupsRegressor", "SharedGroupsRegressorCV"]

Array = NDArray[Any]


@dataclass
class _Groups:
    """Convex fits of subsets of the tasks, each done once."""

    problem: Problem
    alpha: float
    ridge: float
    tol: float
    max_iter: int
    fits: dict[tuple[int, ...], Solution] = field(default_factory=dict)

    def fit(self, tasks: tuple[int, ...]) -> Solution:
        if tasks not in self.fits:
            self.fits[tasks] = solve(
                select_tasks(self.problem, np.array(tasks)),
                SquaredTraceNorm(self.alpha),
                coupling=self.ridge,
                tol=self.tol,
                max_iter=self.max_iter,
            )
        return self.fits[tasks]

    def cost(self, tasks: tuple[int, ...]) -> float:
        return self.fit(tasks).objective if tasks else 0.0

    def total(self, labels: Array) -> float:
        return sum(self.cost(_members(labels, g)) for g in np.unique(labels))

    def improve(self, labels: Array, count: int, max_sweeps: int) -> tuple[Array, list[float], bool]:
        """Move one task at a time to the group where the objective falls most, until none moves."""
        labels = labels.copy()
        history = [self.total(labels)]
        for _ in range(max_sweeps):
            moved = False
            for t in range(len(labels)):
                home = _members(labels, labels[t])
                left = self.cost(home) - self.cost(tuple(s for s in home if s != t))
                prices = np.full(count, np.inf)
                for g in range(count):
                    members = _members(labels, g)
                    if g != labels[t]:
                        prices[g] = self.cost(tuple(sorted((*members, t)))) - self.cost(members)
                best = int(np.argmin(prices))
                if prices[best] < left - 2 * self.tol * history[-1]:
                    labels[t], moved = best, True
            history.append(self.total(labels))
            if not moved:
                return labels, history, True
        return labels, history, False


def _members(labels: Array, group: Any) -> tuple[int, ...]:
    return tuple(np.flatnonzero(labels == group).tolist())


@parameters
class SharedGroups(Procedure):
    """(α/2) Σ_g ‖W_g‖_*² over groups of tasks chosen with W, plus ½·ridge‖W‖².

    Args:
        n_groups: Number of groups G ≥ 1.
        ridge: Weight of ½‖W‖² ≥ 0.
        n_restarts: Random groupings tried besides the one from the single tasks' coefficients.
        random_state: Seed of the restarts.
    """

    n_groups: int = 2
    ridge: float = 0.0
    n_restarts: int = 2
    random_state: Any = 0

    _ridge_pays: ClassVar[bool] = False  # of a group of one task, α is its ridge
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "n_groups": [Interval(Integral, 1, None, closed="left")],
        "ridge": [Interval(Real, 0, None, closed="left")],
        "n_restarts": [Interval(Integral, 0, None, closed="left")],
        "random_state": ["random_state"],
    }

    def _starts(self, problem: Problem, alpha: float, count: int, oracle: Oracle | None) -> list[Array]:
        T = problem.n_tasks
        if count == 1 or T == 1:
            return [np.zeros(T, int)]
        if count == T:
            return [np.arange(T)]
        from sklearn.cluster import KMeans

        W = single_tasks(problem, alpha + self.ridge, self.tol, self.max_iter, oracle).W
        sizes = np.linalg.norm(W, axis=0)
        directions = W / np.where(sizes > 0, sizes, 1)
        random = check_random_state(self.random_state)
        # the squared cosine: tasks in one line share their subspace, whatever their signs
        affinity = (directions.T @ directions) ** 2
        start = KMeans(count, n_init=4, random_state=random.randint(2**31 - 1)).fit(affinity).labels_
        return [start, *(random.permutation(np.arange(T) % count) for _ in range(self.n_restarts))]

    def _solve(
        self, problem: Problem, alpha: float, init: tuple[Array, Array] | None, oracle: Oracle | None = None
    ) -> Solution:
        count = min(self.n_groups, problem.n_tasks)
        groups = _Groups(problem, alpha, self.ridge, self.tol, self.max_iter)
        starts = self._starts(problem, alpha, count, oracle)
        runs = [groups.improve(start, count, self.max_iter) for start in starts]
        labels, history, done = min(runs, key=lambda run: run[1][-1])
        W, b = problem.zeros(), np.zeros(problem.n_tasks, problem.design.dtype)
        gap = 0.0
        for g in np.unique(labels):
            tasks = _members(labels, g)
            fit = groups.fit(tasks)
            W[:, list(tasks)], b[list(tasks)] = fit.W, fit.b
            gap += fit.gap
        names = np.unique(labels, return_inverse=True)[1]
        return finish(W, b, history, len(history) - 1, done, self.tol, gap, state=names)

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        self.task_groups_ = solution.state
        self.objective_path_ = objective_path(solution)


@final
@parameters
class SharedGroupsRegressor(SharedGroups, FixedAlpha, MultiTaskRegressor):
    """Regression that learns with whom to share: groups of tasks, each with a subspace of its own.

    min over W, b and groups of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·w_t − b_t)² + (α/2) Σ_g ‖W_g‖_*² + (ridge/2) ‖W‖_F²

    with W_g the coefficients of the tasks in group g, ‖·‖_* the sum of singular values and n̄ the mean number of rows
    per task. One group is :class:`TaskRelationshipRegressor`, a group per task is a ridge regression per task.

    Args:
        alpha: Weight α > 0 of the penalty.
        n_groups: Number of groups; the penalty alone favours many, so it is to be chosen by cross-validation.
        ridge: Weight of ½‖W‖² ≥ 0.
        n_restarts: Random groupings tried besides the one from the single tasks' coefficients.
        random_state: Seed of the restarts.
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col, unseen: See :class:`LinearMultiTask`;
            ``max_iter`` bounds sweeps and inner iterations.

    Attributes:
        task_groups_: Group of each task (T,).
        dual_gap_: Certified distance of the objective from its minimum given the groups.
        objective_path_: Objective after each sweep over the tasks, never increasing.
        coef_, intercept_, tasks_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 4))
        >>> Y = X[:, [0, 0, 1, 1]] * [1.0, -1.0, 1.0, 2.0]
        >>> groups = SharedGroupsRegressor(alpha=0.1).fit(X, Y).task_groups_
        >>> bool(groups[0] == groups[1] != groups[2] == groups[3])
        True

    Notes:
        The original relaxes the memberships and follows gradients. Here tasks move one at a time to the group where the
        exact objective falls most; every group's coefficients are a certified convex fit.

    References:
        Kang, Grauman & Sha (2011), Learning with whom to share in multi-task feature learning.
    """


@final
@parameters
class SharedGroupsClassifier(SharedGroups, FixedAlpha, MultiTaskClassifier):
    """Binary classification that learns with whom to share.

    As :class:`SharedGroupsRegressor` with a loss of :class:`MultiTaskClassifier`.
    """


@final
@parameters
class SharedGroupsRegressorCV(SharedGroups, CrossValidated, MultiTaskRegressor):
    """:class:`SharedGroupsRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class SharedGroupsClassifierCV(SharedGroups, CrossValidated, MultiTaskClassifier):
    """:class:`SharedGroupsClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
