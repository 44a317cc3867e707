"""Columns as factors: codes of levels, and how these stand in a table."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from polytask.data.columns import coded, plain

__all__ = ["VISIT", "codes_of", "factor", "in_blocks", "is_number", "level_counts", "scores"]

Array = NDArray[np.float64]

VISIT = re.compile(r"(.*[_\s.-])?(time|days?|week|month|year|age|wave|visit|occasion|period)", re.IGNORECASE)
"""Names of columns that number the times at which something was looked at."""


def scores(label: Tensor) -> list[Array]:
    """A target as columns of numbers, NaN where missing: itself, or a column of 0 and 1 for each class.

    Of two classes the second counts, of more those with ten rows, at most the ten most frequent.
    """
    values = label.double().numpy()
    if values.ndim == 2:  # several yes/no labels, each a column
        often = np.argsort(-(values == 1).sum(axis=0), kind="stable")[:10]
        return [np.where(column < 0, np.nan, column) for column in values.T[sorted(often)]]
    if label.is_floating_point():
        return [values]
    classes, counts = np.unique(values[values >= 0], return_counts=True)
    often = classes[np.argsort(-counts, kind="stable")][:10]
    chosen = (
        sorted(often.tolist())[1:] if len(classes) == 2 else sorted(set(often.tolist()) & set(classes[counts >= 10]))
    )
    return [np.where(values < 0, np.nan, values == one) for one in chosen]


def factor(series: pd.Series[Any]) -> tuple[NDArray[np.intp], int]:
    """As :func:`codes_of`, and no levels for fractions."""
    if pd.api.types.is_float_dtype(series):
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
        for part in (values[:200], values):
            known = part[~np.isnan(part)]
            if not (np.isfinite(known) & (known == np.round(known))).all():
                return np.empty(0, dtype=np.intp), 0
    return codes_of(series)


def codes_of(series: pd.Series[Any]) -> tuple[NDArray[np.intp], int]:
    """Codes of a column's values, −1 where missing; no levels for lists and the like."""
    if not plain(series.dropna()):
        return np.empty(0, dtype=np.intp), 0
    codes, unique = pd.factorize(series)
    return codes, len(unique)


def level_counts(series: pd.Series[Any]) -> pd.Series[Any]:
    """Rows by level, as texts, in the order of their first rows."""
    places, texts = coded(series)
    return pd.Series(np.bincount(places[places >= 0], minlength=len(texts))).groupby(texts, sort=False).sum()


def is_number(series: pd.Series[Any]) -> bool:
    """Whether a column holds real numbers, not yes and no."""
    kinds = pd.api.types
    return kinds.is_numeric_dtype(series) and not kinds.is_bool_dtype(series) and not kinds.is_complex_dtype(series)


def in_blocks(codes: NDArray[np.intp]) -> bool:
    """Whether the rows of each level stand together."""
    present = codes[codes >= 0]
    runs = 1 + int((np.diff(present) != 0).sum()) if len(present) else 0
    return bool(runs <= 1.2 * (present.max(initial=0) + 1))
