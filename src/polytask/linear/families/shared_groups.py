"""Learning with whom to share: tasks in groups, each with a subspace of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval

from polytask.blas import one_blas_thread
from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.alternating import finish, objective_path
from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution, make_oracle
from polytask.linear.core.newton import solve
from polytask.linear.core.oracle import GramOracle, Oracle
from polytask.linear.core.problem import Problem
from polytask.linear.core.spectral import Quadratic, SquaredTraceNorm
from polytask.linear.core.subproblem import project, select_tasks, task_losses
from polytask.linear.procedure import Procedure, single_tasks
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = ["SharedGroupsClassifier", "SharedGroupsClassifierCV", "SharedGroupsRegressor", "SharedGroupsRegressorCV"]

Array = NDArray[Any]

#: share of a subspace's weight that is spread over all directions, so that no task's cost in it is excessive
_OUTSIDE = 1e-3
#: up to so many features a task may have coefficients outside the span of the group's
_FEW = 200


@dataclass
class _Groups:
    """Convex fits of subsets of the tasks, each done once, from where its tasks were in the fits before."""

    oracle: Oracle
    alpha: float
    ridge: float
    tol: float
    max_iter: int
    W: Array
    b: Array
    fits: dict[tuple[int, ...], Solution] = field(default_factory=dict)

    def fit(self, tasks: tuple[int, ...]) -> Solution:
        if tasks not in self.fits:
            part, index = _part(self.oracle, np.array(tasks)), list(tasks)
            found = self.fits[tasks] = solve(
                part.problem,
                SquaredTraceNorm(self.alpha),
                coupling=self.ridge,
                init=(self.W[:, index], self.b[index]),
                tol=self.tol,
                max_iter=self.max_iter,
                oracle=part,
            )
            self.W[:, index], self.b[index] = found.W, found.b
        return self.fits[tasks]

    def cost(self, tasks: tuple[int, ...]) -> float:
        return self.fit(tasks).objective if tasks else 0.0

    def total(self, labels: Array) -> float:
        return sum(self.cost(_members(labels, g)) for g in np.unique(labels))

    def alone(self, tasks: tuple[int, ...]) -> Array:
        """What every task of the problem costs within a group's subspace as it is (T,).

        (α/2)‖W‖_*² is the minimum over D of trace 1 of (α/2) tr(W'D⁻¹W). With a group's D held fixed its tasks part:
        no task costs the group less when it leaves, and none costs it more when it joins.
        """
        problem, W = self.oracle.problem, self.fit(tasks).W
        with one_blas_thread():
            vectors, values, _ = np.linalg.svd(W.astype(float), full_matrices=len(W) <= _FEW)
        if not values.any():
            return np.full(problem.n_tasks, np.inf)
        sizes = np.zeros(vectors.shape[1])
        sizes[: len(values)] = values
        shares = (1 - _OUTSIDE) * sizes / sizes.sum() + _OUTSIDE / len(sizes)
        basis = (vectors / np.sqrt(self.alpha / shares + self.ridge)).astype(W.dtype)
        inside = project(problem, basis)
        gram = basis.T @ self.oracle.gram @ basis if isinstance(self.oracle, GramOracle) else None
        found = solve(
            inside,
            Quadratic(np.eye(problem.n_tasks)),
            tol=0.1 * self.tol,
            max_iter=self.max_iter,
            oracle=None if gram is None else GramOracle(inside, gram),
            warn=False,
        )
        return np.asarray(task_losses(inside, found.W, found.b) + 0.5 * np.sum(found.W**2, axis=0))

    def settle(self, labels: Array, max_rounds: int) -> tuple[Array, list[float]]:
        """Move all tasks at once to the groups whose subspaces suit them best, as long as the objective falls."""
        history = [self.total(labels)]
        for _ in range(max_rounds):
            used = np.unique(labels)
            trial = used[np.argmin([self.alone(_members(labels, g)) for g in used], axis=0)]
            total = history[-1] if np.array_equal(trial, labels) else self.total(trial)
            if not total < (1 - self.tol) * history[-1]:
                break
            labels = trial
            history.append(total)
        return labels, history

    def improve(self, labels: Array, count: int, max_sweeps: int) -> tuple[Array, list[float], bool]:
        """Settle, then move one task at a time to the group where the objective falls most, until none moves."""
        labels, history = self.settle(labels.copy(), max_sweeps)
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


def _part(oracle: Oracle, index: Array) -> Oracle:
    """The oracle of some of the tasks; Gram matrices are sliced when they exist."""
    problem = select_tasks(oracle.problem, index)
    if isinstance(oracle, GramOracle):
        return GramOracle(problem, oracle.gram if oracle.gram.ndim == 2 else oracle.gram[index])
    return make_oracle(problem)


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
        oracle = make_oracle(problem) if oracle is None else oracle
        W, b = problem.start() if init is None else (np.array(part) for part in init)
        groups = _Groups(oracle, alpha, self.ridge, self.tol, self.max_iter, W, b)
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
        objective_path_: Objective after each round of moves and each sweep over the tasks, never increasing.
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
        The original relaxes the memberships and follows gradients. Here every start moves all tasks at once to the
        groups whose subspaces, held fixed, suit them best, which lowers the objective; then tasks move one at a time to
        the group where the exact objective falls most. Every group's coefficients are a certified convex fit.

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
