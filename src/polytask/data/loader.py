"""Batches from one source or several, the same for the same seed, resumable in the middle of an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from polytask.data.batch import Batch
from polytask.data.plan import Alternating, Joint, Plan, stream
from polytask.data.source import Source, part_of
from polytask.errors import CheckpointError, ConfigError, DataError, unknown

__all__ = ["MultiTaskLoader"]

_ORDER = 1  # purpose of a random stream: order of rows


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
        plan: A plan of your own, in place of ``mode``, ``mixing``, ``temperature`` and ``epoch``.

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
        plan: Plan | None = None,
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
        made = Joint(epoch) if mode == "joint" else Alternating(mixing, temperature, epoch, shuffle)
        if plan is not None and made != (Joint() if mode == "joint" else Alternating(shuffle=shuffle)):
            raise ConfigError("a plan says which sources a step draws from: leave mixing, temperature and epoch out")
        self.plan = made if plan is None else plan
        self.mode = mode
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.batch_sizes = _batch_sizes(batch_size, self.sources)
        self._passes = {name: self._batches_per_pass(name) for name in self.sources}
        self.shares = self.plan.shares(self._passes)
        """Share of the steps in which each source takes part."""
        self._steps = self.plan.steps(self._passes)
        self._epoch = 0
        self._position = 0
        self._start = 0
        self._before: tuple[int, dict[str, int]] = (0, dict.fromkeys(self.sources, 0))
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
        plan = self._draw(epoch)
        taken = self._taken(epoch)
        for drawn in plan[:start]:
            for name in drawn:
                taken[name] += 1
        for step in range(start, self._steps):
            parts = []
            for name in plan[step]:
                parts.append(part_of(self.sources[name], self._rows(name, taken[name])))
                taken[name] += 1
            self._epoch, self._position = epoch, step + 1
            if step + 1 == self._steps:
                self._epoch, self._position = epoch + 1, 0
            yield Batch(tuple(parts), plan[step])

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
            lines.append(f"An epoch is {_steps(self._steps)}, {self.plan.words()}.")
            for name, share in self.shares.items():
                passes = share * self._steps / self._passes[name]
                seen = "once" if math.isclose(passes, 1.0) else f"{passes:.3g} times"
                drawn = f"{share:.1%} of the steps, " if share != 1.0 else ""
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
            **self.plan.settings(self._passes),
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
            "seed": self.seed,
        }

    def _batches_per_pass(self, name: str) -> int:
        rows, size = len(self.sources[name]), self.batch_sizes[name]
        return max(1, rows // size if self.drop_last else -(-rows // size))

    def _rows(self, name: str, batch: int) -> Tensor:
        """Row numbers of the ``batch``-th batch ever taken from a source."""
        number, within = divmod(batch, self._passes[name])
        rows, size = len(self.sources[name]), self.batch_sizes[name]
        if self._orders.get(name, (-1, None))[0] != number:
            order = stream(self.seed, name, number, _ORDER).permutation(rows) if self.shuffle else np.arange(rows)
            self._orders[name] = (number, torch.from_numpy(order.astype(np.int64)))
        return self._orders[name][1][within * size : (within + 1) * size]

    def _draw(self, epoch: int) -> Sequence[tuple[str, ...]]:
        plan = self.plan.draw(self._passes, epoch, self.seed)
        strangers = sorted({name for step in plan for name in step} - set(self.sources))
        if strangers:
            raise ConfigError(f"{type(self.plan).__name__}: {unknown('source', strangers[0], self.sources)}")
        if len(plan) != self._steps:
            raise ConfigError(
                f"{type(self.plan).__name__} says that an epoch has {_steps(self._steps)} and draws {len(plan)}; "
                "steps() and draw() must agree"
            )
        return plan

    def _taken(self, epoch: int) -> dict[str, int]:
        """Batches taken from each source before an epoch."""
        done, taken = self._before if self._before[0] <= epoch else (0, dict.fromkeys(self.sources, 0))
        for past in range(done, epoch):
            drawn = self.plan.counts(self._passes, past, self.seed)
            taken = {name: taken[name] + drawn[name] for name in taken}
        self._before = (epoch, taken)
        return dict(taken)


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


def _steps(count: int) -> str:
    return f"{count:,} step{'' if count == 1 else 's'}"
