"""How a column is turned into what its values mean: found once, kept with the model, applied to later tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polytask.data.columns import row_number, to_numbers
from polytask.data.marks import MISSING_AMONG_NUMBERS, are_codes, missing_marks, truth_words
from polytask.data.moments import DURATION, Moments, enough, number_dates, parse_dates, parse_durations, text_dates
from polytask.data.written import Marks, Written, read_numbers, read_value, worth_a_look

__all__ = ["Conversion", "convert", "find_conversion", "number_conversion"]

_SHARE = 0.95  # of the values that must be durations
_TRUTH = {"true": True, "false": False}


@final
@dataclasses.dataclass(frozen=True)
class Conversion:
    """What a column's texts (or whole numbers) mean.

    Attributes:
        how: ``"number"``, ``"date"``, ``"duration"``, ``"truth"`` (true and false), ``"words"`` (spellings of yes and
            no that are one), ``"code"`` (digits that stay text) or ``"text"``.
        form: The format of dates.
        decimal: The decimal mark of numbers.
        thousands: Their separator of thousands; any when empty.
        unit: Their unit.
        missing: Texts that mean "no value".
        spelling: By the word without regard to capitals, how it is spelled.
    """

    how: str
    form: str = ""
    decimal: str = ""
    thousands: str = ""
    unit: str = ""
    missing: tuple[str, ...] = ()
    spelling: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without what is not set."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in dataclasses.asdict(self).items()
            if value
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Conversion:
        """What :meth:`to_dict` gave."""
        return cls(**{**values, "missing": tuple(values.get("missing", ()))})


class _Texts(NamedTuple):
    """A column of texts by its different values."""

    codes: NDArray[np.intp]
    unique: NDArray[np.object_]
    counts: NDArray[np.intp]

    @classmethod
    def of(cls, column: pd.Series[Any]) -> _Texts:
        codes, values = pd.factorize(column)
        unique = np.asarray(values, dtype=object)
        return cls(codes, unique, np.bincount(codes[codes >= 0], minlength=len(unique)))

    def spread(self, values: Any, column: pd.Series[Any], fill: Any) -> pd.Series[Any]:
        """Values of the different texts as a column."""
        known = pd.Series(values)
        taken = known.take(np.where(self.codes < 0, 0, self.codes))
        taken.index, taken.name = column.index, column.name
        return taken.mask(self.codes < 0, fill) if (self.codes < 0).any() else taken

    def row(self, column: pd.Series[Any], which: NDArray[np.bool_]) -> tuple[Any, int]:
        """The first row that holds one of the texts: the text and the number of the row."""
        first = int(np.flatnonzero((self.codes >= 0) & which[self.codes])[0])
        return self.unique[self.codes[first]], row_number(column, first)


_Found = tuple[Conversion, "pd.Series[Any]", str] | None


def find_conversion(
    column: pd.Series[Any], marks: Marks, common: str, *, words_only: bool = False, later: bool = False
) -> _Found:
    """What the texts of a column mean, the column with that meaning, and what to say of it; None to leave it as it is.

    Args:
        column: The column, of texts.
        marks: Marks of numbers that were asked for.
        common: The decimal mark of the table, for numbers that could be read with either.
        words_only: Whether these are categories, whatever they look like.
        later: Whether this is a column of a later table that was converted in no way in the first: then nothing is
            guessed but numbers.
    """
    if column.dtype != object and not isinstance(column.dtype, pd.StringDtype):
        return None
    if column.dtype == object and not any(isinstance(value, str) for value in column.dropna().iloc[:1000]):
        return None
    texts = _Texts.of(column)
    if not len(texts.unique):
        return None
    words = np.array([isinstance(value, str) for value in texts.unique])
    gone = np.array([value.strip().casefold() in MISSING_AMONG_NUMBERS if word else False
                     for value, word in zip(texts.unique, words, strict=True)])  # fmt: skip
    if later and gone.all() and not words_only:
        return Conversion("text"), column.mask(column.notna()), _gone(texts, gone)
    finders = () if words_only or gone.all() else (_numbers,) if later else (_codes, _numbers, _durations, _dates)
    for find in finders:
        if found := find(column, texts, gone, marks, common):
            conversion, made, said = found
            if conversion.how != "code" and gone.any():
                conversion = dataclasses.replace(conversion, missing=tuple(map(str, texts.unique[gone])))
            return conversion, made, _and(said, _gone(texts, gone) if conversion.how != "code" else "")
    return None if later else _words(column, texts, words)


def number_conversion(column: pd.Series[Any]) -> _Found:
    """The same for a column of whole numbers that are dates."""
    form = number_dates(str(column.name), column.dropna())
    if not form:
        return None
    made = parse_dates(column, form)
    first = int(np.flatnonzero(column.notna().to_numpy())[0])
    said = f"{column.iloc[first]:.0f} (row {row_number(column, first)}) is read as the date {_shown(made.iloc[first])}"
    return Conversion("date", form), made, said


def convert(column: pd.Series[Any], conversion: Conversion) -> tuple[pd.Series[Any], str]:
    """A later column as its conversion says, and what to say of values that have no meaning there.

    A column that has its type already is left as it is, and so are texts among numbers: they are errors.
    """
    is_text = column.dtype == object or isinstance(column.dtype, pd.StringDtype)
    if conversion.how == "code":
        return _as_codes(column), ""
    if not is_text:
        if conversion.how == "date" and pd.api.types.is_numeric_dtype(column) and _of_numbers(conversion.form):
            return parse_dates(column, conversion.form), ""
        return column, ""
    texts = _Texts.of(column)
    if not len(texts.unique):
        return column.astype(object), ""
    gone = np.array([value in conversion.missing if isinstance(value, str) else False for value in texts.unique])
    if conversion.how not in ("text", "words", "truth"):
        gone |= np.array([isinstance(v, str) and v.strip().casefold() in MISSING_AMONG_NUMBERS for v in texts.unique])
    column = column.mask(gone[texts.codes] & (texts.codes >= 0)) if gone.any() else column
    said = _gone(texts, gone & ~np.isin(texts.unique.astype(str), conversion.missing)) if gone.any() else ""
    if conversion.how in ("date", "duration"):
        parsed = parse_durations(column) if conversion.how == "duration" else parse_dates(column, conversion.form)
        if not enough(parsed.notna()[column.notna()]):
            return column, said  # another notation: an error that names the first cell
        return parsed, _and(_faults(column, parsed, conversion.how), said)
    if conversion.how == "number":
        marks = Marks(conversion.decimal, conversion.thousands or None)
        read = [read_value(value, marks, conversion.unit) for value in texts.unique]
        made = texts.spread(pd.Series(np.array([*read], dtype=object)), column, np.nan).mask(column.isna())
        return (made.astype(np.float64) if _all_numbers(made) else made), said
    if conversion.spelling:
        spelled = column.map(
            lambda value: conversion.spelling.get(value.strip().casefold(), value) if isinstance(value, str) else value
        )
        return (_as_truth(spelled) if conversion.how == "truth" else spelled), said
    return column, said


def _codes(column: pd.Series[Any], texts: _Texts, gone: NDArray[np.bool_], marks: Marks, common: str) -> _Found:
    values = texts.unique[~gone]
    if not all(isinstance(value, str) for value in values) or not are_codes(values):
        return None
    text, row = texts.row(
        column, np.array([isinstance(v, str) and v.startswith("0") and len(v) > 1 for v in texts.unique])
    )
    made = column.mask(gone[texts.codes] & (texts.codes >= 0)) if gone.any() else column
    said = f"{text!r} (row {row}) and others begin with zeros: codes, kept as texts"
    return Conversion("code", missing=tuple(map(str, texts.unique[gone]))), made, _and(said, _gone(texts, gone))


def _numbers(column: pd.Series[Any], texts: _Texts, gone: NDArray[np.bool_], marks: Marks, common: str) -> _Found:
    values = list(texts.unique[~gone])
    if not worth_a_look([value for value in values[:: max(1, len(values) // 1000)] if isinstance(value, str)], marks):
        return None
    written: Written | None = read_numbers(values, texts.counts[~gone], marks, common)
    if written is None:
        # Numbers as programs write them, but for the marks among them.
        already = to_numbers(pd.Series(values, dtype=object)).notna().all()
        if not gone.any() or not already:
            return None
        made = to_numbers(column.mask(gone[texts.codes] & (texts.codes >= 0))).astype(np.float64)
        return Conversion("number", decimal="."), made, ""
    read = np.empty(len(texts.unique), dtype=object)
    read[~gone], read[gone] = written.values, np.nan
    made = texts.spread(read, column, np.nan)
    new = np.zeros(len(gone), dtype=bool)
    new[~gone] = written.new
    text, row = texts.row(column, new)
    said = f"{text!r} (row {row}) is read as {read[list(texts.unique).index(text)]:.15g}{written.said}"
    conversion = Conversion("number", decimal=written.decimal, thousands=marks.thousands or "", unit=written.unit)
    return conversion, (made.astype(np.float64) if _all_numbers(made) else made), said


def _durations(column: pd.Series[Any], texts: _Texts, gone: NDArray[np.bool_], marks: Marks, common: str) -> _Found:
    unique = pd.Series(texts.unique)
    first = parse_durations(unique[~gone].iloc[:20])
    if first.isna().mean() > 0.1:
        return None
    parsed = parse_durations(unique)
    good = parsed.notna().to_numpy()
    if texts.counts[good].sum() < _SHARE * texts.counts[~gone].sum():
        return None
    made = texts.spread(parsed, column, pd.NaT)
    text, row = texts.row(column, good)
    said = f"{text!r} (row {row}) is read as a time of {parsed[good].iloc[0] / pd.Timedelta(hours=1):.6g} hours"
    return Conversion("duration", form=DURATION), made, _and(said, _bad(column, texts, ~good & ~gone, "duration"))


def _dates(column: pd.Series[Any], texts: _Texts, gone: NDArray[np.bool_], marks: Marks, common: str) -> _Found:
    unique = pd.Series(texts.unique)
    moments = text_dates(unique[~gone], texts.counts[~gone]) or _digits(str(column.name), unique[~gone])
    if moments is None:
        return None
    parsed = parse_dates(unique.mask(gone), moments.form)
    good = parsed.notna().to_numpy()
    text, row = texts.row(column, good)
    said = f"{text!r} (row {row}) is read as the date {_shown(parsed[good].iloc[0])}"
    if moments.other:
        said += (
            f"; no date tells whether day or month comes first, if it is the day: kind 'date:{moments.other}'"
            if moments.other.startswith("%d")
            else f"; no date tells whether day or month comes first, if it is the month: kind 'date:{moments.other}'"
        )
    said = _and(said, _bad(column, texts, ~good & ~gone, "date"))
    return Conversion("date", moments.form), texts.spread(parsed, column, pd.NaT), said


def _digits(name: str, unique: pd.Series[Any]) -> Moments | None:
    """The format of dates without any mark, in a medium where they are texts."""
    numbers = to_numbers(unique)
    form = "" if numbers.isna().any() else number_dates(name, numbers)
    return Moments(form) if form else None


def _words(column: pd.Series[Any], texts: _Texts, words: NDArray[np.bool_]) -> _Found:
    """Categories: marks for missing values, and spellings of yes and no."""
    if not words.all():
        return None
    missing = missing_marks(texts.unique)
    gone = np.array([value in missing for value in texts.unique])
    made = column.mask(gone[texts.codes] & (texts.codes >= 0)) if gone.any() else column
    counts = {str(text): int(count) for text, count in zip(texts.unique[~gone], texts.counts[~gone], strict=True)}
    said = _gone(texts, gone)
    low = {text.strip().casefold() for text in counts} if len(counts) <= 50 else set()
    if low and low <= _TRUTH.keys():
        conversion = Conversion("truth", missing=tuple(sorted(missing)), spelling={word: word for word in low})
        return conversion, _as_truth(made.map(lambda value: value.strip().casefold(), na_action="ignore")), said
    usual = truth_words(counts) if low else {}
    if usual:
        listed = ", ".join(f"{text!r} ({count} rows)" for text, count in counts.items() if usual[text] != text)
        meant = dict.fromkeys(word for text, word in usual.items() if word != text)
        said = _and(f"{listed} count as {' and '.join(map(repr, meant))}", said)
        spelling = {text.strip().casefold(): word for text, word in usual.items()}
        made = made.map(lambda value: usual.get(value, value), na_action="ignore")
        return Conversion("words", missing=tuple(sorted(missing)), spelling=spelling), made, said
    return (Conversion("text", missing=tuple(sorted(missing))), made, said) if missing else None


def _gone(texts: _Texts, gone: NDArray[np.bool_]) -> str:
    if not gone.any():
        return ""
    listed = ", ".join(
        f"{text!r} ({count} row{'s' if count > 1 else ''})"
        for text, count in zip(texts.unique[gone], texts.counts[gone], strict=True)
    )
    return f"{listed} {'counts' if gone.sum() == 1 else 'count'} as missing"


def _bad(column: pd.Series[Any], texts: _Texts, bad: NDArray[np.bool_], what: str) -> str:
    if not bad.any():
        return ""
    text, row = texts.row(column, bad)
    count = int(texts.counts[bad].sum())
    return f"{count} value{'s are' if count > 1 else ' is'} no {what}, such as {text!r} (row {row}): missing"


def _faults(column: pd.Series[Any], parsed: pd.Series[Any], what: str) -> str:
    bad = (parsed.isna() & column.notna()).to_numpy()
    if not bad.any():
        return ""
    first = int(np.flatnonzero(bad)[0])
    count = int(bad.sum())
    return (
        f"{count} value{'s are' if count > 1 else ' is'} no {what}, such as {column.iloc[first]!r} "
        f"(row {row_number(column, first)}): missing"
    )


def _of_numbers(form: str) -> bool:
    return form == "%Y%m%d" or form.startswith("unix ")


def _as_codes(column: pd.Series[Any]) -> pd.Series[Any]:
    """Digits as texts: numbers of a table that has no code with a zero in front."""
    if not pd.api.types.is_numeric_dtype(column):
        return column
    return column.map(
        lambda value: f"{value:.0f}" if float(value).is_integer() else str(value), na_action="ignore"
    ).astype(object)


def _as_truth(column: pd.Series[Any]) -> pd.Series[Any]:
    made = column.map(lambda value: _TRUTH.get(value, value), na_action="ignore").astype(object)
    return made.astype(bool) if made.notna().all() and set(map(type, made.unique())) <= {bool} else made


def _all_numbers(column: pd.Series[Any]) -> bool:
    return not column.map(lambda value: isinstance(value, str)).any()


def _shown(moment: pd.Timestamp) -> str:
    return f"{moment:%Y-%m-%d %H:%M}".removesuffix(" 00:00")


def _and(first: str, second: str) -> str:
    return "; ".join(part for part in (first, second) if part)
