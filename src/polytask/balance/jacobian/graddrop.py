"""Gradient sign dropout."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balance.contract.method import Block, Card, Combined, Evidence, JacobianMethod, Solution
from polytask.balance.contract.options import Limits, PerTask, Real
from polytask.balance.toolbox.coordinates import wide

__all__ = ["GradDrop"]


@final
class GradDrop(JacobianMethod):
    """For every coordinate, keep the gradients of one sign, drawn by how much of the total has it.

    With s_i the signal of task i at a coordinate, P = ½·(1 + Σs_i/Σ|s_i|) and U uniform in [0, 1): entries with s_i > 0
    are kept where f(P) > U, those with s_i < 0 elsewhere, and those with s_i = 0 nowhere. The step is
    Σ_i K·p_i·(ℓ_i + (1 − ℓ_i)·m_i)·g_i, m_i the 0/1 mask, p the task weights, Σp_i = 1.

    As published (``grads="features"``) s_i = Σ_b sign(z_b)·∂L_i/∂z_b, summed over the batch, so that one mask holds for
    all rows of a feature. On parameters (``grads="params"``) s_i is the gradient entry itself.

    Args:
        leak: ℓ, the share of a task's gradient that is never dropped, for all tasks or by task name; 0 in the paper.
        steepness: k in f(P) = clip(½ + k·(P − ½), 0, 1); 1 in the paper. Large values keep the majority's sign surely.

    Raises:
        ConfigError: ``leak`` is outside [0, 1] or ``steepness`` is negative.

    Examples:
        >>> GradDrop().direction(torch.tensor([[1.0, -2.0, 0.5], [3.0, -1.0, 0.0]]))
        tensor([ 4.0000, -3.0000,  0.5000])

    Notes:
        No constant is added to the denominator. The released layer passes signals of zero, and multiplies its result by
        the ratio of its norm to the plain gradient's; the paper does neither, and neither does this.

    References:
        Chen et al., "Just pick a sign: optimizing deep multitask models with gradient sign dropout", NeurIPS 2020.
    """

    uses_preference = True
    limits: ClassVar[Limits] = {"leak": PerTask(Real(0, 1)), "steepness": Real(0)}
    card = Card(
        title="GradDrop",
        paper="Chen et al., NeurIPS 2020",
        url="https://arxiv.org/abs/2010.06808",
        idea="Where tasks disagree about a coordinate's sign, follow one sign at random.",
        cost="K through the heads and 1 through the trunk (features), or K through the shared part (params)",
        invariances=("order of tasks", "one common factor on all losses"),
        verified=(
            "the released layer, masks replayed with its draws",
            "TorchJD where all signs agree",
            "P in the mean",
        ),
        notes="Random; agreeing coordinates are always kept. On parameters it is not the published method.",
        preference="multiplies the task's gradient, before signs are counted",
    )

    def __init__(self, leak: float | Mapping[str, float] = 0.0, steepness: float = 1.0) -> None:
        super().__init__()
        self.leak, self.steepness = leak, steepness

    def solve(self, evidence: Evidence) -> Solution:
        """The preference: masks are drawn per coordinate."""
        return Solution(evidence.emphasis)

    def combine(self, block: Block, evidence: Evidence, solution: Solution) -> Combined:
        """The masked sum."""
        rows = wide(block.rows)
        factors = torch.as_tensor(solution.weights, dtype=rows.dtype).to(rows.device)
        rows = rows * factors[:, None]
        leaks = self.leak if isinstance(self.leak, Mapping) else dict.fromkeys(evidence.tasks, self.leak)
        leak = rows.new_tensor([leaks.get(task, 0.0) for task in evidence.tasks])[:, None]
        seeds = np.random.SeedSequence([evidence.seed, evidence.step, zlib.crc32(block.name.encode())])
        draw = torch.Generator().manual_seed(int(seeds.generate_state(1)[0]))
        combined = torch.empty_like(rows[0])
        for index, part in enumerate(block.slices):
            batch = block.tensors[index].shape[0] if block.tensors and block.values is not None else block.batch
            gradients = rows[:, part].reshape(len(rows), batch if block.values is not None else 1, -1)
            signal = gradients[:, 0]
            if block.values is not None:
                signal = (gradients * block.values[part].sign().to(rows.dtype).view(batch, -1)).sum(1)
            kept = self._kept(signal, torch.rand(signal.shape[1], generator=draw, dtype=rows.dtype).to(rows.device))
            combined[part] = ((leak + (1 - leak) * kept)[:, None] * gradients).sum(0).flatten()
        return Combined(combined)

    def _kept(self, signal: Float[Tensor, "K D"], drawn: Float[Tensor, "D"]) -> Float[Tensor, "K D"]:
        """The 0/1 mask of every task."""
        total = signal.abs().sum(0)
        purity = torch.where(total > 0, 0.5 * (1 + signal.sum(0) / total), 0.5)
        positive = drawn < (0.5 + self.steepness * (purity - 0.5)).clamp(0, 1)
        return torch.where(positive, signal > 0, signal < 0).to(signal.dtype)
