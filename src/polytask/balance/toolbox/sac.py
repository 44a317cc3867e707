"""Soft actor-critic over weights: a logistic-normal policy, two critics, replay; all of it can be saved."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Replay", "Settings", "SoftActorCritic", "weights_of"]

_LOG_STD = (-20.0, 2.0)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Constants of the learner; defaults as in the code released with IGB.

    Attributes:
        lr: Adam's rate for policy, critics and temperature.
        discount: γ, worth of a reward one step later.
        batch: Transitions per update.
        capacity: Transitions kept.
        width: Units in each of two hidden layers.
        polyak: τ, share of the critics that their slow copies take over per update.
        temperature: First α, the worth of entropy.
    """

    lr: float = 3e-4
    discount: float = 0.99
    batch: int = 256
    capacity: int = 10_000
    width: int = 128
    polyak: float = 0.005
    temperature: float = 0.2


def weights_of(logits: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch K"]:
    """K·softmax."""
    return logits.shape[-1] * torch.softmax(logits, dim=-1)


@final
class Replay:
    """The last transitions (state, weights, reward, next state), in a ring.

    Args:
        size: K, entries of a state and of an action.
        capacity: Transitions kept.
    """

    def __init__(self, size: int, capacity: int) -> None:
        self._parts = (size, size, 1, size)
        self._rows = torch.zeros(capacity, 3 * size + 1, device="cpu", dtype=torch.float32)
        self._next = 0
        self.filled = 0

    @property
    def fullness(self) -> float:
        """Share of the capacity that is in use."""
        return self.filled / len(self._rows)

    def add(self, state: Tensor, weights: Tensor, reward: float, following: Tensor) -> None:
        """Take in one transition, in place of the oldest where there is no room."""
        self._rows[self._next] = torch.cat([state, weights, state.new_tensor([reward]), following])
        self._next = (self._next + 1) % len(self._rows)
        self.filled = min(self.filled + 1, len(self._rows))

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """States, weights, rewards (B,) and next states, drawn with replacement."""
        drawn = torch.randint(0, self.filled, (count,), generator=generator, device="cpu")
        state, weights, reward, following = self._rows[drawn].split(self._parts, dim=1)
        return state, weights, reward.squeeze(1), following

    def state_dict(self) -> dict[str, Any]:
        """The transitions and the place of the next one."""
        return {"rows": self._rows[: self.filled].clone(), "next": self._next}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.filled, self._next = len(state["rows"]), int(state["next"])
        self._rows[: self.filled] = state["rows"]


@final
class SoftActorCritic:
    """Learns a policy over weights w = K·softmax(u) of K things, u ~ N(μ(s), diag σ(s)²).

    Maximises the expected discounted reward plus α times the policy's entropy, α set so that the entropy tends to
    −(K − 1), one less per dimension of the simplex. The entropy is that of the weights and not of the logits, which
    could be as wide as they like where the softmax is saturated: such a policy ends in a corner.

    Args:
        size: K, entries of a state and of an action.
        settings: Constants.
        seed: Decides the first parameters.

    References:
        Haarnoja et al., "Soft actor-critic algorithms and applications", arXiv 1812.05905.
    """

    def __init__(self, size: int, settings: Settings, seed: int) -> None:
        self.size, self.settings = size, settings
        generator = torch.Generator("cpu").manual_seed(seed)
        wide = settings.width
        self.policy = _network((size, wide, wide, 2 * size), generator)
        self.critics = nn.ModuleList([_network((2 * size, wide, wide, 1), generator) for _ in range(2)])
        self.slow = copy.deepcopy(self.critics)
        self.log_temperature = (
            torch.tensor([settings.temperature], device="cpu", dtype=torch.float32).log().requires_grad_()
        )
        self.optimizers = [
            torch.optim.Adam(list(tensors), lr=settings.lr)
            for tensors in (self.policy.parameters(), self.critics.parameters(), [self.log_temperature])
        ]

    def draw(
        self, state: Float[Tensor, "B K"], noise: Float[Tensor, "B K"]
    ) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B"]]:
        """Logits u = μ(s) + σ(s)·noise, and log π(w|s), the density of their weights on the simplex Σ_i w_i = K.

        Logits that differ by a constant have the same weights, so N(μ, σ) is integrated along (1, …, 1); what is left
        are K − 1 dimensions, in which −Σ log w_i − log K is the logarithm of the change of volume.
        """
        mean, log_std = self.policy(state).chunk(2, dim=-1)
        log_std = log_std.clamp(*_LOG_STD)
        logits = mean + log_std.exp() * noise
        precision = (-2 * log_std).exp().sum(-1)
        along = (noise * (-log_std).exp()).sum(-1).square() / precision
        normal = (along - noise.square().sum(-1) - precision.log()) / 2 - log_std.sum(-1)
        volume = torch.log_softmax(logits, -1).sum(-1)
        free = self.size - 1
        return logits, normal - volume - free * (math.log(2 * math.pi) / 2 + math.log(self.size))

    @torch.no_grad()
    def act(self, state: Float[Tensor, "K"], noise: Float[Tensor, "K"]) -> Float[Tensor, "K"]:
        """The logits that the policy draws with this noise."""
        with torch.autocast("cpu", enabled=False):
            return self.draw(state[None], noise[None])[0][0]

    def value(
        self, critics: Iterable[nn.Module], state: Float[Tensor, "B K"], weights: Float[Tensor, "B K"]
    ) -> Float[Tensor, "2 B"]:
        """What the critics say of these weights in these states."""
        inputs = torch.cat([state, weights], dim=-1)
        return torch.stack([critic(inputs).squeeze(-1) for critic in critics])

    @torch.no_grad()
    def target(
        self, reward: Float[Tensor, "B"], following: Float[Tensor, "B K"], noise: Float[Tensor, "B K"]
    ) -> Float[Tensor, "B"]:
        """Value r + γ·(min_j Q̄_j(s', w') − α·log π(w'|s')) with w' drawn by the noise."""
        logits, density = self.draw(following, noise)
        worth = self.value(self.slow, following, weights_of(logits)).amin(0)
        return reward + self.settings.discount * (worth - self.log_temperature.exp() * density)

    @torch.enable_grad()
    def learn(self, replay: Replay, count: int, generator: torch.Generator) -> None:
        """One update of critics, policy, temperature and slow critics from ``count`` transitions."""
        with torch.autocast("cpu", enabled=False):
            state, weights, reward, following = replay.sample(count, generator)
            noise = torch.randn(2, *state.shape, generator=generator, device="cpu", dtype=torch.float32)
            goal = self.target(reward, following, noise[0])
            policy, critics, temperature = self.optimizers
            _descend(critics, (self.value(self.critics, state, weights) - goal).square().mean(1).sum())
            logits, density = self.draw(state, noise[1])
            worth = self.value(self.critics, state, weights_of(logits)).amin(0)
            _descend(policy, (self.log_temperature.detach().exp() * density - worth).mean())
            _descend(temperature, -(self.log_temperature * (density.detach() - (self.size - 1))).mean())
            with torch.no_grad():
                for slow, quick in zip(self.slow.parameters(), self.critics.parameters(), strict=True):
                    slow.lerp_(quick, self.settings.polyak)

    def state_dict(self) -> dict[str, Any]:
        """Copies of all parameters and moments."""
        live = {
            "policy": self.policy.state_dict(),
            "critics": self.critics.state_dict(),
            "slow": self.slow.state_dict(),
            "log_temperature": self.log_temperature.detach(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        return copy.deepcopy(live)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        state = copy.deepcopy(dict(state))
        for name in ("policy", "critics", "slow"):
            getattr(self, name).load_state_dict(state[name])
        with torch.no_grad():
            self.log_temperature.copy_(state["log_temperature"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def _network(sizes: tuple[int, ...], generator: torch.Generator) -> nn.Sequential:
    """Linear layers with ReLU between them, drawn from U(−1/√n, 1/√n) for n inputs as PyTorch's own are."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layer = nn.utils.skip_init(nn.Linear, inputs, outputs, device="cpu", dtype=torch.float32)
        for parameter in layer.parameters():
            nn.init.uniform_(parameter, -(inputs**-0.5), inputs**-0.5, generator=generator)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of this optimizer's parameters alone; none where losses are too large for single precision."""
    parameters = optimizer.param_groups[0]["params"]
    gradients = torch.autograd.grad(loss, parameters)
    if not all(torch.isfinite(gradient).all() for gradient in gradients):
        return
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
    optimizer.zero_grad()
