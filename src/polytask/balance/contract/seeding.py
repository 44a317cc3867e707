"""Random generators that depend on a seed and a step alone, and cost a few microseconds to make."""

from __future__ import annotations

import functools
from typing import Any, cast, final

import numpy as np
from jaxtyping import Int
from numpy.random.bit_generator import ISeedSequence

__all__ = ["by_name", "generator", "rank_by_name"]

_WORD = (1 << 64) - 1


@final
class _Key(ISeedSequence):
    """Hands Philox its key as it is. NumPy's own seed sequences hash first, which takes longer than small draws do."""

    def __init__(self, *words: int) -> None:
        self._words = words

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        """The words of the key."""
        assert n_words == len(self._words)
        return np.array(self._words, dtype=dtype)


def generator(seed: int, step: int) -> np.random.Generator:
    """A fresh generator: Philox, a block cipher in counter mode, with the key (seed, step) and the counter at zero.

    Different keys give unrelated streams, also where they differ by one bit.

    Args:
        seed: Seed of the run; 64 bits count.
        step: Steps taken before this one.

    Examples:
        >>> generator(3, 5).integers(100, size=3).tolist() == generator(3, 5).integers(100, size=3).tolist()
        True
    """
    return np.random.Generator(np.random.Philox(cast(Any, _Key(seed & _WORD, step & _WORD))))


@functools.lru_cache(maxsize=256)
def by_name(tasks: tuple[str, ...]) -> Int[np.ndarray, "K"]:
    """Positions of the tasks in alphabetical order: drawing in it makes the order in which tasks are listed immaterial.

    Examples:
        >>> by_name(("b", "c", "a")).tolist()
        [2, 0, 1]
    """
    order = np.array(sorted(range(len(tasks)), key=tasks.__getitem__), dtype=np.intp)
    order.setflags(write=False)  # one array for all callers
    return order


@functools.lru_cache(maxsize=256)
def rank_by_name(tasks: tuple[str, ...]) -> Int[np.ndarray, "K"]:
    """Each task's place in alphabetical order: indexed by this, what was drawn in that order is in the tasks' own.

    Examples:
        >>> rank_by_name(("b", "c", "a")).tolist()
        [1, 2, 0]
    """
    ranks = np.argsort(by_name(tasks))
    ranks.setflags(write=False)
    return ranks
