"""Gradient normalisation."""

from __future__ import annotations

import math
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float

from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.contract.options import Limits, Real
from polytask.balance.engine.gradients import Heads
from polytask.balance.toolbox.adam import TaskAdam

__all__ = ["GradNorm"]

Array = np.ndarray
_FLOOR = 1e-4
_EQUAL = 1e-10


@final
class GradNorm(GramianMethod):
    """Weights learned so that tasks that lag behind get larger weighted gradients; they sum to K.

    With G_i = w_i·‖g_i‖, Ḡ their mean, and the inverse training rate r_i = (L_i/L_i(0)) / mean_j(L_j/L_j(0)), the
    weights descend Σ|G_i − Ḡ·r_i^α| with Ḡ·r_i^α held constant, and are scaled to Σw_i = K. The gradient of that in
    w_i is sign(G_i − Ḡ·r_i^α)·‖g_i‖, so no second differentiation is needed.

    Args:
        alpha: Strength of the pull towards equal training rates; 1.5 in the paper's NYUv2 runs, 0.12 in its toy
            problem. 0 asks for equal gradient norms.
        lr: Learning rate of the weights, 0.025 in the paper.

    Raises:
        ConfigError: ``alpha`` is negative or ``lr`` is not positive.

    Examples:
        >>> import torch
        >>> method = GradNorm()
        >>> method.weights(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
        tensor([1., 1.])

    Notes:
        The paper takes gradients at the last shared layer: pass its parameters as the balancer's ``grads``; by default
        all shared parameters count.
        The weights have an Adam of their own, without weight decay. Each keeps at least 1e-4 of the mean weight.
        L_i(0) is the loss when a task with a gradient is first seen. A first loss of zero or less gives no training
        rate: such a task counts as being on time.

    References:
        Chen et al., "GradNorm: gradient normalization for adaptive loss balancing in deep multitask networks",
        ICML 2018.
    """

    limits: ClassVar[Limits] = {"alpha": Real(0), "lr": Real(0, open_low=True)}
    heads: Heads = "weighted"
    card = Card(
        title="GradNorm",
        paper="Chen et al., ICML 2018",
        url="https://arxiv.org/abs/1711.02257",
        idea="Learn weights that give slow tasks larger gradients and quick ones smaller.",
        cost="K through the shared part",
        invariances=("order of tasks", "a factor on each loss separately: training rates"),
        verified=("autograd through the gradient norms, step by step", "fixed point for equal norms and rates"),
        notes="Depends on the first batch's losses; alpha needs tuning.",
        heads="the paper descends Σ w_i·L_i with all parameters",
    )

    def __init__(self, alpha: float = 1.5, lr: float = 0.025) -> None:
        super().__init__()
        self.alpha, self.lr = alpha, lr
        self._adam = TaskAdam(self.state, "weight", start=1.0, lr=lr)
        self.state.declare("first_loss", math.nan, reduce="mean")
        self.state.declare("first_norm", math.nan, reduce="same")

    def solve(self, evidence: Evidence) -> Solution:
        """The weights learned so far, scaled to sum to the number of tasks; one step on them comes after this one."""
        tasks, losses, norms = evidence.tasks, evidence.losses, np.sqrt(np.diag(evidence.inner))
        weights = self.state.read("weight", tasks)
        weights = weights * evidence.size / weights.sum()
        first, unit = self._first("first_loss", tasks, losses), self._first("first_norm", tasks, norms)
        # A constant factor means nothing to Adam, but keeps its ε small beside gradients of any size.
        gradient = self._gradient(weights, norms, losses, first) / unit
        news = self._adam.step(tasks, gradient, low=_FLOOR, start=weights)
        moved = news["weight"]
        news["weight"] = np.maximum(moved * len(tasks) / moved.sum(), _FLOOR)
        return Solution(weights, remember=news | {"first_loss": first, "first_norm": unit})

    def _first(self, name: str, tasks: tuple[str, ...], values: Float[Array, "K"]) -> Float[Array, "K"]:
        """What each task showed when it was first seen, which may be now."""
        known = self.state.read(name, tasks)
        return np.asarray(np.where(np.isnan(known), values, known))

    def _gradient(
        self, weights: Float[Array, "K"], norms: Float[Array, "K"], losses: Float[Array, "K"], first: Float[Array, "K"]
    ) -> Float[Array, "K"]:
        """Derivative of Σ|G_i − Ḡ·r_i^α| in the weights; differences within rounding count as none."""
        left = np.where(first > 0, np.maximum(losses, 0.0) / np.where(first > 0, first, 1.0), 1.0)
        rate = left / left.mean() if left.any() else np.ones(len(left))
        size = weights * norms
        goal = size.mean() * rate**self.alpha
        excess = size - goal
        return np.asarray(np.where(abs(excess) > _EQUAL * (size + goal), np.sign(excess), 0.0) * norms)
