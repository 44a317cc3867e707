"""Improvable gap balancing, second version."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np
from jaxtyping import Float

from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.contract.options import Limits, Real, Whole
from polytask.balance.contract.seeding import by_name, generator
from polytask.balance.toolbox.sac import Settings
from polytask.balance.toolbox.task_agent import Seen, TaskAgent
from polytask.balance.toolbox.values import EpochMean, positive, softmax
from polytask.errors import NonFiniteError

__all__ = ["IGBv2"]

Array = np.ndarray
_LEARNING = 0x1_6B2
_LARGEST = float(np.finfo(np.float32).max)
"""Tells the draws of the learner from those of the weights at the same step."""


@final
class IGBv2(LossMethod):
    """Descends Σ λ_i·log L_i, where a soft actor-critic learns λ from how much the worst-off task gains per step.

    The agent's state holds the losses L_i, its action is λ = K·softmax(u), u ~ N(μ(L), diag σ(L)²), and its reward
    min_i (L_i − L_i')/B_i, with L_i' the losses of the next step and B_i the mean losses of an early epoch. The weights
    are λ_i/L_i. In the first epochs u is drawn from N(0, I).

    Args:
        base_epoch: The epoch, counted from 0, whose mean losses are B. 1 by the released code's default.
        learn_epoch: The epoch from whose beginning the agent learns; 3 in the released code.
        start_epoch: The epoch from whose beginning the agent draws λ; 5 in the released code.
        every: Steps between two rounds of learning; 50 in the released code. A round has between ``every``/2 updates,
            with an empty replay, and ``every``, with a full one, of batches that grow likewise.
        lr: Adam's rate for the agent's networks; 3e-4 in the paper.
        discount: γ in [0, 1), worth of the next step's rewards; 0.99 as released.
        batch: Transitions in the largest update; 256 as released.
        capacity: Transitions kept; 10000 as released.

    Raises:
        ConfigError: An option is outside its limits.

    Examples:
        >>> import torch
        >>> losses = torch.tensor([0.5, 2.0])
        >>> print(f"{(IGBv2().weights(losses, seed=1) * losses).sum():.4f}")
        2.0000

    Notes:
        Needs ``balancer.end_epoch()``. Every loss must be above zero; otherwise a ``MethodError`` names the task.
        The released code takes the density of λ as if λ were tanh(u). Here it is that of K·softmax(u), in the K − 1
        dimensions that Σλ_i = K leaves, and the entropy's aim is −(K − 1) instead of −K. A round of learning follows
        the step's weights instead of preceding them, and rewards are not scaled by the learning rate's schedule, which
        a method does not know.
        The state holds the last known losses of absent tasks, whose part of λ the others share. Such steps make no
        transitions. A task that is seen for the first time restarts the agent. Draws depend on seed, step and the
        tasks' names only; the agent's networks and replay are part of the state that is saved.

    References:
        Dai, Fei, Lu, "Improvable gap balancing for multi-task learning", UAI 2023.
    """

    limits: ClassVar[Limits] = {
        "base_epoch": Whole(),
        "learn_epoch": Whole(),
        "start_epoch": Whole(),
        "every": Whole(1),
        "lr": Real(0, open_low=True),
        "discount": Real(0, 1, open_high=True),
        "batch": Whole(1),
        "capacity": Whole(1),
    }
    card = Card(
        title="IGB v2",
        paper="Dai, Fei, Lu, UAI 2023",
        url="https://arxiv.org/abs/2307.15429",
        idea="On log losses, a reinforcement learner finds the weights that help the worst-off task most.",
        cost="1, and about one update of small networks",
        invariances=("order of tasks",),
        verified=(
            "the released code, read",
            "soft value, density, temperature and averages by hand",
            "a bandit problem whose best weights are known",
        ),
        notes="Slow to learn: made for thousands of steps. Close to random weights for five epochs and more.",
    )

    def __init__(
        self,
        base_epoch: int = 1,
        learn_epoch: int = 3,
        start_epoch: int = 5,
        every: int = 50,
        lr: float = 3e-4,
        discount: float = 0.99,
        batch: int = 256,
        capacity: int = 10_000,
    ) -> None:
        super().__init__()
        self.base_epoch, self.learn_epoch, self.start_epoch, self.every = base_epoch, learn_epoch, start_epoch, every
        self.lr, self.discount, self.batch, self.capacity = lr, discount, batch, capacity
        self._base = EpochMean(self.state, "base", base_epoch)
        self._agent = TaskAgent(Settings(lr=lr, discount=discount, batch=batch, capacity=capacity))
        self.state.attach("agent", self._agent)

    def solve(self, evidence: Evidence) -> Solution:
        """λ/L; the base losses are gathered, and the agent takes the step in and learns when it is time."""
        positive(self, evidence)
        if not (evidence.losses < _LARGEST).all():
            raise NonFiniteError(
                f"IGBv2's networks work in float32, and the losses are {evidence.losses.tolist()}; nothing was learned "
                "from this step. Divide the losses by a constant"
            )
        weights = self._lambda(evidence)
        base = _named(evidence, self._base.read(evidence)) if self._base.known(evidence) else None
        drawn = generator(evidence.seed ^ _LEARNING, evidence.step)
        seeds = int(drawn.integers(2**62)), int(drawn.integers(2**62))
        due = evidence.epoch >= self.learn_epoch and evidence.step % self.every == 0
        seen = Seen(_named(evidence, evidence.losses), _named(evidence, weights), base, seeds, self.every if due else 0)
        return Solution(weights / evidence.losses, remember=self._base.take(evidence) | {"agent": seen})

    def _lambda(self, evidence: Evidence) -> Float[Array, "K"]:
        if evidence.epoch >= self.start_epoch:
            noise = evidence.rng.standard_normal(len(self._agent.tasks)).tolist()
            drawn = self._agent.weights(
                _named(evidence, evidence.losses), dict(zip(self._agent.tasks, noise, strict=True))
            )
            if drawn is not None:
                return drawn
        logits = np.empty(evidence.size)
        logits[by_name(evidence.tasks)] = evidence.rng.standard_normal(evidence.size)
        return evidence.size * softmax(logits)


def _named(evidence: Evidence, values: Float[Array, "K"]) -> dict[str, float]:
    return dict(zip(evidence.tasks, values.tolist(), strict=True))
