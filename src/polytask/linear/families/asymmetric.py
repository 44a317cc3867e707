"""Asymmetric transfer: reliable tasks lend their coefficients to unreliable ones (AMTL)."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from sklearn.utils._param_validation import Interval

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.alternating import finish, objective_path, settled
from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution, make_oracle
from polytask.linear.core.newton import solve
from polytask.linear.core.oracle import GramOracle, Oracle
from polytask.linear.core.problem import Problem
from polytask.linear.core.spectral import Quadratic
from polytask.linear.core.subproblem import reweight, task_losses
from polytask.linear.procedure import Procedure, single_tasks
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = ["AsymmetricClassifier", "AsymmetricClassifierCV", "AsymmetricRegressor", "AsymmetricRegressorCV"]

Array = NDArray[Any]


def nonnegative_lasso(basis: Array, target: Array, cost: Array) -> Array:
    """The minimiser over b ≥ 0 of ½‖w − U b‖² + c·b, exact.

    Its residual v = w − U b is the point nearest to w with Uᵀv ≤ c, which Lawson and Hanson's active sets find.

    Args:
        basis: U (d, k).
        target: w (d,).
        cost: c (k,), non-negative.

    Examples:
        >>> import numpy as np
        >>> nonnegative_lasso(np.eye(2), np.array([3.0, -1.0]), np.array([1.0, 0.0])).round(6).tolist()
        [2.0, 0.0]
    """
    size = float(np.linalg.norm(target))
    bound = basis.T @ target - cost
    if size == 0 or not np.any(bound > 0):
        return np.zeros(len(cost))
    # nearest point to 0 of {x: −Uᵀx ≥ Uᵀw − c}, x = v − w, in units of ‖w‖
    system = np.vstack([-basis, bound[None] / size])
    u = nnls(system, np.append(np.zeros(len(basis)), 1.0), maxiter=30 * len(cost) + 100)[0]
    return np.asarray(size * u / (1 - float(system[-1] @ u)))


@parameters
class Asymmetric(Procedure):
    """(α/2)‖W − W B‖² + ½·ridge‖W‖², the loss of task t times 1 + cost Σ_s B_ts.

    Args:
        cost: Price μ ≥ 0 of lending.
        ridge: Weight of ½‖W‖² > 0.
        max_rounds: Rounds at most.
    """

    cost: float = 0.1
    ridge: float = 1e-2
    max_rounds: int = 500

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "cost": [Interval(Real, 0, None, closed="left")],
        "ridge": [Interval(Real, 0, None, closed="neither")],
        "max_rounds": [Interval(Integral, 1, None, closed="left")],
    }

    def _transfer(self, W: Array, losses: Array, alpha: float) -> Array:
        T = W.shape[1]
        # distances are those of coordinates in the span of the tasks
        basis = W.astype(float)
        if W.shape[0] > T:
            basis = np.asarray(np.linalg.qr(basis, mode="r"))
        new = np.zeros((T, T))
        # a task that has no loss, or next to no coefficients, has learnt nothing: it would lend any multiple for free
        sizes, eps = np.linalg.norm(basis, axis=0), float(np.finfo(W.dtype).eps)
        able = (losses > eps * losses.max(initial=0.0)) & (sizes > np.sqrt(eps) * sizes.max(initial=0.0))
        for t in range(T):
            others = np.flatnonzero(able & (np.arange(T) != t))
            new[others, t] = nonnegative_lasso(basis[:, others], basis[:, t], self.cost / alpha * losses[others])
        return new

    def _total(self, problem: Problem, W: Array, b: Array, B: Array, alpha: float) -> float:
        weighted = (1 + self.cost * B.sum(axis=1)) @ task_losses(problem, W, b)
        return float(weighted + 0.5 * alpha * np.sum((W - W @ B) ** 2) + 0.5 * self.ridge * np.sum(W**2))

    def _solve(
        self, problem: Problem, alpha: float, init: tuple[Array, Array] | None, oracle: Oracle | None = None
    ) -> Solution:
        T = problem.n_tasks
        inner = max(0.1 * self.tol, 1e-10)
        oracle = make_oracle(problem) if oracle is None else oracle
        if init is None:
            single = single_tasks(problem, self.ridge, inner, self.max_iter, oracle)
            W, b = single.W, single.b
        else:
            W, b = init
            b = oracle.refit(oracle.image(W, b), b)[1]
        B = np.zeros((T, T))
        history: list[float] = []
        for _ in range(self.max_rounds):
            trial = self._transfer(W, task_losses(problem, W, b), alpha)
            rest, lent = np.eye(T) - trial, 1 + self.cost * trial.sum(axis=1)
            weighted = reweight(problem, lent)
            part = solve(
                weighted,
                Quadratic(alpha * rest @ rest.T + self.ridge * np.eye(T)),
                init=(W, b),
                tol=inner,
                max_iter=self.max_iter,
                oracle=_scaled(oracle, weighted, lent),
                warn=False,
            )
            value = self._total(problem, part.W, part.b, trial, alpha)
            if history and value > history[-1]:  # the inner tolerance is reached
                history.append(history[-1])
                break
            W, b, B, gap = part.W, part.b, trial, part.gap
            history.append(value)
            if settled(history, 0.1 * self.tol):
                break
        return finish(W, b, history, len(history), settled(history, self.tol), self.tol, gap, state=B)

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        self.transfer_ = solution.state
        self.objective_path_ = objective_path(solution)


def _scaled(oracle: Oracle, weighted: Problem, factor: Array) -> Oracle | None:
    """The oracle of the problem with every task's loss times a factor, from the Gram matrices of the plain one."""
    if not isinstance(oracle, GramOracle):
        return None
    gram = oracle.gram if oracle.gram.ndim == 3 else oracle.gram[None]
    if gram.shape[0] == 1 and len(factor) * gram.size > weighted.design.X.size:
        return None
    return GramOracle(weighted, np.asarray(factor[:, None, None].astype(gram.dtype) * gram))


@final
@parameters
class AsymmetricRegressor(Asymmetric, FixedAlpha, MultiTaskRegressor):
    """Regression with directed transfer: tasks that are easy to learn lend their coefficients to the others (AMTL).

    min over W, b, B ≥ 0 of Σ_t (1 + cost Σ_s B_ts) L_t(w_t, b_t) + (α/2) ‖W − W B‖_F² + (ridge/2) ‖W‖_F²

    with B_tt = 0, B_ts how much task t lends to task s, and L_t = (1/n̄) Σ_i ½(y_ti − x_ti·w_t − b_t)², n̄ the mean
    number of rows per task. A task with a large loss pays for lending, so that it borrows instead.

    Args:
        alpha: Weight α > 0 of the distance from what is borrowed.
        cost: Price μ ≥ 0 of lending, per unit of the lender's loss.
        ridge: Weight of ½‖W‖² > 0.
        max_rounds: Rounds of the alternation before a ConvergenceWarning.
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col, unseen: See :class:`LinearMultiTask`;
            ``max_iter`` bounds the inner solvers.

    Attributes:
        transfer_: B (T, T): row lends to column.
        objective_path_: Objective after each round, never increasing.
        dual_gap_: Certified distance from the minimum over W given B; the whole problem is not convex.
        coef_, intercept_, tasks_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 4))
        >>> y = X @ np.ones(4)
        >>> Y = np.stack([y, y + 3 * rng.normal(size=60)], axis=1)
        >>> B = AsymmetricRegressor(alpha=1.0).fit(X, Y).transfer_
        >>> bool(B[0, 1] > B[1, 0])
        True

    Notes:
        The ridge is an addition: without it the coefficients of tasks that only borrow are not unique.

    References:
        Lee, Yang & Hwang (2016), Asymmetric multi-task learning based on task relatedness and loss.
    """


@final
@parameters
class AsymmetricClassifier(Asymmetric, FixedAlpha, MultiTaskClassifier):
    """Binary classification with directed transfer between the tasks.

    As :class:`AsymmetricRegressor` with a loss of :class:`MultiTaskClassifier`.
    """


@final
@parameters
class AsymmetricRegressorCV(Asymmetric, CrossValidated, MultiTaskRegressor):
    """:class:`AsymmetricRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class AsymmetricClassifierCV(Asymmetric, CrossValidated, MultiTaskClassifier):
    """:class:`AsymmetricClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
