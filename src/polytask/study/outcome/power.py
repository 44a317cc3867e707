"""How many rows a verdict needs."""

from __future__ import annotations

import math
from collections.abc import Mapping

from scipy.special import ndtri

from polytask.study.outcome.statistics import LEVEL, Interval, half_width

__all__ = ["LEAST_OF_A_CLASS", "LEAST_ROWS", "POWER", "lacking", "rows_needed"]

LEAST_ROWS = 10
"""Test labels of a task below which no verdict is given: means over fewer are too far from normal for a t interval."""
LEAST_OF_A_CLASS = 5
"""Test rows of the rarer of two classes below which no verdict is given, for the same reason."""
POWER = 0.8
"""Chance to see a difference of the size that was seen, which :func:`rows_needed` plans for."""


def lacking(labels: int, rarer: int | None, rows: int) -> str:
    """Why a task cannot carry a verdict, and how many rows could; empty if it can.

    Args:
        labels: Its test labels.
        rarer: Those of the rarer of two classes; ``None`` for other tasks.
        rows: Rows of the whole table.

    Returns:
        The reason. The number of rows is ``rows`` times what is missing of :data:`LEAST_ROWS` or
        :data:`LEAST_OF_A_CLASS`, rounded up to two digits.

    Examples:
        >>> lacking(200, 3, 1000)
        '3 test rows of its rarer class, at least 5 needed; about 1,700 rows would do'
        >>> lacking(200, None, 1000)
        ''
    """
    found = []
    if labels < LEAST_ROWS:
        found.append((LEAST_ROWS / max(labels, 1), f"{labels} test labels, at least {LEAST_ROWS} needed"))
    if rarer is not None and rarer < LEAST_OF_A_CLASS:
        words = f"{rarer} test rows of its rarer class, at least {LEAST_OF_A_CLASS} needed"
        found.append((LEAST_OF_A_CLASS / max(rarer, 1), words))
    if not found:
        return ""
    times, words = max(found)
    return f"{words}; about {rounded(rows * times):,} rows would do"


def rows_needed(interval: Interval, rows: int, level: float = LEVEL, limit: float = 1000.0) -> int | None:
    """How many rows would show a difference of the size that was seen, with the same number of splits.

    n' = n·((t·s·√(1/J + ρ) + z·s·√(1/J + ρ)) / |d̄|)²

    with n the rows there are, d̄ and s mean and standard deviation of J splits' differences, t = t_{J−1,(1+level)/2},
    ρ the overlap of the splits and z = Φ⁻¹(0.8): at n' rows the interval excludes 0 with a chance of 0.8, if the gain
    is d̄ and its variance falls as 1/n. It is a guess to plan by: d̄ is itself an estimate.

    Args:
        interval: What was seen so far, over repeated splits.
        rows: n.
        level: Confidence level.
        limit: Give up beyond this multiple of n.

    Returns:
        n', rounded up to two digits, at least n; ``None`` where nothing can be said.

    Examples:
        >>> from polytask.study.outcome.statistics import paired_interval
        >>> rows_needed(paired_interval([1.0, 4.0, -2.0, 3.0, 1.0], overlap=0.25), 100)
        1600
    """
    if not math.isfinite(interval.sd) or not interval.mean or interval.n < 2:
        return None
    error = interval.sd * math.sqrt(1 / interval.n + interval.overlap)
    wanted = half_width(interval.sd, interval.n, interval.overlap, level) + float(ndtri(POWER)) * error
    times = (wanted / interval.mean) ** 2
    return rounded(rows * max(times, 1.0)) if times <= limit else None


def rounded(value: float) -> int:
    """Up to the next number with two digits and zeros.

    Examples:
        >>> rounded(1666.7), rounded(54), rounded(101)
        (1700, 54, 110)
    """
    unit = 10 ** max(math.floor(math.log10(value)) - 1, 0) if value >= 1 else 1
    return math.ceil(value / unit) * unit


def lacking_of(labels: Mapping[str, str]) -> str:
    """Why a mean over tasks cannot carry a verdict: more than half of its tasks cannot. Empty if it can.

    Args:
        labels: Task → why it cannot; empty where it can.
    """
    weak = {task: why for task, why in labels.items() if why}
    if 2 * len(weak) <= len(labels):
        return ""
    return "; ".join(f"{task}: {why}" for task, why in list(weak.items())[:3])
