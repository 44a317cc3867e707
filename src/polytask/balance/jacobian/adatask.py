"""Task-wise adaptive learning rates."""

from __future__ import annotations

from typing import ClassVar, final

import torch

from polytask.balance.contract.method import Block, Card, Combined, Evidence, JacobianMethod, Solution
from polytask.balance.contract.options import Limits, Real
from polytask.balance.toolbox.coordinates import OwnSteps, weighted_sum, wide

__all__ = ["AdaTask"]


@final
class AdaTask(JacobianMethod):
    """Adam's step for every task by itself, with moments of its own, summed.

    m_i ← β₁m_i + (1 − β₁)g_i and v_i ← β₂v_i + (1 − β₂)g_i², entry by entry; in the task's t-th step
    m̂_i = m_i/(1 − β₁^t) and v̂_i = v_i/(1 − β₂^t). The step is Σ_i K·p_i·m̂_i/(√v̂_i + ε), p the task weights, Σp_i = 1.

    Args:
        beta1: β₁ in [0, 1); 0.9 in the authors' code. 0 gives the RMSProp form.
        beta2: β₂ in [0, 1); 0.999 in the authors' code.
        eps: ε ≥ 0; 1e-8 in the authors' code.

    Raises:
        ConfigError: An option is outside its limits.

    Examples:
        >>> AdaTask().direction(torch.tensor([[4.0, 0.0], [0.5, -2.0]]))
        tensor([ 2.0000, -1.0000])

    Notes:
        The result is a step, not a gradient: give the shared parameters plain SGD (no momentum, no other adaptation),
        with the learning rate meant for Adam. An adaptive optimizer on top would undo half of it.
        The authors' code multiplies losses by the task weights, which Adam's division removes; here they multiply the
        tasks' steps. Needs 2·K·P numbers of memory. With ε = 0 an entry without any gradient so far stays at zero.

    References:
        Yang et al., "AdaTask: a task-aware adaptive learning rate approach to multi-task learning", AAAI 2023.
    """

    uses_preference = True
    limits: ClassVar[Limits] = {
        "beta1": Real(0, 1, open_high=True),
        "beta2": Real(0, 1, open_high=True),
        "eps": Real(0),
    }
    card = Card(
        title="AdaTask",
        paper="Yang et al., AAAI 2023",
        url="https://arxiv.org/abs/2211.15055",
        idea="No task's gradients set another task's learning rate: separate moments for each.",
        cost="K through the shared part, 2·K·P numbers of memory",
        invariances=("order of tasks", "a factor on each loss separately (as far as ε allows)"),
        verified=("torch.optim.Adam on one task", "sum of separate Adam steps for several"),
        notes="For plain SGD on the shared parameters; gives steps, not gradients.",
        preference="multiplies the task's step",
    )

    def __init__(self, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> None:
        super().__init__()
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self._steps = OwnSteps(self.state)
        self.memory.declare("first", reduce="mean")
        self.memory.declare("second", reduce="same")

    def solve(self, evidence: Evidence) -> Solution:
        """The preference: rates differ between coordinates."""
        return Solution(evidence.emphasis, remember=self._steps.take(evidence.tasks))

    def combine(self, block: Block, evidence: Evidence, solution: Solution) -> Combined:
        """The sum of the tasks' steps, and the new moments."""
        rows = wide(block.rows)
        first = torch.lerp(rows, self.memory.read("first", block.name, evidence.tasks, rows), self.beta1)
        second = torch.lerp(rows.square(), self.memory.read("second", block.name, evidence.tasks, rows), self.beta2)
        steps = solution.remember["steps"]
        root = torch.as_tensor((1 - self.beta2**steps) ** 0.5, dtype=rows.dtype).to(rows.device)[:, None]
        moves = first / (second.sqrt() / root + self.eps)
        moves = torch.where(second > 0, moves, 0.0)
        weights = solution.weights / (1 - self.beta1**steps)
        return Combined(weighted_sum(weights, moves), {"first": first, "second": second})
