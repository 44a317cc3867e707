"""Columns that were named, and the one role that each of them has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from polytask.errors import DataError, unknown

__all__ = ["check_columns", "column_names"]


def column_names(what: str, names: Sequence[str | int]) -> list[str]:
    """Names of columns as the texts by which a table that was read knows them (a DataFrame's may be numbers).

    Raises:
        DataError: A single text in place of a list.
    """
    if isinstance(names, str):
        raise DataError(f"{what} must be a list of column names, found the text {names!r}; write [{names!r}]")
    return [str(name) for name in names]


def check_columns(
    frame: pd.DataFrame,
    targets: Sequence[str],
    kinds: Mapping[str, str],
    ignore: Sequence[str],
    splitting: Sequence[tuple[str, str]] = (),
) -> None:
    """Check that every column named exists and has one role; ``splitting`` are those that say how rows are split.

    Raises:
        DataError: A name is unknown, given twice, or has two roles.
    """
    if not targets:
        raise DataError(f"name at least one target; columns are {', '.join(map(str, frame.columns))}")
    known = [str(column) for column in frame.columns]
    named = [("target", name) for name in targets] + [("column in kinds", name) for name in kinds]
    named += [("column in ignore", name) for name in ignore]
    named += splitting
    for what, name in named:
        if name not in known:
            raise DataError(unknown(what, name, known))
    twice = [name for name, count in Counter(targets).items() if count > 1]
    if twice:
        raise DataError(f"target {twice[0]!r} is named {Counter(targets)[twice[0]]} times; name it once")
    for target in targets:
        splits = next((what.removesuffix(" column") for what, name in splitting if name == target), "")
        other = "ignored" if target in ignore else f"the {splits}" if splits else ""
        if other:
            raise DataError(f"column {target!r} is both a target and {other}; remove it from one of them")
