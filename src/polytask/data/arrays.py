"""Tensors from arrays, frames and lists, without a number changed unsaid."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from polytask.errors import DataError

__all__ = ["tensor_of"]


def tensor_of(what: str, value: Any) -> Tensor:
    """A tensor with the same numbers.

    Tensors are taken as they are. NumPy arrays, pandas frames and series, and lists become tensors: real numbers in
    PyTorch's default type, with NaN where one is missing (``None``, ``pd.NA``), whole numbers as 64-bit integers.

    Args:
        what: Name of the value, for messages.
        value: Numbers.

    Raises:
        DataError: There are texts or lists of different lengths in it, or a number is too large for the type.

    Examples:
        >>> tensor_of("target 'age'", [30, None, 52])
        tensor([30., nan, 52.])
    """
    if isinstance(value, Tensor):
        return value
    try:
        array = value.to_numpy() if hasattr(value, "to_numpy") else np.asarray(value)
        if array.dtype == object:  # missing values among numbers, or columns of several types
            array = _numbers(array)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{what} must be numbers, found {type(value).__name__} ({error}); encode texts as numbers, or read the "
            "table with polytask.data.read_table"
        ) from error
    if array.dtype.kind not in "fiub":
        raise DataError(
            f"{what} must be numbers, found {type(value).__name__} of type {array.dtype}; encode it as numbers first"
        )
    if array.dtype.kind == "f":
        return _real(what, array)
    return torch.from_numpy(np.array(array, dtype=bool if array.dtype.kind == "b" else np.int64))


def _numbers(array: np.ndarray) -> np.ndarray:
    import pandas as pd

    missing = pd.isna(array)
    if any(isinstance(entry, str) for entry in array[~missing].flat):
        raise TypeError("there is a text in it")
    return np.where(missing, np.nan, array).astype(np.float64)


def _real(what: str, array: np.ndarray) -> Tensor:
    values = torch.from_numpy(np.array(array, dtype=np.float64)).to(torch.get_default_dtype())
    lost = values.isinf().numpy() & np.isfinite(array)
    if lost.any():
        row, kind = int(np.argwhere(lost)[0][0]), str(values.dtype).removeprefix("torch.")
        raise DataError(
            f"{what}: {float(array[lost][0]):g} in row {row} is too large for {kind}; "
            "divide the column by a constant, or leave the row out"
        )
    return values
