"""Batches from one source or several, the same for the same seed, resumable in the middle of an epoch."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor

from polytask.data.source import Inputs, Part, Source
from polytask.errors import CheckpointError, ConfigError, DataError, unknown

__all__ = ["Batch", "MultiTaskLoader", "mixing_shares"]

Mixing = Literal["proportional", "uniform", "temperature"]
_ORDER, _DRAW = 1, 2  # what a random stream is for; keeps orders of rows and draws of sources apart


@final
@dataclasses.dataclass(frozen=True)
class Batch:
    """What one step sees: one part per source that takes part in it.

    Attributes:
        parts: Rows of each source, with their targets by task.
        sources: Name of the source of each part.
    """

    parts: tuple[Part, ...]
    sources: tuple[str, ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks with targets in some part, in order of appearance."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.targets))

    @property
    def size(self) -> int:
        """Number of rows over all parts."""
        return sum(_rows(part.inputs) for part in self.parts)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on another device."""

        def move(x: Tensor) -> Tensor:
            return x.to(device, non_blocking=non_blocking)

        def move_inputs(x: Inputs) -> Inputs:
            return move(x) if isinstance(x, Tensor) else {name: move(value) for name, value in x.items()}

        parts = (Part(move_inputs(p.inputs), {name: move(y) for name, y in p.targets.items()}) for p in self.parts)
        return Batch(tuple(parts), self.sources)


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


@final
class MultiTaskLoader:
    r"""Batches of one source or several, in joint steps (all sources) or alternating steps (one source).

    A source of n rows gives b = ⌊n / batch_size⌋ batches per pass (⌈·⌉ without ``drop_last``; a source smaller than a
    batch is one batch). Each pass has a new order. Sources carry on across epochs where the last epoch left them, so a
    long source in short epochs is still seen evenly. Everything is a function of seed and position: resuming replays
    nothing, and neither NumPy's nor PyTorch's global random numbers are touched.

    Args:
        sources: A source, or sources by name.
        batch_size: Rows per part; one number, or one per source by name.
        mode: ``"joint"``: every source gives a part to each step, shorter ones start again. ``"alternating"``: each
            step takes one source. With a single source they are the same.
        mixing: Sampling weights of the sources in alternating steps, see :func:`mixing_shares`; sizes are counted in
            batches, because a step is what is drawn. These are neither task weights nor method weights. Within an
            epoch the number of steps of a source is its share of the steps rounded up or down, at random without
            bias, and the order of the steps is random.
        temperature: For ``mixing="temperature"``.
        epoch: ``"one pass"``: joint, the longest source is seen once; alternating, as many steps as the passes of all
            sources together (under proportional mixing: every source is seen exactly once). ``"one pass of NAME"``:
            source NAME is seen once (alternating: up to rounding). An integer: that many steps.
        shuffle: New random order of the rows in each pass, and of the sources in alternating steps.
        drop_last: Leave out the rows at the end of a pass that do not fill a batch.
        seed: Seed of all orders and draws.

    Raises:
        ConfigError: An option is unknown or out of range.
        DataError: There is no source or a source has no rows.

    Examples:
        >>> import torch
        >>> from polytask.data import TensorSource
        >>> source = TensorSource(torch.arange(6.0).reshape(6, 1), {"a": torch.arange(6.0)})
        >>> loader = MultiTaskLoader(source, batch_size=4, drop_last=False)
        >>> len(loader), [batch.size for batch in loader]
        (2, [4, 2])
        >>> print(loader.describe_epoch())
        An epoch is 2 steps: one pass over the 6 rows in batches of 4.
    """

    def __init__(
        self,
        sources: Source | Mapping[str, Source],
        *,
        batch_size: int | Mapping[str, int] = 64,
        mode: str = "joint",
        mixing: str | Mapping[str, float | int] = "proportional",
        temperature: float = 1.0,
        epoch: str | int = "one pass",
        shuffle: bool = True,
        drop_last: bool = True,
        seed: int = 0,
    ) -> None:
        self.sources: dict[str, Source] = dict(sources) if isinstance(sources, Mapping) else {"data": sources}
        if not self.sources:
            raise DataError("a loader needs at least one source, found an empty dictionary")
        for name, source in self.sources.items():
            if len(source) == 0:
                raise DataError(f"source {name!r} has no rows")
        if mode not in ("joint", "alternating"):
            raise ConfigError(unknown("mode", mode, ("joint", "alternating")))
        if mode == "joint" and mixing != "proportional" and len(self.sources) > 1:
            raise ConfigError(
                f"mixing={mixing!r} has no effect in joint steps, where every source gives a part to each step; "
                'set mode="alternating" or leave mixing out'
            )
        if seed < 0:
            raise ConfigError(f"seed must be at least 0, found {seed}")
        self.mode = mode
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.batch_sizes = _batch_sizes(batch_size, self.sources)
        self._passes = {name: self._batches_per_pass(name) for name in self.sources}
        self.shares = mixing_shares(self._passes, mixing, temperature)
        """Share of the steps per source in alternating mode."""
        self.epoch_rule = epoch
        self._steps = self._steps_per_epoch(epoch)
        self._epoch = 0
        self._position = 0
        self._start = 0
        self._drawn: tuple[int, np.ndarray] = (0, np.zeros(len(self.sources), dtype=np.int64))
        self._orders: dict[str, tuple[int, Tensor]] = {}

    def __len__(self) -> int:
        return self._steps

    @property
    def epoch(self) -> int:
        """Number of epochs finished."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch."""
        if epoch < 0:
            raise ConfigError(f"epoch must be at least 0, found {epoch}")
        self._epoch, self._position, self._start = epoch, 0, 0

    def __iter__(self) -> Iterator[Batch]:
        """One epoch, from its start, or from where a loaded state left it; afterwards the next epoch is due."""
        epoch, start = self._epoch, self._start
        self._start = 0
        plan = self._plan(epoch)
        taken = self._taken(epoch)
        names = list(self.sources)
        taken = taken + np.bincount(plan[:start], minlength=len(names)) if plan is not None else taken + start
        for step in range(start, self._steps):
            active = range(len(names)) if plan is None else (int(plan[step]),)
            parts = []
            for s in active:
                parts.append(Part(*self.sources[names[s]].batch(self._rows(names[s], int(taken[s])))))
                taken[s] += 1
            self._epoch, self._position = epoch, step + 1
            if step + 1 == self._steps:
                self._epoch, self._position = epoch + 1, 0
            yield Batch(tuple(parts), tuple(names[s] for s in active))

    def state_dict(self) -> dict[str, Any]:
        """Position: finished epochs, steps taken in the current one, and what the position refers to."""
        return {"epoch": self._epoch, "step": self._position, "setup": self._setup()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a saved position; the next iteration yields exactly the batches that were still to come.

        Raises:
            CheckpointError: The state was saved by a loader with other sources or options.
        """
        mine, theirs = self._setup(), state["setup"]
        differing = [key for key in mine if mine[key] != theirs.get(key)]
        if differing:
            found = "; ".join(f"{key}: saved {theirs.get(key)!r}, here {mine[key]!r}" for key in differing)
            raise CheckpointError(
                f"the saved position belongs to another loader ({found}); build it with the same options"
            )
        self._epoch, self._position = int(state["epoch"]), int(state["step"])
        self._start = self._position

    def describe_epoch(self) -> str:
        """What an epoch is, in words."""
        lines = []
        if len(self.sources) == 1:
            (name,) = self.sources
            passes = self._steps / self._passes[name]
            seen = "one pass" if passes == 1 else f"{passes:.2g} passes"
            lines.append(f"An epoch is {_steps(self._steps)}: {seen} over the {self._source_words(name)}.")
        else:
            kind = "each with a part of every source" if self.mode == "joint" else "each on one source"
            lines.append(f"An epoch is {_steps(self._steps)}, {kind}.")
            for name in self.sources:
                share = self.shares[name] if self.mode == "alternating" else 1.0
                steps = share * self._steps
                passes = steps / self._passes[name]
                seen = "once" if math.isclose(passes, 1.0) else f"{passes:.3g} times"
                drawn = f"{share:.1%} of the steps, " if self.mode == "alternating" else ""
                lines.append(f"  {name}: {drawn}each row seen {seen} ({self._source_words(name)})")
        return "\n".join(lines)

    def _source_words(self, name: str) -> str:
        rows, size = len(self.sources[name]), self.batch_sizes[name]
        left = rows - self._passes[name] * size
        rest = f", {left} {'row' if left == 1 else 'rows'} of a pass left out" if left > 0 else ""
        return f"{rows:,} rows in batches of {min(size, rows)}{rest}"

    def _setup(self) -> dict[str, Any]:
        return {
            "sources": {name: len(source) for name, source in self.sources.items()},
            "batch_sizes": dict(self.batch_sizes),
            "mode": self.mode,
            "shares": {name: round(share, 12) for name, share in self.shares.items()},
            "steps": self._steps,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
            "seed": self.seed,
        }

    def _batches_per_pass(self, name: str) -> int:
        rows, size = len(self.sources[name]), self.batch_sizes[name]
        return max(1, rows // size if self.drop_last else -(-rows // size))

    def _steps_per_epoch(self, epoch: str | int) -> int:
        if isinstance(epoch, int):
            if epoch < 1:
                raise ConfigError(f"an epoch needs at least 1 step, found epoch={epoch}")
            return epoch
        if epoch == "one pass":
            sizes = self._passes.values()
            return sum(sizes) if self.mode == "alternating" else max(sizes)
        if not epoch.startswith("one pass of "):
            raise ConfigError(f'epoch must be "one pass", "one pass of NAME" or a number of steps, found {epoch!r}')
        name = epoch.removeprefix("one pass of ").strip()
        if name not in self.sources:
            raise ConfigError(unknown("source in epoch", name, self.sources))
        if self.mode == "joint":
            return self._passes[name]
        if self.shares[name] == 0:
            raise ConfigError(f"an epoch cannot be one pass of {name!r}: its mixing weight is 0")
        return max(1, math.ceil(self._passes[name] / self.shares[name] - 1e-9))

    def _rows(self, name: str, batch: int) -> Tensor:
        """Row numbers of the ``batch``-th batch ever taken from a source."""
        number, within = divmod(batch, self._passes[name])
        rows, size = len(self.sources[name]), self.batch_sizes[name]
        if self._orders.get(name, (-1, None))[0] != number:
            order = self._rng(_ORDER, name, number).permutation(rows) if self.shuffle else np.arange(rows)
            self._orders[name] = (number, torch.from_numpy(order.astype(np.int64)))
        return self._orders[name][1][within * size : (within + 1) * size]

    def _rng(self, purpose: int, name: str, number: int) -> np.random.Generator:
        # The name, not the position, so that one more source changes nothing for the others.
        return np.random.default_rng([self.seed, purpose, zlib.crc32(name.encode()), number])

    def _counts(self, epoch: int) -> np.ndarray:
        """Steps of each source in an alternating epoch: systematic sampling, unbiased and off by less than one."""
        edges = np.round(np.cumsum(list(self.shares.values())) * self._steps, 9)  # whole numbers of steps stay whole
        inside = np.ceil(edges - self._rng(_DRAW, "counts", epoch).random()).astype(np.int64)
        inside[-1] = self._steps
        return np.diff(np.maximum(inside, 0), prepend=0)

    def _plan(self, epoch: int) -> np.ndarray | None:
        """Source of each step of an alternating epoch; ``None`` when every source takes part in every step."""
        if self.mode == "joint" or len(self.sources) == 1:
            return None
        plan = np.repeat(np.arange(len(self.sources)), self._counts(epoch))
        if self.shuffle:
            return self._rng(_DRAW, "order", epoch).permutation(plan)
        # Without shuffling sources take turns as evenly as their shares allow.
        within = np.concatenate([(np.arange(n) + 0.5) / n for n in np.bincount(plan, minlength=len(self.sources)) if n])
        return plan[np.argsort(within, kind="stable")]

    def _taken(self, epoch: int) -> np.ndarray:
        """Batches taken from each source before an epoch."""
        if self.mode == "joint" or len(self.sources) == 1:
            return np.full(len(self.sources), epoch * self._steps, dtype=np.int64)
        done, taken = self._drawn if self._drawn[0] <= epoch else (0, np.zeros(len(self.sources), dtype=np.int64))
        for past in range(done, epoch):
            taken = taken + self._counts(past)
        self._drawn = (epoch, taken)
        return taken.copy()


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


def _batch_sizes(batch_size: int | Mapping[str, int], sources: Mapping[str, Source]) -> dict[str, int]:
    if isinstance(batch_size, Mapping):
        for name in batch_size:
            if name not in sources:
                raise ConfigError(unknown("source in batch_size", name, sources))
        missing = [name for name in sources if name not in batch_size]
        if missing:
            raise ConfigError(f"batch_size gives no size for source {missing[0]!r}; give one per source or one number")
        sizes = {name: batch_size[name] for name in sources}
    else:
        sizes = dict.fromkeys(sources, batch_size)
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(f"batch_size must be at least 1, found {size} for source {name!r}")
    return sizes


def _rows(inputs: Inputs | Sequence[Tensor]) -> int:
    first = (
        inputs if isinstance(inputs, Tensor) else next(iter(inputs.values() if isinstance(inputs, Mapping) else inputs))
    )
    return first.shape[0]


def _steps(count: int) -> str:
    return f"{count:,} step{'' if count == 1 else 's'}"
