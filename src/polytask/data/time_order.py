"""Rows in the order of time: random rows let a model see what came just before and after each test row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from polytask.data.columns import Column, dates
from polytask.data.factors import VISIT, codes_of, factor, in_blocks, is_number, scores
from polytask.remedies import option

__all__ = ["neighbours", "time_order"]

Array = NDArray[np.float64]

_TIME = re.compile(r"(^|.*[_\s.-])(year|date|timestamp|datetime)|yr|t|time|days?|week|epoch", re.IGNORECASE)
_NEIGHBOURS = 0.3  # correlation of a row with the next that an order without a column of times must show
_DATED = 0.15  # the same along a column of times
_ROWS = 5_000  # rows, in stretches, by which it is judged whether inputs explain that neighbours are alike
_STRETCH = 100
_DRAWN = 200_000  # rows, drawn at random, that are looked at along a column of times
_INPUTS = 60
_SIGMAS = 5.0


def neighbours(values: Array) -> tuple[float, float]:
    """Rank correlation of each value with the next, and in how many standard deviations it differs from none.

    Args:
        values: In order; NaN where missing, and such neighbours are left out.
    """
    ranks = pd.Series(values).rank().to_numpy(dtype=np.float64)
    both = ~np.isnan(ranks[:-1]) & ~np.isnan(ranks[1:])
    first, second = ranks[:-1][both], ranks[1:][both]
    if len(first) < 20 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0, 0.0
    correlation = float(np.corrcoef(first, second)[0, 1])
    return correlation, correlation * float(np.sqrt(len(first)))


def time_order(frame: pd.DataFrame, columns: Iterable[Column], labels: Mapping[str, Tensor], grouped: bool) -> str:
    """That rows follow time, by a column that says so or by neighbours that are alike; nothing where they do not.

    Neighbours count when they are alike in what the inputs leave unexplained (residuals of least squares), and when
    the table is not merely sorted.

    Args:
        frame: All rows, in the order of the table.
        columns: The input columns.
        labels: Labels by target.
        grouped: Whether it is known what rows belong to, which is then why neighbours are alike.
    """
    targets = [(name, values) for name, label in labels.items() for values in scores(label)]
    columns = sorted(columns, key=lambda column: column.role != "date")
    shuffled = np.random.default_rng(0).permutation(len(frame))[:_DRAWN]  # rows of one day in no order
    for column in columns:
        times = _times(frame[column.name], column, grouped)
        if times is None:
            continue
        order = shuffled[np.argsort(times[shuffled], kind="stable")]
        order = order[~np.isnan(times[order])]
        found = _strongest([(*neighbours(values[order]), name) for name, values in targets], _DATED)
        if found:
            return (
                f"column {column.name!r} is a time, and along it rows are like the next in {found}; random rows let a "
                "model see what came just before and after each test row. If later rows are to be predicted, split by "
                f"time: {option('time', column.name)}"
            )
    if grouped or any(column.role == "date" for column in columns):
        return ""
    raw = [(*neighbours(values), name, values) for name, values in targets]
    kept = [(name, values) for r, sigmas, name, values in raw if r > _NEIGHBOURS and sigmas > _SIGMAS]
    if not kept or _is_sorted(frame, columns, [values for _, values in targets]):
        return ""
    rows = _stretches(len(frame))
    design = _design(frame.iloc[rows], columns)
    found = _strongest([(*neighbours(_residuals(design, values[rows])), name) for name, values in kept], _NEIGHBOURS)
    return found and (
        f"rows are like the next one in {found} beyond what the inputs explain: they follow time, or belong together "
        "(visits of a person); random rows put such neighbours into training and test. With a column that says so, "
        f"split by it: {option('time', '…')} or {option('group', '…')}"
    )


def _strongest(found: list[tuple[float, float, str]], least: float) -> str:
    correlation, sigmas, name = max(found, default=(0.0, 0.0, ""))
    return f"{name!r} (correlation {correlation:.2f})" if correlation > least and sigmas > _SIGMAS else ""


def _times(series: pd.Series[Any], column: Column, grouped: bool) -> Array | None:
    """A column as times, or nothing."""
    if column.role == "date":
        return dates(series, column.format)
    named = _TIME.fullmatch(column.name)
    if not named or not is_number(series) or series.nunique() < 8:
        return None
    values = series.to_numpy(dtype=np.float64, na_value=np.nan)
    # What is called time or day may be a duration, or the time of a visit; rows in its order are no chance.
    return values if named[2] or (not grouped and _sorted(values)) else None


def _is_sorted(frame: pd.DataFrame, columns: list[Column], targets: list[Array]) -> bool:
    """Whether the rows are sorted by a column or a target, or stand in blocks of one, which makes neighbours alike."""
    place = np.arange(len(frame))
    for values in targets:
        both = ~np.isnan(values)
        ranks: Array = np.asarray(pd.Series(values[both]).rank(), dtype=np.float64)
        blocks = len(np.unique(ranks)) <= 10 and in_blocks(pd.factorize(ranks)[0])
        if blocks or _sorted(ranks) or abs(np.corrcoef(place[both], ranks)[0, 1]) > 0.8:
            return True
    for column in columns:
        series = frame[column.name]
        if column.role == "dropped" or _TIME.fullmatch(column.name) or VISIT.fullmatch(column.name):
            continue
        codes, levels = factor(series)
        if 2 <= levels <= len(frame) / 2 and in_blocks(codes):
            return True
        if is_number(series) and _sorted(series.to_numpy(dtype=np.float64, na_value=np.nan)):
            return True
    return False


def _sorted(values: Array) -> bool:
    """Whether nearly all steps go one way."""
    steps = np.diff(values[~np.isnan(values)])
    steps = steps[steps != 0]
    return bool(len(steps) and max((steps > 0).mean(), (steps < 0).mean()) > 0.95)


def _stretches(rows: int) -> NDArray[np.int64]:
    """Positions of all rows, or of stretches of them all over the table."""
    if rows <= _ROWS:
        return np.arange(rows)
    starts = np.linspace(0, rows - _STRETCH, _ROWS // _STRETCH).astype(np.int64)
    return (starts[:, None] + np.arange(_STRETCH)).reshape(-1)


def _design(frame: pd.DataFrame, columns: list[Column]) -> Array:
    """Inputs as standardised columns: numbers, and a column for each level where there are at most twenty."""
    parts = []
    for column in columns:
        if column.role == "dropped":
            continue
        series = frame[column.name]
        codes, levels = codes_of(series)
        if levels <= 20:
            parts += [(codes == level).astype(np.float64) for level in range(levels)]
        elif is_number(series):
            values = series.to_numpy(dtype=np.float64, na_value=np.nan)
            parts.append(np.where(np.isnan(values), np.nanmean(values), values))
    parts = [part for part in parts if np.ptp(part) > 0]
    return (
        np.stack([(part - part.mean()) / part.std() for part in parts], axis=1) if parts else np.empty((len(frame), 0))
    )


def _residuals(design: Array, values: Array) -> Array:
    """What least squares on the columns that go with a target most leaves of it; NaN where it is missing."""
    known = ~np.isnan(values)
    y = values[known] - values[known].mean()
    x = design[known]
    most = np.argsort(-np.abs(x.T @ y))[: min(_INPUTS, len(y) // 5)]
    left = np.full(len(values), np.nan)
    left[known] = y - x[:, most] @ np.linalg.lstsq(x[:, most], y, rcond=None)[0]
    return left
