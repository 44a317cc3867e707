"""Strictly convex quadratic programs over the nonnegative orthant, by block principal pivoting."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import lapack

__all__ = ["nnqp", "nnqp_many", "nnqp_residual"]

Array = np.ndarray
_X_TOLERANCE = 1e-11
_Y_TOLERANCE = 1e-14
_PATIENCE = 3
_ROUNDS = 8
_BATCHED_UP_TO = 24
"""Up to this size one batched factorisation of all K masked K×K systems beats one smaller system after the other."""


def nnqp(
    H: Float[Array, "K K"], f: Float[Array, "K"], start: Bool[Array, "K"] | None = None
) -> tuple[Float[Array, "K"], int]:
    """Minimise ½xᵀHx + fᵀx over x ≥ 0.

    The minimiser is the only x with x ≥ 0, y = Hx + f ≥ 0 and xᵀy = 0. Indices are split into passive (y = 0) and
    active (x = 0) ones; every index on the wrong side changes sides at once; when this stops reducing their number,
    only the last of them does, which cannot cycle.

    Args:
        H: Symmetric positive definite matrix, (K, K), best with a diagonal of about one.
        f: Linear term, (K,).
        start: First guess of where x is positive, (K,); where f is negative by default.

    Returns:
        The minimiser, (K,), and the number of linear systems solved.

    Examples:
        >>> nnqp(np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([-2.0, 1.0]))
        (array([1., 0.]), 1)

    References:
        Portugal, Júdice, Vicente, "A comparison of block pivoting and interior-point algorithms for linear least
        squares problems with nonnegative variables", Mathematics of Computation 63 (1994).
        Kim, Park, "Fast nonnegative matrix factorization: an active-set-like method and comparisons", SIAM J. Sci.
        Comput. 33 (2011).
    """
    size = len(f)
    if f.min() >= 0:
        return np.zeros(size), 0
    passive = f < 0 if start is None else start
    slack = abs(f).max()
    fewest, patience = size + 1, _PATIENCE
    limit = size + 20
    for iteration in range(1, limit + 1):
        inside = passive.nonzero()[0]
        x = np.zeros(size)
        y = f
        if len(inside):
            rows = H.take(inside, 0)
            _, part, info = lapack.dposv(rows.take(inside, 1), -f.take(inside))
            if info:
                break
            x[inside] = part
            y = part @ rows + f
        largest = abs(x).max()
        wrong = np.where(passive, x < -_X_TOLERANCE * largest, y < -_Y_TOLERANCE * (slack + largest))
        count = int(np.count_nonzero(wrong))
        if count == 0:
            return np.maximum(x, 0.0), iteration
        if count < fewest:
            fewest, patience = count, _PATIENCE
        elif patience:
            patience -= 1
        else:
            wrong[: wrong.nonzero()[0][-1]] = False
        passive = passive ^ wrong
    return _by_least_squares(H, f), limit


def nnqp_many(H: Float[Array, "K K"], F: Float[Array, "K N"]) -> tuple[Float[Array, "K N"], int]:
    """Minimise ½xᵀHx + fᵀx over x ≥ 0 for every column f of F.

    Args:
        H: Symmetric positive definite matrix, (K, K), best with a diagonal of about one.
        F: One linear term per column, (K, N).

    Returns:
        One minimiser per column, (K, N), and the largest number of rounds a column took.

    Examples:
        >>> X, _ = nnqp_many(np.eye(2), np.array([[-1.0, 2.0], [-3.0, -4.0]]))
        >>> X.tolist()
        [[1.0, 0.0], [3.0, 4.0]]
    """
    X = np.zeros(F.shape)
    open_columns = np.flatnonzero((F < 0).any(axis=0))
    if len(open_columns) == 0:
        return X, 0
    if len(H) > _BATCHED_UP_TO:
        rounds = 0
        for column in open_columns:
            X[:, column], count = nnqp(H, F[:, column])
            rounds = max(rounds, count)
        return X, rounds
    X[:, open_columns], left, rounds = _batched(H, F[:, open_columns])
    for column in open_columns[left]:
        X[:, column], count = nnqp(H, F[:, column])
        rounds = max(rounds, count)
    return X, rounds


def nnqp_residual(H: Float[Array, "K K"], f: Float[Array, "K"], x: Float[Array, "K"]) -> float:
    """Largest violation of x ≥ 0, y = Hx + f ≥ 0, x∘y = 0, relative to the sizes of x and f.

    Args:
        H: Symmetric positive semi-definite matrix, (K, K).
        f: Linear term, (K,).
        x: Candidate, (K,).

    Returns:
        ‖min(x/ξ, y/φ)‖∞ with ξ = max(1, ‖x‖∞) and φ = max|f|; zero exactly at the minimiser.
    """
    scale = max(abs(f).max(), np.finfo(float).tiny)
    return float(abs(np.minimum(x / max(1.0, abs(x).max()), (H @ x + f) / scale)).max())


def _batched(H: Array, F: Array) -> tuple[Array, Int[Array, "L"], int]:
    """Full exchanges on all columns at once; columns that need more care than that are returned as left over."""
    size = len(H)
    right = np.ascontiguousarray(F.T)
    passive = right < 0
    X = np.zeros(right.shape)
    todo = np.arange(len(right))
    slack = abs(right).max(axis=1)
    fewest = np.full(len(right), size + 1)
    rounds = 0
    while len(todo) and rounds < _ROUNDS:
        rounds += 1
        mask = passive[todo]
        system = np.where(mask[:, :, None] & mask[:, None, :], H, 0.0)
        system.reshape(len(todo), -1)[:, :: size + 1] += ~mask
        x = np.linalg.solve(system, np.where(mask, -right[todo], 0.0)[:, :, None])[:, :, 0]
        y = x @ H + right[todo]
        largest = abs(x).max(axis=1)
        floor = _Y_TOLERANCE * (slack[todo] + largest)
        wrong = np.where(mask, x < -_X_TOLERANCE * largest[:, None], y < -floor[:, None])
        count = wrong.sum(axis=1)
        X[todo] = x
        passive[todo] = mask ^ wrong
        worse = count >= fewest[todo]
        fewest[todo] = count
        todo = todo[(count > 0) & ~worse]
    return np.maximum(X, 0.0).T, np.flatnonzero(fewest > 0), rounds


def _by_least_squares(H: Array, f: Array) -> Array:
    """The same minimiser as ‖Lᵀx + L⁻¹f‖² over x ≥ 0, H = LLᵀ, for matrices on which rounding defeats the exchanges."""
    from scipy.optimize import nnls  # slow to import and hardly ever needed

    L = np.linalg.cholesky(H)
    return np.asarray(nnls(L.T, -np.linalg.solve(L, f), maxiter=50 * len(f))[0])
