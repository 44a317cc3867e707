"""The solver behind the convex estimators: accelerated proximal gradient with a certificate.

min over W (d, T), b (T,) of Σ ω_i ℓ(y_i, x_i·w_t(i) + b_t(i)) + ½ tr(W M Wᵀ) + Ω(W)

Steps adapt to the curvature along the path, momentum restarts when it points uphill, images of extrapolated points
come by linearity, and the iteration ends when the duality gap is at most ``tol`` times the objective. Penalties that
are sums over rows are solved on a working set of rows while it is small; a gap-safe sphere says when that is all.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from polytask.linear.core.oracle import Certificate, DataOracle, GramOracle, Oracle, certify, couple, tie
from polytask.linear.core.penalties import Penalty, RowPenalty
from polytask.linear.core.problem import Problem
from polytask.linear.core.spectral import Quadratic

__all__ = ["Solution", "make_oracle", "solve", "warn_of_gap"]

Array = NDArray[Any]

_CHECK_EVERY = 10
_FIRST_SET = 64


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
        state: What a method found beside the coefficients (groups, factors, ...), for its fitted attributes.
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
    state: Any = None


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

    @property
    def gap(self) -> float:
        """Distance of the last objective from the best lower bound."""
        assert self.best is not None
        return max(self.best.primal - self.dual, 0.0)


def _look(
    oracle: Oracle, penalty: Penalty, coupling: float | Array, state: _State, image: Array | None = None
) -> Certificate:
    """Certificate of the point of ``state``, written into it."""
    if image is None:
        image = oracle.image(penalty.matrix(state.V), state.b)
    certificate = certify(oracle, penalty, coupling, state.V, state.b, image)
    state.best, state.b, state.dual = certificate, certificate.b, max(state.dual, certificate.dual)
    state.history.append((state.iterations, certificate.primal, state.gap))
    return certificate


def _first_curvature(oracle: Oracle, direction: Array, coupling: float | Array) -> float:
    """Curvature along the gradient: at most the largest, and mostly near it."""
    size = float(np.vdot(direction.T, direction.T))
    if size == 0:
        return 1.0
    none = np.zeros(oracle.problem.n_tasks, oracle.problem.design.dtype)
    image = oracle.image(direction, none)
    bend = (oracle.bend(direction, image) + tie(direction, coupling)) / size
    return max(bend, float(np.finfo(oracle.problem.design.dtype).tiny))


def _top(coupling: float | Array) -> float:
    return float(np.linalg.eigvalsh(coupling)[-1]) if isinstance(coupling, np.ndarray) else float(coupling)


def _descend(
    oracle: Oracle,
    penalty: Penalty,
    coupling: float | Array,
    state: _State,
    *,
    target: float,
    relative: bool,
    max_iter: int,
    leave: Callable[[_State], bool] | None = None,
) -> None:
    """FISTA from ``state`` until the gap is at most ``target`` (times P if ``relative``), or ``leave`` says so.

    The inverse step L starts from the curvature along the gradient, shrinks by 5 % a step and grows where the curvature
    along a step shows it to be too small. Images are linear, so looking costs nothing but the rejected steps.
    """
    free = oracle.problem.free_intercept
    total = oracle.problem.design.task_sum(oracle.problem.weight) if free else 0.0
    Lb = np.where(total > 0, oracle.problem.loss.curvature * total, 1) if free else 1.0
    noise = (30 * np.finfo(oracle.problem.design.dtype).eps) ** 2
    V, b = state.V, state.b
    image = image_z = oracle.image(penalty.matrix(V), b)
    V_z, b_z, momentum = V, b, 1.0
    gradient, gradient_b = oracle.gradient(image)
    L = _first_curvature(oracle, gradient, coupling) * penalty.blocks
    accepted, first = True, state.iterations
    while True:
        k = state.iterations - first
        if accepted and (k % _CHECK_EVERY == 0 or k >= max_iter):
            state.V, state.b = V, b
            _look(oracle, penalty, coupling, state, image)
            assert state.best is not None
            goal = target * (abs(state.best.primal) if relative else 1.0)
            if state.gap <= goal or k >= max_iter or (leave is not None and leave(state)):
                return
        if accepted:
            gradient = gradient + couple(penalty.matrix(V_z), coupling)
        V_new = penalty.prox(V_z - gradient / L, 1 / L)
        b_new = b_z - gradient_b / Lb if free else b
        step = V_new - V
        uphill = L * float(np.vdot((V_z - V_new).T, step.T))
        if free:
            uphill += float(np.sum(Lb * (b_z - b_new) * (b_new - b)))
        following = 1.0 if uphill > 0 else 0.5 * (1 + math.sqrt(1 + 4 * momentum**2))
        beta = 0.0 if uphill > 0 else float((momentum - 1) / following)
        W_new = penalty.matrix(V_new)
        image_new, ahead, slope, slope_b = oracle.advance(W_new, b_new, image, beta)
        moved = V_new - V_z
        size = float(np.vdot(moved.T, moved.T))
        bend = 0.0
        if size > noise * float(np.vdot(V_new.T, V_new.T)):  # otherwise only rounding would be seen
            D = penalty.matrix(moved)
            bend = oracle.bend(D, image_new - image_z) + tie(D, coupling)
            if free:
                bend -= float(np.sum(Lb * (b_new - b_z) ** 2))
        accepted = not bend > L * size
        if not accepted:
            L = float(max(1.5 * L, bend / size))
            continue
        gradient, gradient_b = slope, slope_b
        image_z, V_z, b_z = ahead, V_new + beta * step, b_new + beta * (b_new - b)
        image, V, b, momentum = image_new, V_new, b_new, following
        L *= 0.95
        state.iterations += 1


def _survivors(
    penalty: RowPenalty, certificate: Certificate, norms: Array, curvature: float, coupling: float | Array
) -> Array:
    """Rows that the sphere around the dual point, of radius √(2·curvature·gap), does not prove to be zero."""
    ridge = _top(coupling)
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
        oracle: Kept oracle of the same problem (paths reuse its Gram matrices).
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
        V, b = problem.start(penalty.blocks)
    else:
        V, b = (np.array(part, dtype=problem.design.dtype, order="K") for part in init)
    state = _State(V, b)
    if isinstance(penalty, Quadratic) and problem.loss.quadratic and not _top(coupling):
        _conjugate_gradients(oracle, penalty, state, tol, max_iter)
    elif isinstance(penalty, RowPenalty) and problem.n_features > 20 and working_set:
        _rows(oracle, penalty, coupling, state, tol, max_iter, dense_solver)
    else:
        _descend(oracle, penalty, coupling, state, target=tol, relative=True, max_iter=max_iter)
    assert state.best is not None
    gap = state.gap
    converged = bool(gap <= tol * abs(state.best.primal))
    if not converged and warn:
        warn_of_gap(gap, state.best.primal, tol, state.iterations)
    return Solution(
        W=penalty.matrix(state.V),
        b=state.b,
        V=state.V,
        objective=state.best.primal,
        gap=gap,
        n_iter=state.iterations,
        G=state.best.scale * state.best.G,
        converged=converged,
        history=state.history,
    )


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
            state.V = W
            certificate = _look(oracle, penalty, 0.0, state, image)
            if state.gap <= tol * abs(certificate.primal) or size <= 0:
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


def warn_of_gap(gap: float, objective: float, tol: float, iterations: int) -> None:
    """Say that the caller's solver stopped at a gap larger than asked for."""
    first = "next to nothing is certified: scale the features (StandardScaler) or raise alpha; or "
    warnings.warn(
        f"no convergence in {iterations} iterations: the duality gap is {gap:.3g}, "
        f"{gap / max(abs(objective), 1e-300):.2g} of the objective, and tol asks for {tol:.2g}; "
        f"{first if gap > 0.9 * abs(objective) else ''}raise max_iter or tol, or scale the features",
        ConvergenceWarning,
        stacklevel=4,
    )


def _rows(
    oracle: Oracle,
    penalty: RowPenalty,
    coupling: float | Array,
    state: _State,
    tol: float,
    max_iter: int,
    dense_solver: Callable[[Problem, Array, float], Array | None] | None,
) -> None:
    """Solve on a working set of rows while it is small, on all rows while it is not.

    The working set holds the support and the rows that violate the dual constraint. Once the gap-safe sphere excludes
    all others, the working set is the problem, and is solved to the end at once.
    """
    problem = oracle.problem
    limit = _worthwhile(oracle)
    norms: Array | None = None
    best = _look(oracle, penalty, coupling, state)
    wanted, patience = _needed(penalty, state) if state.V.any() else min(_FIRST_SET, limit), _CHECK_EVERY
    while state.gap > tol * best.primal and state.iterations < max_iter:
        if wanted <= limit:
            gauges = np.where(np.any(state.V != 0, axis=1), np.inf, penalty.row_gauge(best.G))
            index = np.sort(np.argpartition(-gauges, wanted - 1)[:wanted])
            target = 0.3 * state.gap
            if state.gap < 0.01 * best.primal:
                norms = problem.design.square_norms(problem.weight) if norms is None else norms
                alive = _survivors(penalty, best, norms, problem.loss.curvature, coupling)
                alive[index] = False
                target = target if alive.any() else 0.5 * tol * best.primal
            before = state.iterations
            _on_rows(index, oracle, penalty, coupling, state, target, max_iter)
            if state.iterations == before:  # certificates differ by rounding only: no working set helps any more
                limit = 0
        elif dense_solver is not None:
            between = math.sqrt(max(state.dual, 0.0) * best.primal)  # the minimum lies between the two
            better = dense_solver(problem, state.V, tol * between)
            state.V, dense_solver = (state.V if better is None else better), None
            _look(oracle, penalty, coupling, state)
        else:
            left, until = max_iter - state.iterations, state.iterations + patience

            def few(now: _State, until: int = until, limit: int = limit) -> bool:
                return now.iterations >= until and _needed(penalty, now) <= limit

            _descend(oracle, penalty, coupling, state, target=tol, relative=True, max_iter=left, leave=few)
            patience *= 2
        assert state.best is not None
        best, wanted = state.best, _needed(penalty, state)


def _on_rows(
    index: Array, oracle: Oracle, penalty: RowPenalty, coupling: float | Array, state: _State, gap: float, max_iter: int
) -> None:
    """Descend on some rows, all others zero, until the small problem's gap is reached; certify on all rows."""
    small = _State(np.asfortranarray(state.V[index]), state.b, iterations=state.iterations)
    part, left = restrict(oracle, index), max_iter - state.iterations
    _descend(part, penalty.rows(index), coupling, small, target=gap, relative=False, max_iter=left)
    state.V = np.zeros_like(state.V)
    state.V[index] = small.V
    state.b, state.iterations = small.b, small.iterations
    _look(oracle, penalty, coupling, state)


def _needed(penalty: RowPenalty, state: _State) -> int:
    """Size of the next working set: the support and the rows that violate the dual constraint, ten at least."""
    assert state.best is not None
    support = np.any(state.V != 0, axis=1)
    violators = (penalty.row_gauge(state.best.G) > 1) & ~support
    return min(int(support.sum()) + max(int(violators.sum()), 10), len(support))


def _worthwhile(oracle: Oracle) -> int:
    """Largest working set that pays: Gram matrices of few features are cheap, a copy of many columns is not."""
    problem = oracle.problem
    d = problem.n_features
    if isinstance(oracle, GramOracle):
        return int(0.6 * d)
    grams = problem.design.gram_features(problem.weight) if problem.loss.quadratic else 0
    return max(min(grams, d // 2), d // 5, 1)
