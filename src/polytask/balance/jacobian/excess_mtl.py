"""Multi-task learning by excess risks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balance.contract.method import Block, Card, Combined, Evidence, JacobianMethod, Solution
from polytask.balance.contract.options import Limits, Real
from polytask.balance.engine.gradients import Heads
from polytask.balance.toolbox.coordinates import mass, weighted_sum, wide

__all__ = ["ExcessMTL"]

Array = np.ndarray


@final
class ExcessMTL(JacobianMethod):
    """Multiplicative weights that grow with the distance from the optimum, estimated from gradients.

    h_i ← h_i + g_i², entry by entry; the excess risk of task i is e_i = Σ_j g_ij²/√h_ij, relative to its value e_i⁰ in
    the task's first step; w_i ∝ w_i·exp(η·e_i/e_i⁰), Σw_i = K. The step is Σ w_i·g_i.

    Args:
        lr: η > 0; 0.01 in the authors' code.

    Raises:
        ConfigError: ``lr`` is not positive.

    Examples:
        >>> ExcessMTL().direction(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        tensor([1., 2.])

    Notes:
        The accumulator h needs K·P numbers of memory. The baseline e⁰ is that of the first step, as in the authors'
        code. That code adds 1e-7 to h, which makes small gradients look like small excess risks, and gives NaN for
        good after a zero first gradient; here an entry without any gradient so far counts as zero.
        Weights move inside the present tasks, which keep their part of the total.

    References:
        He et al., "Robust multi-task learning with excess risks", ICML 2024.
    """

    uses_preference = True
    limits: ClassVar[Limits] = {"lr": Real(0, open_low=True)}
    heads: Heads = "weighted"
    card = Card(
        title="ExcessMTL",
        paper="He et al., ICML 2024",
        url="https://arxiv.org/abs/2402.02009",
        idea="Weigh up the tasks furthest from their own optimum, not those with large or noisy losses.",
        cost="K through the shared part, K·P numbers of memory",
        invariances=("order of tasks", "a factor on each loss separately (in the weights)"),
        verified=("the authors' recursion, step by step", "equal histories keep equal weights"),
        notes="The accumulator only grows, so that weights settle.",
        preference="multiplies the task's weight",
        heads="the authors' code descends Σ w_i·L_i with all parameters",
    )

    def __init__(self, lr: float = 1e-2) -> None:
        super().__init__()
        self.lr = lr
        self.state.declare("mass", 1.0, reduce="same")
        self.state.declare("baseline", 0.0, reduce="same")
        self.memory.declare("squares", reduce="same")

    def measure(self, block: Block, evidence: Evidence) -> Mapping[str, Array]:
        """Excess risks, up to the baseline."""
        squares = wide(block.rows).square()
        terms = squares * self._accumulated(block, evidence).rsqrt()
        return {"excess": torch.where(squares > 0, terms, 0.0).sum(1, dtype=torch.float64).cpu().numpy()}

    def solve(self, evidence: Evidence) -> Solution:
        """One multiplicative step."""
        weights, total = mass(self.state, "mass", evidence.tasks)
        known = self.state.read("baseline", evidence.tasks)
        baseline = np.where(known > 0, known, evidence.measures["excess"])
        ratio = np.divide(evidence.measures["excess"], baseline, out=np.ones(evidence.size), where=baseline > 0)
        moved = weights * np.exp(self.lr * (ratio - ratio.max()))
        moved = moved / moved.sum()
        return Solution(
            evidence.size * moved * evidence.emphasis, remember={"mass": total * moved, "baseline": baseline}
        )

    def combine(self, block: Block, evidence: Evidence, solution: Solution) -> Combined:
        """The weighted sum, and the new accumulator."""
        gradient = weighted_sum(solution.weights, wide(block.rows))
        return Combined(gradient, {"squares": self._accumulated(block, evidence)})

    def _accumulated(self, block: Block, evidence: Evidence) -> Float[Tensor, "K P"]:
        rows = wide(block.rows)
        return self.memory.read("squares", block.name, evidence.tasks, rows) + rows.square()
