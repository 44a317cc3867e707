"""Options of architectures: declared beside the class, checked before anything is built."""

from __future__ import annotations

import dataclasses
import functools
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from polytask.errors import ConfigError, unknown

__all__ = ["Option", "check_options", "checked", "fraction", "whole", "widths"]


@final
@dataclasses.dataclass(frozen=True)
class Option:
    """What one option of an architecture may be.

    Attributes:
        default: Its value where none is given.
        words: What it has to be, in words.
        read: The value in its type; raises ``ValueError`` or ``TypeError`` where it is not allowed.
    """

    default: Any
    words: str
    read: Callable[[Any], Any]


def whole(default: int | None, least: int = 1) -> Option:
    """A whole number from ``least`` on; ``None`` only where it is the default.

    Examples:
        >>> whole(4).read(8)
        8
    """

    def read(value: Any) -> int | None:
        if value is None and default is None:
            return None
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
            raise ValueError
        return int(value)

    return Option(default, f"a whole number ≥ {least}", read)


def fraction(default: float) -> Option:
    """A number in [0, 1)."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
            raise ValueError
        return float(value)

    return Option(default, "a number in [0, 1)", read)


def widths(default: tuple[int, ...] = ()) -> Option:
    """A list of widths, whole numbers from 1 on; it may be empty."""
    one = whole(1)

    def read(value: Any) -> tuple[int, ...]:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ValueError
        return tuple(one.read(width) for width in value)

    return Option(default, "a list of whole numbers ≥ 1", read)


def check_options(what: str, declared: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options given, in their types.

    Args:
        what: Whose options, for messages: ``"architecture 'hard'"``.
        declared: All options there are.
        given: Those that are set.

    Raises:
        ConfigError: An option is unknown, or its value is not allowed.

    Examples:
        >>> check_options("architecture 'hard'", {"head_hidden": widths()}, {"head_hidden": [16, 8]})
        {'head_hidden': (16, 8)}
    """
    found = {}
    for name, value in given.items():
        if name not in declared:
            raise ConfigError(f"{what}: {unknown('option', name, declared)}")
        try:
            found[name] = declared[name].read(value)
        except (ValueError, TypeError):
            raise ConfigError(f"{what}: {name} must be {declared[name].words}, found {value!r}") from None
    return found


def checked(construct: Callable[..., None]) -> Callable[..., None]:
    """A constructor behind a look at its options, which are held against what its class declares in ``options``.

    Args:
        construct: An ``__init__`` that takes the options as keyword arguments.

    Raises:
        ConfigError: By the result: an option has a value that is not allowed.
    """

    @functools.wraps(construct)
    def guarded(self: Any, *args: Any, **keywords: Any) -> None:
        declared = getattr(type(self), "options", {})  # a model of one's own, in no registry, need not declare any
        own = {name: value for name, value in keywords.items() if name in declared}
        construct(self, *args, **{**keywords, **check_options(type(self).__name__, declared, own)})

    return guarded
