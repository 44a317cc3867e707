"""Factors on the rows of a Jacobian, from what a step knows about the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, final

import numpy as np
from jaxtyping import Float

from polytask.balance.contract.method import Evidence
from polytask.balance.contract.state import MethodState
from polytask.balance.toolbox.adam import TaskAdam
from polytask.errors import MethodError

__all__ = ["SCALES", "LogScales", "RowScale", "rescaled", "row_scales"]

Array = np.ndarray
RowScale = Literal["none", "l2", "loss", "loss+"]
SCALES: tuple[RowScale, ...] = ("none", "l2", "loss", "loss+")


def row_scales(mode: RowScale, evidence: Evidence) -> Float[Array, "K"]:
    """One positive factor per task.

    Args:
        mode: ``"none"`` 1, ``"l2"`` 1/‖g_i‖, ``"loss"`` 1/L_i, ``"loss+"`` 1/(L_i·‖g_i‖).
        evidence: Tasks with gradients that are not zero.

    Raises:
        MethodError: A loss is not positive and the mode divides by it.
    """
    scales = np.ones(evidence.size)
    if mode in ("loss", "loss+"):
        bad = {name: loss for name, loss in zip(evidence.tasks, evidence.losses.tolist(), strict=True) if loss <= 0}
        if bad:
            raise MethodError(f"dividing by losses needs positive ones, found {bad}; use 'l2' or shift these losses")
        scales = scales / evidence.losses
    if mode in ("l2", "loss+"):
        scales = scales / np.sqrt(np.diag(evidence.inner))
    return scales


def rescaled(gramian: Float[Array, "K K"], scales: Float[Array, "K"]) -> Float[Array, "K K"]:
    """The Gramian S·G·S of the rows s_i·g_i."""
    return np.asarray(gramian * scales * scales[:, None])


@final
class LogScales:
    """Learned loss scales e^(s_i), which descend Σ e^(s_i)·L_i − s_i by an Adam of their own, within |s_i| ≤ 10.

    Args:
        state: Where the s_i and Adam's moments are kept, by task.
        lr: Learning rate of the s_i.
    """

    _reach = 10.0

    def __init__(self, state: MethodState, lr: float) -> None:
        self._state = state
        self._adam = TaskAdam(state, "log_scale", start=0.0, lr=lr)

    def read(self, tasks: Sequence[str]) -> Float[Array, "K"]:
        """e^s."""
        return np.asarray(np.exp(self._state.read("log_scale", tasks)))

    def step(self, evidence: Evidence, scales: Float[Array, "K"]) -> dict[str, Float[Array, "K"]]:
        """What is to be remembered of one Adam step on s, from e^s; the gradient is e^s·L − 1."""
        return self._adam.step(evidence.tasks, scales * evidence.losses - 1.0, -self._reach, self._reach)
