"""Rows and columns of inputs in the form in which the user has them: arrays, sparse matrices, data frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from polytask.errors import DataError

__all__ = ["appended", "readable", "rows_of"]

Array = NDArray[Any]


def readable(X: Any) -> Any:
    """Inputs of which rows can be taken: a data frame or a sparse matrix stays one, anything else becomes an array.

    Raises:
        DataError: They are no matrix with rows and columns.
    """
    if not hasattr(X, "iloc"):
        X = sparse.csr_matrix(X) if sparse.issparse(X) else np.asarray(X)  # type: ignore[call-overload]
    if X.ndim != 2:
        raise DataError(
            f"inputs must be a matrix (n, d), found shape {X.shape}. Reshape your data: X.reshape(-1, 1) "
            "for a single column, X.reshape(1, -1) for a single row"
        )
    for count, what in zip(X.shape, ("sample", "feature"), strict=True):
        if count == 0:
            raise DataError(f"0 {what}(s) (shape={X.shape}) while a minimum of 1 is required.")
    if getattr(X, "dtype", np.dtype(float)).kind == "c":
        raise DataError("Complex data not supported")
    return X


def rows_of(X: Any, rows: Array) -> Any:
    """The rows with these numbers.

    Args:
        X: Inputs with n rows.
        rows: Row numbers, or a mask (n,).
    """
    from sklearn.utils import _safe_indexing

    return _safe_indexing(X, np.flatnonzero(rows) if rows.dtype == bool else rows)


def appended(X: Any, columns: Sequence[Array], names: Iterable[str]) -> Any:
    """Inputs with further columns at the end.

    Args:
        X: Inputs (n, d): an array, a sparse matrix or a data frame, which stays one.
        columns: Arrays (n,).
        names: Their names, for a data frame; one that is taken gets a prime.

    Examples:
        >>> appended(np.zeros((2, 1)), [np.ones(2)], ["a"]).tolist()
        [[0.0, 1.0], [0.0, 1.0]]
    """
    if not columns:
        return X
    if hasattr(X, "iloc"):
        import pandas as pd

        X = X.set_axis(X.columns.astype(str), axis=1)  # learners want names of one type
        free: list[str] = []
        for name in names:
            free.append(_unlike(name, {*X.columns, *free}))
        return pd.concat([X, pd.DataFrame(dict(zip(free, columns, strict=True)), index=X.index)], axis=1)
    if sparse.issparse(X):
        both: list[Any] = [X, sparse.csr_matrix(np.column_stack(columns))]
        return sparse.hstack(both, format="csr")
    return np.column_stack([np.asarray(X), *columns])


def _unlike(name: str, taken: set[str]) -> str:
    return name if name not in taken else _unlike(f"{name}'", taken)
