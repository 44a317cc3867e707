"""Rows and columns that say the same as others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polytask.data.columns import plain, row_number
from polytask.remedies import option

__all__ = ["copied_columns", "copied_rows", "identical_rows"]

_ROWS = 500  # rows by which columns are compared before all are
_FRACTIONS = 3  # columns of them by which rows are told apart before all are
_SAME = 1 - 1e-6  # correlation from which two columns say the same


def identical_rows(frame: pd.DataFrame) -> NDArray[np.int64]:
    """For each row, the position of the first row that is equal to it in every column; missing values are equal.

    As groups of a split, these numbers keep copies of a row together.

    Args:
        frame: The rows.

    Examples:
        >>> identical_rows(pd.DataFrame({"a": [1.0, None, 1.0, None], "b": ["x", "y", "x", "z"]}))
        array([0, 1, 0, 3])
    """
    return _first(_signs(frame).sum(axis=0, dtype=np.uint64))


def copied_rows(frame: pd.DataFrame) -> str:
    """That rows repeat others, where that is no chance.

    With few columns, or coarse ones, rows come to be equal by chance; then even more pairs of rows differ in just one
    column. Copies are rows that are equal more often than that.

    Args:
        frame: The rows, without columns that number them.
    """
    rows = len(frame)
    if rows < 10 or frame.shape[1] < 2:
        return ""
    if _told_apart(frame):
        return ""
    signs = _signs(frame)
    whole = signs.sum(axis=0, dtype=np.uint64)
    first = _first(whole)
    copies = np.flatnonzero(first != np.arange(rows))
    if not len(copies) or not _more_than_chance(whole, signs):
        return ""
    place = int(copies[0])
    row, other = row_number(frame.iloc[:, 0], place), row_number(frame.iloc[:, 0], int(first[place]))
    return (
        f"{len(copies):,} of {rows:,} rows {'repeats' if len(copies) == 1 else 'repeat'} another one in every column "
        f"(row {row} repeats row {other}); a copy in the test rows is known from training. If they are no observations "
        "of their own, remove them"
    )


def _told_apart(frame: pd.DataFrame) -> bool:
    """Whether a few columns of fractions tell all rows apart, which is seen without a look at the others."""
    whole = np.zeros(len(frame), dtype=np.uint64)
    fractions = [name for name in frame.columns if pd.api.types.is_float_dtype(frame[name])][:_FRACTIONS]
    some = slice(None, None, max(1, len(frame) // _ROWS))
    for place, name in enumerate(fractions, 1):
        if frame[name].iloc[some].nunique() < min(_ROWS, len(frame)) / 2:
            continue
        values = frame[name].to_numpy(dtype=np.float64, na_value=np.nan) + 0.0  # -0 and 0 are equal
        values[np.isnan(values)] = np.nan  # and so are missing values, of whatever bits
        # An odd factor keeps different numbers different, and the next column's apart from this one's.
        whole = (whole ^ values.view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        whole ^= whole >> np.uint64(29)
        if place > 1 or len(fractions) == 1:
            ordered = np.sort(whole)
            if (ordered[1:] != ordered[:-1]).all():
                return True
    return False


def _more_than_chance(whole: NDArray[np.uint64], signs: NDArray[np.uint64]) -> bool:
    """Whether more pairs of rows are equal than differ in one column."""
    equal = _pairs(whole)
    nearly = 0
    for sign in signs:
        nearly += _pairs(whole - sign) - equal
        if nearly >= equal:
            return False
    return True


def _signs(frame: pd.DataFrame) -> NDArray[np.uint64]:
    """A random number for every value of every column, (columns, N): rows are equal where their sums are."""
    signs = np.empty((frame.shape[1], len(frame)), dtype=np.uint64)
    for place, name in enumerate(frame.columns):
        series = frame[name]
        values = series.to_numpy() if plain(series.dropna()) else series.map(repr).to_numpy()
        codes, unique = pd.factorize(values)
        drawn = np.random.default_rng(place).integers(0, 2**64, len(unique) + 1, dtype=np.uint64)
        signs[place] = drawn[codes]  # -1, a missing value, is the last
    return signs


def _first(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    codes, unique = pd.factorize(keys)
    first = np.full(len(unique), len(keys), dtype=np.int64)
    np.minimum.at(first, codes, np.arange(len(keys)))
    return first[codes]


def _pairs(keys: NDArray[np.uint64]) -> int:
    """How many pairs of rows have the same key."""
    sizes = np.bincount(pd.factorize(keys)[0])
    return int((sizes * (sizes - 1)).sum()) // 2


def copied_columns(numbers: Mapping[str, NDArray[np.float64]], categories: Mapping[str, NDArray[Any]]) -> list[str]:
    """Sentences about columns that say the same: numbers up to shift and scale, categories up to their names.

    Args:
        numbers: Columns of numbers, NaN where missing.
        categories: Codes of columns in the order of their first rows, −1 where missing.
    """
    said = [
        f"column {two!r} says the same as column {one!r}, up to shift and scale: one of them is enough, "
        f"{option('ignore', [two])}"
        for one, two in _twins(numbers)
    ]
    seen: dict[bytes, str] = {}
    for name, codes in categories.items():
        key = codes.astype(np.int32).tobytes()
        if key in seen and codes.max(initial=-1) >= 1:
            said.append(
                f"column {name!r} has the levels of column {seen[key]!r} under other names: one of them is enough, "
                f"{option('ignore', [name])}"
            )
        seen.setdefault(key, name)
    return said


def _twins(numbers: Mapping[str, NDArray[np.float64]]) -> list[tuple[str, str]]:
    """Each column that an earlier one repeats, after the first such one."""
    names = list(numbers)
    rows = len(numbers[names[0]]) if names else 0
    if len(names) < 2 or rows < 20:
        return []
    some = np.unique(np.linspace(0, rows - 1, min(rows, _ROWS)).astype(np.int64))
    unit, gaps = _standardised(np.stack([numbers[name][some] for name in names], axis=1))
    likeness = np.abs(np.triu(unit.T @ unit, 1))
    found: dict[int, tuple[str, str]] = {}
    for one, two in np.argwhere(likeness > _SAME - 1e-5).tolist():  # the sample is in single precision
        if two in found or (gaps[:, one] != gaps[:, two]).any():
            continue
        both, gaps_of_both = _standardised(np.stack([numbers[names[one]], numbers[names[two]]], axis=1), np.float64)
        if (gaps_of_both[:, 0] == gaps_of_both[:, 1]).all() and abs(float(both[:, 0] @ both[:, 1])) > _SAME:
            found[two] = names[one], names[two]
    return list(found.values())


def _standardised(table: NDArray[np.float64], dtype: Any = np.float32) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Columns of mean 0 and length 1, 0 where missing or constant; and where they are missing."""
    gaps = np.isnan(table)
    present = np.maximum((~gaps).sum(axis=0), 1)
    mean = np.where(gaps, 0.0, table).sum(axis=0) / present
    centred = np.where(gaps, 0.0, table - mean)
    length = np.sqrt((centred**2).sum(axis=0))
    varies = length > 1e-9 * np.maximum(np.abs(mean), 1e-300) * np.sqrt(present)
    return (centred / np.where(varies, length, 1.0) * varies).astype(dtype), gaps
