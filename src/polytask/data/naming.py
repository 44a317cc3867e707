"""Names of a table's columns: none twice, none empty, whatever a spreadsheet or a DataFrame made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import pandas as pd

__all__ = ["Read", "flat", "named", "without_blanks"]


class Read(NamedTuple):
    """A table as its source holds it.

    Attributes:
        frame: Its rows, numbered from 0, columns named by unique texts.
        said: What was left out or named otherwise.
        separator: What separates the fields of a text file; empty for other sources.
    """

    frame: pd.DataFrame
    said: tuple[str, ...] = ()
    separator: str = ""


def flat(names: Iterable[Any]) -> list[str]:
    """Names as texts; those of several levels joined by a slash.

    Examples:
        >>> flat([("blood", "sugar"), ("age", ""), 7])
        ['blood/sugar', 'age', '7']
    """
    return [
        "/".join(str(part) for part in name if part != "") if isinstance(name, tuple) else str(name) for name in names
    ]


def named(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Names that are all there and all different, and what to say of it.

    An empty name becomes the place of its column, the second of two equal names gets its number.

    Examples:
        >>> named(["a", "", "a"])
        (['a', 'column 2', 'a (2)'], ["2 columns are named 'a': the second is 'a (2)' here"])
    """
    given = [name.strip() or f"column {place}" for place, name in enumerate(names, start=1)]
    taken, seen = set(given), Counter[str]()
    made: list[str] = []
    twice: dict[str, str] = {}
    for name in given:
        seen[name] += 1
        number, unique = seen[name], name
        while number > 1 and unique in taken:
            unique, number = f"{name} ({number})", number + 1
        taken.add(unique)
        made.append(unique)
        if unique != name:
            twice.setdefault(name, unique)
    said = [f"{seen[name]} columns are named {name!r}: the second is {unique!r} here" for name, unique in twice.items()]
    return made, said


def without_blanks(frame: pd.DataFrame, given: Iterable[str]) -> tuple[pd.DataFrame, list[str]]:
    """The table without the columns that have neither a name nor a value, and what to say of it.

    Args:
        frame: The table.
        given: The names of its columns as they stood in its source.
    """
    blank = [place for place, name in enumerate(given) if not name.strip() and frame.iloc[:, place].isna().all()]
    if not blank or len(blank) == frame.shape[1]:
        return frame, []
    kept = frame.iloc[:, [place for place in range(frame.shape[1]) if place not in set(blank)]]
    plural = "s" if len(blank) > 1 else ""
    return kept, [f"{len(blank)} column{plural} with neither name nor value {'are' if plural else 'is'} left out"]
