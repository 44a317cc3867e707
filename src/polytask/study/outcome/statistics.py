"""Did it help? Gains over single-task models, and intervals over paired seeds and splits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from polytask.errors import ConfigError

__all__ = [
    "LEVEL",
    "Interval",
    "Verdict",
    "delta_m",
    "half_width",
    "paired_interval",
    "quantile",
    "seeds_needed",
    "transfer_gain",
]

LEVEL = 0.95
"""Confidence level of every interval."""

Verdict = Literal["better", "worse", "not separable", "cannot tell", "one seed", "no spread", "undefined"]


def transfer_gain(value: float, reference: float, direction: int, least: float = 0.0) -> float:
    """Relative gain of one metric over a reference, in per cent; positive is better.

    100·s·(M − R)/max(|R|, ε) with M the value, R the reference and s = +1 when higher is better, −1 when lower is.

    A ratio to a number near nothing says nothing: R² going from 0.01 to 0.03 is no gain of 200 %, and half an error
    that is nought to four digits is none of 50 %. ε = 1 makes the gain a difference in points (of 0.01), as is right
    for metrics whose 0 is chance; a small share of the error of a trivial prediction bounds the ratio of errors.

    Args:
        value: M, the metric of the method.
        reference: R, the same metric of the single-task model.
        direction: s.
        least: ε, the smallest denominator.

    Returns:
        Per cent; NaN when either value is NaN or the denominator is 0, for which no relative gain exists.

    Examples:
        >>> transfer_gain(0.75, 0.50, +1), transfer_gain(5.0, 4.0, -1)
        (50.0, -25.0)
        >>> round(transfer_gain(0.03, 0.01, +1, least=1.0), 9)
        2.0
    """
    if direction not in (-1, 1):
        raise ConfigError(f"direction must be +1 (higher is better) or -1 (lower is better), found {direction!r}")
    below = max(abs(reference), least)
    if math.isnan(value) or math.isnan(reference) or below == 0:
        return math.nan
    return 100 * direction * (value - reference) / below


def delta_m(values: Mapping[str, float], reference: Mapping[str, float], directions: Mapping[str, int]) -> float:
    """Mean relative gain over the tasks, Δm, in per cent; positive is better than the reference.

    Δm = (100/K)·Σ_t s_t·(M_t − R_t)/|R_t| with one metric per task: M_t of the method, R_t of the single-task model
    of the same seed, s_t = +1 when higher is better and −1 otherwise.

    Args:
        values: M by task.
        reference: R by task, for the same tasks.
        directions: s by task.

    Returns:
        Per cent; NaN as soon as one task's gain is undefined: a mean over fewer tasks would be another quantity.

    Raises:
        ConfigError: The mappings hold different tasks.

    Examples:
        >>> delta_m({"a": 0.75, "b": 5.0}, {"a": 0.50, "b": 4.0}, {"a": 1, "b": -1})
        12.5

    Notes:
        Papers differ in the sign: some report a drop, for which lower is better. Here a gain is positive, as in the
        reference. Some average several metrics within a task first; here each task has one, its primary metric.

    References:
        Maninis, Radosavovic, Kokkinos: Attentive single-tasking of multiple tasks. CVPR 2019.
    """
    if not set(values) == set(reference) == set(directions):
        raise ConfigError(
            f"expected the same tasks in values ({', '.join(values)}), reference ({', '.join(reference)}) "
            f"and directions ({', '.join(directions)})"
        )
    if not values:
        return math.nan
    return math.fsum(transfer_gain(values[task], reference[task], directions[task]) for task in values) / len(values)


@dataclasses.dataclass(frozen=True)
class Interval:
    """Mean of paired differences and its confidence interval.

    Attributes:
        mean: Mean over the seeds.
        low: Lower bound; NaN with a single seed, or when all seeds gave the same difference.
        high: Upper bound; NaN likewise.
        sd: Standard deviation over the seeds, with n − 1; NaN with a single seed.
        n: Number of seeds.
        overlap: What the variance of the mean has beyond s²/n, in units of s²: n_test/n_train of repeated splits.
        how: How the interval came about and what it covers, in one line.
        lacking: Why there is no verdict in spite of an interval, in words; empty if there is one.
    """

    mean: float
    low: float
    high: float
    sd: float
    n: int
    overlap: float = 0.0
    how: str = ""
    lacking: str = ""

    @property
    def verdict(self) -> Verdict:
        """``"better"`` or ``"worse"`` when 0 is outside the interval; with one seed there is none.

        Nor is there one where several seeds gave the same difference to the last digits: both sides are deterministic,
        and repeating them says nothing (``"no spread"``); and where rows are too few (``"cannot tell"``).
        """
        if math.isnan(self.mean):
            return "undefined"
        if math.isnan(self.low):
            return "one seed" if self.n == 1 else "no spread"
        if self.lacking:
            return "cannot tell"
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "not separable"


def paired_interval(
    differences: Sequence[float], level: float = LEVEL, *, overlap: float = 0.0, how: str = "", lacking: str = ""
) -> Interval:
    """Student-t interval of the mean of paired differences, over seeds or over repeated splits of the rows.

    d̄ ± t_{J−1,(1+level)/2}·s·√(1/J + ρ) with d̄ the mean and s the standard deviation of J differences, one per seed.

    With ρ = 0 it is the interval of the paired t test: right for J independent repetitions, as are seeds on one split
    of the rows; it then says nothing about other rows. When every seed has a split of its own, the splits share rows,
    their differences are correlated, and s²/J is too small, however large J is: with ρ = n_test/n_train the interval is
    that of the corrected resampled t test for repeated hold-outs, and with ρ = 1/(k − 1), which is the same ratio, that
    of the corrected repeated k-fold test.

    Args:
        differences: One number per seed; values that are not finite make the whole interval NaN.
        level: Confidence level.
        overlap: ρ ≥ 0.
        how: What to say of it.
        lacking: Why no verdict can be based on it, if so.

    Returns:
        The interval; its bounds are NaN with one seed, and where all seeds gave the same difference other than 0.

    Raises:
        ConfigError: There is no difference, the level is not between 0 and 1, or the overlap is negative.

    Examples:
        >>> interval = paired_interval([1.0, 2.0, 3.0])
        >>> round(interval.low, 3), interval.mean, round(interval.high, 3), interval.verdict
        (-0.484, 2.0, 4.484, 'not separable')
        >>> wider = paired_interval([1.0, 2.0, 3.0], overlap=0.25)
        >>> round(wider.low, 3), round(wider.high, 3)
        (-1.286, 5.286)

    Notes:
        The correction takes the correlation between two splits' differences to be the share of test rows. It is close
        where the gain varies with the rows that are judged, and too careful where training is the larger part of the
        noise: the intervals then cover more often than they say (``benchmarks/verdicts.py``).

    References:
        C. Nadeau, Y. Bengio, "Inference for the generalization error", Machine Learning 52, 2003.
        R. R. Bouckaert, E. Frank, "Evaluating the replicability of significance tests for comparing learning
        algorithms", PAKDD 2004.
    """
    if not 0 < level < 1:
        raise ConfigError(f"level must be between 0 and 1, found {level}")
    if not overlap >= 0:
        raise ConfigError(f"overlap is a ratio of rows and must be at least 0, found {overlap}")
    values = np.asarray(differences, dtype=float)
    if values.size == 0:
        raise ConfigError("an interval needs at least one seed, found none")
    mean = float(values.mean())
    said = (overlap, how, lacking)
    if values.size == 1 or not np.isfinite(values).all():
        return Interval(mean, math.nan, math.nan, math.nan, values.size, *said)
    sd = float(values.std(ddof=1))
    if mean and sd <= 1e-9 * abs(mean):  # deterministic on both sides: repeating it says nothing
        return Interval(mean, math.nan, math.nan, sd, values.size, *said)
    half = half_width(sd, values.size, overlap, level)
    return Interval(mean, mean - half, mean + half, sd, values.size, *said)


def half_width(sd: float, n: int, overlap: float = 0.0, level: float = LEVEL) -> float:
    """t_{n−1,(1+level)/2}·s·√(1/n + ρ), half of what :func:`paired_interval` spans."""
    return quantile(level, n) * sd * math.sqrt(1 / n + overlap)


def seeds_needed(interval: Interval, level: float = LEVEL, limit: int = 200) -> int | None:
    """How many seeds would put 0 outside the interval, if mean and standard deviation stayed as they are.

    The smallest n with t_{n−1,(1+level)/2}·s·√(1/n + ρ) < |d̄|, ρ being the overlap of repeated splits, which no number
    of seeds takes away: then only more rows help (:func:`~polytask.study.outcome.power.rows_needed`). It is a guess to
    plan by, no promise: mean and sd are themselves estimates, and at that n the chance to see a separation is about one
    half.

    Args:
        interval: What was seen so far.
        level: Confidence level.
        limit: Give up beyond this number.

    Returns:
        The number of seeds in all, or ``None`` when more than ``limit`` would be needed or nothing can be said.

    Examples:
        >>> seeds_needed(paired_interval([1.0, 2.0, 3.0]))
        4
    """
    if not math.isfinite(interval.sd) or interval.mean == 0 or interval.verdict == "no spread":
        return None
    for n in range(2, limit + 1):
        if half_width(interval.sd, n, interval.overlap, level) < abs(interval.mean):
            return n
    return None


def quantile(level: float, n: int) -> float:
    """t_{n−1,(1+level)/2}; from scipy.special, as scipy.stats takes a second to import."""
    return float(stdtrit(n - 1, (1 + level) / 2))
