"""Sequential correction of the angles between rows towards given cosines (GradVac's loop), for all rows at once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

__all__ = ["sequential_alignment"]

Array = np.ndarray
_NEAREST = 1e-7
_VANISHED = 1e-12


def sequential_alignment(
    cosines: Float[Array, "K K"], partners: Int[Array, "K M"], goal: Float[Array, "K K"]
) -> tuple[Float[Array, "K K"], Float[Array, "K K"]]:
    """Start each row i from u_i and, for its partners j in order, raise its cosine with u_j to ``goal[i, j]``.

    A row v with cosine φ < φ̂ gets ‖v‖·(φ̂·√(1−φ²) − φ·√(1−φ̂²))/√(1−φ̂²) times u_j, after which its cosine is φ̂ and its
    length ‖v‖·√(1−φ²)/√(1−φ̂²). Rows do not influence each other, so the t-th partners of all rows are treated together.

    Args:
        cosines: C = UUᵀ with a unit diagonal, (K, K).
        partners: Order in which row i meets the others, (K, M).
        goal: φ̂, kept within ±(1 − 1e-7), (K, K).

    Returns:
        A with A·U the corrected rows, and the cosines φ found on the way (``goal`` where a row had vanished), both
        (K, K).

    Examples:
        >>> C, partners = np.array([[1.0, -0.5], [-0.5, 1.0]]), np.array([[1], [0]])
        >>> A, found = sequential_alignment(C, partners, np.zeros((2, 2)))
        >>> A.tolist(), found[0, 1]
        ([[1.0, 0.5], [0.5, 1.0]], np.float64(-0.5))
    """
    size = len(cosines)
    rows = np.arange(size)
    wanted = np.clip(goal, _NEAREST - 1, 1 - _NEAREST)
    height = np.sqrt(1 - wanted**2)
    coefficients, found = np.eye(size), goal.copy()
    inner, length = cosines.copy(), np.ones(size)
    for partner in partners.T:
        alive = length > _VANISHED
        scale = np.where(alive, length, 1.0)
        cosine = np.clip(inner[rows, partner] / scale, -1.0, 1.0)
        target, level = wanted[rows, partner], height[rows, partner]
        found[rows, partner] = np.where(alive, cosine, goal[rows, partner])
        low = alive & (cosine < target)
        across = np.sqrt(1 - cosine**2)
        added = np.where(low, length * (target * across - cosine * level) / level, 0.0)
        coefficients[rows, partner] += added
        inner += added[:, None] * cosines[partner]
        length = np.where(low, length * across / level, length)
    return coefficients, found
