"""Convergence balancer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float

from polytask.balance.contract.asks import VALIDATION_LOSSES
from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.contract.options import Flag, Limits, Real, Whole
from polytask.balance.toolbox.trail import Trail
from polytask.balance.toolbox.values import softmax
from polytask.errors import ConfigError, MethodError

__all__ = ["CoBa"]

Array = np.ndarray
_ALL = "all tasks"


@final
class CoBa(LossMethod):
    """Weights D·R + (1 − D)·A from the slopes of the validation losses: even progress, less for tasks that diverge.

    α_i is the slope of task i's validation loss, relative to its first one, fitted by least squares to the last N
    values after that, and α_max that of the largest of them. R = softmax_i(K·α_i/Σ_j|α_j|) prefers tasks that fall
    slowly; A = softmax_i(−N·α_i/Σ|α_i|), the sum over the task's own last N slopes, prefers those that fall no slower
    than they used to; D = min(1, t·softmax_t(−τ·t·α_max/Σ|α_max|)), over all t slopes so far, turns from R to A as soon
    as the worst task stops improving. Equal weights 1/K come first.

    Args:
        warmup: Validation losses seen at the first slope, the one before training included, at least 2; 100 in the
            authors' code, which recommends the number of its validation batches.
        window: N, at least ``warmup``; 200 in the authors' code, which recommends two to five times ``warmup``.
        tau: τ ≥ 0, how suddenly D turns; 5 in the authors' code.
        sharpen: Whether to apply the softmax of K times the weights and a floor of 1/(10K) to the result, as the
            authors' code does; the paper's weights are those without.

    Raises:
        ConfigError: An option is outside its limits, or ``window`` is shorter than ``warmup``.

    Examples:
        >>> import torch
        >>> method = CoBa(warmup=3, window=6)
        >>> for step in range(6):
        ...     method.observe_metrics({"quick": 1 / (1 + step), "slow": 1 - 0.01 * step})
        >>> method.weights(torch.ones(2), tasks=["quick", "slow"])
        tensor([0.1743, 0.8257])

    Notes:
        Needs ``balancer.observe_metrics({task: validation loss})``, in the authors' code the loss before training,
        which is only what the others are measured by, and then that of one more validation batch after every step;
        training losses are not looked at. A sums the last N slopes, as the paper says; that code drops M − 1 of them, M
        the warm-up, once there are more than N losses. D is held at one from above, which that code leaves out. α_max
        follows it: the slope of the largest relative loss, not the largest slope. Tasks that are absent from an
        observation keep their slope.

    References:
        Gong et al., "CoBa: convergence balancer for multitask finetuning of large language models", EMNLP 2024.
    """

    asks = frozenset({VALIDATION_LOSSES})
    limits: ClassVar[Limits] = {"warmup": Whole(2), "window": Whole(2), "tau": Real(0), "sharpen": Flag()}
    card = Card(
        title="CoBa",
        paper="Gong et al., EMNLP 2024",
        url="https://arxiv.org/abs/2410.06741",
        idea="Even out how fast validation losses fall, and step back from tasks that begin to overfit.",
        cost="1, and validation batches",
        invariances=("order of tasks", "training losses", "a factor on each validation loss"),
        verified=("the authors' code, read, with sums written out", "equal slopes give equal weights", "its limits"),
        notes="Remembers a number per observation. Noisy validation losses need a long window.",
    )

    def __init__(self, warmup: int = 100, window: int = 200, tau: float = 5.0, sharpen: bool = False) -> None:
        super().__init__()
        self.warmup, self.window, self.tau, self.sharpen = warmup, window, tau, sharpen
        if window < warmup:
            raise ConfigError(f"CoBa(window=…) must be at least warmup = {warmup}, found {window}")
        self.state.declare("first", 0.0, reduce="same")
        self._losses, self._slopes = Trail(window), Trail(window)
        self._worst, self._worst_slopes = Trail(window), Trail()
        self.state.attach("loss", self._losses)
        self.state.attach("slope", self._slopes)
        self.state.attach("worst", self._worst)
        self.state.attach("worst_slope", self._worst_slopes)

    def observe_metrics(self, values: Mapping[str, float]) -> None:
        """Take in validation losses."""
        bad = [f"{task} = {value:g}" for task, value in values.items() if not (math.isfinite(value) and value > 0)]
        if bad:
            raise MethodError(f"CoBa needs validation losses above zero, found {', '.join(bad)}")
        if not values:
            return
        tasks, now = list(values), np.array(list(values.values()), dtype=np.float64)
        first = self.state.read("first", tasks)
        later = np.flatnonzero(first > 0)
        self.state.write("first", tasks, np.where(first > 0, first, now))
        for position in later:
            self._note(self._losses, self._slopes, tasks[position], now[position] / first[position])
        if len(later):
            self._note(self._worst, self._worst_slopes, _ALL, (now[later] / first[later]).max())

    def _note(self, losses: Trail, slopes: Trail, name: str, loss: float) -> None:
        """One more loss after the first, and the slope once there are enough."""
        losses.add(name, loss)
        seen = losses.read(name)
        if len(seen) + 1 >= self.warmup:
            steps = np.arange(len(seen)) - (len(seen) - 1) / 2
            slopes.add(name, float(steps @ seen / (steps @ steps)) if len(seen) > 1 else 0.0)

    def solve(self, evidence: Evidence) -> Solution:
        """D·R + (1 − D)·A."""
        size, trails = evidence.size, [self._slopes.read(task) for task in evidence.tasks]
        if not all(map(len, trails)):
            return Solution(np.full(size, 1 / size))
        slopes = np.array([trail[-1] for trail in trails])
        even = softmax(size * _relative(slopes))
        steady = softmax(np.array([-len(trail) * _relative(trail)[-1] for trail in trails]))
        worst = self._worst_slopes.read(_ALL)
        share = min(1.0, len(worst) * float(softmax(-self.tau * len(worst) * _relative(worst))[-1]))
        weights = share * even + (1 - share) * steady
        if self.sharpen:
            weights = softmax(size * weights)
            if weights.min() < 0.1 / size:
                weights = 0.9 * weights + 0.1 / size
        return Solution(weights)


def _relative(slopes: Float[Array, "N"]) -> Float[Array, "N"]:
    """α/Σ|α|; zeros where all are zero."""
    total = abs(slopes).sum()
    return slopes / total if total > 0 else np.zeros_like(slopes)
