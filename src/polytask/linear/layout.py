"""The layouts of multi-task tables, read into :mod:`polytask.linear.tables`.

*wide*: X (n, d) shared, Y (n, T), NaN = missing. *long*: X (N, d), y (N,), one task label per row, passed as
``task=`` or as the column ``task_col`` of X. *dict*: ``{task: (X_t, y_t)}``, read as long. *single*: X, y and no task:
T = 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.validation import _check_feature_names, _check_n_features, validate_data

from polytask.errors import DataError, TaskError
from polytask.linear.core.design import is_sparse
from polytask.linear.labels import column_name, missing, read_labels, task_column
from polytask.linear.tables import Long, SharedRows, Single, Table, Wide

__all__ = ["by_task", "read_inputs", "read_table", "read_wide", "to_long", "to_wide", "unpacked"]

Array = NDArray[Any]
_Table = TypeVar("_Table", bound=Table)


def read_inputs(estimator: Any, X: Any, task: Any, *, reset: bool) -> tuple[Any, Array | None]:
    """Validate X and take the task labels from ``task`` or from the column ``estimator.task_col``.

    Args:
        estimator: Estimator whose ``n_features_in_`` and ``feature_names_in_`` are set (``reset``) or checked.
        X: Array, DataFrame or sparse matrix.
        task: Labels (n,) or None.
        reset: True in fit.

    Returns:
        X as float, and the labels or None.

    Raises:
        TaskError: Labels are missing, given twice, or of the wrong length.
    """
    column = estimator.task_col
    if column is None:
        X = validate_data(estimator, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=reset)
    else:
        if task is not None:
            raise TaskError(f"task labels given twice: as task= and as the column {column!r}; drop one of them")
        inputs, task = _split_column(X, column)
        _check_feature_names(estimator, X, reset=reset)
        _check_n_features(estimator, X, reset=reset)
        X = check_array(inputs, accept_sparse="csr", dtype=[np.float64, np.float32], estimator=estimator)
    if task is None:
        return X, None
    return X, read_labels(task, X.shape[0])


def _split_column(X: Any, column: Any) -> tuple[Any, Array]:
    """X without its column of task labels, and the labels."""
    labels = task_column(X, column)
    if hasattr(X, "columns"):
        return X.drop(columns=[column_name(X, column)]), labels
    if is_sparse(X):
        X = X.tocsr()
        return X[:, np.delete(np.arange(X.shape[1]), column)], labels
    return np.delete(np.asarray(X), column, axis=1), labels


def _read_targets(y: Any) -> Array:
    if y is None:
        raise ValueError("this estimator requires y to be passed, but the target y is None")
    y = check_array(y, ensure_2d=False, ensure_all_finite="allow-nan", dtype=None, input_name="y")
    if y.ndim > 2:
        raise ValueError(f"y must have one or two dimensions, found shape {y.shape}")
    if y.dtype.kind == "f" and np.isinf(y).any():
        raise ValueError("Input y contains infinity or a value too large for its dtype")
    return np.asarray(y)


def _read_weights(sample_weight: Any, n: int) -> Array:
    weight = check_array(sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
    weight = np.full(n, float(weight)) if weight.ndim == 0 else weight
    if weight.shape != (n,):
        raise ValueError(f"Sample weights must be 1D: expected shape ({n},), found {weight.shape}")
    if weight.min() < 0 or not weight.any():
        raise ValueError("sample_weight must be non-negative and not all zero")
    return np.asarray(weight)


def _is_dict(X: Any) -> bool:
    """Whether X is in dict layout (SciPy's DOK matrices are mappings, too)."""
    return isinstance(X, Mapping) and not is_sparse(X)


def by_task(predict: Callable[[Any, Any], Any], X: Any, task: Any) -> Any:
    """What a model says of X, or of every part of ``{task: X_t}``.

    Args:
        predict: Of inputs and their task labels or None.
        X: Inputs (n, d), or ``{task: X_t}``.
        task: Label of each row or None; not for a dict, which names its tasks.
    """
    if not _is_dict(X):
        return predict(X, task)
    return {name: predict(part, [name] * np.shape(part)[0]) for name, part in X.items()}


def unpacked(X: Any, y: Any, task: Any) -> tuple[Any, Any, Any]:
    """``{task: (X_t, y_t)}`` as X, y and labels; anything else as it is.

    Raises:
        DataError: A dict, and targets or labels beside it.
    """
    if not _is_dict(X):
        return X, y, task
    if y is not None or task is not None:
        raise DataError("with {task: (X, y)} as input, y and task must not be given")
    return _join(X)


def _part(name: Any, pair: Any) -> tuple[Any, Array]:
    """One task's inputs and targets."""
    if not (isinstance(pair, tuple | list) and len(pair) == 2):
        raise DataError(f"task {name!r}: expected a pair (X, y), found {type(pair).__name__}")
    X, y = pair[0] if hasattr(pair[0], "shape") else np.asarray(pair[0]), np.asarray(pair[1])
    if not len(y):
        raise DataError(f"task {name!r} has no rows: nothing can be learned of it; leave it out")
    if y.ndim != 1 or len(X.shape) != 2 or X.shape[0] != len(y):
        raise DataError(f"task {name!r}: expected X (n, d) and y (n,), found shapes {X.shape} and {y.shape}")
    return X, y


def _join(data: Mapping[Any, Any]) -> tuple[Any, Array, Array]:
    """{task: (X_t, y_t)} as X, y and labels with one row per sample.

    Raises:
        DataError: Empty mapping, a value which is not a pair, or a task whose rows and targets do not fit.
    """
    if not data:
        raise DataError("expected {task: (X, y)} with at least one task, found an empty mapping")
    parts = [_part(name, pair) for name, pair in data.items()]
    inputs, targets = [X for X, _ in parts], [y for _, y in parts]
    labels = np.repeat(read_labels(list(data)), [len(y) for y in targets])
    if all(hasattr(part, "columns") for part in inputs):
        import pandas as pd

        for name, part in zip(data, inputs, strict=True):
            if list(part.columns) != list(inputs[0].columns):
                raise DataError(f"task {name!r}: its columns differ from the first task's; all need the same ones")
        return pd.concat(inputs, ignore_index=True), np.concatenate(targets), labels
    widths = {name: part.shape[1] for name, part in zip(data, inputs, strict=True)}
    if len(set(widths.values())) > 1:
        raise DataError(f"all tasks need the same number of columns, found {widths}")
    if any(is_sparse(part) for part in inputs):
        return sparse.vstack(inputs, format="csr"), np.concatenate(targets), labels
    return np.concatenate([np.asarray(part) for part in inputs]), np.concatenate(targets), labels


def read_table(estimator: Any, X: Any, y: Any, task: Any, sample_weight: Any) -> Table:
    """Read any of the layouts; sets ``n_features_in_`` (and names) on the estimator.

    Args:
        estimator: Being fitted.
        X: Inputs, or ``{task: (X_t, y_t)}`` with ``y=None``.
        y: Targets.
        task: Labels (n,) or None.
        sample_weight: (n,) or None.

    Raises:
        TaskError: A task has no observed target, or labels and targets do not fit.
    """
    X, y, task = unpacked(X, y, task)
    names = _column_names(y)
    X, labels = read_inputs(estimator, X, task, reset=True)
    if labels is None:
        return _shared_rows(X, y, names, sample_weight)
    y = _targets_of_rows(X, y, names)
    weight = None if sample_weight is None else _read_weights(sample_weight, X.shape[0])
    if y.ndim == 2:
        raise TaskError("task labels per row need a target vector y (n,), found a matrix of shape " + str(y.shape))
    tasks, codes = np.unique(labels, return_inverse=True)
    return _complete(Long(X=X, y=y, codes=codes, tasks=tasks, weight=weight))


def _column_names(y: Any) -> list[str] | None:
    return [str(name) for name in y.columns] if hasattr(y, "columns") else None


def _targets_of_rows(X: Any, y: Any, names: list[str] | None) -> Array:
    y = _read_targets(y)
    check_consistent_length(X, y)
    if y.ndim == 2 and y.shape[1] == 1 and names is None:
        y = column_or_1d(y, warn=True)
    if y.ndim == 1 and missing(y).any():
        raise ValueError("Input y contains NaN. Leave the rows without a target out")
    return np.asarray(y)


def _shared_rows(X: Any, y: Any, names: list[str] | None, sample_weight: Any) -> SharedRows:
    """Rows that serve one task or several."""
    y = _targets_of_rows(X, y, names)
    weight = None if sample_weight is None else _read_weights(sample_weight, X.shape[0])
    if y.ndim == 1:
        return Single(X=X, y=y, tasks=np.array([0]), weight=weight)
    tasks = np.arange(y.shape[1]) if names is None else np.asarray(names)
    return _complete(Wide(X=X, y=y, tasks=tasks, weight=weight))


def _complete(table: _Table) -> _Table:
    """The table, if each of its tasks has a target that counts."""
    for seen, what in (
        (table.count(~missing(table.y), weighted=False), "observed target"),
        (table.count(~missing(table.y)), "target with positive sample_weight"),
    ):
        if not seen.all():
            names = ", ".join(map(str, table.tasks[seen == 0][:10]))
            raise TaskError(f"no {what} in task(s) {names}; drop them")
    return table


def read_wide(estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> SharedRows:
    """Shared rows only; sets ``n_features_in_``.

    Args:
        estimator: Being fitted.
        X: Inputs (n, d).
        y: Targets (n, T) or (n,), NaN = missing in a matrix.
        sample_weight: (n,) or None.
    """
    X = validate_data(estimator, X, accept_sparse="csr", dtype=[np.float64, np.float32])
    return _shared_rows(X, y, _column_names(y), sample_weight)


def to_long(X: Any, Y: Any, tasks: Any = None) -> tuple[Any, Array, Array]:
    """Wide to long: one row per observed target.

    Args:
        X: (n, d).
        Y: (n, T), NaN = missing; a DataFrame's columns name the tasks.
        tasks: Labels (T,) or None for the column names or 0 … T − 1.

    Returns:
        X (N, d), y (N,) and labels (N,), sorted by task.

    Examples:
        >>> import numpy as np
        >>> X, y, task = to_long(np.eye(2), np.array([[1.0, np.nan], [2.0, 3.0]]))
        >>> y.tolist(), task.tolist()
        ([1.0, 2.0, 3.0], [0, 0, 1])
    """
    values = np.asarray(Y)
    if tasks is None:
        tasks = [str(name) for name in Y.columns] if hasattr(Y, "columns") else np.arange(values.shape[1])
    column, row = np.nonzero(~missing(values).T)
    inputs = X.iloc[row].reset_index(drop=True) if hasattr(X, "iloc") else X[row]
    return inputs, values[row, column], np.asarray(tasks)[column]


def to_wide(y: Any, task: Any, row: Any = None) -> tuple[Array, Array]:
    """Long to wide: one column per task, NaN where a row has no target of the task.

    Args:
        y: (N,).
        task: Labels (N,).
        row: Sample each target belongs to (N,), non-negative integers; by default every target is a sample of its own.

    Returns:
        Y (n, T) and the labels (T,).

    Examples:
        >>> Y, tasks = to_wide([1.0, 2.0, 3.0], ["a", "a", "b"], row=[0, 1, 1])
        >>> Y.tolist(), tasks.tolist()
        ([[1.0, nan], [2.0, 3.0]], ['a', 'b'])
    """
    y = np.asarray(y, dtype=float)
    tasks, codes = np.unique(np.asarray(task), return_inverse=True)
    place = np.arange(len(y)) if row is None else np.asarray(row)
    Y = np.full((int(place.max()) + 1, len(tasks)), np.nan)
    Y[place, codes] = y
    return Y, tasks
