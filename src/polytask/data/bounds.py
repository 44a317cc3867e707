"""Labels that are bounds, as laboratories write them: "<5", ">10", "3-7", or a number."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from polytask.errors import DataError
from polytask.tasks import Nature, Task

__all__ = ["bounds_of", "looks_bounded", "read_bounds", "without_bounds"]

_NUMBER = r"[+-]?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?"
_SIDE = re.compile(rf"(<=|>=|=<|=>|<|>|≤|≥)\s*({_NUMBER})")
_RANGE = re.compile(rf"\[?\s*({_NUMBER})\s*(?:-|–|\.\.|to|,\s)\s*({_NUMBER})\s*\]?")


def bounds_of(value: Any) -> tuple[float, float] | None:
    """The bounds that a cell says; None where it says none.

    Examples:
        >>> bounds_of("<5"), bounds_of("≥ 1,5"), bounds_of("-3 - 7"), bounds_of(4.5), bounds_of("much")
        ((-inf, 5.0), (1.5, inf), (-3.0, 7.0), (4.5, 4.5), None)
    """
    if not isinstance(value, str):
        known = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        return (float(value), float(value)) if known and math.isfinite(value) else None
    text = value.strip().replace("−", "-")
    if re.fullmatch(_NUMBER, text):
        return _number(text), _number(text)
    if side := _SIDE.fullmatch(text):
        bound = _number(side[2])
        return (-math.inf, bound) if side[1] in ("<", "<=", "=<", "≤") else (bound, math.inf)
    if between := _RANGE.fullmatch(text):
        return _number(between[1]), _number(between[2])
    return None


def _number(text: str) -> float:
    return float(text.replace(",", "."))


def looks_bounded(present: pd.Series[Any]) -> bool:
    """Whether a column of texts holds numbers, and bounds beside them with a "<" or ">"."""
    if present.dtype != object and not isinstance(present.dtype, pd.StringDtype):
        return False
    unique = list(present.unique())
    sided = [value for value in unique if isinstance(value, str) and _SIDE.fullmatch(value.strip())]
    return 0 < len(sided) < len(unique) and all(bounds_of(value) is not None for value in unique)


def read_bounds(series: pd.Series[Any], shown: str) -> NDArray[np.float64]:
    """The bounds of every row, (N, 2); NaN where missing.

    Args:
        series: The column.
        shown: What the column is, for messages.

    Raises:
        DataError: A cell says no bounds, or has them in the wrong order.
    """
    missing = series.isna().to_numpy()
    found = np.full((len(series), 2), np.nan)
    for place in np.flatnonzero(~missing):
        value = series.iloc[place]
        bounds = bounds_of(value)
        if bounds is None or bounds[0] > bounds[1]:
            raise DataError(
                f'{shown} holds bounds, but row {int(series.index[int(place)]) + 1} holds {value!r}; write "<5", '
                '">10" or "3-7", or declare it missing'
            )
        found[place] = bounds
    return found


def without_bounds(labels: Mapping[str, Tensor], tasks: Iterable[Task]) -> dict[str, Tensor]:
    """Labels of a table for those who know no bounds: of bounds (N, 2) the values that are known (N,), else NaN."""
    bounded = {task.name for task in tasks if task.rule.nature is Nature.BOUNDED}
    return {name: _known(y) if name in bounded else y for name, y in labels.items()}


def _known(bounds: Tensor) -> Tensor:
    low, high = bounds.unbind(1)
    return low.where(low == high, torch.full_like(low, math.nan))
