"""Task labels, and which entries of an array are missing: NaN, None, pandas' NA and NaT alike."""

from __future__ import annotations

from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polytask.errors import TaskError
from polytask.linear.core.design import is_sparse

__all__ = ["column_name", "missing", "read_labels", "task_column"]

Array = NDArray[Any]


def missing(values: Array) -> Array:
    """Which entries are missing, shaped like the array.

    Args:
        values: Any array.

    Examples:
        >>> import numpy as np
        >>> missing(np.array(["a", None, float("nan")], dtype=object)).tolist()
        [False, True, True]
    """
    if values.dtype.kind == "f":
        return np.asarray(np.isnan(values))
    if values.dtype.kind in "mM":
        return np.asarray(np.isnat(values))
    if values.dtype == object:
        import pandas as pd

        return np.asarray(pd.isna(values))
    return np.zeros(values.shape, bool)


def read_labels(task: Any, rows: int | None = None) -> Array:
    """Task labels (n,) of one sortable type; whole floats are ids that travelled through a float matrix.

    Args:
        task: One label per row: numbers, text, dates, categories.
        rows: How many are expected.

    Raises:
        TaskError: Wrong shape, a missing label, or labels that cannot be sorted.

    Examples:
        >>> read_labels([2.0, 1.0]).tolist(), read_labels(["b", "a"]).tolist()
        ([2, 1], ['b', 'a'])
    """
    if isinstance(task, list | tuple):
        plain = np.empty(len(task), dtype=object)  # NumPy would write None, NaN and numbers beside text as text
        plain[:] = task
        task = plain
    labels = np.asarray(task)
    expected = "(n,)" if rows is None else f"({rows},)"
    if labels.ndim != 1 or (rows is not None and len(labels) != rows):
        raise TaskError(f"task labels must be one per row: expected shape {expected}, found {labels.shape}")
    gone = np.flatnonzero(missing(labels))
    if gone.size:
        raise TaskError(
            f"task labels hold {labels[gone[0]]!r} in row {gone[0]} and {gone.size} rows in all; "
            "every row needs a task: drop these rows, or give them a label of their own"
        )
    if labels.dtype == object:
        labels = _one_type(labels)
    if labels.dtype.kind == "f" and np.all(labels == np.round(labels)):
        labels = labels.astype(np.int64)
    return labels


def _one_type(labels: Array) -> Array:
    """Objects as text or numbers where they are; sortable objects as they are."""
    if all(isinstance(label, str) for label in labels):
        return labels.astype(str)
    if all(isinstance(label, Number) for label in labels):
        return np.array(labels.tolist())
    kinds = sorted({type(label).__name__ for label in labels})
    try:
        np.unique(labels)
    except TypeError as error:
        raise TaskError(
            f"task labels must be of one sortable type, found {' and '.join(kinds)}; turn all into text: "
            "[str(label) for label in labels]"
        ) from error
    if any(hasattr(label, "__len__") and not isinstance(label, str) for label in labels):
        raise TaskError(f"task labels must be numbers, text or dates, found {' and '.join(kinds)}; join them to text")
    return labels


def column_name(X: Any, column: Any) -> Any:
    """The name of a DataFrame's column given by name or, where no column is called so, by number.

    Args:
        X: DataFrame.
        column: ``task_col``.

    Raises:
        TaskError: No such column, or several.
    """
    names = list(X.columns)
    shown = ", ".join(map(str, names[:20]))
    if column in names:
        if names.count(column) > 1:
            raise TaskError(f"task_col={column!r} names {names.count(column)} columns of X; give each its own name")
        return column
    if isinstance(column, str) or not -len(names) <= column < len(names):
        raise TaskError(f"task_col={column!r} is not a column of X; columns: {shown}")
    return names[column]


def task_column(X: Any, column: Any) -> Array:
    """Task labels from a column of X, as they stand there.

    Args:
        X: DataFrame, array or sparse matrix.
        column: Name of a DataFrame's column, or a column number.

    Raises:
        TaskError: No such column.
    """
    if hasattr(X, "columns"):
        return np.asarray(X[column_name(X, column)])
    if isinstance(column, str):
        raise TaskError(f"task_col={column!r} names a column, but X has none: pass a DataFrame or a column number")
    X = X.tocsr() if is_sparse(X) else np.asarray(X)
    if X.ndim != 2 or not -X.shape[1] <= column < X.shape[1]:
        raise TaskError(f"task_col={column!r} does not fit X of shape {X.shape}")
    if is_sparse(X):
        return np.asarray(X[:, [column % X.shape[1]]].todense()).ravel()
    return np.asarray(X[:, column])
