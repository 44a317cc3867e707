"""A reinforcement learner that weighs tasks: states are losses, actions weights, both by task name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balance.toolbox.sac import Replay, Settings, SoftActorCritic
from polytask.balance.toolbox.values import softmax

__all__ = ["Seen", "TaskAgent"]

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Seen:
    """One step, for the agent to take in.

    Attributes:
        losses: Loss per task present.
        weights: The weights they got.
        base: Early loss per task, which divides rewards; no rewards where ``None``.
        seeds: Decide the first parameters of a new agent, and what is drawn while it learns.
        updates: How many updates to learn after it.
    """

    losses: Mapping[str, float]
    weights: Mapping[str, float]
    base: Mapping[str, float] | None
    seeds: tuple[int, int]
    updates: int


@final
class TaskAgent:
    """A soft actor-critic whose states and actions have an entry per task seen so far, in alphabetical order.

    It starts anew, parameters and replay, when a task is seen for the first time. A transition counts where all its
    tasks are present in two steps in a row.

    Args:
        settings: Constants of the learner.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.tasks: tuple[str, ...] = ()
        self.learner: SoftActorCritic | None = None
        self.replay: Replay | None = None
        self._losses: dict[str, float] = {}
        self._before: tuple[Tensor, Tensor] | None = None

    def weights(self, losses: Mapping[str, float], noise: Mapping[str, float]) -> Float[Array, "K"] | None:
        """Weights that the policy draws for these tasks, in their order; they sum to their number.

        Args:
            losses: Loss of every task present; the state has the last known ones of the others.
            noise: Standard normal number per task of the agent.

        Returns:
            The weights; ``None`` where a task was never seen.
        """
        if self.learner is None or not set(losses) <= set(self.tasks):
            return None
        state = _vector({**self._losses, **losses}, self.tasks)
        drawn = dict(zip(self.tasks, self.learner.act(state, _vector(noise, self.tasks)).tolist(), strict=True))
        return len(losses) * softmax(np.array([drawn[task] for task in losses]))

    def take(self, news: Seen, /) -> None:
        """Take in one step, and learn where it is time."""
        self.see(news.losses, news.weights, news.base, news.seeds[0])
        if news.updates:
            self.learn(news.updates, news.seeds[1])

    def see(
        self, losses: Mapping[str, float], weights: Mapping[str, float], base: Mapping[str, float] | None, seed: int
    ) -> None:
        """Take in one step.

        Args:
            losses: Loss per task present.
            weights: The weights they got.
            base: Early loss per task, which divides rewards; no rewards where ``None``.
            seed: Decides the first parameters of a new agent.
        """
        self._losses.update(losses)
        if not set(losses) <= set(self.tasks):
            self.tasks = tuple(sorted(self._losses))
            self.learner = SoftActorCritic(len(self.tasks), self._settings, seed)
            self.replay = Replay(len(self.tasks), self._settings.capacity)
            self._before = None
        if len(losses) < len(self.tasks):
            self._before = None
            return
        now = _vector(losses, self.tasks)
        if self._before is not None and base is not None:
            assert self.replay is not None
            state, action = self._before
            # The least of the tasks' improvements, relative to where they started.
            reward = float(((state - now) / _vector(base, self.tasks)).min())
            self.replay.add(state, action, reward, now)
        self._before = now, _vector(weights, self.tasks)

    def learn(self, updates: int, seed: int) -> None:
        """Updates from the transitions seen, more and larger ones (up to twice) the more there are."""
        if self.learner is None or self.replay is None or self.replay.filled == 0 or len(self.tasks) == 1:
            return
        generator = torch.Generator("cpu").manual_seed(seed)
        full = 1 + self.replay.fullness
        for _ in range(max(1, int(updates * full / 2))):
            self.learner.learn(self.replay, max(1, int(self._settings.batch * full / 2)), generator)

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors; empty before the first step."""
        if self.learner is None or self.replay is None:
            return {}
        return {
            "tasks": list(self.tasks),
            "losses": dict(self._losses),
            "before": None if self._before is None else [part.clone() for part in self._before],
            "replay": self.replay.state_dict(),
            "learner": self.learner.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.reset()
        if not state:
            return
        self.tasks, self._losses = tuple(state["tasks"]), dict(state["losses"])
        if state["before"] is not None:
            now, action = (part.clone() for part in state["before"])
            self._before = now, action
        self.learner = SoftActorCritic(len(self.tasks), self._settings, 0)
        self.learner.load_state_dict(state["learner"])
        self.replay = Replay(len(self.tasks), self._settings.capacity)
        self.replay.load_state_dict(state["replay"])


def _vector(values: Mapping[str, float], tasks: Sequence[str]) -> Tensor:
    return torch.tensor([values[task] for task in tasks], dtype=torch.float32, device="cpu")
