"""Opening a table: what was read, its columns turned into what they mean, and what to say about it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from polytask.data.conversion import Conversion, convert, find_conversion, number_conversion
from polytask.data.files import Read, read_source
from polytask.data.missing import MissingValues, by_column
from polytask.data.written import Marks, check_marks, decimal_mark, maybe_thousands
from polytask.errors import DataError, unknown
from polytask.tasks import Nature
from polytask.tasks.kinds import kinds_of

__all__ = ["Opened", "open_table"]

# Kinds of input columns for which "1,5" and "1.5" are two texts, as they are for targets that are classes.
_TEXTS = ("categorical", "boolean")


class Opened(NamedTuple):
    """A table as it was read.

    Attributes:
        frame: Its rows.
        said: One sentence for each thing that was converted, guessed or left out.
        decimal: The decimal mark that was asked for, or found where columns had to be read that way: with it, a later
            table is read alike, however few rows it has.
        columns: How each column was converted, as plain values by name: with them, a later table's are converted alike.
    """

    frame: pd.DataFrame
    said: list[str]
    decimal: str | None
    columns: dict[str, dict[str, Any]]


def open_table(
    source: str | Path | pd.DataFrame,
    *,
    missing_values: MissingValues = (),
    decimal: str | None = None,
    thousands: str | None = None,
    encoding: str | None = None,
    kinds: Mapping[str, str] | None = None,
    columns: Mapping[str, Mapping[str, Any]] | None = None,
) -> Opened:
    """A table with its numbers, dates, durations, codes and truth values read as they are written.

    Args:
        source: As for :func:`~polytask.data.files.read_source`.
        missing_values: Texts that mean "missing", in all columns or by column.
        decimal: The decimal mark, ``"."`` or ``","``; found from all columns when None.
        thousands: The separator of thousands; any that fits the decimal mark when None.
        encoding: How a CSV file's text is encoded.
        kinds: Kinds that columns were asked to be; those of texts are left as they are. ``"date:%d/%m/%Y"`` says how
            dates are written.
        columns: Of a later table: how the columns of the first one were converted. Others are then left as they are,
            but for numbers.

    Returns:
        The table, what to say about it, its decimal mark, and how its columns were converted.

    Raises:
        DataError: The table cannot be read, or lacks a column that ``missing_values`` names.
        ConfigError: A mark or the encoding is not known.
    """
    marks = check_marks(decimal, thousands)
    kinds = kinds or {}
    texts = (*_TEXTS, *kinds_of((Nature.YES_NO, Nature.CLASSES, Nature.BOUNDED)))
    leave = {column for column, kind in kinds.items() if kind in texts}
    known = {name: Conversion.from_dict(values) for name, values in (columns or {}).items()}
    known |= {name: Conversion("date", form) for name, kind in kinds.items() if (form := _form(kind))}
    read = read_source(
        source,
        missing_values,
        encoding=encoding,
        texts=[name for name, conversion in known.items() if conversion.how == "code"],
        codes=columns is None,
    )
    for name in by_column(missing_values) if columns is None else ():
        if name not in read.frame.columns:
            raise DataError(unknown("column in missing_values", name, map(str, read.frame.columns)))
    common, proven = (marks.decimal, True) if marks.decimal else decimal_mark(read.frame, read.separator)
    doubtful: list[str] = []
    if common == "," and proven and read.separator:
        # "1.234" has been read as a fraction; only the text says whether it was one.
        floats = read.frame.select_dtypes("float")
        doubtful = [
            name
            for name in map(str, floats)
            if (known[name].how == "number" if name in known else columns is None and name not in leave)
            and (decimal or maybe_thousands(floats[name]))
        ]
    if doubtful:
        again = read_source(source, missing_values, encoding=encoding, texts=doubtful, codes=False).frame
        fractions, frame = read.frame[doubtful], read.frame.copy(deep=False)
        for name in doubtful:
            frame[name] = again[name]
        read = read._replace(frame=frame)
    opened = _converted(read, marks, common, leave, known, later=columns is not None)
    for name in doubtful:
        if not pd.api.types.is_float_dtype(opened.frame[name]):
            opened.frame[name] = fractions[name]
    return opened


def _converted(
    read: Read, marks: Marks, common: str, leave: Collection[str], known: Mapping[str, Conversion], *, later: bool
) -> Opened:
    """The table with every column converted that is not what it seems."""
    frame, said = read.frame.copy(deep=False), list(read.said)
    made: dict[str, Conversion] = {}
    for name in map(str, frame.columns):
        column = frame[name]
        if name in known:
            frame[name], words = convert(column, known[name])
            made[name] = known[name]
            if words:
                said.append(f"column {name!r}: {words}")
            continue
        found = find_conversion(column, marks, common, words_only=name in leave, later=later)
        if found is None and not later and name not in leave and pd.api.types.is_numeric_dtype(column):
            found = number_conversion(column)
        if found is not None:
            made[name], frame[name], words = found
            if words:
                said.append(f"column {name!r}: {words}")
    numbers = any(conversion.how == "number" and conversion.decimal == common for conversion in made.values())
    decimal = marks.decimal or (common if numbers else None)
    return Opened(frame, said, decimal, {name: conversion.to_dict() for name, conversion in made.items()})


def _form(kind: str) -> str:
    """The format of dates that a kind names (``"date:%d/%m/%Y"``)."""
    return kind.removeprefix("date:") if kind.startswith("date:") else ""
