"""Rows of a source as arrays, and the matrices that estimators are given."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from polytask.data import Inputs, InputSpec, Part, Source, batches
from polytask.data.weighing import balanced_tasks
from polytask.errors import DataError, TaskError
from polytask.tasks import Task, TaskSet
from polytask.tasks.labels import known

__all__ = ["Encoding", "Features", "Rows", "features_of", "labels_of", "read_rows"]

Array = NDArray[Any]
BATCH = 8192
LARGEST_DENSE = 20_000_000
"""Numbers in a matrix of the linear models above which it is stored sparse."""
MOST_LEVELS = 254
"""Levels of a category that the histograms of scikit-learn's trees can tell apart."""


@final
@dataclasses.dataclass(frozen=True)
class Features:
    """Inputs of some rows.

    Attributes:
        numeric: (n, p) float64.
        categorical: (n, m) int64; code 0 is "missing or unseen".
    """

    numeric: Array
    categorical: Array

    def __len__(self) -> int:
        return len(self.numeric)


@final
@dataclasses.dataclass(frozen=True)
class Rows:
    """Inputs and targets of all rows of a source.

    Attributes:
        features: Inputs.
        targets: Task → labels in natural units, (n,), or (n, L) for several labels per row; NaN where missing.
        weights: Task → weights of the labels (n,), of rows and classes; of tasks that have any.
    """

    features: Features
    targets: dict[str, Array]
    weights: dict[str, Array]


def features_of(inputs: Inputs) -> Features:
    """Tensors of a batch as arrays; images are flattened.

    Examples:
        >>> import torch
        >>> features_of({"numeric": torch.zeros(2, 3), "categorical": torch.ones(2, 1, dtype=torch.long)}).numeric.shape
        (2, 3)
        >>> features_of(torch.zeros(2, 1, 4, 4)).numeric.shape
        (2, 16)
    """
    if isinstance(inputs, Tensor):
        numeric = inputs.detach().cpu().double().flatten(1).numpy()
        return Features(numeric, np.zeros((len(numeric), 0), dtype=np.int64))
    parts: Mapping[str, Tensor] = inputs
    return Features(parts["numeric"].cpu().double().numpy(), parts["categorical"].cpu().long().numpy())


def read_rows(source: Source, tasks: TaskSet) -> Rows:
    """Read a source once.

    Args:
        source: The rows.
        tasks: Whose targets to read.

    Raises:
        TaskError: A label is not possible for its kind.
    """
    features: list[Features] = []
    targets: dict[str, list[Array]] = {name: [] for name in tasks}
    weights: dict[str, list[Array]] = {name: [] for name in tasks}
    tasks = balanced_tasks(tasks, [source])
    for part in batches(source, BATCH):
        features.append(features_of(part.inputs))
        for name, task in tasks.items():
            labels, weight = _weighed(task, part, len(features[-1]))
            targets[name].append(labels)
            weights[name].append(weight)
    if not features:
        raise DataError("there are no training rows")
    joined = Features(*(np.concatenate(parts) for parts in zip(*map(_pair, features), strict=True)))
    own = {name: np.concatenate(parts) for name, parts in weights.items()}
    return Rows(
        joined,
        {name: np.concatenate(parts) for name, parts in targets.items()},
        {name: values for name, values in own.items() if (values != 1).any()},
    )


def _weighed(task: Task, part: Part, rows: int) -> tuple[Array, Array]:
    """Labels of a batch, NaN where missing or of weight 0, and their weights."""
    labels, weight = labels_of(task, part.targets.get(task.name), rows), (part.weights or {}).get(task.name)
    own = np.ones(rows)
    if weight is not None:
        if weight.numel() != rows:
            raise TaskError(f"task {task.name!r}: estimators take one weight per row, found {tuple(weight.shape)}")
        own = weight.detach().cpu().double().flatten().numpy()
        labels[own == 0] = np.nan
    if task.class_weight is not None:
        known = ~np.isnan(labels)
        own = own.copy()
        own[known] *= np.asarray(task.class_weight, dtype=float)[labels[known].astype(int)]
    return labels, own


def _pair(features: Features) -> tuple[Array, Array]:
    return features.numeric, features.categorical


def labels_of(task: Task, target: Tensor | None, rows: int) -> Array:
    """Labels of a batch as float64, NaN where missing."""
    wide = (task.classes or 1,) if task.rule.target_dims == 2 else ()
    if target is None:
        return np.full((rows, *wide), np.nan)
    target = target.detach().cpu()
    if not wide and target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    present = known(task, target, None)
    found = np.full(tuple(target.shape), np.nan)
    found[present.numpy()] = task.rule.check(target[present]).double().numpy()
    return found


@final
@dataclasses.dataclass(frozen=True)
class Encoding:
    """How features become matrices; learned from training rows.

    Attributes:
        mean: Of the numeric columns that vary, (p,).
        scale: Standard deviations (p,); one common number for images, whose pixels have one unit.
        kept: Which numeric columns vary.
        levels: Codes of each categorical column that training rows hold, the most frequent first.
    """

    mean: Array
    scale: Array
    kept: Array
    levels: tuple[Array, ...]

    @classmethod
    def learn(cls, features: Features, spec: InputSpec) -> Encoding:
        """Learn means, scales and levels.

        Raises:
            DataError: No input varies.
        """
        mean, scale = features.numeric.mean(axis=0), features.numeric.std(axis=0)
        kept = scale > 1e-12 * np.maximum(np.abs(mean), 1e-12)
        if spec.kind == "image" and kept.any():
            scale = np.full_like(scale, features.numeric[:, kept].std())
        levels = []
        for column in features.categorical.T:
            codes, counts = np.unique(column, return_counts=True)
            levels.append(codes[np.argsort(-counts, kind="stable")])
        if not kept.any() and all(len(codes) < 2 for codes in levels):
            raise DataError("no input varies over the training rows: there is nothing to learn from")
        return cls(mean[kept], scale[kept], kept, tuple(levels))

    def linear(self, features: Features) -> Any:
        """Standardised numbers beside one column of 0 and 1 per level seen in training; dense, or CSR if very large."""
        numeric = (features.numeric[:, self.kept] - self.mean) / self.scale
        varied = [(j, codes) for j, codes in enumerate(self.levels) if len(codes) > 1]
        width = numeric.shape[1] + sum(len(codes) for _, codes in varied)
        blocks = [_one_hot(features.categorical[:, j], codes) for j, codes in varied]
        stacked = sparse.hstack([sparse.csr_matrix(numeric), *blocks], format="csr") if blocks else None
        if stacked is None:
            return np.ascontiguousarray(numeric)
        return stacked if len(numeric) * width > LARGEST_DENSE else stacked.toarray()

    def trees(self, features: Features) -> Array:
        """Numbers beside the ranks of the levels; NaN where a level is missing, unseen, or rarer than the first 254."""
        ranks = np.full(features.categorical.shape, np.nan)
        for j, codes in enumerate(self.levels):
            used = codes[codes > 0][:MOST_LEVELS]
            table = {int(code): rank for rank, code in enumerate(used)}
            ranks[:, j] = [table.get(int(code), np.nan) for code in features.categorical[:, j]]
        return np.hstack([features.numeric, ranks])

    @property
    def is_category(self) -> NDArray[np.bool_]:
        """Which columns of :meth:`trees` are categories."""
        return np.arange(len(self.kept) + len(self.levels)) >= len(self.kept)


def _one_hot(column: Array, codes: Array) -> Any:
    order = np.sort(codes)
    place = np.searchsorted(order, column).clip(max=len(order) - 1)
    seen = order[place] == column
    rows = np.flatnonzero(seen)
    ones = np.ones(len(rows))
    return sparse.csr_matrix((ones, (rows, place[seen])), shape=(len(column), len(order)))
