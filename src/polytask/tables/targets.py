"""Targets as the user has them, and as learners want them: column by column, each with its labels and weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets

from polytask.errors import TaskError, unknown

__all__ = ["Target", "Targets"]

Array = NDArray[Any]


@final
@dataclasses.dataclass(frozen=True)
class Target:
    """One target.

    Attributes:
        name: Its label.
        values: (n,) numbers; for classes their places among ``classes``; anything where ``present`` is false.
        present: Which rows count: those that have a label and a positive weight, (n,).
        weight: (n,), or ``None`` for equal weights.
        classes: Sorted classes, or ``None`` for a number.
        rows: Numbers of these rows among all that the learner knows of (n,), for one that has folds of its own.
    """

    name: Any
    values: Array
    present: NDArray[np.bool_]
    weight: Array | None
    classes: Array | None
    rows: Array | None = None

    @property
    def headings(self) -> list[str]:
        """Names of the columns in which another model sees predictions of it."""
        if self.classes is None or self.width == 2:
            return [f"predicted {self.name}"]
        return [f"predicted {self.name}: {label}" for label in self.classes]

    @property
    def width(self) -> int:
        """Columns of an output: 1 for a number, one per class otherwise."""
        return 1 if self.classes is None else len(self.classes)

    def within(self, rows: Array) -> Target:
        """The same target on some of the rows."""
        weight = None if self.weight is None else self.weight[rows]
        known = None if self.rows is None else self.rows[rows]
        return dataclasses.replace(
            self, values=self.values[rows], present=self.present[rows], weight=weight, rows=known
        )

    def blank(self) -> Target:
        """The same target without rows."""
        return self.within(np.zeros(0, dtype=np.intp))

    def answer(self, output: Array) -> Array:
        """Values or classes (n,) from an output (n, ``width``)."""
        if self.classes is None:
            return output[:, 0]
        found: Array = self.classes[output.argmax(axis=1)]
        return found

    def codes(self) -> Array:
        """What an output would be if it were right, (n, ``width``)."""
        if self.classes is None:
            return self.values[:, None].astype(float)
        return np.equal.outer(self.values, np.arange(self.width)).astype(float)


@final
@dataclasses.dataclass(frozen=True)
class Targets:
    """All targets of some rows, and the form in which they came.

    Attributes:
        columns: The targets.
        wide: Whether they came as more than a vector.
        frame: Whether they came as a data frame.
    """

    columns: tuple[Target, ...]
    wide: bool
    frame: bool

    def __iter__(self) -> Any:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def names(self) -> list[Any]:
        """Their labels."""
        return [target.name for target in self.columns]

    @classmethod
    def read(
        cls, y: Any, *, numbers: bool, classes: bool, which: Sequence[Any] | None, sample_weight: Any = None
    ) -> Targets:
        """Read targets.

        Args:
            y: (n,) or (n, T), an array or a data frame; NaN and None are missing.
            numbers: Whether there is a learner of numbers.
            classes: Whether there is a learner of classes.
            which: Names of the targets that are classes; ``None`` decides by the types of their values.
            sample_weight: (n,), (n, T), or a mapping or data frame by name; ``None`` for equal weights.

        Raises:
            TaskError: A target has no label, is infinite, or has no learner; weights do not fit.
        """
        names, series, wide, frame = _columns(y)
        for name in which or ():
            if name not in names:
                raise TaskError(unknown("target in classes", str(name), map(str, names)))
        weights = _weights(sample_weight, names, len(series[0]))
        return cls(
            tuple(
                _target(
                    name, one, weight, numbers=numbers, classes=classes, named=None if which is None else name in which
                )
                for name, one, weight in zip(names, series, weights, strict=True)
            ),
            wide,
            frame,
        )

    def blank(self) -> Targets:
        """The same targets without rows."""
        return dataclasses.replace(self, columns=tuple(target.blank() for target in self.columns))

    def labels(self, y: Any, sample_weight: Any = None) -> list[tuple[Array, NDArray[np.bool_], Array | None]]:
        """Labels (n,), which of them count (n,), and the weights of these, of every target, to be judged by.

        Raises:
            TaskError: There are other targets than these.
        """
        names, series, _, _ = _columns(y)
        if names != self.names:
            raise TaskError(f"expected the targets {self.names}, found {names}")
        found = []
        for values, weight in zip(series, _weights(sample_weight, names, len(series[0])), strict=True):
            labels = _values(values)
            present = ~_missing(labels) & (True if weight is None else weight > 0)
            found.append((labels, present, None if weight is None else weight[present]))
        return found

    def answers(self, outputs: Sequence[Array], index: Any = None) -> Any:
        """Predictions in the form in which the targets came.

        Args:
            outputs: (n, ``width``) of each target.
            index: Index of a data frame.
        """
        found = [target.answer(output) for target, output in zip(self.columns, outputs, strict=True)]
        if self.frame:
            import pandas as pd

            return pd.DataFrame(dict(zip(self.names, found, strict=True)), index=index)
        if not self.wide:
            return found[0]
        mixed = len({values.dtype.kind in "fiub" for values in found}) > 1
        return np.column_stack([values.astype(object) if mixed else values for values in found])


def _columns(y: Any) -> tuple[list[Any], list[Any], bool, bool]:
    """Names and columns of targets, whether they are more than a vector, and whether they are a data frame."""
    if hasattr(y, "columns"):
        names, series, wide, frame = list(y.columns), [y.iloc[:, place] for place in range(y.shape[1])], True, True
    else:
        values = y if hasattr(y, "cat") else np.asarray(y)
        if values.ndim not in (1, 2):
            raise TaskError(f"targets must be (n,) or (n, T), found shape {values.shape}")
        wide, frame = values.ndim == 2, False
        series = list(values.T) if wide else [values]
        names = list(range(len(series)))
    if not names:
        raise TaskError(f"targets must be (n,) or (n, T) with T ≥ 1, found shape {np.shape(y)}")
    if len(set(names)) < len(names):
        raise TaskError(f"targets must have different names, found {names}")
    return names, series, wide, frame


def _values(column: Any) -> Array:
    return column.to_numpy(dtype=object) if hasattr(column, "cat") else np.asarray(column)


def _target(
    name: Any, column: Any, weight: Array | None, *, numbers: bool, classes: bool, named: bool | None
) -> Target:
    values = _values(column)
    known = _counting(name, values, weight)
    is_number = values.dtype.kind in "fiu" or (values.dtype.kind == "O" and _all_numbers(values[known]))
    is_number |= values.dtype.kind == "b" and not classes
    if is_number and np.isinf(values[known].astype(float)).any():
        raise TaskError(f"target {name!r}: Input contains infinity; NaN says that a label is missing")
    discrete = named if named is not None else not (numbers and (is_number or not classes))
    if discrete and not classes:
        raise TaskError(f"target {name!r} is to be classes, and there is no classifier; give one: classifier=")
    if not discrete and not numbers:
        raise TaskError(f"target {name!r} is to be a number, and there is no regressor; give one as estimator=")
    if discrete:
        found, places = _classes(name, values[known])
        codes = np.zeros(len(values), dtype=np.int64)
        codes[known] = places
        return Target(name, codes, known, weight, found)
    if not is_number:
        bad = values[known].tolist()[0]
        raise TaskError(f"target {name!r} holds {bad!r}, which is no number; name it in classes=, with a classifier")
    return Target(name, np.where(known, values, np.nan).astype(float), known, weight, None)


def _counting(name: Any, values: Array, weight: Array | None) -> NDArray[np.bool_]:
    """Which rows have a label and a positive weight; some must."""
    if values.dtype.kind == "c":
        raise TaskError(f"target {name!r}: Complex data not supported")
    known = ~_missing(values)
    if not known.any():
        raise TaskError(f"target {name!r} has no label: leave it out")
    if weight is None:
        return known
    known &= weight > 0
    if not known.any():
        raise TaskError(f"target {name!r}: the weights of all labels are zero; leave it out")
    return known


def _classes(name: Any, labels: Array) -> tuple[Array, Array]:
    """Sorted classes, and the place of each label among them."""
    if labels.dtype.kind == "O" and all(isinstance(label, (bool, np.bool_)) for label in labels):
        labels = labels.astype(bool)  # scikit-learn does not take them for classes while they are objects
    check_classification_targets(labels)
    try:
        found, places = np.unique(labels, return_inverse=True)
    except TypeError as error:
        raise TaskError(f"target {name!r} has classes of several types, which have no order: {error}") from error
    return found, places


def _missing(values: Array) -> NDArray[np.bool_]:
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind != "O":
        return np.zeros(len(values), dtype=bool)
    return np.array(
        [value is None or type(value).__name__ == "NAType" or value != value for value in values], dtype=bool
    )


def _all_numbers(values: Array) -> bool:
    return all(isinstance(value, (int, float, np.number)) and not isinstance(value, bool) for value in values)


def _weights(given: Any, names: Sequence[Any], rows: int) -> list[Array | None]:
    """Weights of each target, (n,) or ``None``."""
    if given is None:
        return [None] * len(names)
    if isinstance(given, Mapping) or hasattr(given, "columns"):
        for name in given:
            if name not in names:
                raise TaskError(unknown("target in sample_weight", str(name), map(str, names)))
        return [_weight(name, given[name], rows) if name in given else None for name in names]
    values = np.asarray(given, dtype=float)
    if values.ndim == 0:
        values = np.full(rows, float(values))
    if values.ndim == 2 and values.shape[1] != len(names):
        raise TaskError(f"sample_weight must be (n,) or (n, {len(names)}), found shape {values.shape}")
    return [_weight(name, values[:, place] if values.ndim == 2 else values, rows) for place, name in enumerate(names)]


def _weight(name: Any, given: Any, rows: int) -> Array:
    weight = np.asarray(given, dtype=float)
    if weight.shape != (rows,):
        raise TaskError(f"target {name!r}: expected {rows} weights, found sample_weight of shape {weight.shape}")
    if not np.isfinite(weight).all() or (weight < 0).any():
        raise TaskError(f"target {name!r}: weights must be finite and not negative")
    return weight
