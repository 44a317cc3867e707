"""The solver behind the convex estimators: accelerated proximal gradient with a certificate.

min over W (d, T), b (T,) of Σ ω_i ℓ(y_i, x_i·w_t(i) + b_t(i)) + ½ tr(W M Wᵀ) + Ω(W)

Steps have length 1/L with L the largest eigenvalue of any task's Gram matrix (not searched for), momentum restarts
when it points uphill, images of extrapolated points come by linearity, and the iteration ends when the duality gap is
at most ``tol`` times the objective. Penalties that are sums over rows are first solved on a growing working set of
rows, and rows which a gap-safe sphere test excludes are dropped; other penalties run on all rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from polytask.linear.oracle import Certificate, DataOracle, GramOracle, Oracle, certify, couple
from polytask.linear.penalties import Penalty, RowPenalty
from polytask.linear.problem import Problem
from polytask.linear.spectral import Quadratic

__all__ = ["Solution", "solve"]

Array = NDArray[Any]

_CHECK_EVERY = 10


@dataclass(frozen=True)
class Solution:
    """Where a solver stopped.

    Attributes:
        W: Coefficients (d, T).
        b: Solver's intercepts (T,); :meth:`Problem.intercept` turns them into the user's.
        V: The variable: W, or its blocks (blocks, d, T).
        objective: P.
        gap: Duality gap P − D ≥ P − min P; NaN where no certificate exists.
        n_iter: Iterations, summed over inner problems.
        G: Dual matrix (d, T), scaled to be feasible.
        converged: Whether the gap reached the tolerance.
        history: (iterations so far, P, gap) at every full certificate.
    """

    W: Array
    b: Array
    V: Array
    objective: float
    gap: float
    n_iter: int
    G: Array
    converged: bool
    history: list[tuple[int, float, float]] = field(default_factory=list)


def make_oracle(problem: Problem) -> Oracle:
    """Gram matrices when the loss is squared and they are worth it, passes over the data otherwise."""
    if problem.loss.quadratic:
        gram = problem.design.gram(problem.weight)
        if gram is not None:
            return GramOracle(problem, gram)
    return DataOracle(problem)


@dataclass
class _State:
    V: Array
    b: Array
    best: Certificate | None = None
    dual: float = -np.inf
    iterations: int = 0
    history: list[tuple[int, float, float]] = field(default_factory=list)


def _top(coupling: float | Array) -> float:
    return float(np.linalg.eigvalsh(coupling)[-1]) if isinstance(coupling, np.ndarray) else float(coupling)


def _collapse(V: Array, penalty: Penalty) -> Array:
    return V if penalty.blocks == 1 else V.sum(axis=0)


def _descend(
    oracle: Oracle,
    penalty: Penalty,
    coupling: float | Array,
    state: _State,
    *,
    target: float,
    relative: bool,
    max_iter: int,
    screen: bool = False,
) -> Array | None:
    """FISTA from ``state`` until the gap is at most ``target`` (times P if ``relative``), or rows can be dropped.

    Returns:
        Boolean mask of the surviving rows if screening removed at least a fifth of them, otherwise None.
    """
    problem = oracle.problem
    free = problem.free_intercept
    L = (oracle.lipschitz + _top(coupling)) * penalty.blocks
    L = max(L, np.finfo(problem.design.dtype).tiny)
    total = problem.design.task_sum(problem.weight) if free else 0.0
    Lb = np.where(total > 0, problem.loss.curvature * total, 1) if free else 1.0
    V, b = state.V, state.b
    W = _collapse(V, penalty)
    image = oracle.image(W, b)
    norms = problem.design.square_norms(problem.weight) if screen else None
    V_z, b_z, momentum = V, b, 1.0
    gradient, gradient_b = oracle.gradient(image)
    lowest, since = np.inf, 0
    for k in range(max_iter + 1):
        if k % _CHECK_EVERY == 0 or k == max_iter:
            certificate = certify(oracle, penalty, coupling, V, b, image)
            state.dual = max(state.dual, certificate.dual)
            state.V, state.b, state.best = V, certificate.b, certificate
            gap = max(certificate.primal - state.dual, 0.0)
            state.history.append((state.iterations, certificate.primal, gap))
            if gap <= target * (abs(certificate.primal) if relative else 1.0) or k == max_iter:
                return None
            if certificate.primal > lowest * (1 + 1e-3):  # an estimated L was too small
                L *= 1.5
            lowest = min(lowest, certificate.primal)
            since += 1
            if norms is not None and since % 2 == 1:
                alive = _survivors(penalty, certificate, norms, problem.loss.curvature, _top(coupling))
                if alive.sum() <= 0.8 * alive.size:
                    return alive
        gradient = gradient + couple(_collapse(V_z, penalty), coupling)
        V_new = penalty.prox(V_z - gradient / L, 1 / L)
        b_new = b_z - gradient_b / Lb if free else b
        step = V_new - V
        uphill = L * float(np.vdot((V_z - V_new).T, step.T))
        if free:
            uphill += float(np.sum(Lb * (b_z - b_new) * (b_new - b)))
        if uphill > 0:
            momentum, beta = 1.0, 0.0
        else:
            following = 0.5 * (1 + np.sqrt(1 + 4 * momentum**2))
            momentum, beta = following, (momentum - 1) / following
        V_z = V_new + beta * step
        b_z = b_new + beta * (b_new - b)
        image, _, gradient, gradient_b = oracle.advance(_collapse(V_new, penalty), b_new, image, float(beta))
        V, b = V_new, b_new
        state.iterations += 1
    return None


def _survivors(penalty: Penalty, certificate: Certificate, norms: Array, curvature: float, ridge: float) -> Array:
    """Rows that the sphere around the dual point, of radius √(2·curvature·gap), does not prove to be zero."""
    assert isinstance(penalty, RowPenalty)
    radius = np.sqrt(2 * (max(curvature, 1.0) if ridge else curvature) * certificate.gap)
    near = certificate.scale * penalty.row_gauge(certificate.G)
    return np.asarray(near + radius * penalty.row_reach(np.sqrt(norms + ridge)) >= 1)


def solve(
    problem: Problem,
    penalty: Penalty,
    *,
    coupling: float | Array = 0.0,
    init: tuple[Array, Array] | None = None,
    tol: float = 1e-4,
    max_iter: int = 10_000,
    working_set: bool = True,
    oracle: Oracle | None = None,
    dense_solver: Callable[[Problem, Array, float], Array | None] | None = None,
    warn: bool = True,
) -> Solution:
    """Minimise a problem to a relative duality gap.

    Args:
        problem: Data, loss, weights.
        penalty: Ω.
        coupling: M, a positive semidefinite (T, T) matrix or a multiple of the identity (ridge).
        init: Variable (d, T) (or with blocks) and solver's intercepts to start from; zeros by default.
        tol: Largest gap allowed, relative to the objective.
        max_iter: Iterations before giving up with a warning.
        working_set: Whether row penalties may run on a working set.
        oracle: Kept oracle of the same problem (paths reuse Gram matrices and eigenvalues).
        dense_solver: Called as ``(problem, W, gap)`` when a row penalty turns out not to be sparse; returns better
            coefficients, or None. The certificate stays the engine's.
        warn: Whether to warn when the gap is not reached.

    Returns:
        The last iterate with its certificate.

    Raises:
        ConvergenceWarning: (a warning) the gap reached is larger than asked for; the message names it.

    Examples:
        >>> import numpy as np
        >>> from polytask.linear import L21, Squared, shared_problem
        >>> problem = shared_problem(np.eye(4), np.diag([4.0, 3.0, 2.0, 1.0]), None, Squared(), intercept=False)
        >>> solve(problem, L21(0.25), tol=1e-10).W.diagonal().round(6).tolist()
        [3.0, 2.0, 1.0, 0.0]
    """
    oracle = make_oracle(problem) if oracle is None else oracle
    if init is None:
        V = problem.zeros()
        V = V if penalty.blocks == 1 else np.stack([V] * penalty.blocks)
        b = np.zeros(problem.n_tasks, problem.design.dtype)
    else:
        V, b = (np.array(part, dtype=problem.design.dtype, order="K") for part in init)
    state = _State(V, b)
    rows = isinstance(penalty, RowPenalty)
    wide = problem.n_features > 20
    done = False
    if isinstance(penalty, Quadratic) and problem.loss.quadratic and not _top(coupling):
        _conjugate_gradients(oracle, penalty, state, tol, max_iter)
        done = True
    elif isinstance(penalty, RowPenalty) and wide and working_set:
        done = _working_sets(oracle, penalty, coupling, state, tol, max_iter)
        if not done and dense_solver is not None and state.best is not None:
            better = dense_solver(problem, state.V, tol * max(state.dual, 0.0))
            state.V = state.V if better is None else better
    if not done:
        _full(oracle, penalty, coupling, state, tol, max_iter, screen=rows and wide)
    assert state.best is not None
    gap = max(state.best.primal - state.dual, 0.0)
    converged = bool(gap <= tol * abs(state.best.primal))
    if not converged and warn:
        warnings.warn(
            f"no convergence in {state.iterations} iterations: the duality gap is {gap:.3g}, "
            f"{gap / max(abs(state.best.primal), 1e-300):.2g} of the objective, and tol asks for {tol:.2g}; "
            "raise max_iter or tol, or scale the features",
            ConvergenceWarning,
            stacklevel=3,
        )
    return Solution(
        W=_collapse(state.V, penalty),
        b=state.b,
        V=state.V,
        objective=state.best.primal,
        gap=gap,
        n_iter=state.iterations,
        G=state.best.scale * state.best.G,
        converged=converged,
        history=state.history,
    )


def _full(
    oracle: Oracle, penalty: Penalty, coupling: float | Array, state: _State, tol: float, max_iter: int, *, screen: bool
) -> None:
    """FISTA on all rows, restarted on the survivors whenever screening drops enough of them."""
    index = np.arange(oracle.problem.n_features)
    inner, part = oracle, penalty
    while True:
        small = _State(state.V[..., index, :], state.b, dual=state.dual, iterations=state.iterations)
        left = max_iter - state.iterations
        alive = _descend(inner, part, coupling, small, target=tol, relative=True, max_iter=max(left, 0), screen=screen)
        V = np.zeros_like(state.V)
        V[..., index, :] = small.V
        state.V, state.b, state.dual, state.iterations = V, small.b, small.dual, small.iterations
        state.history += small.history
        state.best = small.best
        if alive is None:
            break
        # a dropped row is zero at the optimum and feasible in the dual: bounds of the small problem hold for the whole
        index = index[alive]
        assert isinstance(penalty, RowPenalty)
        inner, part = restrict(oracle, index), penalty.rows(index)
        state.V[..., np.setdiff1d(np.arange(oracle.problem.n_features), index), :] = 0
    if len(index) < oracle.problem.n_features:
        _recertify(oracle, penalty, coupling, state)


def _conjugate_gradients(oracle: Oracle, penalty: Quadratic, state: _State, tol: float, max_iter: int) -> None:
    """Squared loss and quadratic penalty: the normal equations H_t w_t + (W M)_t = q_t, preconditioned by M + h I."""
    problem = oracle.problem
    h = max(oracle.lipschitz, 1e-300) / 3
    vectors, inverse = penalty.vectors, 1 / (h + penalty.roots)
    none = np.zeros(problem.n_tasks, problem.design.dtype)
    offset, _ = oracle.gradient(oracle.image(np.zeros_like(state.V), none))

    def precondition(R: Array) -> Array:
        return np.asarray(((R @ vectors) * inverse) @ vectors.T)

    W = state.V
    image = oracle.image(W, none)
    R = -(oracle.gradient(image)[0] + W @ penalty.M)
    P = precondition(R)
    size = float(np.vdot(R, P))
    for k in range(max_iter + 1):
        if k % _CHECK_EVERY == 0 or k == max_iter or size <= 0:
            certificate = certify(oracle, penalty, 0.0, W, state.b, image)
            state.V, state.best, state.dual = W, certificate, max(state.dual, certificate.dual)
            gap = max(certificate.primal - state.dual, 0.0)
            state.history.append((state.iterations, certificate.primal, gap))
            if gap <= tol * abs(certificate.primal) or size <= 0:
                return
        image_P = oracle.image(P, none)
        AP = oracle.gradient(image_P)[0] - offset + P @ penalty.M
        step = size / float(np.vdot(P, AP))
        W, image, R = W + step * P, image + step * image_P, R - step * AP
        Z = precondition(R)
        following = float(np.vdot(R, Z))
        P = Z + (following / size) * P
        size = following
        state.iterations += 1


def restrict(oracle: Oracle, index: Array) -> Oracle:
    """The oracle of the same problem on a subset of the features; Gram matrices are sliced when they exist."""
    problem = oracle.problem.select(index)
    if isinstance(oracle, GramOracle):
        gram = oracle.gram[..., index[:, None], index]
        return GramOracle(problem, gram)
    return make_oracle(problem)


def _recertify(oracle: Oracle, penalty: Penalty, coupling: float | Array, state: _State) -> None:
    """Certificate of the whole problem at the current point."""
    image = oracle.image(_collapse(state.V, penalty), state.b)
    certificate = certify(oracle, penalty, coupling, state.V, state.b, image)
    state.best, state.b = certificate, certificate.b
    state.dual = max(state.dual, certificate.dual)


def _working_sets(
    oracle: Oracle, penalty: RowPenalty, coupling: float | Array, state: _State, tol: float, max_iter: int
) -> bool:
    """Solve on the support and the rows that violate the dual constraint most, doubling, while they are few.

    Returns:
        Whether the gap was reached; otherwise the full solver goes on from ``state``.
    """
    d = oracle.problem.n_features
    size, rounds = max(10, d // 100), 0
    while state.iterations < max_iter:
        _recertify(oracle, penalty, coupling, state)
        best = state.best
        assert best is not None
        gap = max(best.primal - state.dual, 0.0)
        state.history.append((state.iterations, best.primal, gap))
        if gap <= tol * abs(best.primal):
            return True
        gauges = penalty.row_gauge(best.G)
        support = np.any(state.V != 0, axis=1)
        gauges[support] = np.inf
        size = max(size, 2 * int(support.sum()))
        # at first nearly every row violates, and only the support tells how sparse the solution will be
        rounds += 1
        if size > 0.25 * d or (rounds > 3 and np.sum(gauges > 1) > 0.3 * d):
            return False
        index = np.sort(np.argpartition(-gauges, min(size, d - 1))[:size])
        inner = restrict(oracle, index)
        small = _State(state.V[index], state.b, iterations=state.iterations)
        _descend(
            inner, penalty.rows(index), coupling, small, target=0.3 * gap, relative=False,
            max_iter=max_iter - state.iterations,
        )  # fmt: skip
        V = np.zeros_like(state.V)
        V[index] = small.V
        state.V, state.b, state.iterations = V, small.b, small.iterations
        size = min(2 * size, d)
    return True
