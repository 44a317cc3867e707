"""What a table's input columns hold: numbers, categories, dates, or nothing a model should see."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from typing import Any, Literal, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polytask.data.marks import are_codes
from polytask.data.measures import nearly_numbers
from polytask.data.moments import DURATION, cycles, parse_dates, parse_durations, text_dates
from polytask.errors import ConfigError, DataError, unknown
from polytask.remedies import column_kind, option
from polytask.tasks import Nature
from polytask.tasks.kinds import usual_kind

__all__ = [
    "COLUMN_KINDS",
    "Column",
    "by_value",
    "coded",
    "codes",
    "dates",
    "infer_column",
    "levels",
    "mostly_numbers",
    "numbers",
    "plain",
    "row_number",
    "to_numbers",
]

Role = Literal["numeric", "boolean", "date", "categorical", "dropped"]
COLUMN_KINDS = ("numeric", "boolean", "date", "categorical")
"""Kinds an input column can be asked to be."""

_ID = re.compile(
    r"(^|[_\s.-])(id|ids|uuid|guid|key|index|idx|rownames?|row_?num(ber)?)$|^unnamed: ?\d+$", re.IGNORECASE
)
_ID_CAMEL = re.compile(r"[a-z](Id|ID|Key|Uuid)$")
_FORMATS = ("ISO8601", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y")
_EACH = 5  # rows that a text must have on average to be a category
_COVERED = 0.5  # share of the rows that must have frequent texts where the others are many
_LARGEST = float(np.finfo(np.float32).max)
_DAY = 86_400e9  # nanoseconds


@final
@dataclasses.dataclass(frozen=True)
class Column:
    """What an input column was taken for.

    Attributes:
        name: Its name.
        role: How it is encoded; ``"dropped"`` when the model does not see it.
        reason: Why it is dropped, in words.
        surprise: What its owner may want to know although it is used.
        format: How its dates are written, for role ``"date"`` read from text.
        cycles: Which of the cycles of :data:`~polytask.data.moments.CYCLES` its dates run through.
        least: Training rows that a category must have to be one of its own; rarer ones are one together.
    """

    name: str
    role: Role
    reason: str = ""
    surprise: str = ""
    format: str = ""
    cycles: tuple[str, ...] = ()
    least: int = 1


def infer_column(series: pd.Series[Any], kind: str | None = None) -> Column:
    """What a column holds, guessed from its values.

    Args:
        series: The column, named.
        kind: One of :data:`COLUMN_KINDS` to skip the guess; ``"date:FORMAT"`` is a date that was read already.

    Returns:
        Its role. Numbers are numeric; text with few distinct values (at most 10, or one per 5 rows up to 1,000) is
        categorical; dates become days. Columns that are empty, constant, different in every row (ids), or free text
        are dropped, with the reason.

    Raises:
        DataError: Numbers with a few texts between them, or infinities.
        ConfigError: ``kind`` is unknown.

    Examples:
        >>> infer_column(pd.Series(["a", "b", "a"], name="group")).role
        'categorical'
        >>> infer_column(pd.Series(range(100), name="row_id")).reason
        'an id: a different whole number in each row'
    """
    name = str(series.name)
    kind = "date" if kind is not None and kind.startswith("date:") else kind
    if kind is not None and kind not in COLUMN_KINDS:
        raise ConfigError(f"column {name!r}: {unknown('kind of an input column', kind, COLUMN_KINDS)}")
    present = series.dropna()
    if len(present) == 0:
        return Column(name, "dropped", "empty: no value in any training row")
    if not plain(present):
        return Column(name, "dropped", f"its values are {type(present.iloc[0]).__name__} objects")
    if kind == "date":
        form = _date_format(present)
        return _date_column(name, present, _bad_date(series) if form is None else form)
    if kind is not None:
        return Column(name, kind)  # type: ignore[arg-type]
    return _guess(name, series, present)


def _guess(name: str, series: pd.Series[Any], present: pd.Series[Any]) -> Column:
    if pd.api.types.is_complex_dtype(present):
        return Column(name, "dropped", "complex numbers; give real and imaginary part a column each")
    if _broken(present):
        return Column(name, "numeric")
    distinct = int(present.nunique())
    if distinct == 1:
        only = " ".join(str(present.iloc[0]).split())
        return Column(name, "dropped", f"constant: every training row that has a value holds {only}")
    if pd.api.types.is_bool_dtype(present) or (
        present.dtype == object and set(map(type, present.unique())) <= {bool, np.bool_}
    ):
        return Column(name, "boolean")
    if pd.api.types.is_datetime64_any_dtype(present) or pd.api.types.is_timedelta64_dtype(present):
        return _date_column(name, present)
    if not isinstance(series.dtype, pd.CategoricalDtype):
        if pd.api.types.is_numeric_dtype(present):
            return _number_column(name, present, distinct)
        if not codes(present) and mostly_numbers(present):
            values = numbers(series)  # names the first text, if there is one
            return _number_column(name, pd.Series(values[~np.isnan(values)]), distinct)
    return _text_column(name, present, distinct)


def _broken(present: pd.Series[Any]) -> bool:
    """Whether these are fractions, two of which differ at least: numbers, whatever the other values are."""
    if not pd.api.types.is_float_dtype(present):
        return False
    few = present.to_numpy(dtype=np.float64)[:1000]
    return bool((few != np.round(few)).any() and (few != few[0]).any())


def _date_column(name: str, present: pd.Series[Any], form: str = "", surprise: str = "") -> Column:
    clock = pd.api.types.is_timedelta64_dtype(present)
    found = cycles(pd.Series(dates(present, form)), clock=clock)
    return Column(name, "date", surprise=surprise, format=form, cycles=found)


def _number_column(name: str, present: pd.Series[Any], distinct: int) -> Column:
    values = present.to_numpy(dtype=np.float64)
    whole = bool(np.isfinite(values).all() and (values == np.round(values)).all())
    looks_like_id = bool(_ID.search(name) or _ID_CAMEL.search(name))
    if whole and distinct == len(values) and len(values) >= 5:
        consecutive = values.max() - values.min() + 1 == len(values)
        if looks_like_id or (consecutive and len(values) >= 20):
            return Column(name, "dropped", "an id: a different whole number in each row")
    if whole and looks_like_id:
        if distinct <= max(10, len(values) // 2):
            return Column(
                name, "categorical", surprise=f"its name says id: taken as {distinct} categories, not a number"
            )
        return Column(name, "dropped", f"an id: {distinct} different whole numbers in {len(values)} rows")
    return Column(name, "numeric")


def _text_column(name: str, present: pd.Series[Any], distinct: int) -> Column:
    form = _date_format(present)
    if form is not None:
        return _date_column(name, present, form, "dates, encoded as a number of days")
    mixed = (
        "dates in more than one notation; written alike (2024-01-31) they become days"
        if _dates(present)
        else nearly_numbers(present)
    )
    few = max(10, min(1000, len(present) // _EACH))
    if distinct <= few and distinct < max(len(present), 2):
        return Column(name, "categorical", surprise=mixed and f"{mixed}, now they are {distinct} categories")
    if mixed:
        return Column(name, "dropped", mixed)
    counts = present.value_counts()
    often = counts[counts >= _EACH]
    if few < distinct and often.sum() >= _COVERED * len(present):
        rare = distinct - len(often)
        said = (
            f"{len(often)} categories of at least {_EACH} rows; {rare} rarer ones ({len(present) - often.sum()} rows)"
        )
        return Column(name, "categorical", surprise=f"{said} count as one", least=_EACH)
    if distinct == len(present):
        return Column(name, "dropped", f"an id or free text: {distinct} different texts in {len(present)} rows")
    return Column(
        name,
        "dropped",
        f"free text: {distinct} different texts in {len(present)} rows; "
        f"{column_kind(name, 'categorical', target=False)} keeps it",
    )


def plain(present: pd.Series[Any]) -> bool:
    """Whether a column holds single values rather than lists, dictionaries and the like."""
    if present.dtype != object:
        return True
    try:
        pd.factorize(present.to_numpy())
    except TypeError:  # unhashable
        return False
    return True


def codes(present: pd.Series[Any]) -> bool:
    """Whether a column's texts are digits with zeros in front, which numbers would lose."""
    if present.dtype != object and not isinstance(present.dtype, pd.StringDtype):
        return False
    unique = present.iloc[:1000].unique()
    return (
        all(isinstance(value, str) for value in unique)
        and all(value.isdigit() for value in unique)
        and are_codes(present.unique())
    )


def mostly_numbers(present: pd.Series[Any]) -> bool:
    """Whether at least nine in ten values are numbers, or texts that can be read as numbers; the others are errors."""
    if pd.api.types.is_numeric_dtype(present):
        return True
    some = present.iloc[:: max(1, len(present) // 1000)]
    if isinstance(present.dtype, pd.StringDtype) and to_numbers(some.astype(object)).notna().mean() < 0.5:
        return False
    codes, unique = pd.factorize(present)
    if set(map(type, unique)) <= {bool, np.bool_}:
        return False
    readable = to_numbers(pd.Series(unique, dtype=object)).notna().to_numpy()
    return bool(readable[codes].mean() >= 0.9)


def to_numbers(series: pd.Series[Any]) -> pd.Series[Any]:
    """The numbers that pandas reads, NaN elsewhere; whole numbers beyond double precision are infinite."""
    try:
        return pd.to_numeric(series, errors="coerce")
    except OverflowError:
        huge = series.map(lambda value: isinstance(value, int) and abs(value) > 2**1023)
        return pd.to_numeric(series.mask(huge, np.inf), errors="coerce")


def numbers(series: pd.Series[Any], *, target: bool = False) -> NDArray[np.float64]:
    """A column as numbers, missing ones NaN.

    Args:
        series: The column.
        target: Whether it is to be predicted, for the remedy named in the message.

    Raises:
        DataError: A value is text, complex or infinite; names column, value and row (counted from 1).
    """
    name = series.name
    if pd.api.types.is_complex_dtype(series):
        raise DataError(f"column {name!r} holds complex numbers; give real and imaginary part a column each")
    if pd.api.types.is_timedelta64_dtype(series):
        return _days(series)
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iuf":
        values = series.to_numpy(dtype=np.float64)
        if not len(values) or max(-np.fmin.reduce(values), np.fmax.reduce(values)) <= _LARGEST:
            return values
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(object)
    parsed = to_numbers(series)
    bad = (parsed.isna() & series.notna()).to_numpy()
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        value, row = series.iloc[first], row_number(series, first)
        others = int(bad.sum()) - 1
        more = f", and {others} more like it" if others else ""
        out = "leave the target out" if target else f"leave the column out ({option('ignore', [str(name)])})"
        kind = column_kind(str(name), usual_kind(Nature.CLASSES) if target else "categorical", target=target)
        raise DataError(
            f"column {name!r} holds numbers, but row {row} holds {value!r}{more}. Correct it, declare it missing "
            f"({option('missing_values', [str(value)])}), use {kind}, or {out}"
        )
    values = parsed.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(values).any():
        first = int(np.flatnonzero(np.isinf(values))[0])
        raise DataError(
            f"column {name!r} holds {values[first]} in row {row_number(series, first)} "
            f"({int(np.isinf(values).sum())} infinite values in all); replace them by a number or by NaN (missing)"
        )
    large = np.abs(values) > _LARGEST
    if large.any():
        first = int(np.flatnonzero(large)[0])
        raise DataError(
            f"column {name!r} holds {values[first]:.6g} in row {row_number(series, first)}, beyond the numbers of "
            f"single precision (3.4e38; {int(large.sum())} in all are); correct it, or declare it missing "
            f"({option('missing_values', [str(series.iloc[first])])})"
        )
    return values


def dates(series: pd.Series[Any], form: str = "") -> NDArray[np.float64]:
    """A column of dates as days since 1970-01-01, missing ones NaN.

    Args:
        series: Dates, time spans, or text.
        form: How the text is written; empty for columns that are dates already.

    Raises:
        DataError: A value is no date.
    """
    if pd.api.types.is_datetime64_any_dtype(series) or pd.api.types.is_timedelta64_dtype(series):
        return _days(series)
    parsed = parse_durations(series) if form == DURATION else parse_dates(series, form or "ISO8601")
    bad = (parsed.isna() & series.notna()).to_numpy()
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"column {series.name!r} holds dates, but row {row_number(series, first)} holds {series.iloc[first]!r}; "
            f"correct it or leave the column out ({option('ignore', [str(series.name)])})"
        )
    return _days(parsed)


def levels(series: pd.Series[Any]) -> NDArray[np.object_]:
    """A column as texts, missing ones ``None``; whole numbers are written without a decimal point."""
    places, texts = coded(series)
    known = np.empty(len(texts) + 1, dtype=object)
    known[:-1], known[-1] = texts, None
    found: NDArray[np.object_] = known[places]
    return found


def coded(series: pd.Series[Any]) -> tuple[NDArray[np.intp], NDArray[np.object_]]:
    """A column as codes, −1 where it is missing, and the texts of the codes; 1 and ``"1"`` are two with one text."""
    places, unique = pd.factorize(series)
    texts = np.empty(len(unique), dtype=object)
    texts[:] = [_text(value) for value in unique]
    return places, texts


def by_value(level: str) -> tuple[int, float, str]:
    """Sort key of levels: numbers by value, then texts by alphabet."""
    try:
        return (0, float(level), level)
    except ValueError:
        return (1, 0.0, level)


def _text(value: Any) -> str:
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _days(series: pd.Series[Any]) -> NDArray[np.float64]:
    if pd.api.types.is_timedelta64_dtype(series):
        return np.asarray(series.dt.total_seconds(), dtype=np.float64) / 86_400
    if getattr(series.dt, "tz", None) is not None:
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    stamps = series.to_numpy(dtype="datetime64[ns]")
    return np.where(np.isnat(stamps), np.nan, stamps.astype(np.int64) / _DAY)


def _date_format(present: pd.Series[Any]) -> str | None:
    """The first format in which every value is a date."""
    if pd.api.types.is_datetime64_any_dtype(present):
        return ""
    if pd.api.types.is_numeric_dtype(present):
        return None
    texts = present.drop_duplicates().astype(object)
    if texts.map(lambda value: isinstance(value, dt.date)).all():
        return ""
    found = text_dates(texts, np.ones(len(texts), dtype=np.intp))
    return None if found is None or parse_dates(texts, found.form).isna().any() else found.form


def _dates(present: pd.Series[Any]) -> bool:
    """Whether every text is a date in one of several notations."""
    texts = present.drop_duplicates().astype(object)
    if not texts.map(lambda value: isinstance(value, str)).all():
        return False
    if not texts.iloc[:100].str.fullmatch(r"[\dT:./ -]{8,}").all():
        return False
    read = np.zeros(len(texts), dtype=bool)
    for form in _FORMATS:
        read |= pd.to_datetime(texts, format=form, errors="coerce", utc=True).notna().to_numpy()
    return bool(read.all())


def _bad_date(series: pd.Series[Any]) -> str:
    dates(series)
    return "ISO8601"


def row_number(series: pd.Series[Any], position: int) -> int:
    """Row number counted from 1, in the table the column was read from."""
    label = series.index[position]
    return int(label) + 1 if isinstance(label, (int, np.integer)) else position + 1
