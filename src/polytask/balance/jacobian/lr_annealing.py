"""Learning-rate annealing for physics-informed networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np
import torch

from polytask.balance._params import Flag, Limits, Real, TaskName, Whole, check
from polytask.balance.jacobian._tools import share, weighted_sum, wide
from polytask.balance.method import Block, Card, Combined, Evidence, JacobianMethod, Solution

__all__ = ["LRAnnealing"]

Array = np.ndarray


@final
class LRAnnealing(JacobianMethod):
    """Weighs every data term up until its mean gradient entry meets the largest one of the residual.

    Every n steps λ_i ← (1 − α)λ_i + α·λ̂_i from λ_i = 1, λ̂_i = max_j|∂L_r/∂θ_j| / mean_j|∂L_i/∂θ_j|, where L_r is the
    residual's loss; the step is g_r + Σ_{i≠r} λ_i·g_i.

    Args:
        residual: Name of the task whose loss is the equation's residual; its weight stays one.
        alpha: α in (0, 1], weight of the new value; 0.1 in the authors' code.
        every: n, steps between updates; 10 in the authors' code.
        released: Divide λ̂_i by the present λ_i, as the authors' code does by differentiating λ_i·L_i.

    Raises:
        ConfigError: An option is outside its limits.

    Examples:
        >>> method = LRAnnealing("residual", alpha=1.0)
        >>> method.direction(torch.tensor([[4.0, 0.0], [0.0, 1.0]]), tasks=["residual", "boundary"])
        tensor([4., 8.])

    Notes:
        For gradients that do not change, λ tends to λ̂; under ``released=True`` to √λ̂.
        Statistics are over all shared parameters. The authors' code averages the means of weight matrices and leaves
        biases out. While the residual is absent, λ stays. The gradients are computed in every step.

    References:
        Wang, Teng, Perdikaris, "Understanding and mitigating gradient flow pathologies in physics-informed neural
        networks", SIAM J. Sci. Comput. 43, 2021.
    """

    uses_preference = True
    maxima = ("largest",)
    limits: ClassVar[Limits] = {
        "residual": TaskName(),
        "alpha": Real(0, 1, open_low=True),
        "every": Whole(1),
        "released": Flag(),
    }
    card = Card(
        title="Learning-rate annealing",
        paper="Wang, Teng, Perdikaris, SISC 2021",
        url="https://arxiv.org/abs/2001.04536",
        idea="Boundary and data terms get gradients as large as the largest of the equation's residual.",
        cost="K through the shared part",
        invariances=("order of tasks", "a factor on each loss but the residual's (at the fixed point)"),
        verified=("its formula by hand", "the fixed points λ̂ and √λ̂", "one block equals several"),
        notes="A maximum over a mean: weights grow with the number of parameters.",
    )

    def __init__(self, residual: str, alpha: float = 0.1, every: int = 10, released: bool = False) -> None:
        super().__init__()
        self.residual, self.alpha, self.every, self.released = residual, alpha, every, released
        check(self)
        self.state.declare("weight", 1.0)

    def measure(self, block: Block, evidence: Evidence) -> Mapping[str, Array]:
        """Largest entry, sum of entries and their number."""
        sizes = wide(block.rows).abs()
        return {
            "largest": sizes.amax(1).double().cpu().numpy(),
            "total": sizes.sum(1, dtype=torch.float64).cpu().numpy(),
            "count": np.array(float(sizes.shape[1])),
        }

    def solve(self, evidence: Evidence) -> Solution:
        """λ, after this step's update."""
        return Solution(self._moved(evidence) * share(evidence))

    def observe(self, evidence: Evidence, solution: Solution) -> None:
        """Keep λ."""
        self.state.write("weight", evidence.tasks, self._moved(evidence))

    def combine(self, block: Block, evidence: Evidence, solution: Solution) -> Combined:
        """The weighted sum."""
        return Combined(weighted_sum(solution.weights, wide(block.rows)))

    def _moved(self, evidence: Evidence) -> Array:
        weights = self.state.read("weight", evidence.tasks)
        if self.residual not in evidence.tasks or evidence.step % self.every:
            return weights
        position = evidence.tasks.index(self.residual)
        mean = evidence.measures["total"] / evidence.measures["count"]
        aim = evidence.measures["largest"][position] / (mean * weights if self.released else mean)
        moved = (1 - self.alpha) * weights + self.alpha * aim
        moved[position] = 1.0
        return np.asarray(moved)
