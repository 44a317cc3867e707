"""What a table's owner should look at before anything is trained: rows, single values, spellings, names."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from polytask.data.classes import odd_classes
from polytask.data.columns import Column, coded, numbers, row_number
from polytask.data.combinations import told_twice
from polytask.data.copies import copied_columns, copied_rows
from polytask.data.factors import is_number, level_counts
from polytask.data.grouping import grouping
from polytask.data.sentinels import USUAL, code_like, sentinel
from polytask.data.time_order import time_order
from polytask.remedies import missing_in_column, option

__all__ = ["last_row", "names_are_data", "odd_number", "odd_spelling", "oddities"]

_SOME = 20_000  # values, evenly spaced, that tell the middle of more
_FAR = 1e4  # times the distance that nine in ten values keep from the median
_SAMPLE = 2_000  # rows by which weighted sums of targets are sought
_TOTAL = re.compile(r"\s*(grand[ -])?(sub)?(totals?|sums?|averages?|mean|summe|gesamt|insgesamt|somme|suma)\b", re.I)


def oddities(
    frame: pd.DataFrame,
    columns: Iterable[Column],
    labels: Mapping[str, Tensor],
    *,
    grouped: bool = False,
    timed: bool = False,
) -> list[str]:
    """Sentences about what a table's owner should look at.

    Args:
        frame: All of its rows, as what is odd in one may be in any split; with columns that are no input, if there are.
        columns: What each input column is.
        labels: Labels by target: numbers are floating-point, classes are not.
        grouped: Whether the rows are split by groups already.
        timed: Whether they are split by time already.
    """
    role = {column.name: column for column in columns if column.name in frame.columns}
    inputs = list(role.values())
    together = "" if grouped else grouping(frame, inputs, labels)
    said = [names_are_data(frame), together]
    said += ["" if timed else time_order(frame, inputs, labels, grouped or bool(together))]
    said += [_copies(frame, inputs, labels), *_told_twice(labels), last_row(frame)]
    values = {}
    for name in map(str, frame.columns):
        if name in labels:
            found = _odd_target(frame[name], labels[name])
        elif name in role:
            if role[name].role == "numeric":
                values[name] = numbers(frame[name])
            found = _odd_input(frame[name], role[name], values.get(name))
        else:
            continue
        said += [f"{'target' if name in labels else 'column'} {name!r}: {words}" for words in found if words]
    texts = {column.name: coded(frame[column.name])[0] for column in inputs if column.role == "categorical"}
    return [*filter(None, said), *copied_columns(values, texts)]


def _odd_target(series: pd.Series[Any], label: Tensor) -> list[str]:
    if label.ndim == 2:
        return []
    if label.is_floating_point():
        return [odd_number(series, label.double().numpy())]
    return [odd_spelling(series), odd_classes(series)]


def _odd_input(series: pd.Series[Any], column: Column, values: NDArray[np.float64] | None) -> list[str]:
    if values is not None:
        codes = code_like(values[~np.isnan(values)])
        ignored = option("ignore", [column.name])
        return [odd_number(series, values), f"{codes}; if it is one: {ignored}" if codes else ""]
    return [odd_spelling(series)] if column.role == "categorical" else []


def _told_twice(labels: Mapping[str, Tensor]) -> list[str]:
    step = max(1, max(map(len, labels.values()), default=0) // _SAMPLE)
    return told_twice({name: y[::step].double().numpy() for name, y in labels.items() if y.is_floating_point()})


def _copies(frame: pd.DataFrame, inputs: list[Column], labels: Mapping[str, Tensor]) -> str:
    numbered = "a different whole number in each row"
    kept = [column.name for column in inputs if numbered not in column.reason]
    return copied_rows(frame[[*kept, *labels]])


def names_are_data(frame: pd.DataFrame) -> str:
    """That the names of columns look like a first row: numbers, or texts that are among their values."""
    names = list(map(str, frame.columns))
    fitting = [name for name in names if _is_value(name, frame[name])]
    if len(fitting) < 2 or len(fitting) < len(names) / 2 or _counted(names):
        return ""
    return (
        f"the columns are called {', '.join(map(repr, fitting[:3]))}, as values are: the first line may be data; "
        "put a line of names above it"
    )


def _counted(names: list[str]) -> bool:
    """Whether the names that are numbers go up in equal steps: 0, 1, 2 of a table without names, years, wavelengths."""
    steps = {round(step, 9) for step in np.diff([float(name) for name in names if _is_float(name)])}
    return len(steps) == 1 and steps != {0.0}


def _is_float(name: str) -> bool:
    try:
        return math.isfinite(float(name))
    except ValueError:
        return False


def _is_value(name: str, series: pd.Series[Any]) -> bool:
    """Whether the name of a column could be one of its values."""
    if not _is_float(name):
        return not pd.api.types.is_numeric_dtype(series) and bool((series.iloc[:1000].astype(object) == name).any())
    return is_number(series) and bool(series.notna().any()) and bool(series.min() <= float(name) <= series.max())


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
    near = float(np.quantile(np.abs(some - middle), 0.9))
    farthest = max(float(present.max()) - middle, middle - float(present.min()))
    if near > 0 and farthest <= _FAR * near:
        return sentinel(present, str(series.name))
    distance = np.abs(values - middle)
    far = np.flatnonzero(distance > _FAR * near) if near > 0 else _alone(distance)
    if len(far):
        first = int(far[0])
        more = f" ({len(far)} such values)" if len(far) > 1 else ""
        return (
            f"row {row_number(series, first)} holds {values[first]:.6g}{more}, while nine in ten values lie within "
            f"{near:.3g} of {middle:.6g}; beside it the others cannot be told apart. Correct it, or "
            f"{missing_in_column(str(series.name), [_as_text(series.iloc[first])])}"
        )
    return sentinel(present, str(series.name))


def _alone(distance: NDArray[np.float64]) -> NDArray[np.intp]:
    """Rows far from all others in a column of which nine in ten values are the same."""
    known = distance[~np.isnan(distance)]
    others = known[known > 0]
    return np.flatnonzero(distance > _FAR * np.median(others)) if len(others) > 1 else np.array([], dtype=np.intp)


def odd_spelling(series: pd.Series[Any]) -> str:
    """What is odd about categories: some differ in capitals and spaces only, or one may mean "no value"."""
    counts = level_counts(series)
    spellings: dict[str, list[str]] = {}
    for text in map(str, counts.index):
        seen = "".join(character for character in " ".join(text.split()) if character.isprintable())
        spellings.setdefault(seen.casefold(), []).append(text)
    several = [found for found in spellings.values() if len(found) > 1]
    if several:
        listed = " and ".join(f"{text!r} ({counts[text]} rows)" for text in several[0])
        more = f", and {len(several) - 1} more such groups" if len(several) > 1 else ""
        which = "differ in capitals, spaces or invisible characters only"
        return f"{listed} {which}, and count as different{more}; if they mean the same, write them alike"
    whole = sorted(int(text) for text in spellings if re.fullmatch(r"-?\d+", text))
    if len(whole) == len(spellings) > 2 and whole[0] in USUAL and whole[1] >= 0:
        return (
            f"a class of its own is {whole[0]} ({counts[str(whole[0])]} rows): if it means 'no label', "
            + missing_in_column(str(series.name), [str(whole[0])])
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


def _as_text(value: Any) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)
