"""Bargaining solutions: the positive a whose pull on every task equals a power of its own weight."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.linalg import lapack

from polytask.solvers.scaling import correlation, definite

__all__ = ["newton_power", "power_residual"]

Array = np.ndarray
_TOLERANCE = 1e-13
_LIMIT = 200
_RIDGE = 1e-10


def newton_power(
    gramian: Float[Array, "K K"], preference: Float[Array, "K"] | None = None, power: float = 1.0
) -> tuple[Float[Array, "K"], int]:
    """The a > 0 with (Ga)_i = p_i·a_i^(−β): Nash's bargain for β = 1, α-fairness for β = 1/α.

    It is the only minimiser of ½aᵀGa − Σ p_i φ(a_i), φ' = a^(−β). In b = Da, with C the unit-diagonal Gramian, it
    solves Cb = q·b^(−β), q_i = p_i·d_i^(β−1). The slope y = Cb is kept as a variable of its own and Newton's method
    runs on y = Cb, log y + β log b = log q: every step solves (C + diag(βy/b))·δ = r, a system that stays well
    conditioned when b and y run over many orders of magnitude, and a step goes at most 95 % of the way to the boundary.

    Args:
        gramian: G = JJᵀ with a positive diagonal, (K, K).
        preference: p > 0, (K,); ones by default.
        power: β > 0.

    Returns:
        a, (K,), and the number of Newton steps (0 for closed forms: K = 1, and K = 2 with β = 1 and p = 1).

    Examples:
        >>> a, _ = newton_power(np.array([[1.0, 0.0], [0.0, 4.0]]))
        >>> a.tolist()
        [1.0, 0.5]

    References:
        Nash, "The bargaining problem", Econometrica 18 (1950).
    """
    size = len(gramian)
    if size == 1:
        p = 1.0 if preference is None else preference[0]
        return np.array([(p / gramian[0, 0]) ** (1.0 / (1.0 + power))]), 0
    if size == 2 and power == 1.0 and (preference is None or preference[0] == preference[1] == 1.0):
        (g11, g12), (_, g22) = gramian.tolist()
        d1, d2 = g11**0.5, g22**0.5
        together = max(1.0 + g12 / (d1 * d2), _RIDGE) ** -0.5
        return np.array([together / d1, together / d2]), 0
    cosines, norms = correlation(gramian)
    C = definite(cosines)
    log_q = (power - 1.0) * np.log(norms)
    if preference is not None:
        log_q += np.log(preference)
    q = np.exp(log_q - log_q.mean())
    b, iterations = _newton(C, q, power)
    return b * np.exp(log_q.mean() / (1.0 + power)) / norms, iterations


def power_residual(
    gramian: Float[Array, "K K"],
    a: Float[Array, "K"],
    preference: Float[Array, "K"] | None = None,
    power: float = 1.0,
) -> float:
    """max_i |a_i^β·(Ga)_i / p_i − 1|: zero at the solution, whatever the scale of G."""
    pull = a**power * (gramian @ a)
    return float(abs(pull / (1.0 if preference is None else preference) - 1.0).max())


def _newton(C: Array, q: Array, power: float) -> tuple[Array, int]:
    """Solve for b > 0 with Cb = q·b^(−power), C positive definite."""
    log_q = np.log(q)
    b = q ** (1.0 / (1.0 + power))
    b *= ((q @ b ** (1.0 - power)) / (b @ C @ b)) ** (1.0 / (1.0 + power))
    y = q * b**-power
    slots = slice(None, None, len(q) + 1)
    r, e = y - C @ b, np.zeros(len(q))
    best, best_error, stale = b, np.inf, 0
    iteration = 0
    while iteration < _LIMIT:
        iteration += 1
        M = C.copy()
        M.flat[slots] += power * y / b
        _, step, info = lapack.dposv(M, r - e * y)
        if info:
            break
        rise = C @ step - r
        reach = max((-step / b).max(), (-rise / y).max())
        size = 1.0 if reach < 0.95 else 0.95 / reach
        b = b + size * step
        y = y + size * rise
        pull = C @ b
        r = y - pull
        e = np.log(y) + power * np.log(b) - log_q
        error = (abs(r) / y + abs(e)).max()
        stale = 0 if error < 0.9 * best_error else stale + 1
        if error < best_error:
            best, best_error = b, error
        if error < _TOLERANCE or stale > (1 if error < 1e-6 else 10 if best_error < 1.0 else 40 + 10 / power):
            break
    return best, iteration
