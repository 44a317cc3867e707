"""Learning-rate annealing for physics-informed networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np
import torch

from polytask.balance.contract.method import Block, Card, Evidence
from polytask.balance.contract.options import Flag, Limits, Real, TaskName, Whole
from polytask.balance.engine.gradients import Heads
from polytask.balance.jacobian._annealed import Annealed
from polytask.balance.toolbox.coordinates import wide

__all__ = ["LRAnnealing"]

Array = np.ndarray


@final
class LRAnnealing(Annealed):
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

    maxima = ("largest",)
    limits: ClassVar[Limits] = {
        "residual": TaskName(),
        "alpha": Real(0, 1, open_low=True),
        "every": Whole(1),
        "released": Flag(),
    }
    heads: Heads = "weighted"
    card = Card(
        title="Learning-rate annealing",
        paper="Wang, Teng, Perdikaris, SISC 2021",
        url="https://arxiv.org/abs/2001.04536",
        idea="Boundary and data terms get gradients as large as the largest of the equation's residual.",
        cost="K through the shared part",
        invariances=("order of tasks", "a factor on each loss but the residual's (at the fixed point)"),
        verified=("its formula by hand", "the fixed points λ̂ and √λ̂", "one block equals several"),
        notes="A maximum over a mean: weights grow with the number of parameters.",
        preference="multiplies the task's weight",
        heads="the authors' code descends Σ λ_i·L_i with all parameters",
    )

    def __init__(self, residual: str, alpha: float = 0.1, every: int = 10, released: bool = False) -> None:
        self.residual, self.released = residual, released
        super().__init__(residual, alpha, every)

    def measure(self, block: Block, evidence: Evidence) -> Mapping[str, Array]:
        """Largest entry, sum of entries and their number."""
        sizes = wide(block.rows).abs()
        return {
            "largest": sizes.amax(1).double().cpu().numpy(),
            "total": sizes.sum(1, dtype=torch.float64).cpu().numpy(),
            "count": np.array(float(sizes.shape[1])),
        }

    def aim(self, evidence: Evidence, weights: Array, anchor: int | None) -> Array:
        """The residual's largest entry over the mean entries; the residual's own weight stays."""
        assert anchor is not None
        mean = evidence.measures["total"] / evidence.measures["count"]
        aim = np.asarray(evidence.measures["largest"][anchor] / (mean * weights if self.released else mean))
        aim[anchor] = weights[anchor]
        return aim
