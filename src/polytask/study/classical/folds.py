"""Folds of training rows that hold their share of every task's labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polytask.tasks import Task

__all__ = ["Folds", "row_folds", "within"]

Array = NDArray[Any]
Folds = list[tuple[Array, Array]]
MOST_PATTERNS = 1000


def row_folds(
    tasks: Mapping[str, Task],
    targets: Mapping[str, Array],
    seed: int,
    count: int = 5,
    groups: NDArray[np.int64] | None = None,
) -> Folds:
    """Folds in which every pattern of present labels and classes has its share.

    Rows with the same present labels, and the same classes among them, count as one group, and
    :class:`~polytask.linear.TaskStratifiedKFold` deals each group out over the folds: rare labels and rare classes do
    not gather in one fold.

    Args:
        tasks: The tasks whose labels matter.
        targets: Task → labels of the training rows, NaN where missing.
        seed: Seed of the shuffle.
        count: Number of folds; fewer when there are fewer rows, or fewer groups.
        groups: What each row belongs to: its rows stay in one fold, and patterns have their share as far as that
            allows. A single group is parted, as there is no other way.

    Returns:
        Pairs of rows to fit and rows to judge by.

    Examples:
        >>> import numpy as np
        >>> labels = {"a": np.array([0.0, 1.0, np.nan, np.nan] * 5), "b": np.ones(20)}
        >>> folds = row_folds({"a": Task("a", "binary"), "b": Task("b")}, labels, seed=0)
        >>> [int(np.isnan(labels["a"][test]).sum()) for _, test in folds]
        [2, 2, 2, 2, 2]
    """
    from sklearn.model_selection import KFold

    from polytask.linear import TaskStratifiedKFold

    rows = len(next(iter(targets.values())))
    units = rows if groups is None else len(np.unique(groups))
    if units < 2:
        groups, units = None, rows
    count = max(2, min(count, units))
    blank = np.zeros((rows, 1))
    for patterns in (_patterns(tasks, targets, with_classes=True), _patterns(tasks, targets, with_classes=False)):
        _, group = np.unique(patterns, axis=0, return_inverse=True)
        group = group.reshape(-1)
        if group.max(initial=0) < MOST_PATTERNS and groups is not None:
            return _whole(groups, group, count, seed)
        if group.max(initial=0) < MOST_PATTERNS:
            return list(TaskStratifiedKFold(count, shuffle=True, random_state=seed).split(blank, task=group))
    if groups is not None:
        return _whole(groups, np.zeros(rows, dtype=np.int64), count, seed)
    return list(KFold(count, shuffle=True, random_state=seed).split(blank))


def _whole(groups: NDArray[np.int64], patterns: Array, count: int, seed: int) -> Folds:
    """Folds of whole groups."""
    import warnings

    from sklearn.model_selection import StratifiedGroupKFold

    if np.bincount(patterns).max() < count:
        patterns = np.zeros_like(patterns)  # none is frequent enough to be dealt out
    dealt = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of patterns rarer than the folds, of which ours take no harm
        folds = list(dealt.split(np.zeros((len(groups), 1)), patterns, groups))
    return [(train, test) for train, test in folds if len(train) and len(test)]


def within(folds: Sequence[tuple[Array, Array]], keep: NDArray[np.bool_]) -> Iterator[tuple[Array, Array]]:
    """The folds among the rows ``keep``, numbered as in ``X[keep]``; folds that lose a side are left out."""
    place = np.cumsum(keep) - 1
    for train, test in folds:
        one, two = place[train[keep[train]]], place[test[keep[test]]]
        if len(one) and len(two):
            yield one, two


def _patterns(tasks: Mapping[str, Task], targets: Mapping[str, Array], *, with_classes: bool) -> Array:
    """One integer column per task: −1 where the label is missing, else its class or 0."""
    columns = []
    for name, values in targets.items():
        present = ~np.isnan(values)
        if values.ndim > 1:
            columns.append(np.where(present.any(axis=1), 0, -1))
            continue
        classes = with_classes and tasks[name].rule.levels is not None
        columns.append(np.where(present, np.nan_to_num(values) if classes else 0, -1))
    return np.stack(columns, axis=1).astype(np.int64)
