"""Krum and Multi-Krum."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np
from jaxtyping import Float

from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.contract.options import Limits, Whole

__all__ = ["Krum"]

Array = np.ndarray


@final
class Krum(GramianMethod):
    """The gradients that lie closest to their neighbours, averaged: robust against a few arbitrary ones.

    The score of gradient i is the sum of the squared distances ‖g_i − g_j‖² to its K − f − 2 nearest others. The
    ``selected`` lowest scores get weight 1/``selected``, all others 0.

    Args:
        byzantine: f, how many gradients may be arbitrary; 0 by default. The paper needs K ≥ 2f + 3.
        selected: How many gradients are averaged; 1 is Krum, more is Multi-Krum.

    Raises:
        ConfigError: ``byzantine`` is negative or ``selected`` is not positive.

    Examples:
        >>> import torch
        >>> J = torch.tensor([[1.0, 0.0], [1.1, 0.0], [1.0, 0.1], [-9.0, 9.0]])
        >>> Krum(byzantine=1).weights(J @ J.T)
        tensor([1., 0., 0., 0.])

    Notes:
        Made for gradients of one loss from several workers; with tasks it drops those that disagree with the others.
        With fewer than f + 3 tasks present no gradient has a neighbour to be judged by, and all are averaged. Equal
        scores are ordered by the tasks' names.
        Public code that adds up distances instead of their squares selects another gradient in some cases.

    References:
        Blanchard et al., "Machine learning with adversaries: Byzantine tolerant gradient descent", NeurIPS 2017.
    """

    limits: ClassVar[Limits] = {"byzantine": Whole(0), "selected": Whole(1)}
    card = Card(
        title="Krum",
        paper="Blanchard et al., NeurIPS 2017",
        url="https://papers.nips.cc/paper/6617-machine-learning-with-adversaries-byzantine-tolerant-gradient-descent",
        idea="Follow the gradients that have the most company.",
        cost="K through the shared part",
        invariances=("order of tasks", "one common factor on all losses"),
        verified=("distances between rows, by a direct loop", "an arbitrary row is never followed"),
        notes="Drops minority tasks altogether.",
    )

    def __init__(self, byzantine: int = 0, selected: int = 1) -> None:
        super().__init__()
        self.byzantine, self.selected = byzantine, selected

    def solve(self, evidence: Evidence) -> Solution:
        """Equal weights on the gradients with the lowest scores."""
        size = evidence.size
        neighbours = size - self.byzantine - 2
        if neighbours < 1:
            return Solution(np.full(size, 1 / size))
        scores = _scores(evidence.inner, neighbours)
        best = np.lexsort((np.array(evidence.tasks), scores))[: self.selected]
        weights = np.zeros(size)
        weights[best] = 1 / len(best)
        return Solution(weights)


def _scores(gramian: Float[Array, "K K"], neighbours: int) -> Float[Array, "K"]:
    """Sum of each row's smallest squared distances to other rows."""
    squared = np.diag(gramian)
    distances = np.maximum(squared + squared[:, None] - 2 * gramian, 0.0)
    np.fill_diagonal(distances, np.inf)
    return np.asarray(np.sort(np.partition(distances, neighbours - 1, axis=1)[:, :neighbours], axis=1).sum(axis=1))
