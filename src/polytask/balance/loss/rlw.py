"""Random loss weighting."""

from __future__ import annotations

import functools
from typing import final

import numpy as np
from jaxtyping import Float

from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.contract.seeding import generator, rank_by_name

__all__ = ["RLW"]

_TOGETHER = 64
_APART = 1 << 63
"""Keeps these streams away from those that other methods draw from in a single step."""


@final
class RLW(LossMethod):
    """Weights softmax(z) with z drawn anew from N(0, I) at every step; they sum to one.

    Examples:
        >>> import torch
        >>> bool(RLW().weights(torch.tensor([0.5, 2.0]), seed=3).sum() == 1)
        True

    Notes:
        The draw depends on seed, step and the tasks' names only: the same on every process and after a resume. Weights
        sum to one as in the paper; the engine's ``scale="sum_to_k"`` makes the learning rate that of the plain sum.

    References:
        Lin, Ye, Zhang, "Reasonable effectiveness of random weighting: a litmus test for multi-task learning", TMLR
        2022.
    """

    card = Card(
        title="RLW",
        paper="Lin, Ye, Zhang, TMLR 2022",
        url="https://arxiv.org/abs/2111.10603",
        idea="Draw the weights at random: a baseline any clever method should beat.",
        cost="1",
        invariances=("order of tasks", "losses"),
        verified=("mean weight 1/K", "variance of the logits"),
    )

    def solve(self, evidence: Evidence) -> Solution:
        """Softmax of a normal vector, drawn in the alphabetical order of the tasks."""
        block, row = divmod(evidence.step, _TOGETHER)
        return Solution(_drawn(evidence.seed, block, evidence.size)[row][rank_by_name(evidence.tasks)])


@functools.lru_cache(maxsize=32)
def _drawn(seed: int, block: int, size: int) -> Float[np.ndarray, "steps K"]:
    """Weights of so many steps in a row: setting up a generator costs more than the draws."""
    pull = np.exp(generator(seed, _APART + block).standard_normal((_TOGETHER, size)))  # draws never overflow
    return np.asarray(pull / pull.sum(axis=1, keepdims=True))
