"""Labels of rows that a user has: the columns of a model's tasks, as numbers in their natural units."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polytask.data.columns import levels, numbers
from polytask.data.interface import Interface
from polytask.data.opening import open_table
from polytask.errors import DataError
from polytask.tasks import Task

__all__ = ["labels_of_rows", "without_labels"]

Array = NDArray[Any]


def labels_of_rows(rows: Any, interface: Interface, tasks: Iterable[str] | None = None) -> dict[str, Array]:
    """Labels by task (n,), NaN where missing: places of classes, numbers in the task's unit.

    Args:
        rows: A DataFrame with input columns, and a column named like each task whose labels are known.
        interface: Of the model.
        tasks: Which tasks; those that have a column by default.

    Raises:
        DataError: There is no such column, or a label is none of the task's classes or no number.
    """
    if not isinstance(rows, pd.DataFrame):
        raise DataError(f"expected a DataFrame with labels beside the inputs, found {type(rows).__name__}")
    one_column = [name for name, task in interface.tasks.items() if task.rule.nature.one_column]
    wanted = [name for name in one_column if name in rows] if tasks is None else list(tasks)
    if not wanted:
        raise DataError(
            f"none of the {len(rows.columns)} columns holds the labels of a task; expected a column named "
            f"{' or '.join(map(repr, one_column[:5])) or 'like a task with one label per row'}"
        )
    for name in wanted:
        if name not in rows:
            raise DataError(f"there is no column {name!r} with the labels of that task")
    frame = rows[wanted]
    if "said" not in rows.attrs:  # else it was opened when its file was read
        frame = open_table(frame, **interface.opening).frame
    return {name: _labels(frame[name], interface.tasks[name]) for name in wanted}


def without_labels(rows: pd.DataFrame, interface: Interface) -> pd.DataFrame:
    """The rows without the columns of tasks, which a model must not see and need not be told of."""
    inputs = interface.table.columns if interface.table is not None else ()
    return rows.drop(columns=[name for name in interface.tasks if name in rows and name not in inputs])


def _labels(column: pd.Series[Any], task: Task) -> Array:
    if not task.rule.nature.classes:
        return numbers(column, target=True)
    names = range(task.classes or 2) if task.labels is None else task.labels
    place = {str(name): float(k) for k, name in enumerate(names)}
    texts = levels(column)
    found = np.array([np.nan if text is None else place.get(text, -1.0) for text in texts], dtype=np.float64)
    if (found < 0).any():  # "1.0" and "01" are the class 1, as they were when the model was trained
        read = levels(pd.to_numeric(column.astype(object), errors="coerce"))
        again = np.array([place.get(text, -1.0) for text in read], dtype=np.float64)
        found = np.where(found < 0, again, found)
    odd = np.flatnonzero(found < 0)
    if len(odd):
        known = ", ".join(map(repr, list(place)[:8]))
        raise DataError(
            f"column {task.name!r}: {texts[odd[0]]!r} ({len(odd)} of {len(found)} labels) is none of the classes of "
            f"that task: {known}; correct it, or leave those rows out"
        )
    return found
