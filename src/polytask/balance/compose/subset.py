"""A method applied to a few tasks per step."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from polytask.balance.compose.inner import Inner, resolve, solve_inner
from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.contract.options import Limits, Whole
from polytask.balance.toolbox.draws import shuffled

__all__ = ["Subset"]


@final
class Subset(GramianMethod):
    """Another method for ``count`` tasks drawn anew in every step; the others' shared gradients wait.

    Args:
        inner: The method that weighs the drawn tasks, or its registry name.
        count: How many tasks are drawn; all of them when fewer are present.

    Raises:
        ConfigError: ``inner`` is no method on Gramians or ``count`` is not positive.

    Examples:
        >>> import torch
        >>> weights = Subset("mgda", count=1).weights(torch.eye(3))
        >>> sorted(weights.tolist())
        [0.0, 0.0, 1.0]

    Notes:
        The draw depends on seed, step and the tasks' names only. All gradients are still computed: to save time, sample
        tasks in the data loader. Weights are those of the inner method, so their sum does not depend on ``count``.
        State of tasks that were not drawn rests.

    References:
        Xiao, Ban, Ji, "Direction-oriented multi-objective learning: simple and provable stochastic algorithms",
        NeurIPS 2023, samples objectives in this way.
    """

    uses_preference = True
    limits: ClassVar[Limits] = {"inner": Inner(), "count": Whole(1)}
    card = Card(
        title="Subset of tasks",
        paper="objective sampling of Xiao, Ban, Ji, NeurIPS 2023",
        url="https://arxiv.org/abs/2305.18409",
        idea="Let a method balance a few random tasks at a time.",
        cost="K through the shared part",
        invariances=("order of tasks", "those of the method inside"),
        verified=("the inner method on the drawn tasks", "every task is drawn equally often"),
        notes="Adds noise to the step; made for very many tasks.",
        preference="what it is in the inner method, among the tasks drawn",
        heads="unless the method inside declares another rule",
    )

    def __init__(self, inner: str | GramianMethod = "mgda", count: int = 2) -> None:
        super().__init__()
        self.inner, self.count = inner, count
        self._method = resolve(inner)
        self.heads = self._method.heads
        self.state.adopt("inner", self._method.state)

    def loss_slopes(self, evidence: Evidence) -> Float[ndarray, "K"]:
        """Those of the inner method."""
        return self._method.loss_slopes(evidence)

    def solve(self, evidence: Evidence) -> Solution:
        """The inner method's weights for the drawn tasks, zero for the others."""
        drawn = sorted(shuffled(evidence)[: self.count].tolist())
        part = evidence.subset(drawn)
        solution = solve_inner(self._method, part)
        weights = np.zeros(evidence.size)
        weights[drawn] = solution.weights
        return Solution(weights, solution.iterations, remember={"inner": solution.lesson(part)})

    def end_epoch(self) -> None:
        """Tell the inner method."""
        self._method.end_epoch()
