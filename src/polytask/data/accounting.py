"""What a later table has that the training table had not: told and counted, column by column."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polytask.data.columns import levels
from polytask.data.encoder import CategoryColumn, NumberColumn, TableEncoder
from polytask.errors import DataError, unknown
from polytask.remedies import worded
from polytask.tasks import TaskSet

__all__ = ["Remark", "check_rows", "fit_columns"]

_FAR = 20.0
"""Standard deviations from the training mean beyond which a number may be in another unit."""


@final
@dataclasses.dataclass(frozen=True)
class Remark:
    """One thing to know about rows that a model is to predict.

    Attributes:
        about: ``"extra columns"``, ``"missing column"``, ``"missing values"``, ``"unknown categories"``,
            ``"other type"``, ``"other writing"``, ``"far off"``, ``"order"`` or ``"not finite"``.
        column: The column; empty where it is about several.
        count: Rows, or columns, that it is about.
        of: Rows in all.
        words: In words.
    """

    about: str
    column: str
    count: int
    of: int
    words: str

    def __str__(self) -> str:
        return f"column {self.column!r}: {self.words}" if self.column else self.words

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)


def fit_columns(
    frame: pd.DataFrame,
    given: pd.DataFrame,
    table: TableEncoder,
    tasks: TaskSet,
    converted: Collection[str] = (),
    *,
    fill_missing: bool,
) -> tuple[pd.DataFrame, list[Remark]]:
    """A table with exactly the columns of the encoder, in types it can read.

    Args:
        frame: Rows, columns named by texts, numbers read as they are written.
        given: The same before anything was read.
        table: The fitted encoder.
        tasks: Targets, which later rows need not have and which are ignored.
        converted: Columns of which ``given`` does not tell how they were written.
        fill_missing: Whether a column that is not there counts as one without any value.

    Raises:
        DataError: A column is not there, or holds dates where numbers are expected, or the other way round.
    """
    absent = [name for name in table.columns if name not in frame.columns]
    if absent and not fill_missing:
        rest = [name for name in given.columns if name not in table.columns]
        named = ", ".join(map(repr, absent))
        raise DataError(
            f"{len(absent)} of the {len(table.columns)} columns that the model reads are not there: {named}. "
            f"{unknown('column', absent[0], rest) if rest else 'There is no other column'}; rename it, or predict "
            f"with {worded('fill_missing=True', '--fill-missing')}, as if it had no values"
        )
    rows, remarks = len(frame), []
    extra = [name for name in given.columns if name not in table.columns and name not in tasks]
    if extra:
        plural = "s" if len(extra) > 1 else ""
        words = f"ignored {len(extra)} column{plural} that the model does not use: {_listed(map(repr, extra))}"
        remarks.append(Remark("extra columns", "", len(extra), rows, words))
    columns: dict[str, Any] = {}
    for number in table.numeric:
        columns[number.name] = _number(frame, None if number.name in converted else given, number, remarks)
    for category in table.categorical:
        columns[category.name] = _category(frame, category, remarks)
    return pd.DataFrame(columns, index=frame.index), remarks


def check_rows(frame: pd.DataFrame, table: TableEncoder, encoded: NDArray[np.float32]) -> list[Remark]:
    """What is unlike the training rows: gaps, unknown categories, numbers far off.

    Args:
        frame: What :func:`fit_columns` gave.
        table: The fitted encoder.
        encoded: Its numeric features of these rows.

    Raises:
        DataError: A number is too large.
    """
    rows, remarks = len(frame), []
    for place, number in enumerate(table.numeric):
        values = encoded[:, place]
        bad = ~np.isfinite(values)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise DataError(
                f"column {number.name!r}: row {row + 1} holds {frame[number.name].iloc[row]}, too large a number to "
                f"compute with ({int(bad.sum())} of {rows} rows do); correct it or leave it empty"
            )
        gaps = int(frame[number.name].isna().sum())
        if gaps and not number.indicator and gaps < rows:
            words = f"{_of(gaps, rows)} no value, which no training row lacked; the mean is used"
            remarks.append(Remark("missing values", number.name, gaps, rows, words))
        far = np.abs(values) > _FAR
        if far.any():
            found = frame[number.name].iloc[int(np.flatnonzero(far)[0])]
            words = (
                f"{_of(int(far.sum()), rows)} a number more than {_FAR:g} standard deviations from the training "
                f"mean ({number.mean:.6g}), such as {found}; another unit?"
            )
            remarks.append(Remark("far off", number.name, int(far.sum()), rows, words))
    for category in table.categorical:
        remarks += _unknown(levels(frame[category.name]), category, rows)
    return remarks


def _number(
    frame: pd.DataFrame, given: pd.DataFrame | None, column: NumberColumn, remarks: list[Remark]
) -> pd.Series[Any]:
    """The column of a number, a date or a truth value, as the encoder reads it."""
    rows, name = len(frame), column.name
    if name not in frame.columns:
        remarks.append(Remark("missing column", name, rows, rows, f"not there; all {rows} rows get its mean"))
        return pd.Series(np.full(rows, np.nan), index=frame.index)
    series = frame[name]
    if series.isna().all():
        if rows:
            remarks.append(Remark("missing values", name, rows, rows, f"none of {rows} rows has a value: the mean"))
        return pd.Series(np.full(rows, np.nan), index=frame.index)
    is_number = pd.api.types.is_numeric_dtype(series) or pd.api.types.is_timedelta64_dtype(series)
    is_time = pd.api.types.is_datetime64_any_dtype(series)
    if (column.role == "date" and is_number and not pd.api.types.is_timedelta64_dtype(series)) or (
        column.role != "date" and is_time
    ):
        held, found = ("dates", "numbers") if column.role == "date" else ("numbers", "dates")
        raise DataError(
            f"column {name!r} held {held} in the training table and holds {found} here ({series.iloc[0]}); "
            f"convert it to {held}"
        )
    if given is None:
        return series
    before = given[name]
    truth, is_time = pd.api.types.is_bool_dtype(before), pd.api.types.is_datetime64_any_dtype(before)
    is_number = pd.api.types.is_numeric_dtype(before) or pd.api.types.is_timedelta64_dtype(before)
    expected = "text" if column.format else {"date": "dates", "boolean": "true or false"}.get(column.role, "numbers")
    found = "dates" if is_time else "true or false" if truth else "numbers" if is_number else "text"
    if found != expected and not (column.role == "boolean" and found == "numbers"):
        words = f"holds {found} where the training table had {expected}; read as {column.role}"
        remarks.append(Remark("other type", name, rows, rows, words))
    return series


def _category(frame: pd.DataFrame, column: CategoryColumn, remarks: list[Remark]) -> pd.Series[Any]:
    """The column of a category; texts are read as numbers where all levels are numbers, as in a file."""
    rows, name = len(frame), column.name
    if name not in frame.columns:
        remarks.append(Remark("missing column", name, rows, rows, f"not there; all {rows} rows count as unknown"))
        return pd.Series(np.full(rows, None, dtype=object), index=frame.index)
    series = frame[name].astype(object)
    known = set(column.levels)
    texts = series.map(lambda value: isinstance(value, str) and value not in known)
    if texts.any() and all(_is_number(level) for level in column.levels):
        read = pd.to_numeric(series[texts], errors="coerce").dropna()
        read = read[[text in known for text in levels(read)]]
        if len(read):
            series = series.copy()
            series[read.index] = read
            words = f"{_of(len(read), rows)} text where the training table had numbers; read as numbers"
            remarks.append(Remark("other type", name, len(read), rows, words))
    return series


def _unknown(texts: NDArray[np.object_], column: CategoryColumn, rows: int) -> list[Remark]:
    """Categories never seen in training, and rows without one."""
    known = set(column.levels)
    counts = Counter(text for text in texts.tolist() if text is not None and text not in known)
    remarks = []
    if counts:
        alike = {level.strip().casefold(): level for level in column.levels}
        shown = [
            f"{text!r}" + (f" (known: {alike[text.strip().casefold()]!r})" if text.strip().casefold() in alike else "")
            for text, _ in counts.most_common()
        ]
        total = sum(counts.values())
        seen = "no training row had, or too few" if column.rare else "no training row had"
        words = f"{_of(total, rows)} a category that {seen}: {_listed(shown)}"
        remarks.append(Remark("unknown categories", column.name, total, rows, words))
    gaps = int(sum(text is None for text in texts.tolist()))
    if 0 < gaps < rows:
        words = f"{_of(gaps, rows)} no category; they count as unknown"
        remarks.append(Remark("missing values", column.name, gaps, rows, words))
    return remarks


def _of(count: int, rows: int) -> str:
    return f"{count} of {rows} rows {'has' if count == 1 else 'have'}"


def _listed(names: Iterable[str], most: int = 5) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f", … ({len(listed)} in all)" if len(listed) > most else "")


def _is_number(level: str) -> bool:
    try:
        float(level)
    except ValueError:
        return False
    return True
