"""The Hilbert-Schmidt independence criterion of predictions, and how to raise it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from polytask.errors import ConfigError, unknown

__all__ = ["maximise_dependence", "mixing"]

Array = NDArray[Any]


def _linear(F: Array) -> tuple[float, Array]:
    """Σ_{s<t} of squared correlations of centred columns (n, T), and its gradient."""
    C = F.T @ F
    scale = np.diag(C)
    share = C**2 / np.outer(scale, scale)
    np.fill_diagonal(share, 0)
    slope = C / np.outer(scale, scale)
    np.fill_diagonal(slope, -share.sum(axis=1) / scale)
    return 0.5 * float(share.sum()), 2 * F @ slope


def _rbf(F: Array, widths: Array) -> tuple[float, Array]:
    """Σ_{s<t} of the normalised HSIC of columns (n, T) with Gaussian kernels of these widths, and its gradient."""
    differences = F.T[:, :, None] - F.T[:, None, :]
    kernels = np.exp(-0.5 * (differences / widths[:, None, None]) ** 2)
    centred = kernels - kernels.mean(axis=1, keepdims=True)
    centred -= centred.mean(axis=2, keepdims=True)
    C = np.einsum("sij,tij->st", centred, centred)
    scale = np.sqrt(np.diag(C))
    share = C / np.outer(scale, scale)
    np.fill_diagonal(share, 0)
    pull = np.einsum("st,tij->sij", (share != 0) / np.outer(scale, scale), centred)
    pull -= (share.sum(axis=1) / scale**2)[:, None, None] * centred
    slope = -2 * np.sum(pull * kernels * differences, axis=2) / widths[:, None] ** 2
    return 0.5 * float(share.sum()), slope.T


def maximise_dependence(predictions: Array, strength: float, *, kernel: str = "linear", max_iter: int = 500) -> Array:
    """Refine predictions of several tasks on the same rows, from predictors of any kind.

    max over F of strength Σ_{s<t} D(f_s, f_t) − ½ Σ_t ‖f_t − f⁰_t‖² / ‖f⁰_t − mean‖²

    with D the Hilbert-Schmidt independence criterion over its value for equal arguments, between 0 and 1: the squared
    correlation for the linear kernel, the centred alignment of Gaussian kernels (width: median distance) for ``"rbf"``.

    Args:
        predictions: F⁰ (n, T); columns that are constant stay as they are.
        strength: Weight ≥ 0 of the dependence.
        kernel: ``"linear"`` or ``"rbf"`` (n × n matrices per task).
        max_iter: Iterations of L-BFGS.

    Returns:
        F (n, T), with the means of F⁰ for the linear kernel.

    Raises:
        ConfigError: Unknown kernel, or negative strength.

    Examples:
        >>> import numpy as np
        >>> F = np.random.default_rng(0).normal(size=(50, 2)) + np.linspace(-1, 1, 50)[:, None]
        >>> refined = maximise_dependence(F, 1.0)
        >>> bool(np.corrcoef(refined.T)[0, 1] ** 2 > np.corrcoef(F.T)[0, 1] ** 2)
        True
    """
    if kernel not in {"linear", "rbf"}:
        raise ConfigError(unknown("kernel", kernel, ["linear", "rbf"]))
    if not strength >= 0:
        raise ConfigError(f"strength must be at least 0, found {strength!r}")
    F0 = np.asarray(predictions, dtype=float)
    means = F0.mean(axis=0)
    size = np.sum((F0 - means) ** 2, axis=0)
    alive = size > 1e-20 * np.maximum(1, np.sum(F0**2, axis=0))
    if strength == 0 or alive.sum() < 2:
        return F0.copy()
    unit = np.sqrt(size[alive])
    base = (F0 - means)[:, alive] / unit
    widths = np.array([_median_distance(column) for column in base.T])

    def cost(x: Array) -> tuple[float, Array]:
        F = x.reshape(base.shape)
        value, slope = _linear(F) if kernel == "linear" else _rbf(F, widths)
        miss = F - base
        return 0.5 * float(np.sum(miss**2)) - strength * value, (miss - strength * slope).ravel()

    found = minimize(cost, base.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": max_iter, "ftol": 1e-14})
    out = F0.copy()
    out[:, alive] = found.x.reshape(base.shape) * unit + means[alive]
    return out


def _median_distance(column: Array) -> float:
    distances = np.abs(column[:, None] - column[None, :])[np.triu_indices(len(column), 1)]
    return float(np.median(distances)) or float(distances.mean())


def mixing(C: Array, strength: float, *, max_iter: int = 1000) -> Array:
    """A (T, T) such that F⁰A maximises linear dependence, from the covariance C of F⁰: refinement is a mixture.

    Args:
        C: Covariance (T, T) of the predictions.
        strength: Weight of the dependence.
        max_iter: Iterations of L-BFGS.

    Raises:
        ConvergenceWarning: (a warning) the iterations did not suffice.
    """
    T = len(C)
    A = np.eye(T)
    size = np.diag(C)
    alive = np.flatnonzero(size > 1e-12 * max(size.max(initial=0.0), 1e-300))
    if len(alive) < 2:
        return A
    unit = np.sqrt(size[alive])
    values, vectors = np.linalg.eigh(C[np.ix_(alive, alive)] / np.outer(unit, unit))
    # any F⁰ with this covariance does, as the problem depends on inner products alone: one of as few rows as its rank
    keep = values > 1e-12 * values[-1]
    roots, vectors = np.sqrt(values[keep]), vectors[:, keep]
    base = roots[:, None] * vectors.T

    def cost(x: Array) -> tuple[float, Array]:
        F = x.reshape(base.shape)
        value, slope = _linear(F)
        miss = F - base
        return 0.5 * float(np.sum(miss**2)) - strength * value, (miss - strength * slope).ravel()

    # a long memory: strong dependence bends the criterion far more in some directions than in others
    found = minimize(
        cost,
        base.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": max_iter, "ftol": 1e-15, "maxcor": 30},
    )
    if found.nit >= max_iter:
        warnings.warn(
            f"the dependence still rises after {max_iter} iterations at alpha={strength:.3g}; take a smaller alpha",
            ConvergenceWarning,
            stacklevel=4,
        )
    # of all A with F⁰A = F the one nearest to the identity
    mixed = np.eye(len(alive)) + (vectors / roots) @ (found.x.reshape(base.shape) - base)
    A[np.ix_(alive, alive)] = mixed * unit / unit[:, None]
    return A
