"""Targets of classes: how many rows each class has, and what is odd about the classes."""

from __future__ import annotations

from typing import Any

import pandas as pd

from polytask.data.factors import level_counts

__all__ = ["odd_classes"]

_RARE = 15  # rows of a class; of a fifth of the rows, fewer than three are then to be expected
_SHARE = 0.2  # of the rows; with a larger share, it is the table that is small
_MANY = 20


def odd_classes(series: pd.Series[Any]) -> str:
    """What is odd about a target of classes; nothing where each has its rows.

    Args:
        series: The column.
    """
    counts = level_counts(series).sort_values(ascending=False, kind="stable")
    if len(counts) < 2:
        return ""
    rows = int(counts.sum())
    rare = counts[(counts < _RARE) & (counts < _SHARE * rows)]
    if len(counts) > _MANY:
        return (
            f"{len(counts)} classes in {rows:,} rows, {len(rare)} of them with fewer than {_RARE} rows ({_few(rare)}); "
            "if they are no classes, leave the target out, else merge the rare ones"
            if len(rare)
            else ""
        )
    said = []
    if len(rare):
        said.append(
            f"of {rows:,} rows {_few(rare)}: a test of a fifth of the rows would hold fewer than {_RARE // 5}, too few "
            "to tell methods apart. Merge classes, or judge by the other targets"
        )
    return "; ".join(said)


def _few(counts: pd.Series[Any], most: int = 3) -> str:
    listed = ", ".join(f"{count} {'is' if count == 1 else 'are'} {name!r}" for name, count in counts[-most:].items())
    return f"{listed}, …" if len(counts) > most else listed
