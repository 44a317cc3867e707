"""Pairs of gradients in conflict: the worst of them, how far to bend it, and who has won lately."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from jaxtyping import Float

__all__ = ["Winners", "bend", "conflict_angle", "worst_pair"]

Array = np.ndarray
_GONE = 1e-7


@final
class Winners:
    """Names of the last winners, oldest first: the state of methods that decide conflicts.

    Examples:
        >>> winners = Winners(["a", "a"])
        >>> winners.overdue(("a", "b"), 2), winners.overdue(("b", "c"), 2)
        ('a', None)
        >>> winners.then("b", 2).names
        ['a', 'b']
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = list(names)

    def overdue(self, pair: tuple[str, str], window: int) -> str | None:
        """The one of ``pair`` who won each of the last ``window`` conflicts, if any."""
        last = set(self.names[-window:])
        alone = window > 0 and len(self.names) >= window and len(last) == 1 and last <= set(pair)
        return self.names[-1] if alone else None

    def then(self, winner: str, window: int) -> Winners:
        """The same with one more winner, at most ``window`` in all."""
        return Winners([*self.names, winner][-window:] if window else [])

    def take(self, news: Winners, /) -> None:
        """Those are the last winners now."""
        self.names = list(news.names)

    def state_dict(self) -> dict[str, Any]:
        """The names."""
        return {"names": list(self.names)}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.names = list(state["names"])

    def reset(self) -> None:
        """Forget everyone."""
        self.names = []


def worst_pair(
    products: Float[Array, "K K"], lengths: Float[Array, "K"], names: Sequence[str], tie: float = 0.0
) -> tuple[int, int, float]:
    """The pair with the smallest cosine, and that cosine; of several pairs that are equally bad, the first by name.

    Args:
        products: Inner products of what is left of each gradient, (K, K).
        lengths: Norms the gradients had at first, (K,); one of which next to nothing is left conflicts with nobody.
        names: The gradients' names.
        tie: Differences of cosines that do not count.

    Returns:
        Both positions and the cosine; 1 where fewer than two gradients are left.
    """
    norms = np.sqrt(np.maximum(np.diag(products), 0.0))
    left = norms > _GONE * math.sqrt(len(norms)) * lengths
    safe = np.where(left, norms, 1.0)
    cosines = np.where(np.outer(left, left), products / np.outer(safe, safe), 1.0)
    np.fill_diagonal(cosines, 1.0)
    i, j = min(np.argwhere(cosines <= cosines.min() + tie).tolist(), key=lambda pair: [names[k] for k in pair])
    return i, j, float(cosines[i, j])


def conflict_angle(cosine: float, thresholds: tuple[float, float, float], power: float) -> float:
    """GCond's φ: from 0 at the last threshold to π/2 at the second, linearly, to π at the first, with ``power``.

    Args:
        cosine: Below the last threshold.
        thresholds: Three cosines, not decreasing.
        power: > 0.
    """
    critical, main, weak = thresholds
    if cosine <= critical:
        return math.pi
    if cosine < main:
        return math.pi / 2 * (1 + math.pow((main - cosine) / (main - critical), power))
    return math.pi / 2 * (weak - cosine) / (weak - main)


def bend(
    mixture: Float[Array, "K K"],
    products: Float[Array, "K K"],
    gramian: Float[Array, "K K"],
    pair: tuple[int, int],
    angle: float,
) -> tuple[Float[Array, "K K"], Float[Array, "K K"]]:
    """Take from the winner sin(φ) times its component along the loser, and vice versa with φ at most π/2.

    Args:
        mixture: What is left of each gradient, as rows of mixtures of all.
        products: Their inner products.
        gramian: Inner products of the gradients at first.
        pair: Positions of winner and loser.
        angle: φ, in [0, π].

    Returns:
        The new mixture and its inner products.
    """
    (win, lose), between = pair, products[pair]
    bent, after = mixture.copy(), products.copy()
    bent[win] -= math.sin(angle) * between / products[lose, lose] * mixture[lose]
    bent[lose] -= math.sin(min(angle, math.pi / 2)) * between / products[win, win] * mixture[win]
    rows = bent[[win, lose]] @ gramian @ bent.T
    after[[win, lose]], after[:, [win, lose]] = rows, rows.T
    return bent, after
