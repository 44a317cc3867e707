"""Smooth Tchebycheff scalarisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, final

import numpy as np

from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.contract.options import Choice, Limits, PerTask, Real, Whole
from polytask.balance.toolbox.values import EpochMean, per_task, positive, softmax

__all__ = ["STCH"]


@final
class STCH(LossMethod):
    """A smooth worst case: μ·log Σ exp(y_i/μ), between the largest y_i and that plus μ·log K.

    ``on="log"`` is the recipe for training networks: y_i = λ_i·log(L_i/n_i), times K in all, where n_i is task i's
    mean loss in epoch ``warmup`` and λ_i is K times its preference (1 by default); up to the end of that epoch,
    Σ λ_i·log L_i is descended. The weights are K·softmax_i(y/μ)·λ_i/L_i.
    ``on="loss"`` is the definition: y_i = p_i·(L_i − z_i) with the preference p (1/K by default) and a reference point
    z, from the first step on. The weights are softmax_i(y/μ)·p_i.

    Args:
        mu: Smoothing μ > 0: large ones give equal shares, small ones the worst task alone. 1 in the authors' recipe.
        warmup: Epochs before the one that measures n_i; 4 in the authors' recipe.
        on: ``"log"`` or ``"loss"``.
        reference: z, a lower bound of each loss, for all tasks or by name (0 for tasks left out); used on losses only.

    Raises:
        ConfigError: An option is outside its limits.

    Examples:
        >>> import torch
        >>> STCH().weights(torch.tensor([0.5, 2.0]))
        tensor([2.0000, 0.5000])
        >>> STCH(on="loss", mu=0.1).weights(torch.tensor([1.0, 1.2]))
        tensor([0.1345, 0.3655])

    Notes:
        ``on="log"`` needs ``balancer.end_epoch()``, and losses above zero: otherwise a ``MethodError`` names the task.
        A task absent from the whole measuring epoch is measured against the first loss it shows later. The authors'
        code adds 1e-20 inside the logarithm; here nothing is added.

    References:
        Lin et al., "Smooth Tchebycheff scalarization for multi-objective optimization", ICML 2024.
    """

    uses_preference = True
    limits: ClassVar[Limits] = {
        "mu": Real(0, open_low=True),
        "warmup": Whole(),
        "on": Choice(("log", "loss")),
        "reference": PerTask(Real()),
    }
    card = Card(
        title="STCH",
        paper="Lin et al., ICML 2024",
        url="https://arxiv.org/abs/2402.19078",
        idea="Descend a smooth version of the worst of the losses.",
        cost="1",
        invariances=("order of tasks", "direction: a factor on each loss separately (on='log')"),
        verified=(
            "the released multi-task recipe, read, by automatic differentiation",
            "TorchJD's STCH (on='loss')",
            "limits of μ",
        ),
        notes="For small μ, tasks that do well are left alone.",
        preference="weight of the task's loss in the worst case",
    )

    def __init__(
        self,
        mu: float = 1.0,
        warmup: int = 4,
        on: Literal["log", "loss"] = "log",
        reference: float | Mapping[str, float] = 0.0,
    ) -> None:
        super().__init__()
        self.mu, self.warmup, self.on, self.reference = mu, warmup, on, reference
        self._nadir = EpochMean(self.state, "nadir", warmup)

    def solve(self, evidence: Evidence) -> Solution:
        """The gradient of the scalarisation; the mean losses of the measuring epoch are gathered."""
        news = self._nadir.take(evidence)
        if self.on == "loss":
            above = evidence.losses - per_task(self.reference, evidence.tasks, 0.0)
            return Solution(softmax(evidence.preference * above / self.mu) * evidence.preference, remember=news)
        positive(self, evidence)
        rate = evidence.size * evidence.preference / evidence.losses
        if not self._nadir.known(evidence):
            return Solution(rate, remember=news)
        logs = np.log(evidence.losses / self._nadir.read(evidence))
        share = softmax(evidence.size * evidence.preference * logs / self.mu)
        return Solution(evidence.size * share * rate, remember=news)
