"""What a finished model looks at, and whom it serves: importance, partial dependence, metrics by group."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from polytask import decide
from polytask.deploy.labelled import labels_of_rows, without_labels
from polytask.errors import ConfigError, unknown
from polytask.tasks import Seen, Task

if TYPE_CHECKING:
    from polytask.deploy.finished import FinishedModel

__all__ = ["by_group", "importance", "partial_dependence"]

Array = NDArray[Any]


def importance(
    model: FinishedModel,
    rows: pd.DataFrame,
    *,
    columns: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    repeats: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """See :meth:`FinishedModel.importance`."""
    tasks = _judged(model, labels_of_rows(rows, model.interface))
    signs = {name: -model.tasks[name].directions[model.tasks[name].primary] for name in tasks}
    metrics = {name: _metric(model.tasks[name]) for name in tasks}
    inputs = _inputs(model, rows)
    found = decide.permutation_importance(
        lambda changed: _outputs(model, changed, tasks),
        inputs,
        tasks,
        {name: _loss(metrics[name], signs[name]) for name in tasks},
        columns=[str(name) for name in inputs] if columns is None else columns,
        repeats=repeats,
        seed=seed,
    )
    found.attrs["metrics"] = {name: model.tasks[name].primary for name in tasks}
    return found


def partial_dependence(
    model: FinishedModel, rows: pd.DataFrame, column: str, *, values: Sequence[Any] | None = None, points: int = 20
) -> pd.DataFrame:
    """See :meth:`FinishedModel.partial_dependence`."""

    def answers(changed: pd.DataFrame) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = model.predict(changed).select_dtypes("number")
        return {str(name): found[name].to_numpy() for name in found}

    inputs = _inputs(model, rows)
    if column not in inputs:
        raise ConfigError(unknown("input column", str(column), map(str, inputs)))
    return decide.partial_dependence(answers, inputs, column, values=values, points=points)


def by_group(
    model: FinishedModel, rows: pd.DataFrame, column: str, *, least: int = 20, draws: int = 200, seed: int = 0
) -> pd.DataFrame:
    """See :meth:`FinishedModel.by_group`."""
    if column not in rows:
        raise ConfigError(unknown("column", str(column), map(str, rows)))
    tasks = _judged(model, labels_of_rows(rows, model.interface))
    outputs = _outputs(model, _inputs(model, rows), tasks)
    parts = []
    for name, labels in tasks.items():
        task = model.tasks[name]
        table = decide.by_group(
            _metric(task), labels, outputs[name], rows[column].to_numpy(), least=least, draws=draws, seed=seed
        )
        table.insert(0, "metric", task.primary)
        parts.append(pd.concat({name: table}, names=["task", column]))
    return pd.concat(parts)


def _inputs(model: FinishedModel, rows: pd.DataFrame) -> pd.DataFrame:
    """The columns that the model uses, where rows are those of a table."""
    if model.table is None:
        return without_labels(rows, model.interface)
    return rows[[name for name in rows if name in model.table.columns]]


def _judged(model: FinishedModel, labels: Mapping[str, Array]) -> dict[str, Array]:
    """Tasks that have labels and a metric."""
    return {name: y for name, y in labels.items() if model.tasks[name].primary and np.isfinite(y).any()}


def _outputs(model: FinishedModel, rows: pd.DataFrame, tasks: Mapping[str, Any]) -> dict[str, Array]:
    return {name: said.double().numpy() for name, said in model.outputs(rows, list(tasks)).items()}


def _loss(metric: Callable[[Array, Array], float], sign: int) -> Callable[[Array, Array], float]:
    return lambda y, said: sign * metric(y, said)


def _metric(task: Task) -> Callable[[Array, Array], float]:
    """The task's primary metric of labels (NaN-free) and what its head puts out; NaN where it is undefined."""
    name = task.primary
    metric, score = task.make_metrics()[name], task.scores[name]
    no_label = None if task.missing is None else float(task.missing)

    def value(y: Array, said: Array) -> float:
        keep = np.ones(len(y), dtype=bool) if no_label is None else y != no_label
        decoded, target = task.metric_inputs(torch.from_numpy(said[keep]), torch.from_numpy(y[keep]))
        seen = Seen()
        seen.add(target, task.rule.levels)
        if not len(target) or (score.undefined and not score.partial and score.undefined(seen)):
            return float("nan")
        metric.reset()
        metric.update(decoded, target)
        return float(metric.compute())

    return value
