"""The gradient conductor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float

from polytask.balance.contract.method import Block, Card, Combined, Evidence, JacobianMethod, Solution
from polytask.balance.contract.options import Limits, Real, Whole
from polytask.balance.jacobian._conflicts import Winners, bend, conflict_angle, worst_pair
from polytask.balance.toolbox.coordinates import squared_norms, weighted_sum, wide
from polytask.balance.toolbox.values import RunningMean
from polytask.errors import ConfigError

__all__ = ["GCond"]

Array = np.ndarray
_TIE = 1e-9
"""Differences of cosines and of scores that rounding can make: a gradient just projected is no conflict again."""


@final
class GCond(JacobianMethod):
    """PCGrad with a winner: the pair of gradients in worst conflict is bent first, the loser more than the winner.

    While the smallest cosine c of a pair is below ``weak``, at most 2K times: the pair's winner w loses
    sin(φ)·(g_wᵀg_l/‖g_l‖²)·g_l and its loser l loses sin(min(φ, π/2))·(g_wᵀg_l/‖g_w‖²)·g_w, both at once. The angle
    φ(c) rises linearly from 0 at ``weak`` to π/2 at ``main``, where both are projected as in PCGrad, and then with the
    power ``bend`` to π at ``critical`` and below, where the winner is left alone. The step is the sum of the rest.
    The winner has the larger ``stability``·max(0, s) + (1 − ``stability``)·n: s is the cosine with the task's gradient
    of the step before, n its norm relative to the norm's running mean, as a share of the pair's. Who won the last
    ``window`` conflicts loses the next one.

    Args:
        critical: A cosine, −0.8 in the paper.
        main: A cosine from ``critical`` on, −0.5 in the paper.
        weak: A cosine from ``main`` on, 0 in the paper.
        bend: > 0; 2 in the paper.
        stability: In [0, 1]; 0.8 in the paper.
        window: Conflicts won in a row before the other side is helped; 3 in the authors' code, 0 never helps.
        rate: Weight of a new norm in its running mean, in (0, 1]; 0.05 in the authors' code.

    Raises:
        ConfigError: An option is outside its limits.

    Examples:
        >>> import torch
        >>> GCond().direction(torch.tensor([[1.0, 0.0], [-3.0, 1.0]]))
        tensor([-1.4500,  0.6500])

    Notes:
        Gradients are those of losses times task weights that sum to one. Gradient accumulation, half of the published
        method, is the trainer's ``accumulate=``; its momentum and trust ratio are the optimizer's. The authors' code
        starts every running norm at 1; here it is the mean of the norms seen. The longer gradient wins a tie, then the
        first by name. That code compares with the previous gradients after bending; the paper, and this, before it.

    References:
        Alves Limarenko, Studenikina, Illarionova, Sharaev, "GCond: gradient conflict resolution via accumulation-based
        stabilization for large-scale multi-task learning", IEEE Access 2026.
    """

    uses_preference = True
    limits: ClassVar[Limits] = dict.fromkeys(("critical", "main", "weak"), Real(-1, 1)) | {
        "bend": Real(0, open_low=True),
        "stability": Real(0, 1),
        "window": Whole(),
        "rate": Real(0, 1, open_low=True),
    }
    card = Card(
        title="GCond",
        paper="Alves Limarenko et al., IEEE Access 2026",
        url="https://arxiv.org/abs/2509.07252",
        idea="Resolve the worst conflict first, and more in favour of the steadier gradient the worse it is.",
        cost="K through the shared part, K·P numbers of memory",
        invariances=("order of tasks", "one common factor on all losses"),
        verified=("the paper and the authors' code, read, step by step on plain vectors", "closed forms in each zone"),
        notes="Whoever wins takes most: a losing task may be ignored for some steps. Without a conflict, a mean.",
        preference="multiplies the task's loss",
    )

    def __init__(
        self,
        critical: float = -0.8,
        main: float = -0.5,
        weak: float = 0.0,
        bend: float = 2.0,
        stability: float = 0.8,
        window: int = 3,
        rate: float = 0.05,
    ) -> None:
        super().__init__()
        self.critical, self.main, self.weak, self.bend = critical, main, weak, bend
        self.stability, self.window, self.rate = stability, window, rate
        if not critical <= main <= weak:
            raise ConfigError(f"GCond needs critical ≤ main ≤ weak, found {critical}, {main} and {weak}")
        self._norms = RunningMean(self.state, "norm", rate, reduce="same")
        self.memory.declare("previous", reduce="mean")
        self._winners = Winners()
        self.state.attach("winners", self._winners)

    def measure(self, block: Block, evidence: Evidence) -> Mapping[str, Array]:
        """Inner products of this step's gradients with those of the step before."""
        rows = wide(block.rows)
        past = self.memory.read("previous", block.name, evidence.tasks, rows).double()
        return {"past": (rows.double() @ past.T).cpu().numpy(), "past_squares": squared_norms(past)}

    def solve(self, evidence: Evidence) -> Solution:
        """What every gradient counts for after the last conflict."""
        means, news = self._norms.take(evidence.tasks, np.sqrt(np.diag(evidence.inner)))
        mixture, winners, iterations = self._resolve(evidence, means)
        return Solution(mixture.sum(0) * evidence.preference, iterations, remember=news | {"winners": winners})

    def combine(self, block: Block, evidence: Evidence, solution: Solution) -> Combined:
        """The sum, and the gradients for the next step."""
        rows = wide(block.rows)
        return Combined(weighted_sum(solution.weights, rows), {"previous": rows})

    def _resolve(self, evidence: Evidence, means: Float[Array, "K"]) -> tuple[Float[Array, "K K"], Winners, int]:
        """Rows of what is left of each gradient, as mixtures of all; the last winners; the number of conflicts."""
        size, scale = evidence.size, evidence.preference
        gramian = evidence.inner * np.outer(scale, scale)
        lengths = np.sqrt(np.diag(gramian))
        means = scale * means
        past, past_norms = scale[:, None] * evidence.measures["past"], np.sqrt(evidence.measures["past_squares"])
        mixture, products, winners = np.eye(size), gramian, self._winners
        for count in range(2 * size):
            i, j, cosine = worst_pair(products, lengths, evidence.tasks, _TIE)
            if cosine >= self.weak - _TIE:
                return mixture, winners, count
            pair = np.array([i, j])
            norms = np.sqrt(np.diag(products)[pair])
            along = np.array([mixture[k] @ past[:, k] for k in pair])
            steady = np.divide(along, norms * past_norms[pair], out=np.zeros(2), where=past_norms[pair] > 0)
            strength = norms / means[pair]
            scores = self.stability * np.maximum(steady, 0) + (1 - self.stability) * strength / strength.sum()
            ahead = float(scores[0] - scores[1] if abs(scores[0] - scores[1]) > _TIE else norms[0] / norms[1] - 1)
            overdue = winners.overdue((evidence.tasks[i], evidence.tasks[j]), self.window)
            if overdue is not None:
                ahead = -1.0 if overdue == evidence.tasks[i] else 1.0
            decided = (i, j) if ahead >= -_TIE else (j, i)
            winners = winners.then(evidence.tasks[decided[0]], self.window)
            angle = conflict_angle(cosine, (self.critical, self.main, self.weak), self.bend)
            mixture, products = bend(mixture, products, gramian, decided, angle)
        return mixture, winners, 2 * size
