"""Equal weights: the plain sum of the losses."""

from __future__ import annotations

from typing import final

import numpy as np

from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution

__all__ = ["EW"]


@final
class EW(LossMethod):
    """The plain sum Σ L_i: every weight is one.

    What task weights (``Task.weight``) turn into a weighted sum, and the baseline every other method has to beat:
    tuned task weights with ordinary regularisation match most of the methods of the literature.

    Examples:
        >>> import torch
        >>> EW().weights(torch.tensor([0.5, 2.0]))
        tensor([1., 1.])

    References:
        Caruana, "Multitask learning", Machine Learning 28 (1997).
        Kurin et al., "In defense of the unitary scalarization for deep multi-task learning", NeurIPS 2022.
        Xin et al., "Do current multi-task optimization methods in deep learning even help?", NeurIPS 2022.
    """

    constant = True
    card = Card(
        title="Equal weights",
        paper="Caruana, Machine Learning 1997; Kurin et al., NeurIPS 2022",
        url="https://arxiv.org/abs/2201.04122",
        idea="Descend the sum of the losses.",
        cost="1",
        invariances=("order of tasks",),
        verified=("equals loss.backward() of the sum bit for bit",),
        notes="Ignores scales and conflicts: a task with a large loss decides the step.",
    )

    def solve(self, evidence: Evidence) -> Solution:
        """One for every task."""
        return Solution(np.ones(evidence.size))
