"""Targets of classes: how many rows each class has, and what is odd about the classes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from polytask.data.columns import levels
from polytask.remedies import column_kind

__all__ = ["odd_classes"]

_RARE = 15  # rows of a class; of a fifth of the rows, fewer than three are then to be expected
_SHARE = 0.2  # of the rows; with a larger share, it is the table that is small
_MANY = 20
_ORDERS = (
    ("very low", "low", "medium low", "medium", "middle", "moderate", "normal", "medium high", "high", "very high"),
    ("tiny", "extra small", "xs", "small", "s", "medium", "m", "large", "l", "extra large", "xl", "huge"),
    ("none", "no", "absent", "minimal", "slight", "some", "mild", "moderate", "marked", "severe", "extreme"),
    ("never", "almost never", "rarely", "seldom", "sometimes", "occasionally", "often", "usually", "always"),
    ("very poor", "poor", "fair", "average", "ok", "good", "very good", "premium", "ideal", "excellent"),
    ("very bad", "bad", "ok", "neutral", "good", "very good"),
    ("worse", "same", "better", "much better"),
    ("strongly disagree", "disagree", "neutral", "undecided", "agree", "strongly agree"),
    ("cold", "cool", "mild", "warm", "hot"),
    ("first", "second", "third", "fourth", "fifth"),
    ("1st", "2nd", "3rd", "4th", "5th"),
)
_RANGE = re.compile(r"\s*(?:[<>≤≥]=?\s*)?\d+(?:\.\d+)?\s*(?:(?:-|–|to)\s*\d+(?:\.\d+)?|\+)?\s*")


def odd_classes(series: pd.Series[Any], name: str) -> str:
    """What is odd about a target of classes; nothing where each has its rows.

    Args:
        series: The column.
        name: Its name.
    """
    counts = pd.Series([text for text in levels(series) if text is not None], dtype=object).value_counts()
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
    ordered = isinstance(series.dtype, pd.CategoricalDtype) and series.dtype.ordered
    order = [] if ordered else in_order(list(map(str, counts.index)))
    if order:
        said.append(
            f"its classes have an order ({', '.join(order)}) that is not used; write them as numbers from 1 to "
            f"{len(order)}, and {column_kind(name, 'ordinal', target=True)}"
        )
    return "; ".join(said)


def _few(counts: pd.Series[Any], most: int = 3) -> str:
    listed = ", ".join(f"{count} {'is' if count == 1 else 'are'} {name!r}" for name, count in counts[-most:].items())
    return f"{listed}, …" if len(counts) > most else listed


def in_order(texts: list[str]) -> list[str]:
    """Texts in their order, if they are words or ranges that have one: low, medium, high; 0-9, 10-19, 20+.

    Examples:
        >>> in_order(["high", "Low", "medium"]), in_order(["20+", "0-9", "10-19"]), in_order(["red", "low", "high"])
        (['Low', 'medium', 'high'], ['0-9', '10-19', '20+'], [])
    """
    words = {" ".join(re.split(r"[\s_-]+", text.strip().casefold())): text for text in texts}
    for order in _ORDERS:
        if len(words) == len(texts) >= 3 and set(words) <= set(order):
            return [words[word] for word in order if word in words]
    ranges = len(texts) >= 3 and all(map(_RANGE.fullmatch, texts)) and not all(text.strip().isdigit() for text in texts)
    return sorted(texts, key=_start) if ranges else []


def _start(text: str) -> tuple[float, int]:
    number = re.search(r"\d+(?:\.\d+)?", text)
    below = -1 if text.lstrip()[:1] in "<≤" else 1 if text.lstrip()[:1] in ">≥" else 0
    return (float(number[0]) if number else np.inf, below)
