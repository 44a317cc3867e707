"""Unit-diagonal scaling: what makes every solver here indifferent to the norms of the tasks' gradients."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.linalg import lapack

__all__ = ["correlation", "definite"]

Array = np.ndarray
_RIDGE = 1e-10
_DEPENDENT = 1e-3


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
    """C itself where it is safely positive definite, else a copy with a small ridge that makes it so.

    The rows of J are taken as dependent when some row is nearer than 1e-3, relative to its length, to the span of
    those before it. Then the ridge is 1e-10, or, for a C computed from single-precision inner products, whose
    eigenvalues may be around −1e-7, twice the most negative eigenvalue.

    Args:
        cosines: Symmetric matrix with a unit diagonal, (K, K).

    Returns:
        C + ridge·I, on which Cholesky's factorisation succeeds.

    Examples:
        >>> independent, dependent = np.array([[1.0, 0.5], [0.5, 1.0]]), np.ones((2, 2))
        >>> definite(independent) is independent, float(round(definite(dependent)[0, 0] - 1, 12))
        (True, 1e-10)
    """
    size = len(cosines)
    factor, info = lapack.dpotrf(cosines, clean=0)
    if info == 0 and factor.diagonal().min() > _DEPENDENT:
        return cosines
    ridged = cosines.copy()
    ridged.flat[:: size + 1] += _RIDGE
    if lapack.dpotrf(ridged, clean=0)[1] != 0:
        smallest = lapack.dsyevd(cosines, compute_v=0)[0][0]
        ridged.flat[:: size + 1] += 2 * abs(smallest) + _RIDGE * size
    return ridged
