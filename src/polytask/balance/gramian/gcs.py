"""Gradient cosine similarity with a primary task."""

from __future__ import annotations

from typing import ClassVar, Literal, final

import numpy as np

from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.contract.options import Choice, Limits, TaskName

__all__ = ["GCS"]


@final
class GCS(GramianMethod):
    """Auxiliary gradients count where they do not oppose the primary task's.

    The primary task's weight is 1. With c_i the cosine of auxiliary task i's gradient and the primary one's, its weight
    is 1 if c_i ≥ 0 and else 0 (``"unweighted"``), or max(c_i, 0) (``"weighted"``).

    Args:
        primary: Name of the task that matters.
        mode: ``"unweighted"`` (the paper's algorithm 1) or ``"weighted"``.

    Raises:
        ConfigError: ``primary`` is not a name or ``mode`` is not one of the words.

    Examples:
        >>> import torch
        >>> method = GCS(primary="main")
        >>> method.weights(torch.tensor([[1.0, -0.5], [-0.5, 1.0]]), tasks=["main", "aux"])
        tensor([1., 0.])

    Notes:
        The paper has one auxiliary task; here each is judged by itself.
        While the primary task is absent, or its gradient is zero, there is nothing to judge by and all weights are 1.

    References:
        Du et al., "Adapting auxiliary losses using gradient similarity", arXiv 1812.02224 (2018).
    """

    limits: ClassVar[Limits] = {"primary": TaskName(), "mode": Choice(("unweighted", "weighted"))}
    card = Card(
        title="Gradient cosine similarity",
        paper="Du et al., 2018",
        url="https://arxiv.org/abs/1812.02224",
        idea="Let an auxiliary task in only when its gradient agrees with the primary one.",
        cost="K through the shared part",
        invariances=("order of tasks", "one common factor on all losses"),
        verified=("the definition, by rows", "the primary task's gradient is never opposed"),
        notes="Noisy for small batches: a cosine around zero switches an auxiliary task on and off.",
    )

    def __init__(self, primary: str, mode: Literal["unweighted", "weighted"] = "unweighted") -> None:
        super().__init__()
        self.primary, self.mode = primary, mode

    def solve(self, evidence: Evidence) -> Solution:
        """One for the primary task, the cosine's sign or positive part for the others."""
        if self.primary not in evidence.tasks:
            return Solution(np.ones(evidence.size))
        main = evidence.tasks.index(self.primary)
        inner = evidence.inner[main]
        if self.mode == "unweighted":
            weights = (inner >= 0).astype(np.float64)
        else:
            weights = np.clip(inner / np.sqrt(np.diag(evidence.inner)) / np.sqrt(inner[main]), 0.0, 1.0)
        weights[main] = 1.0
        return Solution(weights)
