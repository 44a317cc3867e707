"""Columns that are nearly numbers: measures with their unit, sums in several currencies, words among the numbers."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polytask.remedies import option

__all__ = ["CURRENCY", "common_unit", "nearly_numbers", "without_unit"]

_CODES = "AUD|BRL|CAD|CHF|CNY|CZK|DKK|EUR|GBP|HKD|HUF|INR|JPY|KRW|MXN|NOK|NZD|PLN|RUB|SEK|SGD|TRY|USD|ZAR|Kč|kr|zł"
_SIGNS = "".join(chr(code) for code in range(0x20D0) if unicodedata.category(chr(code)) == "Sc")
CURRENCY = rf"(?:[A-Z]{{0,2}}[{re.escape(_SIGNS)}]|(?:{_CODES})(?![A-Za-z]))"
"""Pattern of a sign or code of a currency."""
_NUMBER = r"[+\-\u2212]?\d[\d.,'\s]*(?:[eE][+-]?\d+)?"
_MEASURE = re.compile(rf"\s*(?P<before>{CURRENCY})?\s*(?:{_NUMBER})(?P<after>[^\s\d.,()+\-][^\d]{{0,14}})?")
_WITH_UNIT = re.compile(rf"\s*{_NUMBER}(?P<unit>[^\s\d.,()+\-:/][^\d:]{{0,14}}?)\s*")
_UNIT_SHARE = 0.5  # of the values that must stand with the unit
_SHARE = 0.9  # of the values that must be measures
_UNITS = 3  # different units that a column of measures may have; codes such as 12A, 7B have more
_HALF = 0.5  # share of plain numbers from which words among them are worth a word
_LOOK = 1_000


def common_unit(unique: Sequence[Any], counts: NDArray[np.intp]) -> str:
    """The one unit that most values of a column stand with; nothing where there is none, or several.

    Currencies and percent signs are no units: they are read in any case.

    Args:
        unique: Different values.
        counts: Rows of each.

    Examples:
        >>> common_unit(["12 kg", "7.5 kg"], np.array([1, 1])), common_unit(["1 kg", "2 lb"], np.array([1, 1]))
        ('kg', '')
    """
    units: Counter[str] = Counter()
    for value, count in zip(unique, counts, strict=True):
        match = _WITH_UNIT.fullmatch(value) if isinstance(value, str) else None
        if match is not None:
            units[match["unit"]] += int(count)
    if len(units) != 1 or units.total() < _UNIT_SHARE * counts.sum():
        return ""
    unit = next(iter(units))
    return "" if unit == "%" or re.fullmatch(CURRENCY, unit) else unit


def without_unit(value: Any, unit: str) -> Any:
    """A text without the unit at its end."""
    return value.strip().removesuffix(unit).rstrip() if isinstance(value, str) else value


def nearly_numbers(present: pd.Series[Any]) -> str:
    """Why a column of texts holds no numbers although it nearly does; nothing of other texts.

    Args:
        present: The values that are there.

    Examples:
        >>> nearly_numbers(pd.Series(["20.3 kg", "7 kg", "11 kg"]))
        "numbers with a unit, such as '20.3 kg'; without the unit (in the column's name, say) they are read as numbers"
    """
    texts = [str(value).strip() for value in present.iloc[:: max(1, len(present) // _LOOK)]]
    found = [_MEASURE.fullmatch(text) for text in texts]
    units = Counter((match["before"] or match["after"] or "").strip() for match in found if match)
    plain = units.pop("", 0)
    if len(units) > _UNITS or not texts:
        return ""
    if sum(units.values()) >= _SHARE * len(texts):
        first = next(text for text, match in zip(texts, found, strict=True) if match and text)
        if len(units) == 1:
            return (
                f"numbers with a unit, such as {first!r}; without the unit (in the column's name, say) they are read "
                "as numbers"
            )
        named = ", ".join(map(repr, units))
        return f"numbers in several units ({named}); converted to one, and without it, they are read as numbers"
    if plain >= _HALF * len(texts) and not units:
        words = Counter(text for text, match in zip(texts, found, strict=True) if match is None)
        word, times = max(words.items(), key=lambda item: item[1], default=("", 0))
        return (
            (
                f"numbers in {plain / len(texts):.0%} of the rows with a value, texts such as {word!r} in the others; "
                f"if that means 'no value', {option('missing_values', [word])}"
            )
            if times > 1
            else ""
        )
    return ""
