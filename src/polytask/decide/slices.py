"""How well a model serves the groups among its rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polytask.errors import ConfigError, DataError

__all__ = ["by_group"]

Array = NDArray[Any]


def by_group(
    metric: Callable[[Array, Array], float],
    y: Any,
    prediction: Any,
    groups: Any,
    *,
    least: int = 20,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """A metric in each group, and its difference to the other rows with a 95 % bootstrap interval.

    Intervals are those of one comparison: among twenty groups that do not differ, one is expected to look different.

    Args:
        metric: ``metric(y, prediction) -> float``, as in :mod:`sklearn.metrics`; ``ValueError`` or NaN where undefined.
        y: Labels (n,), NaN where missing.
        prediction: (n,) or (n, C).
        groups: Group of each row (n,); missing ones are a group ``"missing"``.
        least: Labels below which a group is not judged.
        draws: Bootstrap samples.
        seed: Seed of the samples.

    Returns:
        A row per group, most labels first: ``labels``, ``value``, ``difference`` (group minus the other rows), ``low``
        and ``high`` of it; NaN where a group has too few labels or the metric is undefined.

    Raises:
        ConfigError: ``least`` or ``draws`` is below 1.
        DataError: Lengths differ.

    Examples:
        >>> from sklearn.metrics import mean_absolute_error
        >>> y, found = np.zeros(100), np.repeat([0.0, 1.0], 50)
        >>> table = by_group(mean_absolute_error, y, found, np.repeat(["a", "b"], 50))
        >>> float(table.loc["b", "difference"]), bool(table.loc["b", "low"] > 0)
        (1.0, True)
    """
    if least < 1 or draws < 1:
        raise ConfigError(f"least and draws must be at least 1, found {least} and {draws}")
    labels, found = np.asarray(y, dtype=np.float64), np.asarray(prediction)
    column = pd.Series(groups).astype(object).reset_index(drop=True)
    names: Array = column.where(column.notna(), "missing").to_numpy()
    if len(found) != len(labels) or len(names) != len(labels):
        raise DataError(
            f"expected as many predictions and groups as labels, found {len(found)}, {len(names)} and {len(labels)}"
        )
    keep = ~np.isnan(labels)
    labels, found, names = labels[keep], found[keep], names[keep]
    random = np.random.default_rng(seed)
    rows = {}
    for name, count in pd.Series(names, dtype=object).value_counts().items():
        inside = names == name
        value = _value(metric, labels[inside], found[inside]) if count >= least else np.nan
        rest = _value(metric, labels[~inside], found[~inside]) if (~inside).sum() >= least else np.nan
        low, high = np.nan, np.nan
        if np.isfinite(value - rest):
            low, high = _interval(metric, labels, found, inside, draws, random)
        rows[name] = {"labels": int(count), "value": value, "difference": value - rest, "low": low, "high": high}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["labels", "value", "difference", "low", "high"])


def _interval(
    metric: Callable[[Array, Array], float], y: Array, found: Array, inside: Array, draws: int, random: Any
) -> tuple[float, float]:
    here, there = np.flatnonzero(inside), np.flatnonzero(~inside)
    differences = []
    for _ in range(draws):
        one, two = random.choice(here, len(here)), random.choice(there, len(there))
        differences.append(_value(metric, y[one], found[one]) - _value(metric, y[two], found[two]))
    low, high = np.nanquantile(differences, [0.025, 0.975])
    return float(low), float(high)


def _value(metric: Callable[[Array, Array], float], y: Array, prediction: Array) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scikit-learn, where a sample of a group holds one class only
        try:
            return float(metric(y, prediction))
        except ValueError:  # one class only, too few rows
            return float("nan")
