"""Fast adaptive multitask optimization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, final

import numpy as np

from polytask.balance.contract.asks import LOSSES_AFTER_STEP
from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.contract.options import Limits, PerTask, Real
from polytask.balance.toolbox.adam import TaskAdam

__all__ = ["FAMO"]

Array = np.ndarray
_FLOOR = 1e-12
"""Smallest loss above its bound, relative to the larger of the two."""


@final
class FAMO(LossMethod):
    """Equal rates of relative improvement, learned from losses before and after the step.

    With z = softmax(ξ), the weights are w_i = c·z_i/(L_i − b_i), c = (Σ z_j/(L_j − b_j))⁻¹, so they sum to one and the
    step descends c·Σ z_i·log(L_i − b_i). After the optimizer's step, δ_i = log(L_i − b_i) − log(L'_i − b_i) with the
    same batch's new losses L', and ξ takes an Adam step along z∘(δ − zᵀδ): tasks that improved more lose weight.

    Args:
        gamma: L2 decay of ξ, which forgets old steps; 1e-3 in the paper, between 0 and 0.01 in its released code.
        lr: Adam's learning rate for ξ; 0.025 in the paper.
        minimum: Lower bounds b of the losses, one for all tasks or by task name (0 for tasks left out).

    Raises:
        ConfigError: ``gamma`` is negative, ``lr`` is not positive, or ``minimum`` is not finite.

    Examples:
        >>> import torch
        >>> FAMO().weights(torch.tensor([1.0, 3.0]))
        tensor([0.7500, 0.2500])

    Notes:
        Needs ``balancer.after_step(losses)`` with the same batch's losses. Only tasks present before and after the step
        are updated. L_i − b_i is floored at 1e-12 times the larger of |L_i| and |b|, in place of an added 1e-8.

    References:
        Liu, Feng, Stone, Liu, "FAMO: fast adaptive multitask optimization", NeurIPS 2023.
    """

    asks = frozenset({LOSSES_AFTER_STEP})
    limits: ClassVar[Limits] = {"gamma": Real(0), "lr": Real(0, open_low=True), "minimum": PerTask(Real())}
    card = Card(
        title="FAMO",
        paper="Liu, Feng, Stone, Liu, NeurIPS 2023",
        url="https://arxiv.org/abs/2306.03792",
        idea="Make all losses fall at the same relative rate, without a gradient per task.",
        cost="1, and one forward pass after the step",
        invariances=("order of tasks", "direction: a factor on each loss separately (b = 0)"),
        verified=("the released recursion, step by step", "the paper's toy problem"),
        notes="Losses must stay above the bound b.",
    )

    def __init__(self, gamma: float = 1e-3, lr: float = 0.025, minimum: float | Mapping[str, float] = 0.0) -> None:
        super().__init__()
        self.gamma, self.lr, self.minimum = gamma, lr, minimum
        self._adam = TaskAdam(self.state, "logit", start=0.0, lr=lr, weight_decay=gamma)

    def solve(self, evidence: Evidence) -> Solution:
        """c·z/(L − b)."""
        # Divided in logarithms: losses may be as small as floating point allows.
        pull = self.state.read("logit", evidence.tasks) - np.log(self._above(evidence.tasks, evidence.losses))
        weights = np.exp(pull - pull.max())
        return Solution(weights / weights.sum())

    def after_step(self, before: Evidence, losses: Mapping[str, float]) -> None:
        """One Adam step on ξ for the tasks whose loss is known before and after."""
        keep = [i for i, task in enumerate(before.tasks) if np.isfinite(losses.get(task, np.nan))]
        if not keep:
            return
        tasks = [before.tasks[i] for i in keep]
        after = np.array([losses[task] for task in tasks])
        delta = np.log(self._above(tasks, before.losses[keep])) - np.log(self._above(tasks, after))
        logits = self.state.read("logit", tasks)
        z = np.exp(logits - logits.max())
        z /= z.sum()
        self.state.remember(tasks, self._adam.step(tasks, z * (delta - z @ delta)))

    def _above(self, tasks: Sequence[str], losses: Array) -> Array:
        """Losses above their bounds, kept positive."""
        bounds = self.minimum if isinstance(self.minimum, Mapping) else dict.fromkeys(tasks, self.minimum)
        minimum = np.array([bounds.get(task, 0.0) for task in tasks])
        floor = _FLOOR * np.maximum(abs(losses), abs(minimum))
        return np.asarray(np.maximum(losses - minimum, np.maximum(floor, np.finfo(float).tiny)))
