"""Coordinate-wise trimmed mean."""

from __future__ import annotations

from typing import ClassVar, final

import torch

from polytask.balance.contract.method import Block, Card, Combined, Evidence, JacobianMethod, Solution
from polytask.balance.contract.options import Limits, Whole
from polytask.balance.toolbox.coordinates import wide

__all__ = ["TrimmedMean"]


@final
class TrimmedMean(JacobianMethod):
    """The mean of the gradients' entries after the b largest and the b smallest of each coordinate are left out.

    For coordinate j with sorted entries x_(1) ≤ … ≤ x_(K), d_j = (K − 2b)⁻¹·Σ_{i=b+1}^{K−b} x_(i), where
    x_i = K·p_i·g_ij and p are the task weights, Σp_i = 1.

    Args:
        trim: b, how many entries are left out at either end; the paper asks for more than the share of bad gradients.

    Raises:
        ConfigError: ``trim`` is not a whole number ≥ 0.

    Examples:
        >>> TrimmedMean(trim=1).direction(torch.tensor([[1.0, 9.0], [2.0, -9.0], [90.0, 0.0]]))
        tensor([2., 0.])

    Notes:
        With 2b ≥ K tasks present, as many are left out as leaves one or two: the median.
        The paper trims the gradients of machines, of which some are faulty; among tasks "extreme" may just be "other".

    References:
        Yin et al., "Byzantine-robust distributed learning: towards optimal statistical rates", ICML 2018.
    """

    uses_preference = True
    limits: ClassVar[Limits] = {"trim": Whole(0)}
    card = Card(
        title="Trimmed mean",
        paper="Yin et al., ICML 2018",
        url="https://arxiv.org/abs/1803.01498",
        idea="Leave out the most extreme entries of every coordinate.",
        cost="K through the shared part",
        invariances=("order of tasks", "one common factor on all losses"),
        verified=("TorchJD", "b = 0 is the mean", "the median for the largest b"),
        notes="Silences tasks whose gradients are much larger than the others'.",
        preference="multiplies the task's entries, before they are sorted",
    )

    def __init__(self, trim: int = 1) -> None:
        super().__init__()
        self.trim = trim

    def solve(self, evidence: Evidence) -> Solution:
        """The preference: what is trimmed differs between coordinates."""
        return Solution(evidence.preference)

    def combine(self, block: Block, evidence: Evidence, solution: Solution) -> Combined:
        """Sort, trim, average."""
        rows = wide(block.rows)
        rows = rows * torch.as_tensor(evidence.emphasis, dtype=rows.dtype).to(rows.device)[:, None]
        size = len(rows)
        trim = min(self.trim, (size - 1) // 2)
        return Combined(rows.sort(0).values[trim : size - trim].mean(0))
