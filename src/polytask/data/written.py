"""Numbers as people write them: ``1.234,50 €``, ``$1,234.50``, ``12.5%``, ``(300)``, ``−4``."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable
from typing import Any, final

import numpy as np
import pandas as pd

from polytask.data.columns import row_number, to_numbers
from polytask.data.measures import CURRENCY
from polytask.errors import ConfigError
from polytask.remedies import option

__all__ = ["SHARE", "Marks", "check_marks", "decimal_mark", "maybe_thousands", "number", "read_written"]

SHARE = 0.9
"""Share of a column's values that must be numbers for it to hold numbers; the others are then errors."""

_THOUSANDS = {".": ",' ", ",": ".' "}  # by decimal mark; apostrophes as in Switzerland, spaces as in SI
_SPACES = dict.fromkeys(map(ord, "\u00a0\u2007\u2009\u202f\u2002\u2003\u2005\u2008\u200a"), " ")
_MINUS = dict.fromkeys(map(ord, "\u2212\u2013\ufe63\uff0d"), "-")
_QUOTES = {ord("\u2019"): "'"}
_LOOKS = _SPACES | _MINUS | _QUOTES
_LOOK = 1_000  # values by which a column is found to be worth a whole look


@final
@dataclasses.dataclass(frozen=True)
class Marks:
    """Which characters separate decimals and thousands.

    Attributes:
        decimal: ``"."`` or ``","``; found from the values when None.
        thousands: The separator of groups of three digits; whichever fits the decimal mark when None.
    """

    decimal: str | None = None
    thousands: str | None = None


def check_marks(decimal: str | None, thousands: str | None) -> Marks:
    """The marks that were asked for; a thousands separator that is a decimal mark decides both.

    Raises:
        ConfigError: A mark is not one that is known, or both are the same.
    """
    if decimal not in (None, ".", ","):
        raise ConfigError(f"decimal must be '.' or ',', found {decimal!r}")
    if thousands is not None:
        thousands = thousands.translate(_LOOKS)
        if thousands not in (",", ".", " ", "'", "_"):
            raise ConfigError(f"thousands must be ',', '.', ' ', \"'\" or '_', found {thousands!r}")
        if thousands == decimal:
            raise ConfigError(f"decimal and thousands are both {decimal!r}; they must differ")
        if decimal is None and thousands in ".,":
            decimal = "," if thousands == "." else "."
    return Marks(decimal, thousands)


def number(text: str, decimal: str, thousands: str | None = None) -> float | None:
    """The number that a text is, or None.

    Args:
        text: One value.
        decimal: The decimal mark.
        thousands: The only separator of thousands that is accepted; any that fits the decimal mark when None.

    Examples:
        >>> number("1.234,50 €", ","), number("($1,234.50)", "."), number("−4", "."), number("12-A", ".")
        (1234.5, -1234.5, -4.0, None)
    """
    cleaned = text.translate(_LOOKS).strip()
    found = _pattern(decimal, thousands).fullmatch(cleaned)
    if found is None or bool(found["open"]) != bool(found["close"]):
        return None
    marks = [found["sign1"], found["sign2"]]
    if sum(map(bool, marks)) + bool(found["open"]) > 1 or (found["before"] and found["after"]):
        return None
    separator = found["group"] or ""
    plain = found["body"].replace(separator, "") if separator else found["body"]
    value = float(plain.replace(decimal, "."))
    return -value if "-" in marks or found["open"] else value


@functools.cache
def _pattern(decimal: str, thousands: str | None) -> re.Pattern[str]:
    point = re.escape(decimal)
    group = re.escape(thousands if thousands is not None else _THOUSANDS[decimal])
    body = (
        rf"(?:[1-9]\d{{0,2}}(?P<group>[{group}])\d{{3}}(?:(?P=group)\d{{3}})*(?:{point}\d*)?"
        rf"|\d+(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?"
    )
    return re.compile(
        rf"(?P<open>\()?(?P<sign1>[+-])? ?(?P<before>{CURRENCY})? ?(?P<sign2>[+-])?(?P<body>{body})"
        rf" ?(?P<after>{CURRENCY})? ?(?P<percent>%)?(?P<close>\))?"
    )


def decimal_mark(frame: pd.DataFrame, separator: str) -> tuple[str, bool]:
    """The decimal mark of a table, that of most columns that prove one, and whether any does.

    ``1,5`` and ``1.234,5`` prove a comma, ``1,234.5`` and numbers that were read already prove a point; ``1,234``
    proves nothing. Where nothing is proven, the mark is a comma in files separated by semicolons, since those are
    written where the comma is taken, and a point elsewhere.

    Args:
        frame: The table.
        separator: What separates its fields; empty if it came from no text file.
    """
    votes = {",": 0, ".": 0}
    for name in frame.columns:
        column = frame[name]
        if pd.api.types.is_float_dtype(column):
            if not separator:
                continue  # these were never texts
            present = column.dropna().to_numpy(dtype=np.float64)
            votes["."] += bool((present != np.round(present)).any()) and not maybe_thousands(column)
        elif texts := _texts(column):
            mark = _own_mark(texts)
            if mark:
                votes[mark] += 1
    if not any(votes.values()):
        return "," if separator == ";" else ".", False
    return max(".,", key=lambda mark: votes[mark]), True


def maybe_thousands(column: pd.Series[Any]) -> bool:
    """Whether numbers that were read with a decimal point could be thousands: ``1.234`` and ``12.500``.

    Then each fraction has three digits, of which few end in a zero, after one to three digits that begin with no zero.
    """
    present = np.abs(column.dropna().to_numpy(dtype=np.float64))
    present = present[np.isfinite(present)]
    broken = present[present % 1 != 0]
    if not len(broken) or broken.min() < 1 or broken.max() >= 1000:
        return False
    off = [np.abs(broken * power - np.round(broken * power)) for power in (100, 1000)]
    return bool((off[1] < 1e-6).all() and (off[0] > 1e-6).mean() > 0.6)


def read_written(
    frame: pd.DataFrame, marks: Marks, common: str, leave: Iterable[str] = ()
) -> tuple[pd.DataFrame, list[str]]:
    """The table with columns of written numbers as numbers, and a sentence about each.

    Args:
        frame: The table.
        marks: The marks that were asked for.
        common: The table's decimal mark, for columns that could be read with either.
        leave: Columns to leave as they are.

    Returns:
        The table; values that are no numbers stay as they are in a column whose others are. The sentences.
    """
    said = []
    left = set(leave)
    frame = frame.copy(deep=False)
    for name in frame.columns:
        texts = [] if name in left else _texts(frame[name])
        if not _worth_a_look(texts, marks):
            continue
        own = marks.decimal or _own_mark(texts, marks.thousands) or common
        column, sentence = _read_column(frame[name], own, marks)
        if column is not None:
            frame[name] = column
            said.append(f"column {name!r}: {sentence}")
    return frame, said


def _read_column(column: pd.Series[Any], decimal: str, marks: Marks) -> tuple[pd.Series[Any] | None, str]:
    """The column as numbers, or None; and what to say about it."""
    codes, unique = pd.factorize(column.astype(object).to_numpy())
    read = [number(value, decimal, marks.thousands) if isinstance(value, str) else value for value in unique]
    counts = np.bincount(codes[codes >= 0], minlength=len(unique))
    good = np.array([value is not None for value in read])
    already = to_numbers(pd.Series(unique, dtype=object)).to_numpy(dtype=np.float64)
    new = np.array([value is not None and value != old for value, old in zip(read, already, strict=True)])
    currencies = {sign for value in unique if isinstance(value, str) for sign in re.findall(CURRENCY, value)}
    if not new.any() or counts[good].sum() < SHARE * counts.sum() or len(currencies) > 1 or _telephone(unique):
        return None, ""
    values = [old if value is None else value for value, old in zip(read, unique, strict=True)]
    result = pd.Series(np.array([*values, np.nan], dtype=object)[codes], index=column.index, name=column.name)
    first = int(np.flatnonzero((codes >= 0) & new[codes])[0])
    sentence = f"{unique[codes[first]]!r} (row {row_number(column, first)}) is read as {values[codes[first]]:.15g}"
    percent = np.array([isinstance(value, str) and value.strip().endswith("%") for value in unique])
    if percent.any() and (bare := int(counts[good & ~percent].sum())):
        sentence += f"; {bare} values stand without a % and are taken as they are"
    if not marks.decimal and _undecided(unique):
        other = "," if decimal == "." else "."
        sentence += f"; if its mark is no separator of thousands: {option('decimal', other)}"
    return (result.astype(np.float64) if good.all() else result), sentence


def _texts(column: pd.Series[Any]) -> list[str]:
    """Up to 1,000 different texts of a column that holds texts, evenly spaced."""
    if column.dtype != object and not isinstance(column.dtype, pd.StringDtype):
        return []
    present = column.dropna()
    step = max(1, len(present) // _LOOK)
    return list(dict.fromkeys(value for value in present.iloc[::step] if isinstance(value, str)))


def _worth_a_look(texts: list[str], marks: Marks) -> bool:
    """Whether half of a sample are numbers: the cheap first look."""
    tried = marks.decimal or ".,"
    read = sum(any(number(text, mark, marks.thousands) is not None for mark in tried) for text in texts)
    return bool(texts) and read >= len(texts) / 2


def _own_mark(texts: list[str], thousands: str | None = None) -> str:
    """The decimal mark that these texts prove, or nothing."""
    as_point = [number(text, ".", thousands if thousands != "." else None) is not None for text in texts]
    as_comma = [number(text, ",", thousands if thousands != "," else None) is not None for text in texts]
    if max(sum(as_point), sum(as_comma)) < SHARE * len(texts) or sum(as_point) == sum(as_comma):
        return ""
    return "." if sum(as_point) > sum(as_comma) else ","


def _undecided(unique: Iterable[Any]) -> bool:
    """Whether every text with a mark has just one, before three last digits: ``1,234``."""
    marked = [value for value in unique if isinstance(value, str) and ("," in value or "." in value)]
    return bool(marked) and all(re.search(r"(?<![\d.,])[1-9]\d{0,2}[.,]\d{3}(?![\d.,])", value) for value in marked)


def _telephone(unique: Iterable[Any]) -> bool:
    """Whether spaces between digits group no thousands: then all values have the same length."""
    texts = [value.strip() for value in unique if isinstance(value, str)]
    return sum(bool(re.search(r"\d \d", text)) for text in texts) >= 3 and len(set(map(len, texts))) == 1
