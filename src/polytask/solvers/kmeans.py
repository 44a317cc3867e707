"""k-means on the line, solved exactly."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

__all__ = ["kmeans_line"]

Array = np.ndarray


def kmeans_line(points: Float[Array, "K"], groups: int) -> Int[Array, "K"]:
    """Labels of the grouping of numbers that minimises the sum of squared distances to the groups' means.

    On a line, optimal groups are intervals; dynamic programming over where they end finds the best, in O(G·K²).

    Args:
        points: K finite numbers.
        groups: G, between 1 and K; no group is empty.

    Returns:
        Labels 0 … G−1 in ascending order of the groups' means, (K,).

    Raises:
        ValueError: ``groups`` is not between 1 and K.

    Examples:
        >>> kmeans_line(np.array([1.0, 9.0, 1.2, 8.0]), 2).tolist()
        [0, 1, 0, 1]

    Reference:
        Wang, Song, "Ckmeans.1d.dp: optimal k-means clustering in one dimension by dynamic programming", The R Journal
        3, 2011.
    """
    size = len(points)
    if not 1 <= groups <= size:
        raise ValueError(f"expected between 1 and {size} groups for {size} points, found {groups}")
    order = np.argsort(points, kind="stable")
    # Centred, so that squares lose no digits when all points are far from zero.
    x = points[order] - points.mean()
    sums, squares = (np.concatenate([[0.0], np.cumsum(part)]) for part in (x, x * x))
    start, end = np.arange(size)[:, None], np.arange(1, size + 1)[None, :]
    length = np.maximum(end - start, 1)
    within = squares[end] - squares[start] - (sums[end] - sums[start]) ** 2 / length
    cost = np.where(end > start, np.maximum(within, 0.0), np.inf)
    best = cost[0]
    cuts = []
    for group in range(1, groups):
        # reach[s, e]: points before s in the groups so far, points s … e in one more.
        reach = np.full((size, size), np.inf)
        reach[group:] = best[group - 1 : size - 1, None] + cost[group:]
        cuts.append(reach.argmin(axis=0))
        best = reach.min(axis=0)
    labels = np.empty(size, dtype=np.int64)
    last = size
    for group in range(groups - 1, -1, -1):
        first = int(cuts[group - 1][last - 1]) if group else 0
        labels[order[first:last]] = group
        last = first
    return labels
