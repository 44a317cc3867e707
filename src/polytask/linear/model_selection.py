"""Splitters that know about tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state

from polytask.errors import ConfigError, DataError, TaskError
from polytask.linear.labels import read_labels, task_column

__all__ = ["LeaveOneTaskOut", "TaskStratifiedKFold"]

Array = NDArray[Any]


def _labels(X: Any, task: Any, groups: Any, column: Any) -> Array:
    if task is None:
        task = groups
    if task is None and column is not None:
        task = task_column(X, column)
    if task is None:
        raise TaskError("this splitter needs the task of each row: pass task= (or groups=), or set task_col")
    return read_labels(task)


@final
class TaskStratifiedKFold(BaseCrossValidator):  # type: ignore[misc] # scikit-learn has no types
    """K folds, each with about 1/K of every task's rows (long layout).

    The rows of a task with fewer than K rows go to different folds, drawn by the seed.

    Args:
        n_splits: K ≥ 2.
        shuffle: Whether rows are shuffled within their task.
        random_state: Seed of the shuffle.
        task_col: Column of X with the task labels, when neither ``task`` nor ``groups`` is given.

    Examples:
        >>> import numpy as np
        >>> splitter = TaskStratifiedKFold(2)
        >>> [test.tolist() for _, test in splitter.split(np.zeros((4, 1)), task=["a", "a", "b", "b"])]
        [[0, 2], [1, 3]]
    """

    __metadata_request__split = {"task": True}  # noqa: RUF012 - read by scikit-learn as a class attribute

    def __init__(
        self, n_splits: int = 5, *, shuffle: bool = False, random_state: Any = None, task_col: Any = None
    ) -> None:
        if n_splits < 2:
            raise ConfigError(f"n_splits must be at least 2, found {n_splits}")
        self.n_splits, self.shuffle, self.random_state, self.task_col = n_splits, shuffle, random_state, task_col

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None, task: Any = None) -> int:
        """K."""
        return self.n_splits

    def split(self, X: Any, y: Any = None, groups: Any = None, task: Any = None) -> Iterator[tuple[Array, Array]]:
        """Training and test rows of every fold.

        Args:
            X: Inputs; only their number counts, unless ``task_col`` is used.
            y: Ignored.
            groups: Task labels, for callers that cannot pass ``task``.
            task: Task labels (n,).

        Raises:
            TaskError: No labels.
            DataError: Fewer rows than folds.
        """
        labels = _labels(X, task, groups, self.task_col)
        if self.n_splits > len(labels):
            raise DataError(
                f"{self.n_splits} folds of n_samples={len(labels)} rows would leave folds without a row; "
                f"use at most {len(labels)} folds"
            )
        random = check_random_state(self.random_state)
        fold = np.empty(len(labels), dtype=int)
        first = 0
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            if self.shuffle:
                rows = random.permutation(rows)
            # consecutive tasks start at consecutive folds: tiny tasks do not all land in the first one
            fold[rows] = (first + np.arange(len(rows))) % self.n_splits
            first = (first + len(rows)) % self.n_splits
        for k in range(self.n_splits):
            yield np.flatnonzero(fold != k), np.flatnonzero(fold == k)


@final
class LeaveOneTaskOut(BaseCrossValidator):  # type: ignore[misc] # scikit-learn has no types
    """Each task is the test set once (long layout): how well does the mean task predict a new one?

    Args:
        task_col: Column of X with the task labels, when neither ``task`` nor ``groups`` is given.

    Examples:
        >>> import numpy as np
        >>> [test.tolist() for _, test in LeaveOneTaskOut().split(np.zeros((3, 1)), task=["a", "b", "a"])]
        [[0, 2], [1]]
    """

    __metadata_request__split = {"task": True}  # noqa: RUF012 - read by scikit-learn as a class attribute

    def __init__(self, *, task_col: Any = None) -> None:
        self.task_col = task_col

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None, task: Any = None) -> int:
        """Number of tasks."""
        return len(np.unique(_labels(X, task, groups, self.task_col)))

    def split(self, X: Any, y: Any = None, groups: Any = None, task: Any = None) -> Iterator[tuple[Array, Array]]:
        """Training and test rows for every task left out.

        Args:
            X: Inputs; only their number counts, unless ``task_col`` is used.
            y: Ignored.
            groups: Task labels, for callers that cannot pass ``task``.
            task: Task labels (n,).

        Raises:
            TaskError: No labels, or fewer than two tasks.
        """
        labels = _labels(X, task, groups, self.task_col)
        names = np.unique(labels)
        if len(names) < 2:
            raise TaskError(f"leaving one task out needs at least two tasks, found {len(names)}")
        for label in names:
            yield np.flatnonzero(labels != label), np.flatnonzero(labels == label)
