"""Proximal operators and projections on small matrices: pure functions of NumPy arrays.

Throughout, ``V`` is a (d, T) matrix whose rows are features and whose columns are tasks, and
prox_{τΩ}(V) = argmin_W ½‖W − V‖_F² + τ Ω(W). Thresholds are non-negative; the input is never changed.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from polytask.blas import one_blas_thread

__all__ = [
    "clip_l1_rows",
    "clip_l2_rows",
    "project_l1_rows",
    "shrink_entries",
    "shrink_group_entries",
    "shrink_linf_rows",
    "shrink_rows",
    "shrink_singular_values",
    "shrink_sorted",
    "singular_system",
    "total_variation_rows",
]

Matrix = Float[np.ndarray, "d T"]
Vector = Float[np.ndarray, " k"]


def shrink_entries(V: Matrix, threshold: float | Float[np.ndarray, "..."]) -> Matrix:
    """Soft threshold, the prox of τ‖W‖_1: sign(V) (|V| − τ)_+.

    Args:
        V: Matrix (d, T).
        threshold: τ ≥ 0, or an array that broadcasts against ``V``.

    Examples:
        >>> import numpy as np
        >>> shrink_entries(np.array([[3.0, -0.5]]), 1.0).tolist()
        [[2.0, 0.0]]
    """
    return np.asarray(V - np.clip(V, -threshold, threshold))


def shrink_rows(V: Matrix, threshold: float | Float[np.ndarray, " d"]) -> Matrix:
    """Block soft threshold, the prox of τ Σ_j ‖W_j‖_2: row j times (1 − τ/‖V_j‖)_+.

    Args:
        V: Matrix (d, T).
        threshold: τ ≥ 0, or one per row.

    Examples:
        >>> import numpy as np
        >>> shrink_rows(np.array([[3.0, 4.0], [0.3, 0.4]]), 1.0).tolist()
        [[2.4..., 3.2...], [0.0, 0.0]]
    """
    norms = np.sqrt(np.einsum("jt,jt->j", V, V))
    scale = np.zeros_like(norms)
    np.divide(threshold, norms, out=scale, where=norms > threshold)
    return np.asarray(V * np.where(norms > threshold, 1 - scale, 0.0).astype(V.dtype, copy=False)[:, None])


def shrink_group_entries(V: Matrix, entry: float, row: float) -> Matrix:
    """The prox of a‖W‖_1 + b‖W‖_{2,1} (sparse group): soft threshold by a, then row shrinkage by b.

    Args:
        V: Matrix (d, T).
        entry: a ≥ 0.
        row: b ≥ 0.

    Examples:
        >>> import numpy as np
        >>> shrink_group_entries(np.array([[4.0, 5.0]]), 1.0, 2.5).tolist()
        [[1.5, 2.0]]
    """
    return shrink_rows(shrink_entries(V, entry), row)


def project_l1_rows(V: Matrix, radius: float | Float[np.ndarray, " d"]) -> Matrix:
    """Project every row on the ℓ1 ball {v: ‖v‖_1 ≤ r}, by sorting.

    Args:
        V: Matrix (d, T).
        radius: r ≥ 0, or one per row.

    Examples:
        >>> import numpy as np
        >>> project_l1_rows(np.array([[3.0, 1.0], [0.5, 0.25]]), 2.0).tolist()
        [[2.0, 0.0], [0.5, 0.25]]
    """
    A = np.abs(V)
    top = A.max(axis=1, keepdims=True)
    below = A - top
    # Levels are taken below the largest entry, where they keep their digits however large the entries are.
    level = _l1_level(below, np.broadcast_to(radius, V.shape[:1]))[:, None]
    return np.asarray(np.where(top + level > 0, np.copysign(np.maximum(below - level, 0), V), V))


def _l1_level(below: Matrix, radius: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
    """Level θ with Σ_t (B_jt − θ_j)_+ = r_j for rows B whose largest entry is zero."""
    descending = -np.sort(-below, axis=1)
    excess = np.cumsum(descending, axis=1) - radius[:, None]
    levels = excess / np.arange(1, below.shape[1] + 1, dtype=below.dtype)
    # θ is the largest level: levels rise while an entry is above the current level and fall afterwards
    return np.asarray(levels.max(axis=1).astype(below.dtype, copy=False))


def shrink_linf_rows(V: Matrix, threshold: float) -> Matrix:
    """The prox of τ Σ_j ‖W_j‖_∞: V minus the projection of its rows on the ℓ1 ball of radius τ (Moreau).

    Args:
        V: Matrix (d, T).
        threshold: τ ≥ 0.

    Examples:
        >>> import numpy as np
        >>> shrink_linf_rows(np.array([[3.0, 1.0]]), 1.5).tolist()
        [[1.5, 1.0]]
    """
    return np.asarray(V - project_l1_rows(V, threshold))


def clip_l1_rows(V: Matrix, radius: float, bound: float) -> Matrix:
    """Project every row on {v: ‖v‖_1 ≤ a, |v_t| ≤ b}: sign(V) clip(|V| − θ, 0, b) with the right level θ per row.

    V minus this projection is the prox of the infimal convolution of a‖·‖_{1,∞} and b‖·‖_1, the dirty model.

    Args:
        V: Matrix (d, T).
        radius: a ≥ 0, the bound on the row's ℓ1 norm.
        bound: b ≥ 0, the bound on each entry.

    Examples:
        >>> import numpy as np
        >>> clip_l1_rows(np.array([[3.0, 1.0]]), 2.0, 1.5).tolist()
        [[1.5, 0.5]]
    """
    A = np.abs(V)
    clipped = np.minimum(A, bound)
    outside = np.flatnonzero(clipped.sum(axis=1) > radius)
    if outside.size:
        B = A[outside]
        # Σ_t clip(B_t − θ, 0, b) is decreasing and piecewise linear in θ, with kinks at 0, B_t − b and B_t
        kinks = np.concatenate([np.zeros((len(B), 1), B.dtype), np.maximum(B - bound, 0), B], axis=1)
        kinks.sort(axis=1)
        rows = np.arange(len(B))
        low, high = np.zeros(len(B), np.intp), np.full(len(B), kinks.shape[1] - 1, np.intp)
        while np.any(high - low > 1):  # the sum is above the radius at low and below it at high
            middle = (low + high) // 2
            above = np.clip(B - kinks[rows, middle][:, None], 0, bound).sum(axis=1) > radius
            low = np.where(above, middle, low)
            high = np.where(above, high, middle)
        left, right = kinks[rows, low], kinks[rows, high]
        f_left = np.clip(B - left[:, None], 0, bound).sum(axis=1)
        drop = f_left - np.clip(B - right[:, None], 0, bound).sum(axis=1)
        share = np.divide(f_left - radius, drop, out=np.zeros_like(drop), where=drop > 0)
        level = left + np.clip(share, 0, 1) * (right - left)
        clipped[outside] = np.clip(B - level[:, None], 0, bound)
    return np.asarray(np.copysign(clipped, V))


def clip_l2_rows(V: Matrix, radius: float, bound: float) -> Matrix:
    """Project every row on {v: ‖v‖_2 ≤ a, |v_t| ≤ b}: clip(V/(1 + μ), ±b) with the right multiplier μ per row.

    V minus this projection is the prox of the infimal convolution of a‖·‖_{2,1} and b‖·‖_1.

    Args:
        V: Matrix (d, T).
        radius: a ≥ 0, the bound on the row's ℓ2 norm.
        bound: b ≥ 0, the bound on each entry.

    Examples:
        >>> import numpy as np
        >>> clip_l2_rows(np.array([[6.0, 8.0]]), 5.0, 10.0).round(6).tolist()
        [[3.0, 4.0]]
    """
    A = np.abs(V)
    clipped = np.minimum(A, bound)
    outside = np.flatnonzero(np.einsum("jt,jt->j", clipped, clipped) > radius**2)
    if outside.size:
        B = np.sort(A[outside], axis=1)[:, ::-1]
        count = B.shape[1]
        # with the k largest entries at the bound: k b² + s² Σ_{rest} B² = a², s = 1/(1 + μ)
        tail = np.cumsum((B * B)[:, ::-1], axis=1)[:, ::-1]
        k = np.arange(count)
        room = radius**2 - k * bound**2
        shrink = np.sqrt(np.maximum(room, 0) / np.where(tail > 0, tail, 1))
        # right k: the next entry stays under the bound and the last clipped one does not
        fits = (room >= 0) & (shrink * B <= bound)
        chosen = shrink[np.arange(len(B)), np.argmax(fits, axis=1)]
        clipped[outside] = np.minimum(A[outside] * chosen[:, None], bound)
    return np.asarray(np.copysign(clipped, V))


def singular_system(V: Matrix) -> tuple[Float[np.ndarray, "k k"], Vector, bool]:
    """Eigenvectors of the smaller Gram matrix and the singular values of ``V``, in ascending order.

    The eigendecomposition of the T × T (or d × d) Gram matrix costs a fraction of a singular value decomposition.
    It squares the condition number, which is harmless for shrinkage: directions far below the threshold vanish anyway.

    Args:
        V: Matrix (d, T).

    Returns:
        Eigenvectors (k, k) with k = min(d, T), singular values (k,), and whether they belong to the columns (T ≤ d).

    Examples:
        >>> import numpy as np
        >>> vectors, values, columns = singular_system(np.array([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]]))
        >>> values.tolist(), columns
        ([3.0, 4.0], True)
    """
    columns = V.shape[1] <= V.shape[0]
    with one_blas_thread():
        values, vectors = np.linalg.eigh(V.T @ V if columns else V @ V.T)
    return vectors, np.sqrt(np.maximum(values, 0)), columns


def shrink_singular_values(V: Matrix, threshold: float) -> tuple[Matrix, Float[np.ndarray, " r"]]:
    """The prox of τ‖W‖_*: soft threshold on the singular values.

    Args:
        V: Matrix (d, T).
        threshold: τ ≥ 0.

    Returns:
        The matrix, and its positive singular values in ascending order (their sum is its trace norm).

    Examples:
        >>> import numpy as np
        >>> W, left = shrink_singular_values(np.diag([3.0, 1.0]), 2.0)
        >>> W.round(12).tolist(), left.round(12).tolist()
        ([[1.0, 0.0], [0.0, 0.0]], [1.0])
    """
    vectors, values, columns = singular_system(V)
    keep = values > threshold
    vectors, kept = vectors[:, keep], values[keep]
    left = kept - threshold
    scaled = vectors * (left / kept)
    W = (V @ scaled) @ vectors.T if columns else scaled @ (vectors.T @ V)
    return W, left


def shrink_sorted(values: Vector, weight: float) -> Vector:
    """The prox of (c/2)(Σ_i v_i)² on non-negative v: soft threshold by the fixed point θ = c Σ_i (v_i − θ)_+.

    Applied to row norms it is the prox of (c/2)‖W‖_{2,1}², applied to singular values that of (c/2)‖W‖_*².

    Args:
        values: Non-negative values, in any order.
        weight: c ≥ 0, the penalty's weight times the step.

    Examples:
        >>> import numpy as np
        >>> shrink_sorted(np.array([3.0, 1.0]), 1.0).tolist()
        [1.5, 0.0]
    """
    if values.size == 0:
        return values.copy()
    descending = -np.sort(-values)
    counts = np.arange(1, len(values) + 1, dtype=values.dtype)
    levels = weight * np.cumsum(descending) / (1 + weight * counts)
    active = np.flatnonzero(descending > levels)
    level = levels[active[-1]] if active.size else levels[0]
    return np.asarray(np.maximum(values - level, 0))


def total_variation_rows(V: Matrix, threshold: float) -> Matrix:
    """The prox of τ Σ_j Σ_t |W_{j,t+1} − W_{j,t}|: total-variation denoising of every row, exact.

    The denoised row is the left derivative of the greatest string under tension in a tube of half-width τ around
    the row's running sum (taut string). All rows advance together; the cost is linear in d and quadratic in T at worst.

    Args:
        V: Matrix (d, T) whose columns are ordered (time).
        threshold: τ ≥ 0.

    Examples:
        >>> import numpy as np
        >>> total_variation_rows(np.array([[0.0, 0.0, 3.0, 3.0]]), 1.0).tolist()
        [[0.5, 0.5, 2.5, 2.5]]
    """
    rows, length = V.shape
    if length < 2 or threshold == 0:
        return V.copy()
    total = np.concatenate([np.zeros((rows, 1), V.dtype), np.cumsum(V, axis=1)], axis=1)
    width = np.full(length + 1, threshold, dtype=V.dtype)
    width[0] = width[-1] = 0
    lower, upper = total - width, total + width
    out = np.empty_like(V)
    for j in range(rows):
        _taut_string(lower[j].tolist(), upper[j].tolist(), out[j])
    return out


def _taut_string(lower: list[float], upper: list[float], out: Float[np.ndarray, " T"]) -> None:
    """Slopes of the shortest path from (0, lower[0]) to (T, lower[T]) between the two curves."""
    length = len(out)
    start, height = 0, lower[0]
    while start < length:
        low_slope, high_slope = -np.inf, np.inf
        low_at = high_at = start + 1
        stop = start + 1
        while stop <= length:
            span = stop - start
            rise_low, rise_high = (lower[stop] - height) / span, (upper[stop] - height) / span
            if rise_low > high_slope:  # the lower curve is above what the upper one allowed: touch the upper one
                end, slope = high_at, high_slope
                break
            if rise_high < low_slope:
                end, slope = low_at, low_slope
                break
            if rise_low >= low_slope:
                low_slope, low_at = rise_low, stop
            if rise_high <= high_slope:
                high_slope, high_at = rise_high, stop
            stop += 1
        else:
            # both curves meet at the end: the last low and high slopes agree there
            end, slope = length, (lower[length] - height) / (length - start)
            if slope < low_slope:
                end, slope = low_at, low_slope
            elif slope > high_slope:
                end, slope = high_at, high_slope
        out[start:end] = slope
        height += slope * (end - start)
        start = end
