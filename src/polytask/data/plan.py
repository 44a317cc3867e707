"""Which sources a step draws from, and what an epoch is."""

from __future__ import annotations

import abc
import dataclasses
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np

from polytask.errors import ConfigError, unknown

__all__ = ["Alternating", "Joint", "Plan", "mixing_shares", "stream"]


class Plan(abc.ABC):
    """What a sampler or a curriculum decides: the sources of every step, and the number of steps of an epoch.

    A plan holds its options as declared fields and nothing that changes; the loader tells it how many batches one pass
    over each source has. Everything else is a function of these, of the seed and of the epoch's number, so that a run
    can go on from any place.
    """

    @abc.abstractmethod
    def steps(self, passes: Mapping[str, int]) -> int:
        """Steps of an epoch.

        Args:
            passes: Source name → number of batches in one pass over it.

        Raises:
            ConfigError: The options do not fit these sources.
        """

    @abc.abstractmethod
    def draw(self, passes: Mapping[str, int], epoch: int, seed: int) -> Sequence[tuple[str, ...]]:
        """The sources of each step of an epoch, :meth:`steps` of them; each gives one batch.

        Args:
            passes: As for :meth:`steps`.
            epoch: Its number, from 0.
            seed: The loader's; :func:`stream` makes random numbers of it.
        """

    @abc.abstractmethod
    def shares(self, passes: Mapping[str, int]) -> dict[str, float]:
        """Expected share of the steps in which each source takes part, in [0, 1]."""

    def counts(self, passes: Mapping[str, int], epoch: int, seed: int) -> dict[str, int]:
        """How often each source is drawn in an epoch: what :meth:`draw` says, which a plan may know without drawing."""
        drawn = self.draw(passes, epoch, seed)
        return {name: sum(name in step for step in drawn) for name in passes}

    def words(self) -> str:
        """What a step is, after "An epoch is 10 steps, "."""
        return "each on the sources that its plan names"

    def settings(self, passes: Mapping[str, int]) -> dict[str, Any]:
        """Plain values that determine every draw: a position saved under other ones means nothing."""
        return {"plan": type(self).__name__, "steps": self.steps(passes)}


@final
@dataclasses.dataclass(frozen=True)
class Joint(Plan):
    """Every source gives a batch to each step; shorter sources start again.

    Args:
        epoch: ``"one pass"`` (the longest source is seen once), ``"one pass of NAME"``, or a number of steps.
    """

    epoch: str | int = "one pass"

    def steps(self, passes: Mapping[str, int]) -> int:
        """Batches in one pass over the source that the epoch is measured by."""
        measure = _measure(self.epoch, passes)
        if isinstance(measure, int):
            return measure
        return passes[measure] if measure else max(passes.values())

    def draw(self, passes: Mapping[str, int], epoch: int, seed: int) -> Sequence[tuple[str, ...]]:
        """All of them, every time."""
        return [tuple(passes)] * self.steps(passes)

    def counts(self, passes: Mapping[str, int], epoch: int, seed: int) -> dict[str, int]:
        """Once a step."""
        return dict.fromkeys(passes, self.steps(passes))

    def shares(self, passes: Mapping[str, int]) -> dict[str, float]:
        """One."""
        return dict.fromkeys(passes, 1.0)

    def words(self) -> str:
        """A part of every source."""
        return "each with a part of every source"

    def settings(self, passes: Mapping[str, int]) -> dict[str, Any]:
        """The number of steps."""
        shares = {name: round(share, 12) for name, share in mixing_shares(passes).items()}
        return {"mode": "joint", "shares": shares, "steps": self.steps(passes)}


@final
@dataclasses.dataclass(frozen=True)
class Alternating(Plan):
    """Each step takes one source.

    Within an epoch the number of steps of a source is its share of the steps rounded up or down, at random without bias
    (systematic sampling), and the order of the steps is random.

    Args:
        mixing: Sampling weights of the sources, see :func:`mixing_shares`; neither task weights nor method weights.
        temperature: For ``mixing="temperature"``.
        epoch: ``"one pass"``: as many steps as the passes of all sources together (under proportional mixing every
            source is seen exactly once); ``"one pass of NAME"``: source NAME is seen once, up to rounding; or a number
            of steps.
        shuffle: Random order of the steps; otherwise sources take turns as evenly as their shares allow.
    """

    mixing: str | Mapping[str, float | int] = "proportional"
    temperature: float = 1.0
    epoch: str | int = "one pass"
    shuffle: bool = True

    def steps(self, passes: Mapping[str, int]) -> int:
        """All passes together, or so many that the source the epoch is measured by is seen once."""
        measure, shares = _measure(self.epoch, passes), self.shares(passes)
        if isinstance(measure, int):
            return measure
        if not measure:
            return sum(passes.values())
        if shares[measure] == 0:
            raise ConfigError(f"an epoch cannot be one pass of {measure!r}: its mixing weight is 0")
        return max(1, math.ceil(passes[measure] / shares[measure] - 1e-9))

    def draw(self, passes: Mapping[str, int], epoch: int, seed: int) -> Sequence[tuple[str, ...]]:
        """As many steps of each source as :meth:`counts` says, in random order."""
        names = list(passes)
        counts = np.array(list(self.counts(passes, epoch, seed).values()))
        order = np.repeat(np.arange(len(names)), counts)
        if self.shuffle:
            order = stream(seed, "order", epoch).permutation(order)
        else:
            within = np.concatenate([(np.arange(n) + 0.5) / n for n in counts if n])
            order = order[np.argsort(within, kind="stable")]
        return [(names[i],) for i in order]

    def counts(self, passes: Mapping[str, int], epoch: int, seed: int) -> dict[str, int]:
        """Systematic sampling: unbiased, and off by less than one."""
        steps = self.steps(passes)
        edges = np.round(np.cumsum(list(self.shares(passes).values())) * steps, 9)  # whole numbers stay whole
        inside = np.ceil(edges - stream(seed, "counts", epoch).random()).astype(np.int64)
        inside[-1] = steps
        return dict(zip(passes, np.diff(np.maximum(inside, 0), prepend=0).tolist(), strict=True))

    def shares(self, passes: Mapping[str, int]) -> dict[str, float]:
        """By the mixing."""
        return mixing_shares(passes, self.mixing, self.temperature)

    def words(self) -> str:
        """One source."""
        return "each on one source"

    def settings(self, passes: Mapping[str, int]) -> dict[str, Any]:
        """Shares and steps."""
        shares = {name: round(share, 12) for name, share in self.shares(passes).items()}
        return {"mode": "alternating", "shares": shares, "steps": self.steps(passes)}


def mixing_shares(
    sizes: Mapping[str, int], mixing: str | Mapping[str, float | int] = "proportional", temperature: float = 1.0
) -> dict[str, float]:
    r"""Share of the steps that each source gets when steps alternate between sources.

    .. math:: p_s = n_s^{1/T} / \sum_r n_r^{1/T}

    with n_s the size of source s and T the temperature: T = 1 is proportional, T → ∞ uniform.

    Args:
        sizes: Source name → size (number of batches in one pass).
        mixing: ``"proportional"`` (T = 1), ``"uniform"``, ``"temperature"`` (T = ``temperature``), or weights by name,
            which are normalised.
        temperature: T > 0; read by ``"temperature"`` alone.

    Returns:
        Shares by name, summing to 1.

    Raises:
        ConfigError: Unknown mixing or source name, a missing source, a weight or temperature out of range.

    Examples:
        >>> mixing_shares({"a": 90, "b": 10}, "temperature", temperature=2.0)
        {'a': 0.75, 'b': 0.25}
        >>> mixing_shares({"a": 90, "b": 10}, {"a": 1, "b": 1})
        {'a': 0.5, 'b': 0.5}
    """
    if isinstance(mixing, Mapping):
        weights = _own_weights(mixing, sizes)
    else:
        powers = {"proportional": 1.0, "uniform": 0.0, "temperature": 1.0}
        if mixing not in powers:
            raise ConfigError(unknown("mixing", mixing, powers))
        power = powers[mixing]
        if mixing == "temperature":
            if not (math.isfinite(temperature) and temperature > 0):
                raise ConfigError(f"temperature must be finite and above 0, found {temperature}")
            power = 1.0 / temperature
        weights = {name: float(size) ** power for name, size in sizes.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def stream(seed: int, name: str, number: int, purpose: int = 2) -> np.random.Generator:
    """Random numbers of their own for every purpose, name and number: nothing else changes what they are.

    Args:
        seed: The loader's.
        name: What is drawn, or the source it is drawn for; the name, not the position, so that one more source changes
            nothing for the others.
        number: Of the epoch or pass.
        purpose: 1 for orders of rows, 2 for plans.
    """
    return np.random.default_rng([seed, purpose, zlib.crc32(name.encode()), number])


def _measure(epoch: str | int, passes: Mapping[str, int]) -> str | int:
    """The number of steps, the source that an epoch is one pass of, or empty text for all."""
    if isinstance(epoch, int):
        if epoch < 1:
            raise ConfigError(f"an epoch needs at least 1 step, found epoch={epoch}")
        return epoch
    if epoch == "one pass":
        return ""
    if not epoch.startswith("one pass of "):
        raise ConfigError(f'epoch must be "one pass", "one pass of NAME" or a number of steps, found {epoch!r}')
    name = epoch.removeprefix("one pass of ").strip()
    if name not in passes:
        raise ConfigError(unknown("source in epoch", name, passes))
    return name


def _own_weights(mixing: Mapping[str, float | int], sizes: Mapping[str, int]) -> dict[str, float]:
    for name, weight in mixing.items():
        if name not in sizes:
            raise ConfigError(unknown("source in mixing", name, sizes))
        if not (math.isfinite(weight) and weight >= 0):
            raise ConfigError(f"mixing weight of source {name!r} must be finite and at least 0, found {weight}")
    missing = [name for name in sizes if name not in mixing]
    if missing:
        raise ConfigError(
            f"mixing gives no weight for {', '.join(map(repr, missing))}; give one per source (0 leaves it out)"
        )
    if sum(mixing.values()) == 0:
        raise ConfigError("all mixing weights are 0; at least one source must be drawn")
    return {name: float(mixing[name]) for name in sizes}
