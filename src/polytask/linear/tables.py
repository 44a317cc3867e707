"""Training data, one class per layout.

What depends on the layout is a method of a table: how rows are taken, targets counted, folds made, a problem put
together, and how coefficients and scores of a fitted model are shaped. Estimators never ask which layout it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, final

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold

from polytask.errors import TaskError
from polytask.linear.core.losses import Loss
from polytask.linear.core.problem import Problem, shared_problem, stacked_problem
from polytask.linear.labels import missing
from polytask.linear.model_selection import LeaveOneTaskOut, TaskStratifiedKFold

__all__ = ["LAYOUTS", "Long", "Mode", "SharedRows", "Single", "Table", "Wide"]

Array = NDArray[Any]
Mode = Literal["single", "wide", "long"]


@dataclass(frozen=True, kw_only=True)
class Table(ABC):
    """Training data.

    Attributes:
        X: (n, d) float32 or float64, dense or CSR, without the task column.
        y: Targets, (n, T) in wide layout and (n,) otherwise.
        tasks: Labels (T,).
        weight: Sample weights (n,) or None.
        levels: Intercepts (T,) of tasks that are left to them, NaN for the others; None where there are none.
    """

    mode: ClassVar[Mode]

    X: Any
    y: Array
    tasks: Array
    weight: Array | None = None
    levels: Array | None = None

    # ---- rows and targets ------------------------------------------------------------------------------------------

    @abstractmethod
    def entries(self, which: Array) -> tuple[Array, Array]:
        """Row and task of every marked target.

        Args:
            which: Marks, boolean, shaped like ``y``.
        """

    @abstractmethod
    def spread(self, values: Array) -> Array:
        """One value per task (T,) laid out to meet ``y``."""

    @abstractmethod
    def rows(self, index: Array) -> Table:
        """A subset of the rows; tasks without rows stay in ``tasks``."""

    @abstractmethod
    def select(self, kept: Array) -> Table:
        """The tasks at these increasing places only."""

    @abstractmethod
    def of_task(self, t: int) -> tuple[Array, Array]:
        """Rows with a target of task t, and these targets."""

    @abstractmethod
    def without(self, levels: Array) -> Table:
        """The same table in which the tasks of finite ``levels`` (T,), their intercepts, have no target that counts."""

    def count(self, which: Array, *, weighted: bool = True) -> Array:
        """How many entries of every task's targets are marked, (T,).

        Args:
            which: Marks, boolean, shaped like ``y``.
            weighted: Whether only rows with positive weight count.
        """
        rows, tasks = self.entries(which)
        if weighted and self.weight is not None:
            tasks = tasks[self.weight[rows] > 0]
        return np.bincount(tasks, minlength=len(self.tasks))

    def seen(self) -> tuple[Table, Array]:
        """The table without the tasks that have no target that counts, and the places of the others."""
        kept = np.flatnonzero(self.count(~missing(self.y)))
        return (self if len(kept) in (0, len(self.tasks)) else self.select(kept)), kept

    # ---- what is made of it ----------------------------------------------------------------------------------------

    @abstractmethod
    def problem(self, loss: Loss, *, intercept: bool, task_weight: str) -> Problem:
        """The data for a solver."""

    @abstractmethod
    def splitter(self, count: int) -> Any:
        """Folds that hold their share of every task's rows, drawn with a fixed seed."""

    @abstractmethod
    def split(self, splitter: Any) -> list[tuple[Array, Array]]:
        """Training and test rows of every fold.

        Raises:
            TaskError: The splitter goes by the task of each row, and rows serve all tasks.
        """

    # ---- what a fitted model gives back ----------------------------------------------------------------------------

    def classes(self, pair: Array) -> Array:
        """What ``classes_`` of a classifier of the two classes is."""
        return pair

    @classmethod
    def coefficients(cls, coef: Array, intercept: Array) -> tuple[Array, Any]:
        """Coefficients (T, d) and intercepts (T,) as the estimator shows them."""
        return coef, intercept

    @classmethod
    @abstractmethod
    def scores(cls, values: Array) -> Array:
        """Scores of all tasks (n, T), as a model gives them for rows without a task label.

        Raises:
            TaskError: The model was fitted with task labels.
        """


@dataclass(frozen=True, kw_only=True)
class SharedRows(Table):
    """Every row serves all tasks."""

    @property
    def targets(self) -> Array:
        """Targets (n, T)."""
        return self.y.reshape(len(self.y), -1)

    def entries(self, which: Array) -> tuple[Array, Array]:
        """Row and task of every marked target."""
        rows, tasks = np.nonzero(which.reshape(len(which), -1))
        return rows, tasks

    def spread(self, values: Array) -> Array:
        """One value per column of ``y``."""
        return values

    def rows(self, index: Array) -> SharedRows:
        """A subset of the rows."""
        weight = None if self.weight is None else self.weight[index]
        return replace(self, X=self.X[index], y=self.y[index], weight=weight, levels=None)

    def select(self, kept: Array) -> SharedRows:
        """A subset of the columns of the targets."""
        return replace(self, y=self.y[:, kept], tasks=self.tasks[kept])

    def of_task(self, t: int) -> tuple[Array, Array]:
        """Rows with a target of task t, and these targets."""
        column = self.targets[:, t]
        rows = np.flatnonzero(~missing(column))
        return rows, column[rows]

    def without(self, levels: Array) -> SharedRows:
        """The targets of these tasks are missing."""
        silent = np.isfinite(levels)
        return replace(self, y=np.where(silent, np.nan, self.y), levels=levels) if silent.any() else self

    def problem(self, loss: Loss, *, intercept: bool, task_weight: str) -> Problem:
        """One design for all tasks."""
        found = shared_problem(
            self.X, self.targets.astype(float), self.weight, loss, intercept=intercept, task_weight=task_weight
        )
        return replace(found, tasks=self.tasks)

    def splitter(self, count: int) -> Any:
        """Folds of rows."""
        return KFold(count, shuffle=True, random_state=0)

    def split(self, splitter: Any) -> list[tuple[Array, Array]]:
        """By a splitter that knows no tasks."""
        if isinstance(splitter, TaskStratifiedKFold | LeaveOneTaskOut):
            raise TaskError(
                f"cv={type(splitter).__name__} splits by the task of each row, and here every row serves all tasks; "
                "use a number of folds or KFold"
            )
        return list(splitter.split(np.zeros((len(self.y), 1)), self.y))


@final
@dataclass(frozen=True, kw_only=True)
class Wide(SharedRows):
    """Shared inputs with a matrix of targets (n, T), NaN = missing."""

    mode: ClassVar[Mode] = "wide"

    def classes(self, pair: Array) -> Array:
        """Of a matrix of 0 and 1 the numbers of its columns."""
        return np.arange(len(self.tasks)) if pair.tolist() == [0, 1] else pair

    @classmethod
    def scores(cls, values: Array) -> Array:
        """All columns."""
        return values


@final
@dataclass(frozen=True, kw_only=True)
class Single(SharedRows):
    """One task: targets (n,) without labels."""

    mode: ClassVar[Mode] = "single"

    @classmethod
    def coefficients(cls, coef: Array, intercept: Array) -> tuple[Array, Any]:
        """Of the one task: (d,) and a number."""
        return coef[0], float(intercept[0])

    @classmethod
    def scores(cls, values: Array) -> Array:
        """The one column, (n,)."""
        return values[:, 0]


@final
@dataclass(frozen=True, kw_only=True)
class Long(Table):
    """One target and one task label per row; ``{task: (X_t, y_t)}`` is read as this.

    Attributes:
        codes: Position of each row's task in ``tasks`` (n,).
    """

    mode: ClassVar[Mode] = "long"

    codes: Array

    def entries(self, which: Array) -> tuple[Array, Array]:
        """Row and task of every marked target."""
        rows = np.flatnonzero(which)
        return rows, self.codes[rows]

    def spread(self, values: Array) -> Array:
        """The value of every row's task."""
        return values[self.codes]

    def rows(self, index: Array) -> Long:
        """A subset of the rows."""
        weight = None if self.weight is None else self.weight[index]
        return replace(self, X=self.X[index], y=self.y[index], codes=self.codes[index], weight=weight, levels=None)

    def select(self, kept: Array) -> Long:
        """The rows of these tasks."""
        part = self.rows(np.flatnonzero(np.isin(self.codes, kept)))
        return replace(part, codes=np.searchsorted(kept, part.codes), tasks=self.tasks[kept])

    def of_task(self, t: int) -> tuple[Array, Array]:
        """Rows of task t, and their targets."""
        rows = np.flatnonzero(self.codes == t)
        return rows, self.y[rows]

    def without(self, levels: Array) -> Long:
        """The rows of these tasks have no weight."""
        silent = np.isfinite(levels)
        if not silent.any():
            return self
        weight = np.ones(len(self.y)) if self.weight is None else self.weight
        return replace(self, weight=weight * ~silent[self.codes], levels=levels)

    def problem(self, loss: Loss, *, intercept: bool, task_weight: str) -> Problem:
        """A design for every task."""
        found = stacked_problem(
            self.X,
            self.y,
            self.codes,
            len(self.tasks),
            self.weight,
            loss,
            intercept=intercept,
            task_weight=task_weight,
        )
        return replace(found, tasks=self.tasks)

    def splitter(self, count: int) -> Any:
        """Folds within every task."""
        return TaskStratifiedKFold(count, shuffle=True, random_state=0)

    def split(self, splitter: Any) -> list[tuple[Array, Array]]:
        """Splitters that know tasks go by them; others get them as groups."""
        X = np.zeros((len(self.y), 1))
        if isinstance(splitter, TaskStratifiedKFold | LeaveOneTaskOut):
            return list(splitter.split(X, task=self.codes))
        return list(splitter.split(X, self.y, self.codes))

    @classmethod
    def scores(cls, values: Array) -> Array:
        """There are none without labels."""
        raise TaskError("this model was fitted with task labels: pass task= (one label per row) or set task_col")


LAYOUTS: dict[Mode, type[Table]] = {layout.mode: layout for layout in (Wide, Single, Long)}
"""Layouts by name: a fitted model keeps the name (``mode_``)."""
