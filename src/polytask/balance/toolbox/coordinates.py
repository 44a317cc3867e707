"""What several coordinate methods share: working precision, sums of rows, mass on the present tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balance.contract.state import MethodState

__all__ = ["OwnSteps", "mass", "squared_norms", "weighted_sum", "wide"]

Array = np.ndarray


def wide(rows: Float[Tensor, "K P"]) -> Float[Tensor, "K P"]:
    """The rows in float32 at least; they may be stored in half precision."""
    return rows.to(torch.promote_types(rows.dtype, torch.float32))


def weighted_sum(weights: Float[Array, "K"], rows: Float[Tensor, "K P"]) -> Float[Tensor, "P"]:
    """Σ w_i·row_i in the rows' dtype."""
    return torch.as_tensor(weights, dtype=rows.dtype).to(rows.device) @ rows


def squared_norms(rows: Float[Tensor, "K P"]) -> Float[Array, "K"]:
    """‖row_i‖² as float64."""
    norms: Array = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64).cpu().numpy()
    return norms**2


@final
class OwnSteps:
    """How many steps each task has been in, kept as ``"steps"``; a task that joins late starts like any other.

    Args:
        state: Where the numbers are kept.
    """

    def __init__(self, state: MethodState) -> None:
        self._state = state
        state.declare("steps", 0.0, reduce="same")

    def before(self, tasks: Sequence[str]) -> Float[Array, "K"]:
        """The tasks' steps so far."""
        return self._state.read("steps", tasks)

    def take(self, tasks: Sequence[str]) -> dict[str, Float[Array, "K"]]:
        """What is to be remembered: one more for each of ``tasks``."""
        return {"steps": self.before(tasks) + 1}


def mass(state: MethodState, name: str, tasks: Sequence[str]) -> tuple[Float[Array, "K"], float]:
    """A distribution over these tasks, and its total: weights start at one and move inside the present block.

    Tasks that all had their mass taken away while others were present start equal.
    """
    held = state.read(name, tasks)
    total = float(held.sum())
    return held / total if total > 0 else np.full(len(tasks), 1 / len(tasks)), total
