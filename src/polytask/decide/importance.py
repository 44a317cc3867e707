"""What a model of several tasks looks at: importance of columns by task and for all, and the shape of their effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polytask.errors import ConfigError, DataError, unknown

__all__ = ["partial_dependence", "permutation_importance"]

Array = NDArray[Any]
Predict = Callable[[pd.DataFrame], Mapping[str, Any]]


def permutation_importance(
    predict: Predict,
    inputs: pd.DataFrame,
    targets: Mapping[str, Any],
    losses: Mapping[str, Callable[[Array, Array], float]],
    *,
    columns: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    repeats: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """How much worse each task is predicted when a column is shuffled among the rows.

    One pass of predictions serves all tasks. Columns that carry the same information cover for each other: shuffle
    them together, ``columns={"place": ["x", "y"]}``.

    Args:
        predict: From a data frame (n rows) to predictions by task.
        inputs: Rows that the model was not fitted on.
        targets: Labels by task (n,), NaN where missing.
        losses: ``loss(y, prediction) -> float`` by task, smaller is better.
        columns: Which, or named groups of them; all by default.
        repeats: Shuffles of each.
        seed: Seed of the shuffles, the same ones for every column.

    Returns:
        A row per column or group, most important first. For each task ``TASK``, the mean rise of its loss, and
        ``TASK ±``, its standard deviation over the shuffles; and ``shared``: the mean over the tasks of the share that
        the column has among the rises of all columns (falls count as 0), which is comparable between tasks.

    Raises:
        ConfigError: A column or task is unknown, or ``repeats`` is below 1.
        DataError: A task has no label.

    References:
        Breiman (2001), Random forests, Machine Learning 45. Fisher, Rudin & Dominici (2019), All models are wrong, but
        many are useful, JMLR 20.
    """
    if repeats < 1:
        raise ConfigError(f"repeats must be at least 1, found {repeats}")
    groups = _groups(inputs, columns)
    for name in losses:
        if name not in targets:
            raise ConfigError(unknown("task with a loss", name, targets))
    labels = {name: np.asarray(targets[name], dtype=np.float64) for name in losses}
    for name, known in labels.items():
        if np.isnan(known).all():
            raise DataError(f"task {name!r} has no label in these {len(known)} rows; leave it out, or give other rows")
    base = _losses(predict(inputs), labels, losses)
    random = np.random.default_rng(seed)
    orders = [random.permutation(len(inputs)) for _ in range(repeats)]
    rises = np.empty((len(groups), repeats, len(losses)))
    for row, members in enumerate(groups.values()):
        for place, order in enumerate(orders):
            shuffled = inputs.copy()
            for column in members:
                shuffled[column] = inputs[column].array.take(order)
            rises[row, place] = _losses(predict(shuffled), labels, losses) - base
    mean, spread = rises.mean(axis=1), rises.std(axis=1, ddof=1 if repeats > 1 else 0)
    risen = mean.clip(min=0)
    total = risen.sum(axis=0)
    table = pd.DataFrame(index=list(groups))
    for place, name in enumerate(losses):
        table[name], table[f"{name} ±"] = mean[:, place], spread[:, place]
    table["shared"] = np.divide(risen, total, out=np.zeros_like(risen), where=total > 0).mean(axis=1)
    return table.sort_values("shared", ascending=False, kind="stable")


def partial_dependence(
    predict: Predict, inputs: pd.DataFrame, column: str, *, values: Sequence[Any] | None = None, points: int = 20
) -> pd.DataFrame:
    """Mean prediction of each task when a column is set to one value in all rows.

    Args:
        predict: From a data frame (n rows) to predictions by task: (n,) each, or (n, C) of which each column is kept.
        inputs: Rows to average over.
        column: Whose effect is asked for.
        values: Values to set; by default all levels of a column that is no number, and quantiles of numbers.
        points: Number of quantiles.

    Returns:
        A row per value; a column per task (``TASK 0``, ``TASK 1``, … for several outputs).

    Raises:
        ConfigError: The column is unknown.

    References:
        Friedman (2001), Greedy function approximation: a gradient boosting machine, Annals of Statistics 29.
    """
    if column not in inputs:
        raise ConfigError(unknown("column", column, map(str, inputs)))
    given = inputs[column]
    if values is None:
        known = given.dropna()
        if pd.api.types.is_numeric_dtype(known) and not pd.api.types.is_bool_dtype(known):
            spread = np.quantile(known.to_numpy(np.float64), np.linspace(0, 1, points), method="nearest")
            values = np.unique(spread).tolist()
        else:
            values = sorted(known.unique().tolist(), key=lambda value: (str(type(value)), value))
    rows = {}
    for value in values:
        changed = inputs.copy()
        changed[column] = _constant(value, given)
        rows[value] = _means(predict(changed))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(column)


def _constant(value: Any, given: pd.Series[Any]) -> Any:
    """The value in all rows, in the column's own type where that can hold it: 2.5 stays 2.5 among whole numbers."""
    column = pd.Series([value] * len(given), index=given.index)
    if not pd.api.types.is_integer_dtype(given.dtype) or float(value).is_integer():
        return column.astype(given.dtype)
    return column


def _groups(inputs: pd.DataFrame, columns: Any) -> dict[str, list[str]]:
    if columns is None:
        columns = list(inputs)
    groups = dict(columns) if isinstance(columns, Mapping) else {name: [name] for name in columns}
    for members in groups.values():
        for name in members:
            if name not in inputs:
                raise ConfigError(unknown("column", str(name), map(str, inputs)))
    return {name: list(members) for name, members in groups.items()}


def _losses(
    found: Mapping[str, Any], labels: Mapping[str, Array], losses: Mapping[str, Callable[[Array, Array], float]]
) -> Array:
    values = []
    for name, loss in losses.items():
        keep = ~np.isnan(labels[name])
        values.append(float(loss(labels[name][keep], np.asarray(found[name])[keep])))
    return np.array(values)


def _means(found: Mapping[str, Any]) -> dict[str, float]:
    means = {}
    for name, values in found.items():
        average = np.asarray(values, dtype=np.float64).mean(axis=0)
        if average.ndim == 0:
            means[name] = float(average)
        else:
            means |= {f"{name} {place}": float(one) for place, one in enumerate(average)}
    return means
