"""Intervals and sets that hold the truth as often as they say, whatever the model: split conformal prediction.

The promise, for rows that are exchangeable with the n labelled rows of ``fit`` (drawn like them, and like them not
used for fitting): the truth is inside with probability at least ``coverage``, and at most 1/(n + 1) more if scores are
distinct. It holds on average over rows, not for each kind of row.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from polytask.decide.labels import chances_of, with_labels
from polytask.errors import ConfigError, DataError

__all__ = ["AroundValue", "BetweenQuantiles", "ClassSets", "conformal_quantile"]

Array = NDArray[Any]


def conformal_quantile(scores: Any, coverage: float = 0.9) -> float:
    """The ⌈(n + 1)·coverage⌉-th smallest of n scores; ∞ where that is more than n: n rows cannot promise so much.

    Args:
        scores: How badly each of n rows conforms (n,).
        coverage: Share that is promised, in (0, 1).

    Raises:
        ConfigError: ``coverage`` is not in (0, 1).
        DataError: A score is NaN.

    Examples:
        >>> conformal_quantile([0.3, 0.1, 0.2, 0.4], 0.75), conformal_quantile([0.1, 0.2], 0.9)
        (0.4, inf)

    References:
        Vovk, Gammerman & Shafer (2005), Algorithmic learning in a random world. Lei, G'Sell, Rinaldo, Tibshirani &
        Wasserman (2018), Distribution-free predictive inference for regression, JASA 113.
    """
    if not 0 < coverage < 1:
        raise ConfigError(f"coverage must be a share in (0, 1), found {coverage!r}")
    values = np.sort(np.asarray(scores, dtype=np.float64))
    if np.isnan(values).any():
        raise DataError(f"{int(np.isnan(values).sum())} of {len(values)} scores are NaN; leave those rows out")
    # a product such as 10·0.9 must not round up past its whole number
    place = math.ceil((len(values) + 1) * coverage - 1e-9)
    return float(values[place - 1]) if place <= len(values) else math.inf


@final
@dataclasses.dataclass(frozen=True)
class AroundValue:
    """ŷ ± q, or ŷ ± q·s with a scale s of each row.

    Attributes:
        half: q.
        coverage: What is promised.
        labels: Rows that q comes from.
    """

    half: float
    coverage: float
    labels: int

    @classmethod
    def fit(cls, y: Any, value: Any, *, coverage: float = 0.9, scale: Any = None) -> AroundValue:
        """From the errors |y − ŷ|/s of rows that the model was not fitted on.

        Args:
            y: Labels (n,), NaN where missing.
            value: Predictions (n,).
            coverage: Share of rows that is promised to lie inside.
            scale: How uncertain the model says to be about each row (n,), positive; ``None`` for all alike.
        """
        both = _scaled(value, scale)
        labels, given, _ = with_labels(y, both)
        errors = np.abs(labels - given[:, 0]) / given[:, 1]
        return cls(conformal_quantile(errors, coverage), coverage, len(labels))

    def apply(self, value: Any, scale: Any = None) -> tuple[Array, Array]:
        """Lower and upper ends (n,) for predictions (n,)."""
        both = _scaled(value, scale)
        half = self.half * both[:, 1]
        half = half + _rounding(both[:, 0], half)
        return both[:, 0] - half, both[:, 0] + half


@final
@dataclasses.dataclass(frozen=True)
class BetweenQuantiles:
    """[lower − q, upper + q] from two predicted quantiles: wide where the model is unsure (q may be negative).

    Attributes:
        shift: q.
        coverage: What is promised.
        labels: Rows that q comes from.

    References:
        Romano, Patterson & Candès (2019), Conformalized quantile regression, NeurIPS.
    """

    shift: float
    coverage: float
    labels: int

    @classmethod
    def fit(cls, y: Any, low: Any, high: Any, *, coverage: float = 0.9) -> BetweenQuantiles:
        """From max(lower − y, y − upper) of rows that the model was not fitted on.

        Args:
            y: Labels (n,), NaN where missing.
            low: Lower quantiles (n,).
            high: Upper quantiles (n,).
            coverage: Share of rows that is promised to lie inside.
        """
        labels, ends, _ = with_labels(y, np.column_stack([low, high]))
        scores = np.maximum(ends[:, 0] - labels, labels - ends[:, 1])
        return cls(conformal_quantile(scores, coverage), coverage, len(labels))

    def apply(self, low: Any, high: Any) -> tuple[Array, Array]:
        """Lower and upper ends (n,); where they would cross, both are their middle."""
        bottom, top = np.asarray(low, float), np.asarray(high, float)
        middle = (bottom + top) / 2
        bottom, top = bottom - self.shift - _rounding(bottom, self.shift), top + self.shift + _rounding(top, self.shift)
        return np.minimum(bottom, middle), np.maximum(top, middle)


@final
@dataclasses.dataclass(frozen=True)
class ClassSets:
    """All classes with a probability of at least ``least``, the likeliest in any case: the smallest sets on average.

    Attributes:
        least: Probability from which a class is in the set; −∞ where so few rows cannot promise so much.
        coverage: What is promised.
        labels: Rows that q comes from.

    References:
        Sadinle, Lei & Wasserman (2019), Least ambiguous set-valued classifiers with bounded error levels, JASA 114.
    """

    least: float
    coverage: float
    labels: int

    @classmethod
    def fit(cls, y: Any, chance: Any, *, coverage: float = 0.9) -> ClassSets:
        """From −p(y) of rows that the model was not fitted on.

        Args:
            y: Labels 0 and 1, or places of classes (n,); NaN where missing.
            chance: Probability of 1 (n,), or of every class (n, C).
            coverage: Share of rows whose class is promised to be in the set.
        """
        places, chances, _ = chances_of(y, chance)
        # not 1 − p: 1 − (1 − p) may be above p, and rows with that very probability, frequent in forests, fall out
        scores = -chances[np.arange(len(places)), places]
        return cls(-conformal_quantile(scores, coverage), coverage, len(places))

    def apply(self, chance: Any) -> NDArray[np.bool_]:
        """Which classes are in the set of each row, (n, C)."""
        given = np.asarray(chance, dtype=np.float64)
        every = np.stack([1 - given, given], axis=1) if given.ndim == 1 else given
        inside = every >= self.least
        inside[np.arange(len(every)), every.argmax(axis=1)] = True
        return inside


def _rounding(value: Array, width: Any) -> Array:
    """What an end of an interval may be off by rounding, which would put rows at its very edge outside."""
    size = np.maximum(np.abs(value), np.abs(width))
    return 4 * np.finfo(np.float64).eps * np.where(np.isfinite(size), size, 0)


def _scaled(value: Any, scale: Any) -> Array:
    """Predictions and their scales (n, 2).

    Raises:
        DataError: Lengths differ, or a scale is not positive.
    """
    values = np.asarray(value, dtype=np.float64)
    scales = np.ones(len(values)) if scale is None else np.asarray(scale, dtype=np.float64)
    if values.ndim != 1 or scales.shape != values.shape:
        raise DataError(f"expected predictions and scales (n,), found shapes {values.shape} and {scales.shape}")
    if not (scales > 0).all():
        raise DataError(f"scales must be positive, found {scales.min():g}")
    return np.column_stack([values, scales])
