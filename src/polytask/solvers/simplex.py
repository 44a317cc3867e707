"""Problems over the probability simplex: the nearest point, and the point of least norm in a convex hull."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from polytask.solvers.nnqp import nnqp
from polytask.solvers.scaling import correlation, definite

__all__ = ["min_norm", "min_norm_gap", "project_simplex", "simplex_qp"]

Array = np.ndarray
_LIMIT = 80
_TOLERANCE = 1e-13


def project_simplex(point: Float[Array, "K"], total: float = 1.0) -> Float[Array, "K"]:
    """The nearest w to ``point`` with w ≥ 0 and Σw = ``total``: w = max(point − τ, 0).

    Distances are measured from the largest entry, so that the sum is exact to rounding whatever the entries' size, and
    entries of +∞ share the total.

    Args:
        point: Any vector without NaN, (K,).
        total: Positive sum of the result.

    Returns:
        The projection, (K,).

    Examples:
        >>> project_simplex(np.array([0.9, 0.5, -1.0])).round(12).tolist()
        [0.7, 0.3, 0.0]
    """
    top = point.max()
    below = np.subtract(point, top, out=np.zeros(len(point)), where=point != top)
    falling = -np.sort(-below)
    excess = (np.cumsum(falling) - total) / np.arange(1, len(point) + 1)
    threshold = excess[np.count_nonzero(falling > excess) - 1]
    return np.asarray(np.maximum(below - threshold, 0.0))


def min_norm(gramian: Float[Array, "K K"]) -> tuple[Float[Array, "K"], int]:
    """Weights of the shortest convex combination of rows: minimise wᵀGw over w ≥ 0, Σw = 1.

    With z = Dw, d = diag(D) the row norms and u = min(d)/d, the constraint reads uᵀz ∝ 1. Up to length, the minimiser
    is that of ½zᵀ(C + uuᵀ)z − uᵀz over z ≥ 0, a nonnegative program with a unit diagonal.

    Args:
        gramian: G = JJᵀ with a positive diagonal, (K, K).

    Returns:
        w, (K,), and the number of linear systems solved (0 for the closed form of K ≤ 2).

    Examples:
        >>> min_norm(np.array([[1.0, 0.0], [0.0, 4.0]]))
        (array([0.8, 0.2]), 0)
    """
    size = len(gramian)
    if size == 1:
        return np.ones(1), 0
    if size == 2:
        (a, b), (_, c) = gramian.tolist()
        apart = a + c - 2 * b
        first = min(max((c - b) / apart, 0.0), 1.0) if apart > 0 else 0.5
        return np.array([first, 1.0 - first]), 0
    cosines, norms = correlation(gramian)
    u = norms.min() / norms
    z, iterations = nnqp(definite(cosines) + u[:, None] * u, -u)
    w = z * u
    return w / w.sum(), iterations


def min_norm_gap(gramian: Float[Array, "K K"], w: Float[Array, "K"]) -> float:
    """How far w is from the shortest convex combination: (wᵀGw − min_i (Gw)_i) / wᵀDw, zero at the minimiser.

    Args:
        gramian: G = JJᵀ, (K, K).
        w: Candidate on the simplex, (K,).

    Returns:
        The Frank–Wolfe gap, which bounds half the excess of ‖Jᵀw‖², relative to the rows' own squared norms Σw_i·g_ii.
    """
    product = gramian @ w
    return float((w @ product - product.min()) / (w @ gramian.diagonal()))


def simplex_qp(gramian: Float[Array, "K K"], linear: Float[Array, "K"]) -> tuple[Float[Array, "K"], int]:
    """Minimise ½wᵀGw + fᵀw over w ≥ 0, Σw = 1.

    For a multiplier μ of the constraint, w(μ) = argmin ½wᵀGw + (f − μ1)ᵀw over w ≥ 0 is a nonnegative program with a
    unit diagonal after scaling, and Σw(μ) grows with μ, linearly as long as the support stays. The μ with Σw(μ) = 1 is
    found by Newton's method, kept within a bracket.

    Args:
        gramian: G = JJᵀ with a positive diagonal, (K, K).
        linear: f, (K,).

    Returns:
        w, (K,), and the number of linear systems solved (0 for the closed form of K ≤ 2).

    Examples:
        >>> simplex_qp(np.array([[1.0, 0.0], [0.0, 4.0]]), np.array([0.0, 0.0]))
        (array([0.8, 0.2]), 0)
    """
    size = len(gramian)
    if size == 1:
        return np.ones(1), 0
    if size == 2:
        (a, b), (_, c) = gramian.tolist()
        apart, slope = a + c - 2 * b, float(linear[1] - linear[0])
        if apart <= 0:
            first = 0.5 if slope == 0 else float(slope > 0)
        else:
            first = min(max((c - b + slope) / apart, 0.0), 1.0)
        return np.array([first, 1.0 - first]), 0
    cosines, norms = correlation(gramian)
    smallest = norms.min()
    u, f = smallest / norms, linear / (smallest * norms)
    # On the constraint the added term is constant; it keeps z(μ) small where a convex combination of rows vanishes.
    H = definite(cosines) + u[:, None] * u
    bound = f / u
    low, high = float(bound.min()), float("inf")
    # One task alone: its own level bounds the support's from above or starts the search.
    start = int(np.argmin(bound + 0.5 / u**2))
    level = float(bound[start] + 1 + 1 / u[start] ** 2)
    best, iterations = np.eye(size)[start], 0
    for _ in range(_LIMIT):
        z, count = nnqp(H, f - level * u)
        iterations += count + 1
        total = float(u @ z)
        if total > 0:
            best = z * u / total
        if abs(total - 1) <= _TOLERANCE:
            break
        low, high = (low, level) if total > 1 else (level, high)
        inside = np.flatnonzero(z > 0)
        following = float("nan")
        if len(inside):
            solved = np.linalg.solve(H[np.ix_(inside, inside)], np.stack([u[inside], f[inside]], axis=1))
            slope, shift = (u[inside] @ solved).tolist()
            following = (1 + shift) / slope
        if not low < following < high:
            following = 0.5 * (low + high) if np.isfinite(high) else level + 2 * (level - low)
        if following == level:
            break
        level = following
    return best / best.sum(), iterations
