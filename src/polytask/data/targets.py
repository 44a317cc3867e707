"""Target columns: which kind of task they are, and their labels as tensors."""

from __future__ import annotations

import dataclasses
from typing import Any, final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from polytask.data.bounds import looks_bounded, read_bounds
from polytask.data.columns import by_value, coded, codes, levels, mostly_numbers, numbers, plain
from polytask.data.measures import nearly_numbers
from polytask.data.scales import in_order
from polytask.data.tags import read_tags, tag_separator
from polytask.errors import DataError, unknown
from polytask.remedies import column_kind
from polytask.tasks import KINDS, Nature, Task
from polytask.tasks.kinds import kinds_of, usual_kind

__all__ = ["Guess", "guess_kind", "read_target", "target_kinds"]

_SCALE = 20  # levels that a scale of words may have
_FEW = 10  # whole numbers with at most this many values are taken for classes


def target_kinds() -> tuple[str, ...]:
    """Kinds of task that one column of a table can be."""
    return kinds_of([nature for nature in Nature if nature is not Nature.OTHER])


@final
@dataclasses.dataclass(frozen=True)
class Guess:
    """Kind of a target column, and what to tell its owner about the choice."""

    kind: str
    why: str
    surprise: str = ""


def guess_kind(series: pd.Series[Any]) -> Guess:
    """The kind of a target column, from its present values.

    Two values are binary; text and unordered categories are multiclass, ordered categories and words of a known scale
    (low, medium, high; 18-24, 25-34) ordinal; texts that combine labels in several ways (``red|blue``) are multilabel
    (:func:`~polytask.data.tags.tag_separator`); whole numbers with 3 to 10 values are multiclass; counts are whole
    numbers from 0 on with more values and a mean below 10; all other numbers are regression.

    Args:
        series: The column, named, with at least one value.

    Examples:
        >>> guess_kind(pd.Series(["no", "yes", None], name="sick")).kind
        'binary'
        >>> guess_kind(pd.Series([1.5, 2.5, 0.1], name="dose")).kind
        'regression'
    """
    present = series.dropna()
    distinct = int(present.nunique())
    if isinstance(present.dtype, pd.CategoricalDtype) and present.dtype.ordered and distinct > 2:
        return _guess(Nature.ORDERED, f"{distinct} ordered categories")
    numeric = not isinstance(present.dtype, pd.CategoricalDtype) and not codes(present) and mostly_numbers(present)
    if looks_bounded(present):
        return _guess(
            Nature.BOUNDED, "numbers, and bounds such as '<5'", "bounds beside numbers, taken as censored labels"
        )
    if scale := _scale(present):
        return _guess(Nature.ORDERED, f"{distinct} levels", f"ordered levels: {' < '.join(map(repr, scale))}")
    if not numeric and distinct > 2 and (mark := tag_separator(present)):
        names = read_tags(present, mark).names
        shown = f"{', '.join(map(repr, names[:3]))}{', …' if len(names) > 3 else ''}"
        other = column_kind(str(series.name), usual_kind(Nature.CLASSES), target=True)
        return _guess(
            Nature.SEVERAL_YES_NO,
            f"{len(names)} labels",
            f"several labels in a cell, separated by {mark!r}: {len(names)} in all ({shown}); {other} takes each "
            "combination for a class",
        )
    if not numeric or pd.api.types.is_bool_dtype(present):
        return _guess(Nature.YES_NO, "two values") if distinct <= 2 else _guess(Nature.CLASSES, f"{distinct} classes")
    values = numbers(present, target=True)
    whole = bool((values == np.round(values)).all())
    if not whole:
        return _guess(Nature.NUMBER, "numbers")
    if distinct == 2:
        return _guess(Nature.YES_NO, "two values")
    if distinct <= _FEW:
        return _guess(
            Nature.CLASSES,
            f"{distinct} different whole numbers",
            f"{distinct} whole numbers taken as classes; "
            f"{column_kind(str(series.name), usual_kind(Nature.ORDERED), target=True)} keeps their order",
        )
    if values.min() == 0 and values.mean() < 10:
        return _guess(
            Nature.COUNT,
            "whole numbers from 0 on",
            "taken as counts; "
            f"{column_kind(str(series.name), usual_kind(Nature.NUMBER), target=True)} is the other choice",
        )
    return _guess(Nature.NUMBER, "numbers")


def _guess(nature: Nature, why: str, surprise: str = "") -> Guess:
    return Guess(usual_kind(nature), why, surprise)


def read_target(
    series: pd.Series[Any], train: NDArray[np.int64], kind: str | None = None
) -> tuple[Task, Tensor, Guess]:
    """A task and its labels from a column.

    Classes are those of the whole column, in order (numbers by value, text by alphabet, categories as given); the
    second class of a binary task is the "yes". Shift and scale of numbers are the mean and standard deviation of the
    training labels.

    Args:
        series: The column; missing values are missing labels.
        train: Positions of the training rows.
        kind: One of :func:`target_kinds`; guessed when None.

    Returns:
        The task; its labels: float with NaN, or int64 with −100 where missing, (N, L) for several labels in a cell, of
        which a missing cell lacks all; the guess behind the kind.

    Raises:
        DataError: All labels are missing (in the whole column or in the training rows), the target is constant, has
            about as many classes as rows, or holds values that do not fit its kind.
    """
    name = str(series.name)
    present = series.dropna()
    if len(present) == 0:
        raise DataError(
            f"target {name!r}: all {len(series)} labels are missing; leave it out, or check which texts mean 'no value'"
        )
    if not plain(present):
        raise DataError(f"target {name!r} holds {type(present.iloc[0]).__name__} objects; expected one value per row")
    if present.nunique() == 1:
        raise DataError(
            f"target {name!r} is constant: all {len(present)} labels are {present.iloc[0]}. There is nothing to learn; "
            "leave it out"
        )
    if series.iloc[train].notna().sum() == 0:
        raise DataError(
            f"target {name!r}: none of its {len(present)} labels fell into the training split; use another seed, a "
            "smaller val and test, or leave it out"
        )
    if pd.api.types.is_datetime64_any_dtype(present) or pd.api.types.is_timedelta64_dtype(present):
        raise DataError(f"target {name!r} holds dates or durations; turn them into numbers first, e.g. into days")
    guess = guess_kind(series) if kind is None else Guess(kind, "as asked")
    if guess.kind not in target_kinds():
        raise DataError(f"target {name!r}: {unknown('kind of a target column', guess.kind, target_kinds())}")
    if KINDS[guess.kind].nature is Nature.SEVERAL_YES_NO:
        return *_tags_target(series, guess.kind), guess
    if KINDS[guess.kind].nature.classes:
        return *_class_target(series, guess.kind), guess
    if KINDS[guess.kind].nature is Nature.BOUNDED:
        return *_bounded_target(series, train, guess.kind), guess
    return *_number_target(series, train, guess.kind), guess


def _bounded_target(series: pd.Series[Any], train: NDArray[np.int64], kind: str) -> tuple[Task, Tensor]:
    """Shift and scale come from known labels, or from all finite bounds where fewer than two labels are known."""
    name = str(series.name)
    bounds = read_bounds(series, f"target {name!r} of kind {kind!r}")
    own = bounds[train]
    known = own[own[:, 0] == own[:, 1], 0]
    values = known if len(known) > 1 else own[np.isfinite(own)]
    spread = float(values.std())
    task = Task(name, kind, shift=float(values.mean()), scale=spread if spread > 0 else 1.0)
    return task, torch.tensor(bounds, dtype=torch.float32)


def _number_target(series: pd.Series[Any], train: NDArray[np.int64], kind: str) -> tuple[Task, Tensor]:
    name = str(series.name)
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(object)
    try:
        values = numbers(series, target=True)
    except DataError as error:
        raise DataError(f"target {name!r} of kind {kind!r}: {error}") from None
    rule = KINDS[kind]
    if rule.nature is Nature.COUNT:
        bad = np.flatnonzero(~np.isnan(values) & ((values < 0) | (values != np.round(values))))
        if len(bad):
            row = int(series.index[bad[0]]) + 1
            raise DataError(
                f"target {name!r} of kind {kind!r} must hold whole numbers from 0 on, but row {row} holds "
                f"{values[bad[0]]}; use {column_kind(name, usual_kind(Nature.NUMBER), target=True)}"
            )
    if not rule.affine:
        return Task(name, kind), _tensor(values)
    known = values[train]
    known = known[~np.isnan(known)]
    spread = float(known.std())
    return Task(name, kind, shift=float(known.mean()), scale=spread if spread > 0 else 1.0), _tensor(values)


def _tensor(values: NDArray[np.float64]) -> Tensor:
    """float32, or float64 where float32 could not tell neighbouring values apart."""
    spread = np.nanstd(values)
    exact = spread > 0 and np.nanmax(np.abs(values)) / spread > 1e5
    return torch.tensor(values, dtype=torch.float64 if exact else torch.float32)


def _class_target(series: pd.Series[Any], kind: str) -> tuple[Task, Tensor]:
    name = str(series.name)
    series = _as_numbers(series)
    ordered = _classes(series)
    nature = KINDS[kind].nature
    if nature is Nature.YES_NO and len(ordered) != 2:
        raise DataError(
            f"target {name!r} of kind {kind!r} must have 2 values, found {len(ordered)}: {_listed(ordered)}; use "
            f"{column_kind(name, usual_kind(Nature.CLASSES), target=True)} or correct the others"
        )
    labelled = int(series.notna().sum())
    if len(ordered) > max(2, labelled // 2):
        nearly = f"{found}." if (found := nearly_numbers(series.dropna())) else ""
        raise DataError(
            f"target {name!r} has {len(ordered)} classes in {labelled} labelled rows ({_listed(ordered)}), too many to "
            f"learn: {nearly or 'is it an id or a text?'} Leave it out, or merge classes"
        )
    if nature is Nature.ORDERED and not _has_order(series):
        raise DataError(
            f"target {name!r} of kind {kind!r} holds text ({_listed(ordered)}) whose order is not known; use numbers, "
            "or an ordered pandas Categorical in a DataFrame"
        )
    places, texts = coded(series)
    known = pd.Index(ordered, dtype=object).get_indexer(pd.Index(texts, dtype=object))
    target = torch.from_numpy(np.append(np.where(known < 0, -100, known), -100)[places].astype(np.int64))
    classes = None if nature is Nature.YES_NO else len(ordered)
    return Task(name, kind, classes=classes, labels=ordered), target


def _tags_target(series: pd.Series[Any], kind: str) -> tuple[Task, Tensor]:
    name = str(series.name)
    if pd.api.types.is_numeric_dtype(series):
        raise DataError(
            f"target {name!r} of kind {kind!r} holds numbers; expected labels separated by |, ; or a comma (red|blue), "
            f"use {column_kind(name, usual_kind(Nature.YES_NO), target=True)} for each column of 0 and 1"
        )
    tags = read_tags(series, tag_separator(series.dropna()))
    if not tags.names:
        raise DataError(f"target {name!r} of kind {kind!r} names no label in any row; leave it out")
    often = tags.present[tags.known].sum(axis=0)
    if len(tags.names) > max(2, int(tags.known.sum()) // 2):
        raise DataError(
            f"target {name!r} of kind {kind!r} has {len(tags.names)} labels in {int(tags.known.sum())} labelled rows "
            f"({_listed(list(tags.names))}), too many to learn; expected labels separated by |, ; or a comma. Leave it "
            "out, or merge labels"
        )
    always = [label for label, count in zip(tags.names, often, strict=True) if count == tags.known.sum()]
    if len(always) == len(tags.names):
        raise DataError(
            f"target {name!r} is constant: every labelled row names {_listed(always)}. There is nothing to learn; "
            "leave it out"
        )
    labels = np.where(tags.known[:, None], tags.present, -100).astype(np.int64)
    return Task(name, kind, classes=len(tags.names), labels=tags.names), torch.from_numpy(labels)


def _as_numbers(series: pd.Series[Any]) -> pd.Series[Any]:
    """The column with texts read as numbers, where all can be: "01" and "1.0" are the class 1, as in a file."""
    if series.dtype != object and not isinstance(series.dtype, pd.StringDtype):
        return series
    if set(map(type, series.dropna().unique())) <= {bool, np.bool_}:
        return series
    if codes(series.dropna()):
        return series
    read = pd.to_numeric(series.astype(object), errors="coerce")
    return series if (read.isna() & series.notna()).any() else read


def _classes(series: pd.Series[Any]) -> list[str]:
    """The classes that occur, in order."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        values = pd.Series(series.cat.remove_unused_categories().cat.categories)
        return [str(level) for level in levels(values)]
    if scale := _scale(series.dropna()):
        return scale
    return sorted(set(coded(series)[1]), key=by_value)


def _scale(present: pd.Series[Any]) -> list[str]:
    """The levels of a column of words that have an order, from lowest to highest."""
    if present.dtype != object and not isinstance(present.dtype, pd.StringDtype):
        return []
    unique = present.unique()
    if len(unique) > _SCALE or not all(isinstance(value, str) for value in unique):
        return []
    return in_order(unique)


def _has_order(series: pd.Series[Any]) -> bool:
    if isinstance(series.dtype, pd.CategoricalDtype):
        return bool(series.dtype.ordered)
    return (
        bool(_scale(series.dropna()))
        or pd.api.types.is_numeric_dtype(series)
        or pd.api.types.is_bool_dtype(series.dropna())
    )


def _listed(classes: list[str], most: int = 5) -> str:
    shown = ", ".join(map(repr, classes[:most]))
    return f"{shown}, …" if len(classes) > most else shown
