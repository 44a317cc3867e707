"""A point of the simplex over all tasks that is remembered, and moves inside the block of those present."""

from __future__ import annotations

from typing import final

import numpy as np
from jaxtyping import Float

from polytask.balance.contract.evidence import Evidence
from polytask.balance.contract.state import MethodState

__all__ = ["SimplexState"]

Array = np.ndarray


@final
class SimplexState:
    """A distribution over all tasks, kept as ``"mass"``; the tasks that are present move among themselves.

    Args:
        state: Where the numbers are kept.
    """

    def __init__(self, state: MethodState) -> None:
        self._state = state
        state.declare("mass", 1.0, reduce="same")

    def start(self, evidence: Evidence) -> Float[Array, "K"]:
        """Where these tasks stand among themselves; all alike where none of them has any weight left."""
        held = self._state.read("mass", evidence.tasks)
        total = held.sum()
        return np.asarray(held / total) if total > 0 else np.full(evidence.size, 1 / evidence.size)

    def take(self, evidence: Evidence, moved: Float[Array, "K"]) -> dict[str, Float[Array, "K"]]:
        """What is to be remembered once these tasks stand at ``moved``; together they keep the total they had."""
        total = float(self._state.read("mass", evidence.tasks).sum()) or float(evidence.size)
        return {"mass": total * moved}
