"""Inverse-Dirichlet weighting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np
import torch

from polytask.balance.contract.method import Block, Card, Evidence
from polytask.balance.contract.options import Limits, Real, TaskName, Whole
from polytask.balance.engine.gradients import Heads
from polytask.balance.jacobian._annealed import Annealed
from polytask.balance.toolbox.coordinates import squared_norms, wide

__all__ = ["InverseDirichlet"]

Array = np.ndarray


@final
class InverseDirichlet(Annealed):
    """Weights that give all tasks' gradients the same standard deviation over the parameters.

    Every n steps λ_i ← (1 − α)λ_i + α·λ̂_i from λ_i = 1, λ̂_i = max_k σ_k/σ_i, where σ_i is the standard deviation of the
    entries of g_i; the step is Σ λ_i·g_i.

    Args:
        reference: A task whose σ takes the place of the maximum; the authors' code takes the equation's residual.
            ``None`` is the paper's rule.
        alpha: α in (0, 1], weight of the new value; 0.5 in the paper's experiments.
        every: n, steps between updates; 5 in the authors' code.

    Raises:
        ConfigError: An option is outside its limits.

    Examples:
        >>> method = InverseDirichlet(alpha=1.0)
        >>> method.direction(torch.tensor([[4.0, -4.0], [-1.0, 1.0]]))
        tensor([0., 0.])

    Notes:
        A task whose entries are all equal has no σ, and its weight stays. While ``reference`` is absent, all stay.
        The gradients are computed in every step.

    References:
        Maddu, Sturm, Müller, Sbalzarini, "Inverse Dirichlet weighting enables reliable training of physics informed
        neural networks", Machine Learning: Science and Technology 3, 2022.
    """

    limits: ClassVar[Limits] = {
        "reference": TaskName(optional=True),
        "alpha": Real(0, 1, open_low=True),
        "every": Whole(1),
    }
    heads: Heads = "weighted"
    card = Card(
        title="Inverse Dirichlet",
        paper="Maddu et al., Mach. Learn.: Sci. Technol. 2022",
        url="https://arxiv.org/abs/2107.00940",
        idea="Equal spread of the gradients' entries for all terms of the loss.",
        cost="K through the shared part",
        invariances=("order of tasks", "a factor on each loss separately, up to a common one (at the fixed point)"),
        verified=("its formula by hand", "equal standard deviations at the fixed point", "one block equals several"),
        notes="Close to dividing by the gradient's norm, as entries have a mean near zero.",
        preference="multiplies the task's weight",
        heads="the authors' code descends Σ λ_i·L_i with all parameters",
    )

    def __init__(self, reference: str | None = None, alpha: float = 0.5, every: int = 5) -> None:
        self.reference = reference
        super().__init__(reference, alpha, every)

    def measure(self, block: Block, evidence: Evidence) -> Mapping[str, Array]:
        """Sum of entries, sum of their squares and their number."""
        rows = wide(block.rows)
        return {
            "sum": rows.sum(1, dtype=torch.float64).cpu().numpy(),
            "squares": squared_norms(rows),
            "count": np.array(float(rows.shape[1])),
        }

    def aim(self, evidence: Evidence, weights: Array, anchor: int | None) -> Array:
        """The ratio of standard deviations."""
        count = float(evidence.measures["count"])
        around = evidence.measures["squares"] - evidence.measures["sum"] ** 2 / count
        # A spread that is nothing but rounding of the squares is none.
        around = np.where(around > 1e-12 * evidence.measures["squares"], around, 0.0)
        spread = np.sqrt(around / max(count - 1, 1))
        top = spread.max() if anchor is None else spread[anchor]
        return np.asarray(np.divide(top, spread, out=weights.copy(), where=(spread > 0) & (top > 0)))
