"""Dual-balancing multi-task learning."""

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
from polytask.balance.toolbox.coordinates import OwnSteps, squared_norms, weighted_sum, wide
from polytask.errors import MethodError

__all__ = ["DBMTL"]

Array = np.ndarray


@final
class DBMTL(JacobianMethod):
    """Gradients of log-losses, averaged over steps, all scaled to the length of the longest, and summed.

    y_i ← β_t·y_i + (1 − β_t)·g_i/L_i from y_i = 0, with β_t = β/t^σ in task i's t-th step; the step is
    Σ_i K·p_i·(max_j‖y_j‖/‖y_i‖)·y_i, p the task weights, Σp_i = 1.

    Args:
        beta: β in [0, 1); 0.9 in the authors' code. 0 looks at the present batch alone and needs no memory to speak of.
        decay: σ ≥ 0; 0 in the authors' code.

    Raises:
        ConfigError: ``beta`` or ``decay`` is outside its limits.
        MethodError: A loss is not positive.

    Examples:
        >>> DBMTL(beta=0.0).direction(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
        tensor([3., 3.])

    Notes:
        The authors' code adds 1e-8 to losses and norms; nothing is added here, so that small losses stay exact.
        β > 0 needs K·P numbers of memory.

    References:
        Lin et al., "Dual-balancing for multi-task learning", arXiv 2308.12029.
    """

    uses_preference = True
    limits: ClassVar[Limits] = {"beta": Real(0, 1, open_high=True), "decay": Real(0)}
    heads: Heads = "transformed"
    card = Card(
        title="DB-MTL",
        paper="Lin et al. 2023",
        url="https://arxiv.org/abs/2308.12029",
        idea="Log-losses for their scale, equal gradient lengths for the rest.",
        cost="K through the shared part, K·P numbers of memory",
        invariances=("order of tasks", "a factor on each loss separately"),
        verified=("the authors' recursion, step by step", "all scaled rows have the largest norm"),
        notes="Losses must be positive. The first steps are short: y starts at zero.",
        preference="multiplies the task's scaled gradient",
        heads="as in the authors' code, where each head descends log L",
    )

    def __init__(self, beta: float = 0.9, decay: float = 0.0) -> None:
        super().__init__()
        self.beta, self.decay = beta, decay
        self._steps = OwnSteps(self.state)
        self.memory.declare("tracked", reduce="same")

    def loss_slopes(self, evidence: Evidence) -> Float[Array, "K"]:
        """1/L."""
        return 1 / evidence.losses

    def measure(self, block: Block, evidence: Evidence) -> Mapping[str, Array]:
        """‖y_i‖² after this step's update."""
        return {"length": squared_norms(self._tracked(block, evidence))}

    def solve(self, evidence: Evidence) -> Solution:
        """The factor of each task's gradient if there were no past."""
        lengths = np.sqrt(evidence.measures["length"])
        factors = np.divide(lengths.max(), lengths, out=np.zeros_like(lengths), where=lengths > 0)
        factors = evidence.emphasis * factors
        return Solution(
            factors / evidence.losses, parts={"tracked": factors}, remember=self._steps.take(evidence.tasks)
        )

    def combine(self, block: Block, evidence: Evidence, solution: Solution) -> Combined:
        """The sum of the scaled means, and the new means."""
        tracked = self._tracked(block, evidence)
        gradient = weighted_sum(solution.parts["tracked"], tracked)
        return Combined(gradient, {"tracked": tracked} if self.beta > 0 else {})

    def _tracked(self, block: Block, evidence: Evidence) -> Float[Tensor, "K P"]:
        if (evidence.losses <= 0).any():
            found = dict(zip(evidence.tasks, evidence.losses.tolist(), strict=True))
            raise MethodError(
                f"DBMTL takes logarithms of the losses, which must be positive; found {found}. Add a constant to the "
                "loss, or use a method that does not read losses"
            )
        rows = wide(block.rows)
        rows = rows / torch.as_tensor(evidence.losses, dtype=rows.dtype).to(rows.device)[:, None]
        if self.beta == 0:
            return rows
        steps = self._steps.before(evidence.tasks) + 1
        keep = torch.as_tensor(self.beta / steps**self.decay, dtype=rows.dtype).to(rows.device)[:, None]
        return rows + keep * (self.memory.read("tracked", block.name, evidence.tasks, rows) - rows)
