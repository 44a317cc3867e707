"""What one step sees."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import final

import torch
from torch import Tensor

from polytask.data.source import Inputs, Part

__all__ = ["Batch", "halves", "weights_of"]


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
        return sum(map(_rows, self.parts))

    def only(self, tasks: Collection[str]) -> Batch:
        """The same rows with the targets of these tasks alone."""
        parts = (p.with_targets({name: y for name, y in p.targets.items() if name in tasks}) for p in self.parts)
        return Batch(tuple(parts), self.sources)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on another device."""

        def move(x: Tensor) -> Tensor:
            return x.to(device, non_blocking=non_blocking)

        def move_inputs(x: Inputs) -> Inputs:
            return move(x) if isinstance(x, Tensor) else {name: move(value) for name, value in x.items()}

        def move_all(values: dict[str, Tensor] | None) -> dict[str, Tensor] | None:
            return None if values is None else {name: move(value) for name, value in values.items()}

        parts = (Part(move_inputs(p.inputs), move_all(p.targets) or {}, move_all(p.weights)) for p in self.parts)
        return Batch(tuple(parts), self.sources)


def weights_of(part: Part, tasks: Collection[str]) -> dict[str, Tensor]:
    """The weights of these tasks' labels, of those that have them."""
    return {name: weight for name, weight in (part.weights or {}).items() if name in tasks}


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """The first and the second half of the rows of every part; a part of one row is in the second half only.

    Examples:
        >>> import torch
        >>> part = Part(torch.arange(5), {"a": torch.arange(5)})
        >>> first, second = halves(Batch((part,), ("data",)))
        >>> first.parts[0].inputs.tolist(), second.parts[0].targets["a"].tolist()
        ([0, 1], [2, 3, 4])
    """
    first: list[tuple[Part, str]] = []
    second: list[tuple[Part, str]] = []
    for part, source in zip(batch.parts, batch.sources, strict=True):
        rows = _rows(part)
        if rows >= 2:
            first.append((_some(part, slice(0, rows // 2)), source))
        if rows >= 1:
            second.append((_some(part, slice(rows // 2, rows)), source))
    return _of(first), _of(second)


def _some(part: Part, rows: slice) -> Part:
    inputs: Inputs = (
        part.inputs[rows]
        if isinstance(part.inputs, Tensor)
        else {name: value[rows] for name, value in part.inputs.items()}
    )
    targets: Mapping[str, Tensor] = {name: target[rows] for name, target in part.targets.items()}
    weights = None if part.weights is None else {name: weight[rows] for name, weight in part.weights.items()}
    return Part(inputs, dict(targets), weights)


def _of(parts: list[tuple[Part, str]]) -> Batch:
    return Batch(tuple(part for part, _ in parts), tuple(source for _, source in parts))


def _rows(part: Part) -> int:
    return len(part.inputs if isinstance(part.inputs, Tensor) else next(iter(part.inputs.values())))
