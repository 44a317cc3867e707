"""Numbers that stand for "no value": one that repeats, far from all others."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polytask.remedies import missing_in_column

__all__ = ["USUAL", "code_like", "sentinel"]

Array = NDArray[np.float64]

USUAL = (-1, -9, -99, -999, -9999, -99999, 99, 999, 9999, 99999)
"""Numbers that often mean "no value"."""
_REPEATS = 3  # times a number must occur that is not one of the usual ones
_DISTINCT = 20  # different other values, for the distance of 0 from them to mean something


def sentinel(present: Array, column: str) -> str:
    """Numbers that often stand for "no value", apart from all others; nothing where there are none.

    The smallest or largest number counts when it is below zero and all others are not, or beyond the others by more
    than these span; as 0, when the others are positive and far from it. It is one of the usual ones or repeats.

    Args:
        present: Numbers of a column, without missing ones.
        column: Its name.
    """
    found: list[tuple[str, int]] = []
    rest = present
    while len(found) < 3 and (value := _apart(rest)) is not None:
        found.append((f"{value:.15g}", int((rest == value).sum())))
        rest = rest[rest != value]
    if not found:
        zero = _zeros(present)
        least, most = (present[present > 0].min(), present.max()) if zero else (0.0, 0.0)
        return zero and (
            f"{zero} values are 0, and the others lie from {least:.4g} to {most:.4g}: if 0 means 'no value' here, "
            "leave these cells empty"
        )
    listed = " and ".join(f"{count} values are {text}" for text, count in found)
    return (
        f"{listed}, apart from all others ({rest.min():.4g} to {rest.max():.4g}): if that means 'no value', "
        f"{missing_in_column(column, [text for text, _ in found])}"
    )


def _apart(present: Array) -> float | None:
    """The smallest or largest number, if it is one that stands for no value."""
    low, high = float(present.min()), float(present.max())
    lowest, highest = present == low, present == high
    if len(present) - np.count_nonzero(lowest | highest) < 5 or np.ptp(present[~(lowest | highest)]) == 0:
        return None
    for value, where in ((low, lowest), (high, highest)):
        count = int(np.count_nonzero(where))
        if value not in USUAL and (count < _REPEATS or value == 0 or value != np.round(value)):
            continue
        rest = present[~where]
        beyond = min(abs(value - rest.min()), abs(value - rest.max())) > 2 * np.ptp(rest)
        below = value < 0 <= rest.min()
        if value in USUAL:
            if (below or beyond) and (abs(value) > 9 or (rest == np.round(rest)).all()):
                return value
        elif (beyond or (below and -value > np.quantile(rest, 0.5))) and len(np.unique(rest)) >= _DISTINCT:
            return value
    return None


def _zeros(present: Array) -> str:
    """How many values are 0 where all others are positive and far from it; nothing where that is not odd."""
    count = int((present == 0).sum())
    if not 2 <= count < 0.4 * len(present) or present.min() < 0:
        return ""
    rest = np.sort(pd.unique(present[present != 0]))
    if len(rest) < _DISTINCT:
        return ""
    steps = np.diff(rest[: max(_DISTINCT, len(rest) // 2)])
    return str(count) if rest[0] > 3 * steps.max() and rest[0] > 0.05 * np.quantile(rest, 0.99) else ""


def code_like(present: Array) -> str:
    """That numbers are codes: all different, whole, and of the same six or more digits; nothing of other numbers.

    Args:
        present: Numbers of a column, without missing ones.
    """
    if len(present) < 20 or present.min() < 1e5 or not (present == np.round(present)).all():
        return ""
    digits = np.floor(np.log10(present[[present.argmin(), present.argmax()]])) + 1
    if digits[0] < digits[1] or len(np.unique(present)) < len(present):
        return ""
    return f"{len(present)} different numbers of {digits[0]:.0f} digits each, as codes are"
