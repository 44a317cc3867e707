"""Weights smoothed over steps."""

from __future__ import annotations

import math
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from polytask.balance.compose.inner import Inner, resolve, solve_inner
from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.contract.options import Limits, Real

__all__ = ["CRMOGM"]


@final
class CRMOGM(GramianMethod):
    """Another method's weights, averaged over the steps: λ ← α·λ + (1 − α)·w.

    w are the inner method's weights for this step's gradients. The first step of a task takes w itself. Averaging makes
    the weights nearly independent of the batch they are applied to, without which stochastic versions of such methods
    need not converge to a Pareto-stationary point.

    Args:
        inner: The method whose weights are averaged, or its registry name.
        alpha: α, the share of the past; 0 is the inner method itself. The paper lets it grow towards 1 as the learning
            rate falls; this is a constant.

    Raises:
        ConfigError: ``inner`` is no method on Gramians or ``alpha`` is outside [0, 1).

    Examples:
        >>> import torch
        >>> method = CRMOGM("mgda", alpha=0.9)
        >>> method.weights(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
        tensor([0.8000, 0.2000])

    Notes:
        Each task has an average of its own, which rests while the task is absent, so the weights of the tasks present
        need not have the sum that the inner method gives them.

    References:
        Zhou et al., "On the convergence of stochastic multi-objective gradient manipulation and beyond", NeurIPS 2022.
    """

    uses_preference = True
    limits: ClassVar[Limits] = {"inner": Inner(), "alpha": Real(0, 1, open_high=True)}
    card = Card(
        title="CR-MOGM",
        paper="Zhou et al., NeurIPS 2022",
        url="https://proceedings.neurips.cc/paper_files/paper/2022/hash/f91bd64a3620aad8e70a27ad9cb3ca57-Abstract-Conference.html",
        idea="Smooth the weights over steps, so that they do not follow the noise of a batch.",
        cost="K through the shared part",
        invariances=("order of tasks", "those of the method inside, up to its past"),
        verified=("TorchJD's wrapper, step by step", "the recursion"),
        notes="Slow to react: with α = 0.9 a weight follows over some ten steps.",
        preference="what it is in the inner method",
        heads="unless the method inside declares another rule",
    )

    def __init__(self, inner: str | GramianMethod = "mgda", alpha: float = 0.9) -> None:
        super().__init__()
        self.inner, self.alpha = inner, alpha
        self._method = resolve(inner)
        self.heads = self._method.heads
        self.state.declare("weight", math.nan, reduce="same")
        self.state.adopt("inner", self._method.state)

    def loss_slopes(self, evidence: Evidence) -> Float[ndarray, "K"]:
        """Those of the inner method."""
        return self._method.loss_slopes(evidence)

    def solve(self, evidence: Evidence) -> Solution:
        """The average, this step included."""
        solution = solve_inner(self._method, evidence)
        past = self.state.read("weight", evidence.tasks)
        smooth = self.alpha * past + (1 - self.alpha) * solution.weights
        weights = np.where(np.isnan(past), solution.weights, smooth)
        news = {"weight": weights, "inner": solution.lesson(evidence)}
        return Solution(weights, solution.iterations, remember=news)

    def end_epoch(self) -> None:
        """Tell the inner method."""
        self._method.end_epoch()
