"""Grouping and overlap: every task combines a few of a small number of latent tasks (GO-MTL)."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize
from sklearn.utils._param_validation import Interval

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.alternating import finish, objective_path, settled
from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution, make_oracle
from polytask.linear.core.newton import solve
from polytask.linear.core.oracle import Oracle
from polytask.linear.core.penalties import L1
from polytask.linear.core.problem import Problem
from polytask.linear.core.subproblem import project
from polytask.linear.procedure import Procedure, single_tasks
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = [
    "GroupingOverlapClassifier",
    "GroupingOverlapClassifierCV",
    "GroupingOverlapRegressor",
    "GroupingOverlapRegressorCV",
]

Array = NDArray[Any]


def _refine(
    oracle: Oracle, L: Array, S: Array, b: Array, ridge: float, *, alpha: float | None = None, steps: int
) -> tuple[Array, Array, Array]:
    """Lower loss(L S) + (ridge/2)‖L‖² in L and the solver's intercepts, by L-BFGS.

    With ``alpha`` the loss plus α‖S‖_1 in S as well, whose positive and negative parts are variables of their own.
    """
    d, k, T = *L.shape, S.shape[1]
    free = oracle.problem.free_intercept
    parts = [L.ravel()]
    if alpha is not None:
        parts += [np.maximum(S, 0).ravel(), np.maximum(-S, 0).ravel()]
    cuts = np.cumsum([part.size for part in parts])

    def read(x: Array) -> tuple[Array, Array, Array]:
        basis, *signed = np.split(x[: cuts[-1]], cuts[:-1])
        use = (signed[0] - signed[1]).reshape(k, T) if signed else S
        return basis.reshape(d, k), use, x[cuts[-1] :] if free else b

    def objective(x: Array) -> tuple[float, Array]:
        basis, use, levels = read(x)
        W = np.asfortranarray(basis @ use)
        image = oracle.image(W, levels)
        slope, slope_b = oracle.gradient(image)
        value = oracle.value(W, image) + 0.5 * ridge * float(np.sum(basis**2))
        slopes = [(slope @ use.T + ridge * basis).ravel()]
        if alpha is not None:
            pull = (basis.T @ slope).ravel()
            slopes += [alpha + pull, alpha - pull]
            value += alpha * float(x[cuts[0] : cuts[-1]].sum())
        return value, np.concatenate([*slopes, *([np.asarray(slope_b)] if free else [])]).astype(float)

    start = np.concatenate([*parts, *([b] if free else [])]).astype(float)
    low = np.full(len(start), -np.inf)
    low[cuts[0] : cuts[-1]] = 0
    bounds = Bounds(low, np.inf) if alpha is not None else None
    limits: Any = {"maxiter": steps, "ftol": 1e-15}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=limits)
    basis, use, levels = (part.astype(L.dtype) for part in read(found.x))
    return basis, use, levels


def _balance(L: Array, S: Array, alpha: float, ridge: float) -> tuple[Array, Array]:
    """Rescale every latent task so that its two penalties are smallest at the same product."""
    size, use = np.sum(L**2, axis=0), np.abs(S).sum(axis=1)
    alive = (size > 0) & (use > 0)
    scale = np.ones(len(size), L.dtype)
    scale[alive] = (alpha * use[alive] / (ridge * size[alive])) ** (1 / 3)
    return L * scale, S / scale[:, None]


@parameters
class GroupingOverlap(Procedure):
    """α‖S‖_1 + ½·ridge‖L‖² for W = L S.

    Args:
        n_components: Number of latent tasks k ≥ 1.
        ridge: Weight of ½‖L‖² > 0.
    """

    n_components: int = 3
    ridge: float = 0.1
    max_rounds: int = 500

    _ridge_pays: ClassVar[bool] = False  # only α²·ridge matters
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "ridge": [Interval(Real, 0, None, closed="neither")],
        "max_rounds": [Interval(Integral, 1, None, closed="left")],
    }

    def _solve(
        self, problem: Problem, alpha: float, init: tuple[Array, Array] | None, oracle: Oracle | None = None
    ) -> Solution:
        oracle = make_oracle(problem) if oracle is None else oracle
        inner = max(0.1 * self.tol, 1e-10)
        single = single_tasks(problem, self.ridge, inner, self.max_iter, oracle)
        left, values, right = np.linalg.svd(single.W, full_matrices=False)
        k = min(self.n_components, int(np.sum(values > 1e-10 * max(values.max(initial=0.0), 1e-300))))
        if not k:
            none = (left[:, :0], right[:0])
            return finish(problem.zeros(), single.b, [single.objective], 1, True, self.tol, single.gap, state=none)
        L, S, b = left[:, :k], values[:k, None] * right[:k], single.b
        L, S = _balance(L, S, alpha, self.ridge)
        history: list[float] = []
        for _ in range(self.max_rounds):
            # lasso of every task on the latent tasks' predictions, then the latent tasks given their use
            latent = project(problem, L)
            part = solve(latent, L1(alpha), init=(S, b), tol=inner, max_iter=self.max_iter, warn=False)
            S, b = part.W, part.b
            L, _, b = _refine(oracle, L, S, b, self.ridge, steps=20)
            if len(history) == 1:
                # the second round knows the signs: both factors at once get to the end that rounds creep to
                L, S, b = _refine(oracle, L, S, b, self.ridge, alpha=alpha, steps=300)
            L, S = _balance(L, S, alpha, self.ridge)
            W = np.asfortranarray(L @ S)
            image, b = oracle.refit(oracle.image(W, b), b)
            penalty = alpha * float(np.abs(S).sum()) + 0.5 * self.ridge * float(np.sum(L**2))
            value = oracle.value(W, image) + penalty
            if history and value > history[-1]:  # the inner tolerance is reached
                history.append(history[-1])
                break
            history.append(value)
            best = (L, S, W, b, part.gap)
            if settled(history, 0.1 * self.tol):
                break
        L, S, W, b, gap = best
        done = settled(history, self.tol) or history[-1:] == history[-2:-1]
        return finish(W, b, history, len(history), done, self.tol, gap, state=(L, S))

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        L, S = solution.state
        order = np.argsort(-np.abs(S).sum(axis=1), kind="stable")
        order = order[np.abs(S[order]).sum(axis=1) > 0]
        self.components_ = np.ascontiguousarray(L[:, order].T)
        self.task_loadings_ = np.ascontiguousarray(S[order].T)
        self.objective_path_ = objective_path(solution)


@final
@parameters
class GroupingOverlapRegressor(GroupingOverlap, FixedAlpha, MultiTaskRegressor):
    """Regression in which every task combines a few of k latent tasks, so that groups of tasks overlap (GO-MTL).

    min over L, S, b of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·L s_t − b_t)² + α ‖S‖_1 + (ridge/2) ‖L‖_F²

    with L (d, k) the latent tasks, S (k, T) their sparse use, W = L S, and n̄ the mean number of rows per task.

    Args:
        alpha: Weight α > 0 of ‖S‖_1.
        n_components: Number of latent tasks k; those of no use are dropped.
        ridge: Weight of ½‖L‖² > 0.
        max_rounds: Rounds of the alternation before a ConvergenceWarning.
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col, unseen: See :class:`LinearMultiTask`;
            ``max_iter`` bounds the inner solvers. The start is always the best rank-k fit to the single tasks.

    Attributes:
        components_: Latent tasks in use (k, d), most used first.
        task_loadings_: How much every task uses them (T, k).
        objective_path_: Objective after each round, never increasing.
        dual_gap_: Certified distance from the minimum over S at the last round's L; the whole problem is not convex.
        coef_, intercept_, tasks_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 5))
        >>> Y = X[:, [0, 0, 1, 1]] * [1.0, 2.0, 1.0, -1.0]
        >>> GroupingOverlapRegressor(alpha=0.05, n_components=2).fit(X, Y).task_loadings_.shape
        (4, 2)

    Notes:
        α and ridge can be traded against each other: after rescaling L and S they enter as α²·ridge. The alternation
        rescales after each round, which the original leaves to convergence; the second round lowers the objective in
        both factors at once, to where rounds would creep.

    References:
        Kumar & Daumé (2012), Learning task grouping and overlap in multi-task learning.
    """


@final
@parameters
class GroupingOverlapClassifier(GroupingOverlap, FixedAlpha, MultiTaskClassifier):
    """Binary classification in which every task combines a few of k latent tasks.

    As :class:`GroupingOverlapRegressor` with a loss of :class:`MultiTaskClassifier`.
    """


@final
@parameters
class GroupingOverlapRegressorCV(GroupingOverlap, CrossValidated, MultiTaskRegressor):
    """:class:`GroupingOverlapRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class GroupingOverlapClassifierCV(GroupingOverlap, CrossValidated, MultiTaskClassifier):
    """:class:`GroupingOverlapClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
