"""Sequential removal of conflicts between rows (PCGrad's loop), for all rows at once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

__all__ = ["sequential_projection"]

Array = np.ndarray


def sequential_projection(cosines: Float[Array, "K K"], partners: Int[Array, "K M"]) -> Float[Array, "K K"]:
    """Start each row i from u_i and, for its partners j in order, remove a negative component along u_j.

    The u_i are unit vectors. Rows do not influence each other, so the t-th partners of all rows are treated together:
    M vectorised steps instead of K·M scalar ones.

    Args:
        cosines: C = UUᵀ with a unit diagonal, (K, K).
        partners: Order in which row i meets the others, (K, M).

    Returns:
        A with A·U the projected rows, (K, K).

    Examples:
        >>> sequential_projection(np.array([[1.0, -0.5], [-0.5, 1.0]]), np.array([[1], [0]]))
        array([[1. , 0.5],
               [0.5, 1. ]])
    """
    rows = np.arange(len(cosines))
    coefficients = np.eye(len(cosines))
    inner = cosines.copy()
    flat_inner, flat_coefficients = inner.reshape(-1), coefficients.reshape(-1)
    moved = np.empty_like(inner)
    for places, partner in zip((partners + len(rows) * rows[:, None]).T, partners.T, strict=True):
        excess = np.minimum(flat_inner[places], 0.0)
        flat_coefficients[places] -= excess
        np.take(cosines, partner, axis=0, out=moved, mode="clip")
        moved *= excess[:, None]
        inner -= moved
    return coefficients
