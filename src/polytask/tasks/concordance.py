"""Harrell's concordance index of labels that may be bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["concordance_index"]

Array = NDArray[Any]


def concordance_index(prediction: Array, bounds: Array, weight: Array | None = None) -> float:
    """Share of pairs of labels, of those whose order is known, that are predicted in this order; ties count a half.

        C = Σ_{i below j} w_i w_j ([p_i < p_j] + ½ [p_i = p_j]) / Σ_{i below j} w_i w_j

    Label i is below label j if u_i < l_j, or u_i = l_j and one of them at least is a bound only.

    Args:
        prediction: p, (n,).
        bounds: l and u, (n, 2): equal where the label is known, −∞ and ∞ where there is no bound.
        weight: w, (n,); all 1 by default.

    Returns:
        C; NaN where the order of no pair is known. It takes time in n·log² n.

    Reference:
        Harrell, Califf, Pryor, Lee, Rosati, Evaluating the yield of medical tests, JAMA 247, 1982.

    Examples:
        >>> inf = float("inf")
        >>> labels = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, inf], [-inf, 5.0]])
        >>> round(concordance_index(np.array([0.0, 3.0, 2.0, 1.0]), labels), 3)  # the last label is above none for sure
        0.667
    """
    low, high = np.asarray(bounds, dtype=float).T
    rank = np.unique(np.asarray(prediction, dtype=float), return_inverse=True)[1]
    own = np.ones(len(low)) if weight is None else np.asarray(weight, dtype=float)
    known = low == high
    order = np.lexsort((known, high))  # of equal upper bounds, those that are no known labels first
    bound_first = np.concatenate([[0], np.cumsum(~known[order])])
    first, last = (np.searchsorted(high[order], low, side) for side in ("left", "right"))
    lower = np.where(known, first + bound_first[last] - bound_first[first], last)  # so many are below
    less, equal = _among_first(rank[order], own[order], lower, rank)
    total = np.concatenate([[0.0], np.cumsum(own[order])])[lower]
    pairs = float((own * total).sum())
    return float((own * (less + 0.5 * equal)).sum() / pairs) if pairs > 0 else float("nan")


def _among_first(rank: Array, weight: Array, count: Array, asked: Array) -> tuple[Array, Array]:
    """Weights, among the first ``count`` entries, of those of a lower rank than ``asked``, and of the same.

    The first c entries are blocks whose lengths are the powers of two in c; each is searched when sorted by rank.
    """
    less, equal = np.zeros(len(count)), np.zeros(len(count))
    width = int(max(rank.max(initial=0), asked.max(initial=0))) + 1
    size = 1
    while size <= count.max(initial=0):
        keys = np.arange(len(rank)) // size * width + rank
        order = np.argsort(keys, kind="stable")
        sums = np.concatenate([[0.0], np.cumsum(weight[order])])
        of = np.flatnonzero(count & size)
        block = (count[of] // (2 * size)) * 2
        key = block * width + asked[of]
        left, right = (np.searchsorted(keys[order], key, side) for side in ("left", "right"))
        less[of] += sums[left] - sums[block * size]
        equal[of] += sums[right] - sums[left]
        size *= 2
    return less, equal
