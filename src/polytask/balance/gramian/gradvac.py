"""Gradient vaccine."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np

from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.contract.options import Limits, Real
from polytask.balance.toolbox.draws import partners
from polytask.solvers.scaling import correlation
from polytask.solvers.vaccine import sequential_alignment

__all__ = ["GradVac"]


@final
class GradVac(GramianMethod):
    """The sum of the gradients after raising cosines between them to what they used to be.

    For every task i and the other tasks j in random order, with φ the cosine of g_i' (g_i as changed so far) and g_j:
    where φ < φ̂_ij, add ‖g_i'‖·(φ̂·√(1−φ²) − φ·√(1−φ̂²)) / (‖g_j‖·√(1−φ̂²)) · g_j to g_i', after which their cosine is
    φ̂_ij. Then φ̂_ij ← (1−β)·φ̂_ij + β·φ. The step is Σ K·p_i·g_i', p the task weights, Σp_i = 1.

    Args:
        beta: Rate of the averages φ̂, which start at 0; 0.01 in the paper.

    Raises:
        ConfigError: ``beta`` is outside [0, 1].

    Examples:
        >>> import torch
        >>> GradVac().weights(torch.tensor([[1.0, -0.5], [-0.5, 2.0]]))
        tensor([1.5000, 1.2500])

    Notes:
        The paper finds averages per layer best; this is the method on the whole model, one average per pair of tasks.
        The averages are kept within ±(1 − 1e-7), where the formula is defined. Where a gradient has vanished on the
        way it has no cosine, and its averages stay.
        The first step, with φ̂ = 0, is PCGrad's.

    References:
        Wang, Tsvetkov, Firat, Cao, "Gradient vaccine: investigating and improving multi-task optimization in massively
        multilingual models", ICLR 2021.
    """

    uses_preference = True
    limits: ClassVar[Limits] = {"beta": Real(0, 1)}
    card = Card(
        title="GradVac",
        paper="Wang et al., ICLR 2021",
        url="https://arxiv.org/abs/2010.05874",
        idea="Pull gradients together as far as they usually agree, not only when they conflict.",
        cost="K through the shared part",
        invariances=("order of tasks", "one common factor on all losses"),
        verified=("a direct loop over rows", "cosine φ̂ after each correction", "PCGrad where φ̂ = 0"),
        notes="Random; for three tasks and more conflicts may remain.",
        preference="multiplies the task's corrected gradient",
    )

    def __init__(self, beta: float = 0.01) -> None:
        super().__init__()
        self.beta = beta
        self.state.declare("cosine", 0.0, per="pair", reduce="same")

    def solve(self, evidence: Evidence) -> Solution:
        """Weights of the summed corrected gradients; the averages move towards the cosines that were met."""
        cosines, norms = correlation(evidence.inner)
        goal = self.state.read("cosine", evidence.tasks)
        coefficients, found = sequential_alignment(cosines, partners(evidence), goal)
        moved = (1 - self.beta) * goal + self.beta * found
        np.fill_diagonal(moved, 0.0)
        share = evidence.size * evidence.preference * (norms / norms.max())
        return Solution((share @ coefficients) / (norms / norms.max()), remember={"cosine": moved})
