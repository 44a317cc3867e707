"""Gradient magnitudes of auxiliary tasks, adapted to the main task's, parameter by parameter."""

from __future__ import annotations

from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from polytask.balance.contract.method import Block, Card, Combined, Evidence, JacobianMethod, Solution
from polytask.balance.contract.options import Choice, Limits, Real, TaskName
from polytask.balance.toolbox.coordinates import OwnSteps, wide

__all__ = ["MetaBalance"]


@final
class MetaBalance(JacobianMethod):
    """In every parameter tensor, brings each auxiliary gradient towards the length of the main task's, then sums.

    With m_i the running mean of ‖g_i‖ on one parameter tensor, m ← βm + (1 − β)‖g_i‖, that tensor's step is
    Σ_i K·p_i·(r·m_main/m_i + 1 − r)·g_i, p the task weights, Σp_i = 1.

    Args:
        primary: Name of the main task.
        relax: r in [0, 1]: 0 leaves gradients as they are, 1 makes all lengths equal; 0.7 in the authors' code.
        beta: β in [0, 1); 0.9 in the authors' code.
        change: Which auxiliary gradients are changed: ``"reduce"`` those with m_i > m_main, ``"enlarge"`` those with
            m_i < m_main, or ``"both"``.

    Raises:
        ConfigError: An option is outside its limits.

    Examples:
        >>> method = MetaBalance("main", relax=1.0)
        >>> method.direction(torch.tensor([[3.0, 0.0], [0.0, 12.0]]), tasks=["main", "aux"])
        tensor([3., 3.])

    Notes:
        The means are divided by 1 − β^t, t the task's own steps: with all tasks present from the start this cancels,
        and a task that joins later is not taken for one with small gradients. While the main task is absent its last
        means stand for it; before its first step gradients are left as they are.
        The paper has three strategies: to reduce dominant auxiliary gradients, to enlarge weak ones, and to do both;
        its released code has the last one only. Dominant and weak are judged by the running means.

    References:
        He et al., "MetaBalance: improving multi-task recommendations via adapting gradient magnitudes of auxiliary
        tasks", WWW 2022.
    """

    uses_preference = True
    limits: ClassVar[Limits] = {
        "primary": TaskName(),
        "relax": Real(0, 1),
        "beta": Real(0, 1, open_high=True),
        "change": Choice(("both", "reduce", "enlarge")),
    }
    card = Card(
        title="MetaBalance",
        paper="He et al., WWW 2022",
        url="https://arxiv.org/abs/2203.06801",
        idea="Auxiliary gradients get the main task's magnitude, in each parameter.",
        cost="K through the shared part",
        invariances=("order of tasks", "relax = 1: a factor on each auxiliary loss"),
        verified=(
            "the authors' code, step by step",
            "relax = 0 is the sum",
            "relax = 1 gives equal norms in the first step",
            "reduce and enlarge by rows: their factors multiply to those of both",
        ),
        notes="For one main task; directions are not touched.",
        preference="multiplies the task's adapted gradient",
    )

    def __init__(
        self,
        primary: str,
        relax: float = 0.7,
        beta: float = 0.9,
        change: Literal["both", "reduce", "enlarge"] = "both",
    ) -> None:
        super().__init__()
        self.primary, self.relax, self.beta, self.change = primary, relax, beta, change
        self._steps = OwnSteps(self.state)
        self.memory.declare("norm", "tensor", reduce="same")

    def solve(self, evidence: Evidence) -> Solution:
        """The preference: factors differ between parameters."""
        return Solution(evidence.emphasis, remember=self._steps.take(evidence.tasks))

    def combine(self, block: Block, evidence: Evidence, solution: Solution) -> Combined:
        """The sum of the adapted gradients, and the new mean norms."""
        rows = wide(block.rows)
        norms = torch.stack([rows[:, part].norm(dim=1) for part in block.slices], dim=1)
        means = self.beta * self.memory.read("norm", block.name, evidence.tasks, norms) + (1 - self.beta) * norms
        factors = self._factors(block, evidence, means, solution.remember["steps"])
        factors = factors * torch.as_tensor(solution.weights, dtype=rows.dtype).to(rows.device)[:, None]
        gradient = torch.empty_like(rows[0])
        for index, part in enumerate(block.slices):
            gradient[part] = factors[:, index] @ rows[:, part]
        return Combined(gradient, {"norm": means})

    def _factors(
        self, block: Block, evidence: Evidence, means: Float[Tensor, "K S"], steps: Float[ndarray, "K"]
    ) -> Float[Tensor, "K S"]:
        """r·m_main/m_i + 1 − r for every task and parameter."""
        unbiased = means / (1 - self.beta ** means.new_tensor(steps)[:, None])
        if self.primary in evidence.tasks:
            main = unbiased[evidence.tasks.index(self.primary)]
        else:
            seen = float(self._steps.before([self.primary])[0])
            if seen == 0:
                return torch.ones_like(means)
            main = self.memory.read("norm", block.name, [self.primary], means[:1])[0] / (1 - self.beta**seen)
        ratio = torch.where(unbiased > 0, main / unbiased, 1.0)
        if self.change != "both":
            ratio = ratio.clamp(max=1.0) if self.change == "reduce" else ratio.clamp(min=1.0)
        return self.relax * ratio + (1 - self.relax)
