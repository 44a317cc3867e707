"""Weights that grow with a task's gradient and shrink with its noise."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np
from jaxtyping import Float

from polytask.balance.contract.asks import TWIN_BATCH
from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.contract.options import Limits, Real, Whole
from polytask.balance.engine.gradients import Heads

__all__ = ["PiKE"]

Array = np.ndarray


@final
class PiKE(GramianMethod):
    """Multiplicative weights: tasks with long mean gradients gain, tasks with noisy ones lose.

    Every n steps w_k ← w_k·exp(ζ₁·‖∇L_k‖² − ζ₂·σ_k²/(2b)), from w = 1/K, scaled to Σw_k = 1; σ_k² is the trace of the
    covariance of single samples' gradients and b the number of samples in the batch. Two halves of the batch with
    gradients g and g' estimate both without bias: ‖∇L_k‖² by ⟨g, g'⟩, and σ_k²/b by ¼‖g − g'‖².

    Args:
        zeta1: ζ₁ ≥ 0, gain per squared gradient norm. 1 by default, which is this library's choice: it has the unit of
            one over a squared gradient norm and has to be found for the problem.
        zeta2: ζ₂ ≥ 0, price of the gradient's noise, in the same unit; 1 by default, this library's choice.
        every: n ≥ 1, steps between updates; 1 by default. The paper updates rarely, to save the estimation's time.

    Raises:
        ConfigError: An option is outside its limits.

    Examples:
        >>> import torch
        >>> one, two = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> mean = (one + two) / 2
        >>> PiKE().weights(mean @ mean.T, cross=one @ two.T)
        tensor([0.2942, 0.7058])

    Notes:
        The paper sets the shares of the tasks in the batch: that belongs to a data loader, and its form as a sampling
        schedule is not part of this library yet. A batch mixed with probabilities w has the expected gradient
        Σ w_k·∇L_k, which is what this method's step is; its noise is that of the loader's own shares, not of w.
        Needs ``balancer.backward(losses, twin=other_losses)`` with two batches of one size; ``Trainer`` gives it the
        two halves of every batch, and a task's b is the number of its labels in both. Without ``cross``, ``weights``
        takes the Gramian for that of gradients without noise. Estimates of ‖∇L_k‖² may be negative.
        The weights of tasks that are present keep their total; they are remembered as logarithms, so that none is lost
        to underflow. The preference multiplies them afterwards. The balanced variant of the paper is not included.

    References:
        Li, Deng, Zhong, Razaviyayn, Mirrokni, "PiKE: adaptive data mixing for large-scale multi-task learning under low
        gradient conflicts", NeurIPS 2025.
    """

    asks = frozenset({TWIN_BATCH})
    computes = False
    limits: ClassVar[Limits] = {"zeta1": Real(0), "zeta2": Real(0), "every": Whole(1)}
    heads: Heads = "weighted"
    card = Card(
        title="PiKE",
        paper="Li, Deng, Zhong, Razaviyayn, Mirrokni, NeurIPS 2025",
        url="https://arxiv.org/abs/2502.06244",
        idea="Weigh up the tasks whose gradients are long, and down those whose gradients are noisy.",
        cost="2K through the shared part, each over half of the rows where a batch is halved",
        invariances=("order of tasks",),
        verified=(
            "one update in closed form",
            "estimates over all pairs of batches against gradients of single samples",
            "tasks with equal ζ₁·‖∇L‖² − ζ₂·σ²/(2b) keep their weights",
        ),
        notes="ζ₁ and ζ₂ depend on the scale of the gradients. Weights, where the paper sets the batch's mixture.",
        heads="the expected gradient of a batch that is mixed by these weights",
    )

    def __init__(self, zeta1: float = 1.0, zeta2: float = 1.0, every: int = 1) -> None:
        super().__init__()
        self.zeta1, self.zeta2, self.every = zeta1, zeta2, every
        self.state.declare("log_weight", 0.0, reduce="same")

    def solve(self, evidence: Evidence) -> Solution:
        """The weights after their update, among the tasks present, which keep the total they had."""
        held = self.state.read("log_weight", evidence.tasks)
        logs = self._moved(evidence, held)
        total = np.logaddexp.reduce(logs)
        news = logs + (np.logaddexp.reduce(held) - total)
        return Solution(np.exp(logs - total), remember={"log_weight": news})

    def _moved(self, evidence: Evidence, held: Float[Array, "K"]) -> Float[Array, "K"]:
        """Logarithms of the weights after their update, up to a constant."""
        if evidence.step % self.every:
            return held
        signal = np.diag(evidence.across)
        # The mean of both halves has the squared norm ‖∇L‖² + σ²/b in expectation: what exceeds the signal is ¼‖g−g'‖².
        noise = np.diag(evidence.inner) - signal
        return np.asarray(held + self.zeta1 * signal - self.zeta2 * noise / 2)
