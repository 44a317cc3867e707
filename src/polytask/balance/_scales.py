"""Factors on the rows of a Jacobian, from what a step knows about the tasks."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float

from polytask.balance.method import Evidence
from polytask.errors import MethodError

__all__ = ["SCALES", "RowScale", "rescaled", "row_scales"]

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
