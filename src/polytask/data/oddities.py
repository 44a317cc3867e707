"""Values that a table's owner should look at before anything is trained: outliers, sentinels, spellings, totals."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from polytask.data.columns import Column, levels, numbers, row_number
from polytask.remedies import option

__all__ = ["last_row", "odd_number", "odd_spelling", "oddities"]

_SOME = 20_000  # values, evenly spaced, that tell the middle of more
_FAR = 1e4  # times the distance that nine in ten values keep from the median
_SENTINELS = (-1, -9, -99, -999, -9999, -99999, 99, 999, 9999, 99999)
_TOTAL = re.compile(r"\s*(grand[ -])?(sub)?(totals?|sums?|averages?|mean|summe|gesamt|insgesamt|somme|suma)\b", re.I)


def oddities(frame: pd.DataFrame, columns: Iterable[Column], labels: Mapping[str, Tensor]) -> list[str]:
    """Sentences about single values of a table.

    Args:
        frame: All of its rows: what is odd in one may be in any split.
        columns: What each input column is.
        labels: Labels by target: numbers are floating-point, classes are not.
    """
    role = {column.name: column.role for column in columns}
    said = []
    for name in map(str, frame.columns):
        if name in labels:
            sort, is_number = "target", labels[name].is_floating_point()
            values = labels[name].double().numpy()
        else:
            sort, is_number = "column", role.get(name) == "numeric"
            values = numbers(frame[name]) if is_number else np.empty(0)
        if is_number:
            found = odd_number(frame[name], values)
        else:
            found = odd_spelling(frame[name]) if name in labels or role.get(name) == "categorical" else ""
        if found:
            said.append(f"{sort} {name!r}: {found}")
    total = last_row(frame)
    return [*said, total] if total else said


def odd_number(series: pd.Series[Any], values: NDArray[np.float64]) -> str:
    """What is odd about a column of numbers: values far from all others, or one that may mean "no value".

    Args:
        series: The column, for its rows.
        values: Its numbers; NaN where missing.
    """
    present = values[~np.isnan(values)]
    if len(present) < 10:
        return ""
    some = present[:: max(1, len(present) // _SOME)]
    middle = float(np.median(some))
    distance = np.abs(values - middle)
    near = float(np.quantile(np.abs(some - middle), 0.9))
    far = np.flatnonzero(distance > _FAR * near) if near > 0 else _alone(distance)
    if len(far):
        first = int(far[0])
        more = f" ({len(far)} such values)" if len(far) > 1 else ""
        return (
            f"row {row_number(series, first)} holds {values[first]:.6g}{more}, while nine in ten values lie within "
            f"{near:.3g} of {middle:.6g}; beside it the others cannot be told apart. Correct it, or "
            f"{option('missing_values', [_as_text(series.iloc[first])])}"
        )
    return _sentinel(present)


def _alone(distance: NDArray[np.float64]) -> NDArray[np.intp]:
    """Rows far from all others in a column of which nine in ten values are the same."""
    known = distance[~np.isnan(distance)]
    others = known[known > 0]
    return np.flatnonzero(distance > _FAR * np.median(others)) if len(others) > 1 else np.array([], dtype=np.intp)


def _sentinel(present: NDArray[np.float64]) -> str:
    """A number that often stands for "no value", apart from all others."""
    low, high = float(present.min()), float(present.max())
    others = present[(present != low) & (present != high)]
    if len(others) < 5 or np.ptp(others) == 0:
        return ""
    for value in (low, high):
        rest = present[present != value]
        # Below zero where all others are not, or beyond the others by more than they span.
        apart = value < 0 <= rest.min() or min(abs(value - rest.min()), abs(value - rest.max())) > 2 * np.ptp(rest)
        if value in _SENTINELS and apart and (abs(value) > 9 or (rest == np.round(rest)).all()):
            count = int((present == value).sum())
            text = f"{value:.0f}"
            return f"{count} values are {text}, apart from all others: if it means 'no value', {_missing(text)}"
    return ""


def odd_spelling(series: pd.Series[Any]) -> str:
    """What is odd about categories: some differ in capitals and spaces only, or one may mean "no value"."""
    texts = [text for text in levels(series) if text is not None]
    counts = pd.Series(texts, dtype=object).value_counts(sort=False)
    spellings: dict[str, list[str]] = {}
    for text in counts.index:
        seen = "".join(character for character in " ".join(text.split()) if character.isprintable())
        spellings.setdefault(seen.casefold(), []).append(text)
    several = [found for found in spellings.values() if len(found) > 1]
    if several:
        listed = " and ".join(f"{text!r} ({counts[text]} rows)" for text in several[0])
        more = f", and {len(several) - 1} more such groups" if len(several) > 1 else ""
        which = "differ in capitals, spaces or invisible characters only"
        return f"{listed} {which}, and count as different{more}; if they mean the same, write them alike"
    whole = sorted(int(text) for text in spellings if re.fullmatch(r"-?\d+", text))
    if len(whole) == len(spellings) > 2 and whole[0] in _SENTINELS and whole[1] >= 0:
        return f"a class of its own is {whole[0]} ({counts[str(whole[0])]} rows): if it means 'no label', " + _missing(
            str(whole[0])
        )
    return ""


def last_row(frame: pd.DataFrame) -> str:
    """That the last row names itself a total."""
    if len(frame) < 3:
        return ""
    for name in frame.columns:
        value = frame[name].iloc[-1]
        if isinstance(value, str) and _TOTAL.match(value) and not (frame[name].iloc[:-1] == value).any():
            return (
                f"the last row, {len(frame)}, holds {value!r} in column {name!r}: if it sums up the others, remove it"
            )
    return ""


def _missing(text: str) -> str:
    return option("missing_values", [text])


def _as_text(value: Any) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)
