"""From a table's columns to tensors: fitted once on training rows, usable on any later table."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from polytask.data.columns import Column, by_value, coded, dates, levels, numbers, row_number
from polytask.data.moments import CYCLES
from polytask.data.spec import InputSpec
from polytask.errors import DataError, unknown

__all__ = ["CategoryColumn", "NumberColumn", "TableEncoder"]

_ALL = slice(None)
_BLOCK = 8_192  # rows that are encoded at once


@final
@dataclasses.dataclass(frozen=True)
class NumberColumn:
    """How a numeric column is encoded: (x − mean) / scale, the mean where x is missing.

    Attributes:
        name: Column.
        role: ``"numeric"``, ``"boolean"`` (0 or 1) or ``"date"`` (days since 1970).
        mean: Mean over the training rows.
        scale: Standard deviation over the training rows.
        indicator: Whether a second feature says 1 where x is missing: when some training row misses it.
        format: How its dates are written.
        cycles: Cycles of dates; each gives sine and cosine of where in it a date lies, both 0 where it is missing.
    """

    name: str
    role: str
    mean: float
    scale: float
    indicator: bool
    format: str = ""
    cycles: tuple[str, ...] = ()


@final
@dataclasses.dataclass(frozen=True)
class CategoryColumn:
    """How a categorical column is encoded: code 0 for missing, rare or unseen, k for the k-th of ``levels``.

    Attributes:
        name: Column.
        levels: Categories, in order.
        rare: Number of categories with too few training rows to be one of their own.
    """

    name: str
    levels: tuple[str, ...]
    rare: int = 0


@final
@dataclasses.dataclass(frozen=True)
class TableEncoder:
    """The fitted encoding of a table.

    Attributes:
        numeric: Numeric columns, in order; their missing indicators and the cycles of dates follow as further numeric
            features.
        categorical: Categorical columns, in order.

    Examples:
        >>> rows = pd.DataFrame({"age": [20.0, 40.0, None], "sex": ["f", "m", "f"]})
        >>> encoder = TableEncoder.fit(rows, [Column("age", "numeric"), Column("sex", "categorical")])
        >>> encoder.features
        ('age', 'age missing')
        >>> later = encoder.encode(pd.DataFrame({"sex": ["x", "m"], "age": [30.0, None]}))
        >>> later["categorical"].tolist(), later["numeric"].tolist()
        ([[0], [2]], [[0.0, 0.0], [0.0, 1.0]])
    """

    numeric: tuple[NumberColumn, ...]
    categorical: tuple[CategoryColumn, ...]

    @classmethod
    def fit(
        cls, frame: pd.DataFrame, columns: Iterable[Column], rows: NDArray[np.int64] | slice = _ALL
    ) -> TableEncoder:
        """Learn means, scales and levels.

        Args:
            frame: The table.
            columns: What each column is; dropped ones are left out.
            rows: Positions of the training rows; nothing else is seen here.

        Raises:
            DataError: No column is left, or one holds values that do not fit its role.
        """
        number_columns, category_columns = [], []
        for column in columns:
            if column.role == "dropped":
                continue
            series = _series(frame, column.name).iloc[rows]
            if column.role == "categorical":
                codes, texts = coded(series)
                counts = pd.Series(np.bincount(codes[codes >= 0], minlength=len(texts))).groupby(texts).sum()
                kept = tuple(sorted(counts.index[counts >= column.least], key=by_value))
                category_columns.append(CategoryColumn(column.name, kept, len(counts) - len(kept)))
                continue
            values = _values(series, column.role, column.format)
            present = values[~np.isnan(values)]
            mean = float(present.mean()) if len(present) else 0.0
            spread = float(present.std()) if len(present) else 0.0
            # A spread that is rounding noise of the mean is a constant column.
            scale = spread if spread > 1e-12 * max(abs(mean), 1e-300) else 1.0
            missing = len(present) < len(values)
            number_columns.append(
                NumberColumn(column.name, column.role, mean, scale, missing, column.format, column.cycles)
            )
        if not number_columns and not category_columns:
            raise DataError("no input column is left; every column is a target, ignored or dropped")
        return cls(tuple(number_columns), tuple(category_columns))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns a table needs in order to be encoded."""
        return (*(column.name for column in self.numeric), *(column.name for column in self.categorical))

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the numeric features: values, missing indicators, cycles."""
        values = [column.name for column in self.numeric]
        gaps = [f"{column.name} missing" for column in self.numeric if column.indicator]
        turns = [f"{column.name} {cycle} {wave}" for column, cycle in self._cycles for wave in ("sin", "cos")]
        return (*values, *gaps, *turns)

    @property
    def _cycles(self) -> list[tuple[NumberColumn, str]]:
        return [(column, cycle) for column in self.numeric for cycle in column.cycles]

    @property
    def inputs(self) -> InputSpec:
        """What an encoded row is."""
        return InputSpec(
            "table",
            numeric=len(self.features),
            cardinalities=tuple(len(column.levels) + 1 for column in self.categorical),
        )

    def encode(self, frame: pd.DataFrame) -> dict[str, Tensor]:
        """Encode rows, of the training table or of any later one; further columns are ignored.

        Args:
            frame: Rows, (N, …), with the columns :attr:`columns`.

        Returns:
            ``numeric``, (N, n) float32, and ``categorical``, (N, m) int64.

        Raises:
            DataError: A column is missing, or holds text among numbers or an infinity.
        """
        rows = len(frame)
        features = np.empty((rows, len(self.features)), dtype=np.float32)
        columns = [_values(_series(frame, number.name), number.role, number.format) for number in self.numeric]
        for start in range(0, rows, _BLOCK):
            block = slice(start, start + _BLOCK)
            self._fill(features[block], [values[block] for values in columns])
        codes = np.zeros((rows, len(self.categorical)), dtype=np.int64)
        for j, category in enumerate(self.categorical):
            places, texts = coded(_series(frame, category.name))
            known = pd.Index(category.levels, dtype=object).get_indexer(pd.Index(texts, dtype=object)) + 1
            codes[:, j] = np.append(known, 0)[places]
        return {"numeric": torch.from_numpy(features), "categorical": torch.from_numpy(codes)}

    def _fill(self, features: NDArray[np.float32], columns: list[NDArray[np.float64]]) -> None:
        """The features of some rows, few enough to stay near the processor."""
        gaps, cycle = len(self.numeric), len(self.numeric) + sum(number.indicator for number in self.numeric)
        for i, (number, values) in enumerate(zip(self.numeric, columns, strict=True)):
            missing = np.isnan(values)
            encoded = (values - number.mean) / number.scale
            encoded[missing] = 0.0
            features[:, i] = encoded
            if number.indicator:
                features[:, gaps] = missing
                gaps += 1
            for name in number.cycles:
                angle = 2 * np.pi * (values / CYCLES[name] % 1)
                features[:, cycle] = np.nan_to_num(np.sin(angle))
                features[:, cycle + 1] = np.nan_to_num(np.cos(angle))
                cycle += 2

    def to_dict(self) -> dict[str, Any]:
        """The encoder as plain values, for JSON."""
        return {
            "numeric": [_plain(column) for column in self.numeric],
            "categorical": [_plain(column) for column in self.categorical],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TableEncoder:
        """The encoder that :meth:`to_dict` described."""
        return cls(
            tuple(NumberColumn(**_tuples(column)) for column in values["numeric"]),
            tuple(CategoryColumn(**_tuples(column)) for column in values["categorical"]),
        )


def _plain(column: NumberColumn | CategoryColumn) -> dict[str, Any]:
    """A column as JSON has it, without what it does not use: as it was written before there was that."""
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(column).items()}
    return {key: value for key, value in values.items() if key not in ("cycles", "rare") or value}


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _series(frame: pd.DataFrame, name: str) -> pd.Series[Any]:
    if name not in frame.columns:
        raise DataError(unknown("column", name, map(str, frame.columns)))
    return frame[name]


def _values(series: pd.Series[Any], role: str, form: str) -> NDArray[np.float64]:
    if role == "date":
        return dates(series, form)
    if role == "boolean" and not pd.api.types.is_numeric_dtype(series):
        texts = levels(series)
        known = {"True": 1.0, "False": 0.0, "true": 1.0, "false": 0.0, "TRUE": 1.0, "FALSE": 0.0, "1": 1.0, "0": 0.0}
        for position, text in enumerate(texts):
            if text is not None and text not in known:
                row = row_number(series, position)
                raise DataError(f"column {series.name!r} holds true or false, but row {row} holds {text!r}; correct it")
        return np.array([np.nan if text is None else known[text] for text in texts], dtype=np.float64)
    return numbers(series)
