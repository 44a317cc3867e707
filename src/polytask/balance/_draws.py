"""Random draws that follow the tasks' names, so that listing the tasks in another order changes nothing."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from polytask.balance.method import Evidence

__all__ = ["partners", "shuffled"]

Array = np.ndarray


def partners(evidence: Evidence) -> Int[Array, "K M"]:
    """For each task a random order of the others; positions, (K, K − 1)."""
    size = evidence.size
    by_name = np.array(sorted(range(size), key=evidence.tasks.__getitem__))
    others = np.arange(size - 1) + (np.arange(size - 1) >= np.arange(size)[:, None])
    drawn = evidence.rng.permuted(others, axis=1)
    order = np.empty_like(drawn)
    order[by_name] = by_name[drawn]
    return order


def shuffled(evidence: Evidence) -> Int[Array, "K"]:
    """All tasks in random order; positions, (K,)."""
    by_name = np.array(sorted(range(evidence.size), key=evidence.tasks.__getitem__))
    return np.asarray(by_name[evidence.rng.permutation(evidence.size)])
