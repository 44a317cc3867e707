"""The best worst-case gain within a ball around a given direction (CAGrad's problem)."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy.linalg import lapack

from polytask.solvers.nnqp import nnqp
from polytask.solvers.scaling import correlation, definite

__all__ = ["max_min_in_ball", "max_min_in_ball_gap"]

Array = np.ndarray
_LIMIT = 60
_TOLERANCE = 1e-13
_VANISHING = 1e-14


def max_min_in_ball(
    gramian: Float[Array, "K K"], centre: Float[Array, "K"], radius: float
) -> tuple[Float[Array, "K"], int]:
    """Weights v ≥ 0 for which d = g₀ + Jᵀv maximises min_i g_iᵀd over ‖d − g₀‖ ≤ c·‖g₀‖, with g₀ = Jᵀ·centre.

    For a wanted gain μ, the shortest v(μ) with g_iᵀd ≥ μ for all i is a nonnegative program, and its length ρ(μ) is
    convex, so the best μ is the root of ρ(μ) = c‖g₀‖. On a fixed set of tight tasks ρ² is a quadratic in μ; starting
    from an upper bound of μ, the root of each quadratic gives the next μ until the set stays the same.

    Args:
        gramian: G = JJᵀ with a positive diagonal, (K, K).
        centre: Weights of the ball's centre, (K,).
        radius: c ≥ 0, relative to ‖g₀‖.

    Returns:
        v, (K,), zero where g₀ is the best direction itself, and the number of linear systems solved (0 for K = 2).

    Examples:
        >>> v, _ = max_min_in_ball(np.array([[1.0, 0.0], [0.0, 4.0]]), np.array([0.5, 0.5]), 0.4)
        >>> v.round(4).tolist()
        [0.4472, 0.0]
    """
    size = len(gramian)
    gain = gramian @ centre
    squared = float(centre @ gain)
    # Below rounding of the sum, g₀ is zero.
    if radius == 0 or squared <= size * np.finfo(float).eps * float(abs(centre) @ abs(gramian) @ abs(centre)):
        return np.zeros(size), 0
    reach = radius * math.sqrt(squared)
    if size == 1:
        return np.array([reach / math.sqrt(gramian[0, 0])]), 0
    if size == 2:
        return _two(gramian, centre, gain, reach), 0
    cosines, norms = correlation(gramian)
    unit = norms.min()
    z, iterations = _root(cosines, gain / norms, unit / norms, reach, squared * (1 + radius) / unit)
    return z / norms, iterations


def max_min_in_ball_gap(
    gramian: Float[Array, "K K"], centre: Float[Array, "K"], radius: float, v: Float[Array, "K"]
) -> float:
    """Duality gap of v, relative to the longest possible gain c‖g₀‖·Σ x_i‖g_i‖; zero at the solution.

    With x = v/Σv the dual value xᵀG·centre + c‖g₀‖·‖Jᵀx‖ bounds every attainable min_i g_iᵀd from above.

    Args:
        gramian: G = JJᵀ, (K, K).
        centre: Weights of the ball's centre, (K,).
        radius: c > 0.
        v: Candidate, (K,), not zero and within the ball.

    Returns:
        (dual value − min_i g_iᵀd) / (c‖g₀‖·Σ x_i‖g_i‖).
    """
    gain = gramian @ centre
    reach = radius * math.sqrt(float(centre @ gain))
    x = v / v.sum()
    dual = x @ gain + reach * math.sqrt(max(float(x @ gramian @ x), 0.0))
    return float((dual - (gain + gramian @ v).min()) / (reach * (x @ np.sqrt(gramian.diagonal()))))


def _root(cosines: Array, gain: Array, b: Array, reach: float, bound: float) -> tuple[Array, int]:
    """The z ≥ 0 of squared length reach² with Cz = μb − gain on its support and Cz ≥ μb − gain elsewhere.

    Where some convex combination of the rows is zero, the best μ may be zero with a shorter z; then g₀ + Uᵀz is the
    nearest direction to g₀ that no task opposes.
    """
    C = definite(cosines)
    low, high = float((gain / b).min()), min(float(((gain + reach) / b).min()), bound)
    within, iterations = np.zeros(len(b)), 0
    if low < 0 < high:
        # Where a convex combination of the rows vanishes no level above zero exists, however long z may get.
        z, iterations = nnqp(C, gain)
        if z @ C @ z > reach * reach:
            high = 0.0
        else:
            low, within = 0.0, z
            hull, count = nnqp(C + b[:, None] * b, -b)
            iterations += count
            if hull @ cosines @ hull <= _VANISHING * hull.sum() ** 2:
                return within, iterations
    level = high
    support: Array | None = None
    for _ in range(_LIMIT):
        z, count = nnqp(C, gain - level * b, support)
        iterations += count + 1
        if z @ C @ z > reach * reach:
            high = min(high, level)
        elif level >= low:
            low, within = level, z
        support = z > 0
        following, exact = _on_support(C, cosines, gain, b, reach, support)
        if exact is not None and _is_solution(cosines, gain - following * b, exact, abs(gain).max()):
            return exact, iterations
        if not low < following < high:
            following = 0.5 * (low + high)
        if abs(following - level) <= 1e-15 * abs(level):
            break
        level = following
    return within, iterations


def _is_solution(cosines: Array, f: Array, z: Array, scale: float) -> bool:
    """Whether z ≥ 0 and Cz + f ≥ 0, the latter up to rounding."""
    return bool(z.min() >= 0 and (cosines @ z + f).min() >= -_TOLERANCE * (scale + z.max()))


def _on_support(
    C: Array, cosines: Array, gain: Array, b: Array, reach: float, support: Array
) -> tuple[float, Array | None]:
    """The larger μ with (μb − gain)ᵀC⁻¹(μb − gain) = reach² on the support, and z = C⁻¹(μb − gain) there."""
    inside = np.flatnonzero(support)
    if len(inside) == 0:
        return math.nan, None
    right = np.stack([b[inside], gain[inside]], axis=1)
    ridged, plain = C.take(inside, 0).take(inside, 1), cosines.take(inside, 0).take(inside, 1)
    factor, info = lapack.dpotrf(ridged, lower=1)
    if info:
        return math.nan, None
    solved, _ = lapack.dpotrs(factor, right, lower=1)
    # Two rounds of refinement take the ridge out again, as far as the matrix allows.
    for _ in range(2):
        better = solved + lapack.dpotrs(factor, right - plain @ solved, lower=1)[0]
        solved = better if np.isfinite(better).all() else solved
    (bb, bg), (_, gg) = (right.T @ solved).tolist()
    inner = bg * bg - bb * (gg - reach * reach)
    if inner < 0 or bb <= 0:
        return math.nan, None
    level = float((bg + math.sqrt(inner)) / bb)
    z = np.zeros(len(b))
    z[inside] = level * solved[:, 0] - solved[:, 1]
    return level, z


def _two(gramian: Array, centre: Array, gain: Array, reach: float) -> Array:
    """Closed form of the dual for two tasks: minimise xᵀ·gain + reach·‖Jᵀx‖ over x = (t, 1 − t)."""
    (g11, g12), (_, g22) = gramian.tolist()
    alpha, beta = g11 + g22 - 2 * g12, g12 - g22
    r = float(gain[0] - gain[1]) / reach
    if alpha <= r * r:
        t = 0.0 if r > 0 else 1.0
    else:
        det = max(g11 * g22 - g12 * g12, 0.0)
        t = min(max((-math.copysign(math.sqrt(r * r * det / (alpha - r * r)), r) - beta) / alpha, 0.0), 1.0)
    length = math.sqrt(max(t * t * g11 + 2 * t * (1 - t) * g12 + (1 - t) * (1 - t) * g22, 0.0))
    if length <= 1e-7 * (t * math.sqrt(g11) + (1 - t) * math.sqrt(g22)):
        # Opposite gradients and a ball around zero: the best direction is zero.
        balance = np.array([t, 1.0 - t])
        return np.asarray(balance * (centre / balance).max() - centre)
    return np.array([t, 1.0 - t]) * (reach / length)
