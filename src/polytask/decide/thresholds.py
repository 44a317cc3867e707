"""The probability from which a yes/no task says yes, chosen on rows that the model was not fitted on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from numbers import Real
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from polytask.decide.labels import chances_of
from polytask.errors import ConfigError, DataError, unknown

__all__ = ["METRICS", "Threshold", "best_threshold", "check_costs"]

Array = NDArray[Any]
Counts = Callable[[Array, Array, Array, Array], Array]


def _ratio(above: Array, below: Array) -> Array:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _f1(tp: Array, fp: Array, fn: Array, tn: Array) -> Array:
    return _ratio(2 * tp, 2 * tp + fp + fn)


def _accuracy(tp: Array, fp: Array, fn: Array, tn: Array) -> Array:
    return _ratio(tp + tn, tp + fp + fn + tn)


def _balanced_accuracy(tp: Array, fp: Array, fn: Array, tn: Array) -> Array:
    return (_ratio(tp, tp + fn) + _ratio(tn, tn + fp)) / 2


def _mcc(tp: Array, fp: Array, fn: Array, tn: Array) -> Array:
    return _ratio(tp * tn - fp * fn, np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn))


METRICS: dict[str, Counts] = {
    "f1": _f1,
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "mcc": _mcc,
}
"""What a threshold may be chosen for: functions of the (weighted) numbers of true and false positives and negatives."""


@final
@dataclasses.dataclass(frozen=True)
class Threshold:
    """A threshold, and what it was chosen by.

    Attributes:
        value: Say yes where the probability is at least this. Above 1: never.
        metric: Name of what was maximised; ``"cost"`` for the smallest cost.
        score: Its value on the rows of the choice: an optimistic one, since the threshold was chosen for it.
        at_half: Its value there with 0.5.
        labels: Number of labels.
        positives: Number of positive ones.
    """

    value: float
    metric: str
    score: float
    at_half: float
    labels: int
    positives: int

    def decide(self, chance: Any) -> NDArray[np.bool_]:
        """Yes or no for probabilities (n,); no where one is NaN."""
        return np.asarray(np.asarray(chance, dtype=np.float64) >= self.value)


def best_threshold(
    y: Any,
    chance: Any,
    metric: str = "f1",
    *,
    costs: tuple[float, float] | None = None,
    weight: Any = None,
) -> Threshold:
    """The threshold with the best metric on these rows, of all that tell them apart.

    Every cut between two neighbouring probabilities is tried, and those below all and above all. Among equally good
    ones the one nearest to 0.5 is taken.

    Args:
        y: Labels 0 and 1 (n,), NaN where missing. Take rows that the model was not fitted on: validation rows, never
            those that the result is reported on.
        chance: Probability of 1 (n,).
        metric: ``"f1"``, ``"accuracy"``, ``"balanced_accuracy"`` or ``"mcc"``.
        costs: Cost of a false alarm and of a miss; then the smallest total cost is looked for, whatever ``metric``.
            With calibrated probabilities and many rows the threshold is near first / (first + second).
        weight: (n,).

    Raises:
        ConfigError: The metric is unknown, or a cost is not positive.
        DataError: There is no label, or labels of one class only.

    Examples:
        >>> found = best_threshold([0, 0, 0, 1, 1], [0.1, 0.2, 0.3, 0.35, 0.8])
        >>> round(found.value, 3), found.score, round(found.at_half, 3)
        (0.325, 1.0, 0.667)
    """
    if costs is None and metric not in METRICS:
        raise ConfigError(unknown("metric for a threshold", metric, METRICS))
    if costs is not None:
        check_costs(costs)
    places, both, weights = chances_of(y, chance, weight)
    if both.shape[1] != 2:
        raise DataError(f"a threshold is for two classes, found probabilities of {both.shape[1]}")
    if places.min() == places.max():
        raise DataError(f"all {len(places)} labels are {places[0]}: no threshold can be told from another")
    chances = both[:, 1]
    levels, place = np.unique(chances, return_inverse=True)
    yes = np.bincount(place, weights * (places == 1), len(levels))
    no = np.bincount(place, weights * (places == 0), len(levels))
    # position k: yes from the k-th level on; the last one: never
    missed, spared = np.append(0.0, yes.cumsum()), np.append(0.0, no.cumsum())
    hits, alarms = np.append(yes[::-1].cumsum()[::-1], 0.0), np.append(no[::-1].cumsum()[::-1], 0.0)
    if costs is None:
        scores = METRICS[metric](hits, alarms, missed, spared)
    else:
        scores = -(costs[0] * alarms + costs[1] * missed) / weights.sum()
    cuts = _cuts(levels)
    best = scores >= scores.max() - 1e-12 * max(1.0, abs(scores.max()))
    chosen = np.flatnonzero(best)[np.abs(cuts[best] - 0.5).argmin()]
    half = int(np.searchsorted(levels, 0.5))
    sign = 1.0 if costs is None else -1.0
    return Threshold(
        float(cuts[chosen]),
        metric if costs is None else "cost",
        float(sign * scores[chosen]),
        float(sign * scores[half]),
        len(places),
        int(places.sum()),
    )


def check_costs(costs: Any) -> None:
    """Check the costs of a false alarm and of a miss.

    Raises:
        ConfigError: They are not two positive numbers.
    """
    pair = isinstance(costs, (tuple, list)) and len(costs) == 2
    if not pair or not all(isinstance(cost, Real) and math.isfinite(cost) and float(cost) > 0 for cost in costs):
        raise ConfigError(f"costs must be two positive numbers, a false alarm's and a miss's, found {costs!r}")


def _cuts(levels: Array) -> Array:
    """Values between neighbouring levels, one below all of them and one above."""
    above = (levels[-1] + 1) / 2 if levels[-1] < 1 else np.nextafter(1.0, 2.0)
    between = (levels[:-1] + levels[1:]) / 2
    # rounding may put the middle of two neighbours on the lower one
    between = np.where(between > levels[:-1], between, levels[1:])
    return np.concatenate([[levels[0] / 2], between, [above]])
