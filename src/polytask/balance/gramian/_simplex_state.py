"""A point of the simplex over all tasks that is remembered, and moves inside the block of those present."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from polytask.balance.evidence import Evidence
from polytask.balance.state import MethodState

__all__ = ["keep", "start"]

Array = np.ndarray
_NAME = "mass"


def start(state: MethodState, evidence: Evidence) -> Float[Array, "K"]:
    """Where these tasks stand among themselves; all alike where none of them has any weight left."""
    held = state.read(_NAME, evidence.tasks)
    total = held.sum()
    return np.asarray(held / total) if total > 0 else np.full(evidence.size, 1 / evidence.size)


def keep(state: MethodState, evidence: Evidence, move: Callable[[Evidence], Float[Array, "K"]]) -> None:
    """Remember where ``move`` leads the tasks with a gradient; together they keep the total they had."""
    part = evidence.subset(np.flatnonzero(np.diag(evidence.inner) > 0).tolist())
    if part.size:
        total = float(state.read(_NAME, part.tasks).sum()) or float(part.size)
        state.write(_NAME, part.tasks, total * move(part))
