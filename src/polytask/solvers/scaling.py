"""Unit-diagonal scaling: what makes every solver here indifferent to the norms of the tasks' gradients."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.linalg import lapack

__all__ = ["correlation", "definite"]

Array = np.ndarray
_RIDGE = 1e-10
"""Added to the unit diagonal, so relative to the squared norm of each row by itself."""


def correlation(gramian: Float[Array, "K K"]) -> tuple[Float[Array, "K K"], Float[Array, "K"]]:
    """Cosines C and norms d of the rows of J, from G = JJᵀ: C = D⁻¹GD⁻¹ with D = diag(d).

    Args:
        gramian: Positive semi-definite matrix with a positive diagonal, (K, K).

    Returns:
        C, whose diagonal is exactly one, and d = √diag(G).

    Examples:
        >>> C, d = correlation(np.array([[4.0, -1.0], [-1.0, 1.0]]))
        >>> C[0, 1], d.tolist()
        (np.float64(-0.5), [2.0, 1.0])
    """
    norms = np.sqrt(gramian.diagonal())
    cosines = gramian / norms
    cosines /= norms[:, None]
    cosines.flat[:: len(norms) + 1] = 1.0
    return cosines, norms


def definite(cosines: Float[Array, "K K"]) -> Float[Array, "K K"]:
    """A copy of C with the smallest standard ridge that makes it positive definite.

    C + 1e-10·I nearly always is. A C computed from single-precision inner products of dependent rows may have
    eigenvalues around −1e-7; then the ridge is twice the most negative one.

    Args:
        cosines: Symmetric matrix with a unit diagonal, (K, K).

    Returns:
        C + ridge·I, on which Cholesky's factorisation succeeds.

    Examples:
        >>> round(definite(np.ones((2, 2)))[0, 0] - 1, 12)
        np.float64(1e-10)
    """
    size = len(cosines)
    ridged = cosines.copy()
    ridged.flat[:: size + 1] += _RIDGE
    if lapack.dpotrf(ridged, clean=0)[1] != 0:
        smallest = lapack.dsyevd(cosines, compute_v=0)[0][0]
        ridged.flat[:: size + 1] += 2 * abs(smallest) + _RIDGE * size
    return ridged
