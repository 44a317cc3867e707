"""Clusters of tasks, as many as the data ask for: a Dirichlet-process mixture of the tasks' coefficients."""

from __future__ import annotations

import warnings
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import MEAN_TASK, parameters
from polytask.linear.core.engine import Solution, make_oracle
from polytask.linear.core.newton import solve
from polytask.linear.core.oracle import Oracle
from polytask.linear.core.problem import Problem
from polytask.linear.core.spectral import Quadratic
from polytask.linear.families.clustered import group_means
from polytask.linear.procedure import Procedure, single_tasks
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = [
    "DirichletTasksClassifier",
    "DirichletTasksClassifierCV",
    "DirichletTasksRegressor",
    "DirichletTasksRegressorCV",
]

Array = NDArray[Any]


@parameters
class DirichletTasks(Procedure):
    """(α/2) Σ_t ‖w_t − w̄_g(t)‖² + (ridge/2)‖W‖², groups from a mixture of the single tasks' coefficients.

    Args:
        max_groups: Truncation of the mixture.
        concentration: Concentration of the Dirichlet process, or None for 1/max_groups.
        within: Share of the coefficients' variance expected within groups.
        ridge: Weight of ½‖W‖² > 0.
        random_state: Seed of the mixture.
    """

    max_groups: int = 10
    concentration: float | None = None
    within: float = 0.1
    ridge: float = 1e-2
    random_state: Any = 0

    _shared: ClassVar[str] = MEAN_TASK
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "max_groups": [Interval(Integral, 1, None, closed="left")],
        "concentration": [None, Interval(Real, 0, None, closed="neither")],
        "within": [Interval(Real, 0, None, closed="neither")],
        "ridge": [Interval(Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
    }

    def _cluster(self, W: Array) -> Array:
        """Responsibilities (T, G) of the groups in use."""
        T = W.shape[1]
        count = min(self.max_groups, T)
        centred = (W - W.mean(axis=1, keepdims=True)).T
        left, values, _ = np.linalg.svd(centred, full_matrices=False)
        keep = values > 1e-6 * max(float(np.linalg.norm(W)), 1e-300)
        if count == 1 or not keep.any():
            return np.ones((T, 1))
        # directions with less than their even share of the variance are noise for a handful of tasks
        keep &= values**2 >= np.mean(values[keep] ** 2)
        points = left[:, keep] * values[keep]
        spread = float(np.mean(np.sum(points**2, axis=1))) / points.shape[1]
        from sklearn.mixture import BayesianGaussianMixture

        mixture = BayesianGaussianMixture(
            n_components=count,
            covariance_type="spherical",
            weight_concentration_prior_type="dirichlet_process",
            weight_concentration_prior=self.concentration,
            covariance_prior=self.within * spread,
            mean_precision_prior=1e-2,
            reg_covar=1e-6 * spread,
            n_init=5,
            max_iter=1000,
            random_state=self.random_state,
        )
        with warnings.catch_warnings():
            # any responsibilities will do: the fit given the groups is certified on its own
            warnings.simplefilter("ignore", ConvergenceWarning)
            shares = mixture.fit(points).predict_proba(points)
        return np.asarray(shares[:, np.unique(shares.argmax(axis=1))])

    def _shares(self, single: Solution, oracle: Oracle) -> Array:
        """Responsibilities of the single tasks' fits, kept with the oracle: α does not enter."""
        known: tuple[Solution, Array] | None = oracle.kept.get("dirichlet_shares")
        if known is None or known[0] is not single:
            known = oracle.kept["dirichlet_shares"] = single, self._cluster(single.W)
        return known[1]

    def _solve(
        self, problem: Problem, alpha: float, init: tuple[Array, Array] | None, oracle: Oracle | None = None
    ) -> Solution:
        oracle = make_oracle(problem) if oracle is None else oracle
        single = single_tasks(problem, self.ridge, self.tol, self.max_iter, oracle)
        shares = self._shares(single, oracle)
        groups = shares.argmax(axis=1)
        same = groups[:, None] == groups[None, :]
        T = problem.n_tasks
        M = (alpha + self.ridge) * np.eye(T) - alpha * same / same.sum(axis=1, keepdims=True)
        start = (single.W, single.b) if init is None else init
        solution = solve(problem, Quadratic(M), init=start, tol=self.tol, max_iter=self.max_iter, oracle=oracle)
        return replace(solution, state=shares)

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        shares = solution.state
        self.task_groups_ = shares.argmax(axis=1)
        normed = shares / shares.sum(axis=1, keepdims=True)
        self.task_affinity_ = normed @ normed.T
        self.group_coef_ = group_means(solution.W, self.task_groups_)


@final
@parameters
class DirichletTasksRegressor(DirichletTasks, FixedAlpha, MultiTaskRegressor):
    """Regression with clusters of similar tasks, whose number is inferred by a Dirichlet-process mixture.

    Groups g(t) from a truncated Dirichlet-process mixture of Gaussians, fitted by variational inference to the
    coefficients of a ridge regression per task; then

    min over W, b of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·w_t − b_t)² + (α/2) Σ_t ‖w_t − w̄_g(t)‖² + (ridge/2) ‖W‖_F²

    with w̄_g the mean coefficients of group g and n̄ the mean number of rows per task. With one group this is
    :class:`MeanRegularizedRegressor`; α → ∞ pools every group.

    Args:
        alpha: Weight α > 0 of the distance from the group's mean.
        max_groups: Truncation of the mixture.
        concentration: Concentration of the Dirichlet process; larger ones give more groups. None: 1/max_groups.
        within: Share of the coefficients' variance expected within groups: the prior mean of the groups' variance.
        ridge: Weight of ½‖W‖² > 0.
        random_state: Seed of the mixture's starts.
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col: See :class:`LinearMultiTask`.
        unseen: ``"error"``, or ``"shared"``: unseen tasks are predicted by the mean coefficients and intercept.

    Attributes:
        task_groups_: Group of each task (T,).
        task_affinity_: Probability that two tasks share a group (T, T).
        group_coef_: Mean coefficients of the groups (G, d).
        dual_gap_: Certified distance of the objective from its minimum given the groups.
        coef_, intercept_, tasks_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(80, 4))
        >>> W = np.repeat([[1.0, -1.0], [2.0, 0.0], [0.0, 1.0], [0.0, 0.0]], 4, axis=1)
        >>> groups = DirichletTasksRegressor(alpha=1.0).fit(X, X @ W + rng.normal(size=(80, 8))).task_groups_
        >>> [int(np.sum(groups == g)) for g in np.unique(groups)]
        [4, 4]

    Notes:
        The original samples or approximates clusters and coefficients in one posterior. Here the mixture sees the
        single tasks' estimates once; the coefficients follow from a convex problem given the groups.

    References:
        Xue, Liao, Carin & Krishnapuram (2007), Multi-task learning for classification with Dirichlet process priors.
    """


@final
@parameters
class DirichletTasksClassifier(DirichletTasks, FixedAlpha, MultiTaskClassifier):
    """Binary classification with clusters of similar tasks, whose number is inferred by a Dirichlet-process mixture.

    As :class:`DirichletTasksRegressor` with a loss of :class:`MultiTaskClassifier`.
    """


@final
@parameters
class DirichletTasksRegressorCV(DirichletTasks, CrossValidated, MultiTaskRegressor):
    """:class:`DirichletTasksRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class DirichletTasksClassifierCV(DirichletTasks, CrossValidated, MultiTaskClassifier):
    """:class:`DirichletTasksClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
