"""Random draws that follow the tasks' names, so that listing the tasks in another order changes nothing."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from polytask.balance.contract.method import Evidence
from polytask.balance.contract.seeding import by_name

__all__ = ["partners", "shuffled"]

Array = np.ndarray


def partners(evidence: Evidence) -> Int[Array, "K M"]:
    """For each task a random order of the others; positions, (K, K − 1)."""
    size = evidence.size
    names = by_name(evidence.tasks)
    others = np.arange(size - 1) + (np.arange(size - 1) >= np.arange(size)[:, None])
    drawn = evidence.rng.permuted(others, axis=1)
    order = np.empty_like(drawn)
    order[names] = names[drawn]
    return order


def shuffled(evidence: Evidence) -> Int[Array, "K"]:
    """All tasks in random order; positions, (K,)."""
    return np.asarray(by_name(evidence.tasks)[evidence.rng.permutation(evidence.size)])
