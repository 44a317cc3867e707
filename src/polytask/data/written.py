"""Numbers as people write them: ``1.234,50 €``, ``$1,234.50``, ``12.5%``, ``(300)``, ``−4``."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polytask.data.columns import to_numbers
from polytask.data.measures import CURRENCY, common_unit, without_unit
from polytask.errors import ConfigError
from polytask.remedies import option

__all__ = [
    "SHARE",
    "Marks",
    "Written",
    "check_marks",
    "decimal_mark",
    "maybe_thousands",
    "number",
    "read_numbers",
    "read_value",
    "worth_a_look",
]

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
            some = column.iloc[:: max(1, len(column) // _LOOK)].dropna()
            present = some.to_numpy(dtype=np.float64)
            votes["."] += bool((present != np.round(present)).any()) and not maybe_thousands(some)
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


@final
@dataclasses.dataclass(frozen=True)
class Written:
    """How the numbers of a column are written, and what they are.

    Attributes:
        values: Of each text the number, or the text where it is none.
        new: Of each text whether it is a number only by the way it is written.
        decimal: The decimal mark.
        unit: The unit that the numbers stand with; empty without one.
        said: What to say of it.
    """

    values: list[Any]
    new: NDArray[np.bool_]
    decimal: str
    unit: str
    said: str


def read_numbers(unique: Sequence[Any], counts: NDArray[np.intp], marks: Marks, common: str) -> Written | None:
    """The numbers that different texts are, or None where fewer than nine in ten values are numbers.

    Args:
        unique: Different values of a column.
        counts: Rows of each.
        marks: The marks that were asked for.
        common: The table's decimal mark, for columns that could be read with either.
    """
    unit = common_unit(unique, counts)
    bare = [without_unit(value, unit) for value in unique] if unit else list(unique)
    texts = [value for value in bare[:: max(1, len(bare) // _LOOK)] if isinstance(value, str)]
    decimal = marks.decimal or _own_mark(texts, marks.thousands) or common
    fixed = Marks(decimal, marks.thousands)
    read = [read_value(value, fixed, unit) for value in unique]
    good = np.array([not isinstance(value, str) for value in read])
    already = to_numbers(pd.Series(unique, dtype=object)).to_numpy(dtype=np.float64)
    new = np.array([ok and value != old for value, old, ok in zip(read, already, good, strict=True)])
    currencies = {sign for value in unique if isinstance(value, str) for sign in re.findall(CURRENCY, value)}
    if not new.any() or counts[good].sum() < SHARE * counts.sum() or len(currencies) > 1 or _telephone(unique):
        return None
    said = f" {unit}" if unit else ""
    for mark in ("%", unit) if unit else ("%",):
        bears = np.array([isinstance(value, str) and mark in value for value in unique])
        if bears.any() and (plain := int(counts[good & ~bears].sum())):
            said += f"; {plain} values stand without {'a %' if mark == '%' else repr(mark)} and are taken as they are"
    if not marks.decimal and _undecided(bare):
        other = "," if decimal == "." else "."
        said += f"; if its mark is no separator of thousands: {option('decimal', other)}"
    return Written(read, new, decimal, unit or next(iter(currencies), ""), said)


def read_value(value: Any, marks: Marks, unit: str = "") -> Any:
    """The number that a value is; the value itself where it is none."""
    if not isinstance(value, str):
        return value
    bare = without_unit(value, unit) if unit else value
    read = number(bare, marks.decimal or ".", marks.thousands)
    return value if read is None else read


def _texts(column: pd.Series[Any]) -> list[str]:
    """Up to 1,000 different texts of a column that holds texts, evenly spaced."""
    if column.dtype != object and not isinstance(column.dtype, pd.StringDtype):
        return []
    present = column.dropna()
    step = max(1, len(present) // _LOOK)
    return list(dict.fromkeys(value for value in present.iloc[::step] if isinstance(value, str)))


def worth_a_look(texts: Sequence[str], marks: Marks) -> bool:
    """Whether half of a sample of texts are numbers, with their unit or without: the cheap first look."""
    tried = marks.decimal or ".,"
    unit = common_unit(texts, np.ones(len(texts), dtype=np.intp))
    bare = [without_unit(text, unit) for text in texts] if unit else texts
    read = sum(any(number(text, mark, marks.thousands) is not None for mark in tried) for text in bare)
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
