"""Weights from the spectrum of a Gramian: equal angles to all rows, and rows made orthogonal."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.linalg import lapack

from polytask.solvers.scaling import correlation

__all__ = ["align", "equiangular"]

Array = np.ndarray
_EPSILON = float(np.finfo(float).eps)
_GRADED = 1e-10
"""Smallest ratio of squared norms at which an ordinary eigensolver still resolves the small rows."""


def equiangular(gramian: Float[Array, "K K"], shares: Float[Array, "K"] | None = None) -> Float[Array, "K"]:
    """Weights w for which Jᵀw has positive cosines in the proportion q with the rows, Σ|w_i| = 1.

    w ∝ D⁻¹C⁺q, with D the rows' norms and C their cosines. Where no vector has such cosines with all rows, the
    pseudo-inverse C⁺ gives the best one in the sense of least squares; where even that is zero, w ∝ D⁻¹q.

    Args:
        gramian: G = JJᵀ with a positive diagonal, (K, K).
        shares: q > 0, (K,); ones by default: equal angles to all rows.

    Returns:
        w, (K,).

    Examples:
        >>> equiangular(np.array([[1.0, 0.0], [0.0, 9.0]]))
        array([0.75, 0.25])
    """
    size = len(gramian)
    if size == 1 or (size == 2 and (shares is None or shares[0] == shares[1])):
        pull = 1.0 / np.sqrt(gramian.diagonal())
        return np.asarray(pull / pull.sum())
    cosines, norms = correlation(gramian)
    wanted = np.ones(size) if shares is None else shares
    factor, info = lapack.dpotrf(cosines, lower=1)
    if info == 0 and factor.diagonal().min() > 1e-4:
        beta, _ = lapack.dpotrs(factor, wanted, lower=1)
    else:
        values, vectors, _ = lapack.dsyevd(cosines)
        kept = values > 10 * size * _EPSILON * values[-1]
        along = wanted @ vectors[:, kept]
        beta = vectors[:, kept] @ (along / values[kept])
        if along @ along <= 1e-20 * (wanted @ wanted):
            beta = wanted
    pull = beta * (norms.min() / norms)
    return np.asarray(pull / abs(pull).sum())


def align(
    gramian: Float[Array, "K K"],
    preference: Float[Array, "K"],
    scale: Literal["min", "median", "rmse"] = "min",
) -> Float[Array, "K"]:
    """Weights B·p with B = σ·G^(−½): the rows of BJ are orthogonal and of one length σ.

    G^(−½) is taken on the range of G. σ² is the smallest, the median (the lower of two in the middle) or the mean of
    its positive eigenvalues.

    Args:
        gramian: G = JJᵀ with a positive diagonal, (K, K).
        preference: p, (K,).
        scale: Which length the aligned rows get.

    Returns:
        Weights, (K,).

    Examples:
        >>> align(np.array([[1.0, 0.0], [0.0, 9.0]]), np.array([0.5, 0.5])).round(6).tolist()
        [0.5, 0.166667]
    """
    size = len(gramian)
    if size == 1:
        return preference.copy()
    if size == 2 and scale == "min":
        return _align_two(gramian, preference)
    values, vectors = _eigen(gramian)
    middle = (len(values) - 1) // 2
    sigma = values.mean() if scale == "rmse" else np.sort(values)[0 if scale == "min" else middle]
    return np.asarray(vectors @ (np.sqrt(sigma / values) * (preference @ vectors)))


def _eigen(gramian: Array) -> tuple[Array, Array]:
    """Positive eigenvalues and their vectors, each accurate by itself even when the rows' norms differ wildly."""
    size = len(gramian)
    diagonal = gramian.diagonal()
    if diagonal.min() > _GRADED * diagonal.max():
        values, vectors, _ = lapack.dsyevd(gramian)
        kept = values > size * _EPSILON * values[-1]
        return values[kept], vectors[:, kept]
    # C = LLᵀ with pivoting finds the rank; G = (DL)(DL)ᵀ, and Jacobi's method gives every singular value of DL in full.
    cosines, norms = correlation(gramian)
    factor, pivots, rank, _ = lapack.dpstrf(cosines, lower=1, tol=size * _EPSILON)
    lower = np.empty((size, rank))
    lower[pivots - 1] = np.tril(factor)[:, :rank]
    singular, left, _, work, _, _ = lapack.dgejsv(norms[:, None] * lower, joba=2, jobu=0, jobv=3)
    values = (singular * (work[0] / work[1])) ** 2
    kept = values > 0
    return values[kept], left[:, :rank][:, kept]


def _align_two(gramian: Array, preference: Array) -> Array:
    """Closed form: G^(½) = (G + sI)/t with s = √det G, t = √(tr G + 2s), so √λ_min·G^(−½) = √λ_min·(tI − G^(½))/s."""
    (a, b), (_, c) = gramian.tolist()
    p, q = preference.tolist()
    trace = a + c
    det = a * c - b * b
    if det <= 4 * _EPSILON * a * c:
        return np.array([(a * p + b * q) / trace, (b * p + c * q) / trace])
    s = math.sqrt(det)
    t = math.sqrt(trace + 2 * s)
    largest = 0.5 * (trace + math.hypot(a - c, 2 * b))
    # √λ_min = s/√λ_max; tI − G^(½) = ((tr G + s)·I − G)/t.
    k = 1.0 / (math.sqrt(largest) * t)
    return np.array([k * ((c + s) * p - b * q), k * ((a + s) * q - b * p)])
