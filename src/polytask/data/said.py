"""Sentences about a table, with many of a kind said once."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["condensed"]

_MOST = 3  # sentences of a kind that are said one by one
_NAMES = 8
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_NUMBERS = re.compile(r"[-+]?\d[\d.,]*(?:e[-+]?\d+)?%?|\binf\b|\bnan\b")


def condensed(sentences: Sequence[str]) -> list[str]:
    """The sentences; of more than three that differ in names and numbers only, the first, and whom else it is said of.

    Args:
        sentences: In any number; their order is kept.

    Examples:
        >>> condensed([f"column 'x{i}' is constant at {i}" for i in range(40)])
        ["column 'x0' is constant at 0 (and 39 more like it: 'x1', 'x2', 'x3', 'x4', 'x5', 'x6', 'x7', …)"]
        >>> condensed(["column 'a' is odd", "the rows are few"])
        ["column 'a' is odd", 'the rows are few']
    """
    kinds: dict[str, list[str]] = {}
    for sentence in sentences:
        kinds.setdefault(_kind(sentence), []).append(sentence)
    said: list[str] = []
    for alike in kinds.values():
        said += alike if len(alike) <= _MOST else [_once(alike)]
    return said


def _kind(sentence: str) -> str:
    return re.sub(r"'(?:(?:,| and) ')+", "'", _NUMBERS.sub("#", _QUOTED.sub("'", sentence)))


def _once(alike: list[str]) -> str:
    names = [name[0] for sentence in alike[1:_NAMES] if (name := _QUOTED.search(sentence))]
    listed = f": {', '.join(names)}{', …' if len(alike) > _NAMES else ''}" if names else ""
    return f"{alike[0]} (and {len(alike) - 1:,} more like it{listed})"
