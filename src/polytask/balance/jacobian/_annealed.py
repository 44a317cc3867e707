"""Weights that move towards a target every few steps: what the weightings of physics-informed networks share."""

from __future__ import annotations

import abc
from typing import final

from jaxtyping import Float
from numpy import asarray, ndarray

from polytask.balance.contract.method import Block, Combined, Evidence, JacobianMethod, Solution
from polytask.balance.toolbox.coordinates import weighted_sum, wide

__all__ = ["Annealed"]


class Annealed(JacobianMethod):
    """Every n steps λ_i ← λ_i + α·(λ̂_i − λ_i) from λ_i = 1; the step is Σ K·p_i·λ_i·g_i, p the task weights, Σp_i = 1.

    Args:
        anchor: The task the targets are measured by; while it is absent, λ stays. ``None`` if there is none.
        alpha: α in (0, 1].
        every: n ≥ 1.
    """

    uses_preference = True

    def __init__(self, anchor: str | None, alpha: float, every: int) -> None:
        super().__init__()
        self._anchor, self.alpha, self.every = anchor, alpha, every
        self.state.declare("weight", 1.0, reduce="same")

    @abc.abstractmethod
    def aim(self, evidence: Evidence, weights: Float[ndarray, "K"], anchor: int | None) -> Float[ndarray, "K"]:
        """λ̂, from what was measured, the present λ and the anchor's position; λ_i itself where there is no target."""

    @final
    def solve(self, evidence: Evidence) -> Solution:
        """λ, after this step's update."""
        moved = self._moved(evidence)
        return Solution(moved * evidence.emphasis, remember={"weight": moved})

    @final
    def combine(self, block: Block, evidence: Evidence, solution: Solution) -> Combined:
        """The weighted sum."""
        return Combined(weighted_sum(solution.weights, wide(block.rows)))

    def _moved(self, evidence: Evidence) -> Float[ndarray, "K"]:
        weights = self.state.read("weight", evidence.tasks)
        absent = self._anchor is not None and self._anchor not in evidence.tasks
        if absent or evidence.step % self.every:
            return weights
        anchor = None if self._anchor is None else evidence.tasks.index(self._anchor)
        return asarray(weights + self.alpha * (self.aim(evidence, weights, anchor) - weights))
