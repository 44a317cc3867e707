"""Convex penalties that act on singular values or on the tasks' covariance, and penalties of degree two."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from polytask.blas import one_blas_thread
from polytask.linear.core.penalties import Penalty
from polytask.solvers import prox

__all__ = ["Quadratic", "SquaredL21", "SquaredTraceNorm", "TraceNorm"]

Array = NDArray[Any]


@final
class TraceNorm(Penalty):
    """α ‖W‖_*, the sum of the singular values.

    Args:
        alpha: α > 0.

    Examples:
        >>> import numpy as np
        >>> TraceNorm(2.0).value(np.diag([3.0, 1.0]))
        8.0
    """

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def value(self, V: Array) -> float:
        """α ‖W‖_*."""
        return self.alpha * float(_singular_values(V).sum())

    def prox(self, V: Array, step: float) -> Array:
        """Singular-value shrinkage."""
        return prox.shrink_singular_values(V, step * self.alpha)[0]

    def gauge(self, G: Array) -> float:
        """The largest singular value over α."""
        return float(prox.singular_system(G)[1].max(initial=0.0)) / self.alpha


@final
class Quadratic(Penalty):
    """½ tr(W M Wᵀ) for a positive definite (T, T) matrix M: ridge, closeness to the mean, closeness on a graph.

    Args:
        M: Symmetric positive definite (T, T).

    Examples:
        >>> import numpy as np
        >>> Quadratic(2 * np.eye(2)).value(np.array([[1.0, 2.0]]))
        5.0
    """

    homogeneous = False

    def __init__(self, M: Array) -> None:
        with one_blas_thread():
            self.roots, self.vectors = np.linalg.eigh(M)
        self.M = M

    def value(self, V: Array) -> float:
        """½ tr(W M Wᵀ)."""
        return 0.5 * float(np.vdot(V @ self.M, V))

    def prox(self, V: Array, step: float) -> Array:
        """V (I + step M)⁻¹."""
        return np.asarray((V @ (self.vectors / (1 + step * self.roots))) @ self.vectors.T)

    def conjugate(self, G: Array) -> float:
        """½ tr(G M⁻¹ Gᵀ)."""
        return 0.5 * float(np.sum((G @ self.vectors) ** 2 / self.roots))


@final
class SquaredL21(Penalty):
    """(α/2) ‖W‖_{2,1}².

    Args:
        alpha: α > 0.

    Examples:
        >>> import numpy as np
        >>> SquaredL21(1.0).value(np.array([[3.0, 4.0]]))
        12.5
    """

    homogeneous = False

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def value(self, V: Array) -> float:
        """(α/2) ‖W‖_{2,1}²."""
        return 0.5 * self.alpha * float(np.sqrt(np.einsum("jt,jt->j", V, V)).sum()) ** 2

    def prox(self, V: Array, step: float) -> Array:
        """Row shrinkage by a level that depends on all rows."""
        norms = np.sqrt(np.einsum("jt,jt->j", V, V))
        kept = prox.shrink_sorted(norms, step * self.alpha)
        return np.asarray(V * np.divide(kept, norms, out=np.zeros_like(norms), where=norms > 0)[:, None])

    def conjugate(self, G: Array) -> float:
        """max_j ‖G_j‖² / (2α)."""
        return float(np.einsum("jt,jt->j", G, G).max(initial=0.0)) / (2 * self.alpha)


@final
class SquaredTraceNorm(Penalty):
    """(α/2) ‖W‖_*².

    Args:
        alpha: α > 0.

    Examples:
        >>> import numpy as np
        >>> SquaredTraceNorm(1.0).value(np.diag([3.0, 1.0]))
        8.0
    """

    homogeneous = False

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def value(self, V: Array) -> float:
        """(α/2) ‖W‖_*²."""
        return 0.5 * self.alpha * float(_singular_values(V).sum()) ** 2

    def prox(self, V: Array, step: float) -> Array:
        """Singular-value shrinkage by a level that depends on all of them."""
        vectors, values, columns = prox.singular_system(V)
        kept = prox.shrink_sorted(values, step * self.alpha)
        keep = kept > 0
        vectors = vectors[:, keep]
        scaled = vectors * (kept[keep] / values[keep])
        return np.asarray((V @ scaled) @ vectors.T if columns else scaled @ (vectors.T @ V))

    def conjugate(self, G: Array) -> float:
        """‖G‖_2² / (2α)."""
        return float(prox.singular_system(G)[1].max(initial=0.0)) ** 2 / (2 * self.alpha)


def _singular_values(V: Array) -> Array:
    # the values of a sum must be accurate when small ones are exactly zero: no squaring here
    with one_blas_thread():
        return np.linalg.svd(V, compute_uv=False)
