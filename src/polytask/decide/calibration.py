"""Are probabilities what they say? Measures of it, and maps that mend it."""

from __future__ import annotations

import dataclasses
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_softmax, softmax

from polytask.decide.labels import chances_of
from polytask.errors import ConfigError, DataError

__all__ = ["Isotonic", "Reliability", "Temperature", "brier", "expected_calibration_error", "reliability"]

Array = NDArray[Any]
TINY = 1e-15
"""Smallest probability that a map tells apart from 0."""
STEEPEST = 100.0
"""Largest 1/T, where every row is right and none is best; and largest T, where probabilities say nothing."""


@final
@dataclasses.dataclass(frozen=True)
class Reliability:
    """How often what is said with a probability comes true, by bins of the probability.

    Attributes:
        low: Lower edges of the bins that hold rows (b,).
        high: Upper edges.
        said: Mean probability of each.
        seen: Share that came true.
        labels: (Weighted) number of rows.
        error_low: Lower end of the 95 % interval of ``seen`` (Wilson).
        error_high: Upper end.
    """

    low: Array
    high: Array
    said: Array
    seen: Array
    labels: Array
    error_low: Array
    error_high: Array


def brier(y: Any, chance: Any, weight: Any = None) -> float:
    """Brier score: mean of (p − y)² for two classes; of Σ_c (p_c − [y = c])² for more, its original form, in [0, 2].

    Args:
        y: Labels 0 and 1, or places of classes (n,); NaN where missing.
        chance: Probability of 1 (n,), or of every class (n, C).
        weight: (n,).

    Examples:
        >>> brier([1, 0], [0.8, 0.4])
        0.1

    References:
        Brier (1950), Verification of forecasts expressed in terms of probability, Monthly Weather Review 78.
    """
    places, chances, weights = chances_of(y, chance, weight)
    truth = np.eye(chances.shape[1])[places]
    squares = ((chances - truth) ** 2).sum(axis=1) / (2 if chances.shape[1] == 2 else 1)
    return float(np.average(squares, weights=weights))


def reliability(y: Any, chance: Any, *, bins: int = 10, equal: str = "width", weight: Any = None) -> Reliability:
    """Said and seen shares by bins: of 1 for two classes, of the predicted class for more.

    Args:
        y: As in :func:`brier`.
        chance: As in :func:`brier`.
        bins: Number of bins.
        equal: ``"width"``, or ``"count"`` for bins of about as many rows each.
        weight: (n,).

    Raises:
        ConfigError: ``bins`` or ``equal`` is not allowed.
    """
    if bins < 1 or equal not in ("width", "count"):
        raise ConfigError(f"expected bins ≥ 1 and equal='width' or 'count', found {bins} and {equal!r}")
    places, chances, weights = chances_of(y, chance, weight)
    if chances.shape[1] == 2:
        said, true = chances[:, 1], (places == 1).astype(float)
    else:
        said, true = chances.max(axis=1), (chances.argmax(axis=1) == places).astype(float)
    edges = np.linspace(0, 1, bins + 1)
    if equal == "count":
        edges = np.unique(np.concatenate([[0.0], np.quantile(said, edges[1:-1]), [1.0]]))
    place = np.searchsorted(edges[1:-1], said, side="right")
    count = np.bincount(place, weights, len(edges) - 1)
    held = count > 0
    mean = np.bincount(place, weights * said, len(edges) - 1)[held] / count[held]
    seen = np.bincount(place, weights * true, len(edges) - 1)[held] / count[held]
    # of weighted rows, as many as would be as uncertain (Kish)
    effective = count[held] ** 2 / np.bincount(place, weights**2, len(edges) - 1)[held]
    low, high = _wilson(seen, effective)
    return Reliability(edges[:-1][held], edges[1:][held], mean, seen, count[held], low, high)


def expected_calibration_error(
    y: Any, chance: Any, *, bins: int = 15, equal: str = "width", weight: Any = None
) -> float:
    """Σ_b (n_b/n)·|said_b − seen_b| over the bins of :func:`reliability`; 15 of equal width as in Guo et al.

    It is never 0 for a finite sample, also of a perfect model: compare it to that of other models on the same rows.

    Args:
        y: As in :func:`brier`.
        chance: As in :func:`brier`.
        bins: Number of bins.
        equal: As in :func:`reliability`.
        weight: (n,).

    Examples:
        >>> round(expected_calibration_error([1, 1, 0, 1], [0.9, 0.9, 0.9, 0.9]), 3)
        0.15

    References:
        Guo, Pleiss, Sun & Weinberger (2017), On calibration of modern neural networks, ICML.
    """
    table = reliability(y, chance, bins=bins, equal=equal, weight=weight)
    return float(np.average(np.abs(table.said - table.seen), weights=table.labels))


@final
@dataclasses.dataclass(frozen=True)
class Temperature:
    """Probabilities softmax(log p / T), with the T of the smallest log loss on rows that the model was not fitted on.

    The order of the classes, and so accuracy, stays as it is. T > 1: the model was too sure.

    Attributes:
        value: T.

    References:
        Guo, Pleiss, Sun & Weinberger (2017), On calibration of modern neural networks, ICML.
    """

    value: float

    @classmethod
    def fit(cls, y: Any, chance: Any, weight: Any = None) -> Temperature:
        """The best T, at which Σ_i w_i·(E_p[log p_i] − log p_i[y_i]) = 0, with E_p the mean over the map's classes.

        Args:
            y: As in :func:`brier`.
            chance: As in :func:`brier`.
            weight: (n,).

        Raises:
            DataError: All labels are the same.
        """
        places, chances, weights = _of_two_classes(y, chance, weight)
        scores = _scores(chances)
        right = scores[np.arange(len(places)), places]

        def slope(sharpness: float) -> float:
            expected = (softmax(sharpness * scores, axis=1) * scores).sum(axis=1)
            return float(np.average(expected - right, weights=weights))

        low, high = 1 / STEEPEST, STEEPEST
        if slope(low) >= 0:
            return cls(1 / low)
        if slope(high) <= 0:
            return cls(1 / high)
        return cls(1 / float(brentq(slope, low, high, xtol=1e-12, rtol=1e-12)))

    def apply(self, chance: Any) -> Array:
        """Mended probabilities, in the shape of ``chance``: (n,) or (n, C)."""
        given = np.asarray(chance, dtype=np.float64)
        mended = softmax(_scores(_every(given)) / self.value, axis=1)
        return mended[:, 1] if given.ndim == 1 else mended


@final
@dataclasses.dataclass(frozen=True)
class Isotonic:
    """The best never-falling step function of a probability (binary), or of each class's against the rest, normalised.

    It can mend any distortion, and wants more rows than a temperature: some hundred labels of each class.

    Attributes:
        said: Places of the steps, one array per class.
        seen: Values there.

    References:
        Zadrozny & Elkan (2002), Transforming classifier scores into accurate multiclass probability estimates, KDD.
    """

    said: tuple[Array, ...]
    seen: tuple[Array, ...]

    @classmethod
    def fit(cls, y: Any, chance: Any, weight: Any = None) -> Isotonic:
        """Fit by least squares under monotony.

        Args:
            y: As in :func:`brier`.
            chance: As in :func:`brier`.
            weight: (n,).

        Raises:
            DataError: All labels are the same.
        """
        from sklearn.isotonic import IsotonicRegression

        places, chances, weights = _of_two_classes(y, chance, weight)
        columns = [1] if chances.shape[1] == 2 else range(chances.shape[1])
        maps = [
            IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(
                chances[:, column], places == column, sample_weight=weights
            )
            for column in columns
        ]
        return cls(tuple(one.X_thresholds_ for one in maps), tuple(one.y_thresholds_ for one in maps))

    def apply(self, chance: Any) -> Array:
        """Mended probabilities, in the shape of ``chance``: (n,) or (n, C)."""
        given = np.asarray(chance, dtype=np.float64)
        every = _every(given)
        if len(self.said) == 1:
            yes = np.interp(every[:, 1], self.said[0], self.seen[0])
            return yes if given.ndim == 1 else np.stack([1 - yes, yes], axis=1)
        parts = [np.interp(every[:, place], *one) for place, one in enumerate(zip(self.said, self.seen, strict=True))]
        mended = np.stack(parts, axis=1)
        total = mended.sum(axis=1, keepdims=True)
        return np.where(total > 0, mended / np.where(total > 0, total, 1), every)


def _of_two_classes(y: Any, chance: Any, weight: Any) -> tuple[Array, Array, Array]:
    places, chances, weights = chances_of(y, chance, weight)
    if places.min() == places.max():
        raise DataError(f"all {len(places)} labels are {places[0]}: they cannot tell how sure to be")
    return places, chances, weights


def _every(chance: Array) -> Array:
    """Probabilities of all classes (n, C)."""
    return np.stack([1 - chance, chance], axis=1) if chance.ndim == 1 else chance


def _scores(chances: Array) -> Array:
    found: Array = log_softmax(np.log(chances.clip(TINY, None)), axis=1)
    return found


def _wilson(share: Array, count: Array, z: float = 1.959963984540054) -> tuple[Array, Array]:
    """95 % interval of a share."""
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return (middle - half).clip(0, 1), (middle + half).clip(0, 1)  # at shares 0 and 1 rounding would leave [0, 1]
