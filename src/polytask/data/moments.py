"""Dates, clock times and durations as people write them."""

from __future__ import annotations

import re
import warnings
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = [
    "CYCLES",
    "DURATION",
    "Moments",
    "cycles",
    "enough",
    "number_dates",
    "parse_dates",
    "parse_durations",
    "text_dates",
]

CYCLES = {"year": 365.2425, "week": 7.0, "day": 1.0}
"""Cycles that dates run through, and their periods in days."""

DURATION = "duration"
"""What stands for the format of a column of durations."""

_DAYS = (
    *("%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d.%m.%y", "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y"),
    *("%d-%m-%Y", "%m-%d-%Y", "%d-%m-%y", "%m-%d-%y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y", "%d %b %y"),
    *("%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%d. %B %Y", "%d. %b %Y", "%a, %d %b %Y", "%A, %B %d, %Y"),
)
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S")
_ISO = "ISO8601"
_SHAPE = re.compile(r"(?=.{6,40}$)(?=(?:\D*\d){3})[\dA-Za-z][\w:.,/+ -]*")
_LOOK = 200
_SHARE = 0.95  # of the values that must be dates for the others to be faults
_FEWEST = 3  # different values that tell whether whole numbers are dates

_Unit = Literal["s", "ms", "us", "ns"]
_COMPACT = "%Y%m%d"
_UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_NAME = re.compile(r"(?:^|[_\s.-])(?:ts|at|on|epoch|unix)$|time|date|datum|stamp|epoch", re.IGNORECASE)
_EPOCH = (3e8, 4.2e9)  # seconds: 1979 to 2103

_CLOCK = re.compile(r"(-)?(?:(\d+) days?,? ?)?(\d{1,4}):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?")
_PARTS = re.compile(
    r"(?:(?P<d>\d+(?:\.\d+)?) ?d(?:ays?)?)?,? ?(?:(?P<h>\d+(?:\.\d+)?) ?h(?:(?:ou)?rs?)?)?,? ?"
    r"(?:(?P<m>\d+(?:\.\d+)?) ?m(?:in(?:ute)?s?)?)?,? ?(?:(?P<s>\d+(?:\.\d+)?) ?s(?:ec(?:ond)?s?)?)?"
)
_ISO_SPAN = re.compile(
    r"P(?:(?P<d>\d+)D)?(?:T(?=\d)(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?", re.IGNORECASE
)
_SECONDS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0}


class Moments(NamedTuple):
    """How a column's dates are written.

    Attributes:
        form: The format.
        other: Another that every value fits as well, with day and month the other way round; empty if there is none.
    """

    form: str
    other: str = ""


def text_dates(unique: pd.Series[Any], counts: NDArray[np.intp]) -> Moments | None:
    """The format of texts that are dates, or at least 95 % of which are; None for other texts.

    Args:
        unique: Different texts.
        counts: Rows of each.

    Examples:
        >>> text_dates(pd.Series(["5 Jan 2020", "17 Mar 2021"]), np.array([1, 1])).form
        '%d %b %Y'
        >>> text_dates(pd.Series(["03/04/2020", "05/06/2020"]), np.array([1, 1]))
        Moments(form='%m/%d/%Y', other='%d/%m/%Y')
    """
    step = max(1, len(unique) // _LOOK)
    sample, rows = unique.iloc[::step], counts[::step]
    shaped = sample.map(lambda text: isinstance(text, str) and _SHAPE.fullmatch(text.strip()) is not None)
    if not shaped.any() or not enough(shaped, rows):
        return None
    found = []
    first = str(sample[shaped].iloc[0]).strip()
    for form in _likely(first):
        if enough(parse_dates(sample, form).notna(), rows):
            found.append((form, int(counts[parse_dates(unique, form).notna()].sum())))
        if found and found[-1][1] == counts.sum() and not _swapped(found[-1][0]):
            break
    if not found:
        return None
    best = max(share for _, share in found)
    good = [form for form, share in found if share == best]
    other = next((form for form in good[1:] if form == _swapped(good[0])), "")
    return Moments(good[0], other)


def number_dates(name: str, present: pd.Series[Any]) -> str:
    """The format of whole numbers that are dates (``20200131``, or Unix time in a column named like one), or nothing.

    Args:
        name: The column.
        present: Its numbers.

    Examples:
        >>> number_dates("day", pd.Series([20200131, 20191224, 20200401])), number_dates("x", pd.Series([1.5]))
        ('%Y%m%d', '')
    """
    if not len(present) or pd.api.types.is_complex_dtype(present):
        return ""
    values = present.to_numpy(dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(high) or not np.isfinite(low):
        return ""
    if low >= 19_000_101 and high <= 21_001_231:
        unique = pd.Series(np.unique(values))
        if len(unique) >= _FEWEST and (unique == unique.round()).all() and parse_dates(unique, _COMPACT).notna().all():
            return _COMPACT
    if _NAME.search(name):
        for unit, scale in _UNITS.items():
            if _EPOCH[0] * scale <= low and high <= _EPOCH[1] * scale:
                return f"unix {unit}"
    return ""


def parse_dates(values: pd.Series[Any], form: str) -> pd.Series[Any]:
    """Texts or numbers as moments without a time zone (those of a zone in UTC), ``NaT`` where they are none.

    Args:
        values: The column.
        form: A format of :func:`text_dates` or :func:`number_dates`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two-digit years and dates without one
        if form.startswith("unix "):
            numbers = pd.to_numeric(values, errors="coerce")
            parsed = pd.to_datetime(numbers, unit=cast("_Unit", form[5:]), errors="coerce", utc=True)
        elif form == _COMPACT:
            texts = values.map(lambda value: f"{value:.0f}" if isinstance(value, (int, float)) else value)
            parsed = pd.to_datetime(texts.where(values.notna(), None), format=form, errors="coerce", utc=True)
        else:
            texts = values.astype(object).map(lambda value: value.strip() if isinstance(value, str) else value)
            parsed = pd.to_datetime(texts, format=form, errors="coerce", utc=True)
    plain: pd.Series[Any] = parsed.dt.tz_localize(None)
    return plain


def parse_durations(texts: pd.Series[Any]) -> pd.Series[Any]:
    """Texts as time spans: ``1:30`` (hours and minutes), ``1:30:00``, ``2 days 03:00``, ``1h 30min``, ``PT1H30M``.

    Args:
        texts: The column.

    Returns:
        Time spans; ``NaT`` where a text is none, or has a single unit: it is a number with a unit.

    Examples:
        >>> parse_durations(pd.Series(["1:30", "1h 30m", "90 min"])).dt.total_seconds().tolist()
        [5400.0, 5400.0, nan]
    """
    return pd.to_timedelta([_seconds(text) for text in texts], unit="s").to_series(index=texts.index)


def cycles(days: pd.Series[Any], *, clock: bool = False) -> tuple[str, ...]:
    """The cycles that dates run through at least twice, at three different places or more.

    What they run through less often cannot be told from a trend.

    Args:
        days: Days since any moment, none missing.
        clock: Whether these are times of a day.
    """
    if len(days) == 0:
        return ()
    values = days.to_numpy(dtype=np.float64)
    if clock:
        return ("day",) if 0 <= values.min() < 0.5 <= values.max() < 1 else ()
    found = []
    for name, period in CYCLES.items():
        phases = np.unique(np.floor(values % period / period * 24))
        if np.ptp(values) >= 2 * period and len(phases) >= _FEWEST:
            found.append(name)
    return tuple(found)


def _likely(first: str) -> list[str]:
    """Formats with the punctuation of a text, ISO first."""
    clock = re.search(r"[ T]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[AaPp][Mm])?$", first)
    day = first[: clock.start()] if clock else first
    looks = (set(re.findall(r"\W", day)), bool(re.search(r"[A-Za-z]", day)))
    forms = [form for form in _DAYS if (set(re.findall(r"[^\w%]", form)), bool(re.search("%[aAbB]", form))) == looks]
    iso = [_ISO] if re.match(r"\d{4}-", first) else []
    return [*iso, *(form + time for form in forms for time in _TIMES if bool(time) == bool(clock))]


def enough(good: pd.Series[Any], counts: NDArray[np.intp] | None = None) -> bool:
    """Whether so many values are good that the others are faults: one in a short column, one in twenty in a long one.

    Args:
        good: Of each value whether it is.
        counts: Rows of each; one when None.
    """
    rows = np.ones(len(good), dtype=np.intp) if counts is None else counts
    bad, total = int(rows[~good.to_numpy(dtype=bool)].sum()), int(rows.sum())
    return bad <= max(int(total > _FEWEST), (1 - _SHARE) * total)


def _swapped(form: str) -> str:
    """The format with day and month the other way round; nothing for formats that cannot be mistaken."""
    numeric = re.match(r"%([dm])([/.-])%([dm])\2%([yY])(.*)", form)
    if numeric is None or numeric[2] == ".":
        return ""
    return f"%{numeric[3]}{numeric[2]}%{numeric[1]}{numeric[2]}%{numeric[4]}{numeric[5]}"


def _seconds(text: Any) -> float:
    if not isinstance(text, str):
        return float("nan")
    text = text.strip()
    if found := _CLOCK.fullmatch(text):
        sign, days, hours, minutes, seconds = found.groups()
        total = int(days or 0) * 86_400.0 + int(hours) * 3_600.0 + int(minutes) * 60.0 + float(seconds or 0)
        return -total if sign else total
    found = _ISO_SPAN.fullmatch(text)
    several = _PARTS.fullmatch(text.lower())
    if found is None and several is not None and sum(part is not None for part in several.groups()) >= 2:
        found = several
    if found is None or not any(found.groupdict().values()):
        return float("nan")
    return sum(_SECONDS[unit] * float(part) for unit, part in found.groupdict().items() if part)
