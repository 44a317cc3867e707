"""Folds of a table: a number of them, or the user's splitter."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import check_cv

from polytask.errors import DataError
from polytask.linear.tables import Table

__all__ = ["row_folds"]

Array = NDArray[Any]


def row_folds(cv: Any, table: Table) -> list[tuple[Array, Array]]:
    """Folds of a table: a number of task-stratified folds, or the user's splitter.

    Args:
        cv: Number of folds, splitter, or iterable of (train, test).
        table: The data.

    Raises:
        DataError: Too few rows, or a fold without training or test rows.
    """
    folds = [(_places(train), _places(test)) for train, test in _folds(cv, table)]
    for k, (train, test) in enumerate(folds):
        if not (len(train) and len(test)):
            raise DataError(
                f"fold {k} of {len(folds)} has {len(train)} training and {len(test)} test rows; "
                "every fold needs both: use fewer folds"
            )
    return folds


def _places(rows: Any) -> Array:
    """Row numbers, also of a mask."""
    rows = np.asarray(rows)
    return np.flatnonzero(rows) if rows.dtype == bool else rows


def _folds(cv: Any, table: Table) -> list[tuple[Array, Array]]:
    if not (cv is None or isinstance(cv, int | np.integer)):
        return table.split(check_cv(cv))
    n, count = len(table.y), 5 if cv is None else int(cv)
    if n < 2:
        raise DataError(f"cross-validation needs at least two rows, found n_samples={n}")
    if count > n:
        raise DataError(f"cv={count} folds of n_samples={n} rows; use at most {n} folds")
    return table.split(table.splitter(count))
