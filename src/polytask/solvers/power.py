"""Bargaining solutions: the positive a whose pull on every task equals a power of its own weight."""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Float
from scipy.linalg import lapack

from polytask.solvers.scaling import correlation, definite

__all__ = ["newton_power", "power_residual"]

Array = np.ndarray
_TOLERANCE = 1e-13
_LIMIT = 200
_PATIENCE = 30
_SHRINK = 30.0
"""How far, as a logarithm, a number may fall in one step."""
_POOR = 1e-3
_RIDGE = 1e-10
_EPSILON = float(np.finfo(float).eps)
_CANCELLED = 1e-6
"""Slopes below this share of their own terms are taken for rounding."""


def newton_power(
    gramian: Float[Array, "K K"], preference: Float[Array, "K"] | None = None, power: float = 1.0
) -> tuple[Float[Array, "K"], int]:
    """The a > 0 with (Ga)_i = p_i·a_i^(−β): Nash's bargain for β = 1, α-fairness for β = 1/α.

    It is the only minimiser of ½aᵀGa − Σ p_i φ(a_i), φ' = a^(−β). In b = Da, with C the unit-diagonal Gramian, it
    solves Cb = q·b^(−β), q_i = p_i·d_i^(β−1). The slope y = Cb is kept as a variable of its own and Newton's method
    runs on y = Cb, log y + β log b = log q: every step solves (C + diag(βy/b))·δ = r, a system that stays well
    conditioned when b and y run over many orders of magnitude. What grows moves by δ, what shrinks by the factor
    exp(δ/b), in which the equation of a task that hardly pulls is linear: small β make weights of 1e-80.

    Args:
        gramian: G = JJᵀ with a positive diagonal, (K, K).
        preference: p > 0, (K,); ones by default.
        power: β > 0.

    Returns:
        a, (K,), and the number of Newton steps (0 for closed forms: K = 1, and K = 2 with β = 1 and p = 1).

    Where a convex combination of the rows vanishes there is no such a. A ridge of 1e-10 on the diagonal of C keeps a
    finite, and Jᵀa is next to nothing beside its terms.

    Warns:
        RuntimeWarning: The equations have a solution and hold to no better than 1e-3; this takes small β and norms like
            e^±20.

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
    log_q = (power - 1.0) * np.log(norms)
    if preference is not None:
        log_q += np.log(preference)
    shift = log_q.mean()
    with np.errstate(all="ignore"):  # steps that leave the floats' range are not taken
        b, iterations, error = _newton(cosines, log_q - shift, power)
    if error > _POOR:
        warnings.warn(
            f"expected bargaining weights that solve their equations to {_POOR:g}, found a relative error of "
            f"{error:.1e}: norms from {norms.min():.1e} to {norms.max():.1e} leave float64 too few digits at power "
            f"{power:g}; rescale the losses, or take a power nearer to one (FairGrad: an alpha nearer to one)",
            RuntimeWarning,
            stacklevel=2,
        )
    return b * np.exp(shift / (1.0 + power)) / norms, iterations


def power_residual(
    gramian: Float[Array, "K K"],
    a: Float[Array, "K"],
    preference: Float[Array, "K"] | None = None,
    power: float = 1.0,
) -> float:
    """max_i |a_i^β·(Ga)_i / p_i − 1|: zero at the solution, whatever the scale of G."""
    pull = a**power * (gramian @ a)
    return float(abs(pull / (1.0 if preference is None else preference) - 1.0).max())


def _newton(cosines: Array, log_q: Array, power: float) -> tuple[Array, int, float]:
    """Solve for b > 0 with Cb = q·b^(−power); also the number of steps and the error left, relative to the slopes.

    Where C is singular, the solution for C + ridge·I is found first. It is then carried over to C, with the ridge in
    the matrix of Newton's steps only, for as long as that brings the error down: where C has no solution it does not.
    """
    C = definite(cosines)
    q = np.exp(log_q)
    b = _start(C, q, power)
    y = q * b**-power
    r, e = y - C @ b, np.zeros(len(q))
    best, best_error, stale, iteration = (b, y), np.inf, 0, 0
    while iteration < _LIMIT and (found := _step(C, b, y, r, e, power)) is not None:
        iteration += 1
        b, y = found
        r, e, error = _errors(C, b, y, log_q, power)
        stale = 0 if error < 0.9 * best_error else stale + 1
        if error < best_error:
            best, best_error = (b, y), error
        if error < _TOLERANCE or stale > (1 if error < 1e-6 else _PATIENCE):
            break
    if C is cosines:
        return best[0], iteration, best_error
    if best_error > _POOR:
        return _descend(C, q, power, iteration)
    left = best_error
    r, e, error = _errors(cosines, *best, log_q, power)
    while (found := _step(C, *best, r, e, power)) is not None:
        iteration += 1
        r, e, closer = _errors(cosines, *found, log_q, power)
        if not closer < 0.5 * error:
            break
        best, error, left = found, closer, min(left, closer)
    return best[0], iteration, left


def _start(C: Array, q: Array, power: float) -> Array:
    """What solves the equations for orthogonal rows, times the best common factor."""
    b = q ** (1.0 / (1.0 + power))
    b *= ((q @ b ** (1.0 - power)) / (b @ C @ b)) ** (1.0 / (1.0 + power))
    return b


def _descend(C: Array, q: Array, power: float, iteration: int) -> tuple[Array, int, float]:
    """Minimise the convex ½bᵀCb − Σ qφ(b) itself by damped steps of Newton's, where those on the equations get lost.

    This is for dependent rows. Where they all but cancel, their slopes are rounding; the error is relative to the terms
    that cancel, too.
    """
    b = _start(C, q, power)

    def value(b: Array) -> float:
        gains = np.log(b) if power == 1.0 else b ** (1.0 - power) / (1.0 - power)
        return float(0.5 * b @ C @ b - q @ gains)

    for _ in range(_LIMIT):
        slope = q * b**-power
        left, M = C @ b - slope, C.copy()
        M.flat[:: len(b) + 1] += power * slope / b
        _, step, info = lapack.dposv(M, -left)
        drop = float(left @ step)
        if info or not drop < 0:
            break
        length = min(1.0, 0.95 / max(float((-step / b).max()), 0.95))
        now = value(b)
        while value(b + length * step) > now + 1e-4 * length * drop and length > _EPSILON:
            length *= 0.5
        iteration += 1
        if length <= _EPSILON:
            break
        b = b + length * step
        if -drop <= _TOLERANCE * abs(now):
            break
    slope = q * b**-power
    error = float((abs(C @ b - slope) / (slope + _CANCELLED * abs(C) @ b)).max())
    return b, iteration, error if error < np.inf else np.inf


def _step(C: Array, b: Array, y: Array, r: Array, e: Array, power: float) -> tuple[Array, Array] | None:
    """One of Newton's steps; ``None`` where rounding has made its matrix indefinite."""
    M = C.copy()
    M.flat[:: len(b) + 1] += power * y / b
    _, step, info = lapack.dposv(M, r - e * y)
    return None if info else (_moved(b, step), _moved(y, C @ step - r))


def _moved(x: Array, step: Array) -> Array:
    """What grows by its step, what shrinks by the factor exp(step/x): positive, and quick over orders of magnitude."""
    ratio = step / x
    fall = np.exp(np.minimum(np.maximum(ratio, -_SHRINK), 0.0))
    return np.asarray(np.where(ratio < 0, x * fall, x + step))


def _errors(C: Array, b: Array, y: Array, log_q: Array, power: float) -> tuple[Array, Array, float]:
    """What is left of y = Cb, what is left of log y + β log b = log q, and the largest of both together."""
    r = y - C @ b
    e = np.log(y) + power * np.log(b) - log_q
    return r, e, float((abs(r) / y + abs(e)).max())
