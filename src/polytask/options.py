"""What an option may be, said once where it is declared and checked in one place."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Protocol, final, runtime_checkable

import numpy as np

__all__ = ["Choice", "Flag", "Limit", "Option", "PerTask", "Real", "TaskName", "Whole", "option"]


@runtime_checkable
class Limit(Protocol):
    """What an option may be; printing it gives the words of the error message."""

    def allows(self, value: object, /) -> bool:
        """Whether ``value`` is allowed."""


@dataclasses.dataclass(frozen=True)
class Real:
    """A finite number between two bounds, which are allowed values unless ``open_low``/``open_high`` is set."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def allows(self, value: object) -> bool:
        """Whether ``value`` is such a number."""
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float, np.integer, np.floating))
            or not math.isfinite(value)
        ):
            return False
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return bool(above and below)

    def __str__(self) -> str:
        left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
        if math.isinf(self.low) and math.isinf(self.high):
            return "a finite number"
        if math.isinf(self.high):
            return f"a finite number {'>' if self.open_low else '≥'} {self.low:g}"
        if math.isinf(self.low):
            return f"a finite number {'<' if self.open_high else '≤'} {self.high:g}"
        return f"a number in {left}{self.low:g}, {self.high:g}{right}"


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def allows(self, value: object) -> bool:
        """Whether ``value`` is one of the words."""
        return isinstance(value, str) and value in self.words

    def __str__(self) -> str:
        return f"one of {', '.join(map(repr, self.words))}"


@dataclasses.dataclass(frozen=True)
class Whole:
    """A whole number from ``low`` on, or ``None`` where that is allowed."""

    low: int = 0
    optional: bool = False

    def allows(self, value: object) -> bool:
        """Whether ``value`` is such a number."""
        if value is None:
            return self.optional
        return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= self.low

    def __str__(self) -> str:
        return f"a whole number ≥ {self.low}" + (", or None" if self.optional else "")


@dataclasses.dataclass(frozen=True)
class Flag:
    """True or false."""

    def allows(self, value: object) -> bool:
        """Whether ``value`` is one of the two."""
        return isinstance(value, bool)

    def __str__(self) -> str:
        return "True or False"


@dataclasses.dataclass(frozen=True)
class PerTask:
    """A number within ``each``, for all tasks or by task name."""

    each: Real

    def allows(self, value: object) -> bool:
        """Whether ``value`` is such a number or a mapping from names to such numbers."""
        values = value.values() if isinstance(value, Mapping) else [value]
        return all(self.each.allows(item) for item in values)

    def __str__(self) -> str:
        return f"{self.each}, or one per task name"


@dataclasses.dataclass(frozen=True)
class TaskName:
    """The name of a task, or ``None`` where that is allowed."""

    optional: bool = False

    def allows(self, value: object) -> bool:
        """Whether ``value`` is a text that is not empty."""
        return self.optional if value is None else isinstance(value, str) and value != ""

    def __str__(self) -> str:
        return "the name of a task" + (", or None" if self.optional else "")


@final
@dataclasses.dataclass(frozen=True)
class Option:
    """An option as its class declares it.

    Attributes:
        default: Its value where none is given.
        limit: What it may be.
    """

    default: Any
    limit: Limit

    def plain(self, value: Any) -> Any:
        """An allowed value as Python's own number, a float where the default is one; one per task likewise."""
        if isinstance(value, Mapping):
            return {name: self.plain(item) for name, item in value.items()}
        value = value.item() if isinstance(value, np.generic) else value
        return float(value) if isinstance(self.default, float) and value is not None else value


def option(default: Any, limit: Limit) -> Any:
    """Declare an option in the body of a class; an object of it has a value in its place.

    Raises:
        ValueError: The default is no allowed value.

    Examples:
        >>> option(1.0, Real(0, open_low=True))
        Option(default=1.0, limit=Real(low=0, high=inf, open_low=True, open_high=False))
    """
    if not limit.allows(default):
        raise ValueError(f"the default must be {limit}, found {default!r}")
    return Option(default, limit)
