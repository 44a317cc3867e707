"""Base classes of the linear estimators: layouts in, coefficients per task out.

An estimator is a dataclass (its fields are its constructor's parameters) that names a penalty. See
:mod:`polytask.linear.registry` for how to add one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, ClassVar, TypeVar, dataclass_transform

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from polytask.errors import ConfigError, TaskError, unknown
from polytask.linear.core.losses import Loss, get_loss
from polytask.linear.core.problem import Problem
from polytask.linear.layout import by_task, read_inputs, read_table, unpacked
from polytask.linear.scoring import task_mean
from polytask.linear.tables import LAYOUTS, Table

__all__ = ["MEAN_TASK", "LinearMultiTask", "ManyTargets", "parameters"]

Array = NDArray[Any]
_Class = TypeVar("_Class")
MEAN_TASK = "the mean task"


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field,))
def parameters(cls: type[_Class]) -> type[_Class]:
    """Turn the fields of a class into keyword parameters of its constructor, as scikit-learn wants them."""
    return dataclass(kw_only=True, eq=False, repr=False)(cls)


class ManyTargets(BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """Tells scikit-learn that sparse inputs and several targets are welcome."""

    def __sklearn_tags__(self) -> Any:
        """Sparse inputs, one or several targets."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        tags.target_tags.required = True
        return tags


@parameters
class LinearMultiTask(ManyTargets, ABC):
    """What all linear multi-task estimators share; see the regressors and classifiers for use.

    Args:
        loss: ``"auto"`` (squared for regressors, logistic for classifiers), a name, or a :class:`Loss`.
        fit_intercept: Whether each task has an unpenalised intercept.
        task_weight: ``"samples"``: every row counts alike (loss divided by the mean number of rows per task);
            ``"equal"``: every task counts alike (each task's loss divided by its own number of rows).
        tol: Duality gap asked for, relative to the objective.
        max_iter: Iterations after which a ConvergenceWarning names the gap reached.
        warm_start: Start from the last fit's coefficients, matched by task label.
        task_col: Column of X with the task labels: a DataFrame's column name, or a column number (of a DataFrame, if
            no column is called so).
        unseen: Prediction for a task not seen in fit: ``"error"``, or ``"shared"`` where the model has a mean task.
    """

    loss: Any = "auto"
    fit_intercept: bool = True
    task_weight: str = "samples"
    tol: float = 1e-4
    max_iter: int = 10_000
    warm_start: bool = False
    task_col: Any = None
    unseen: str = "error"

    # a scikit-learn constructor takes anything; fit validates (by _parameter_constraints)
    __no_type_check__: ClassVar[bool] = True
    #: what predicts a task that was not seen in fit, in words; "" if nothing does
    _shared: ClassVar[str] = ""
    _losses: ClassVar[dict[str, type[Loss]]]
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "loss": [str, Loss],
        "fit_intercept": ["boolean"],
        "task_weight": [StrOptions({"samples", "equal"})],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "task_col": [None, str, Integral],
        "unseen": [StrOptions({"error", "shared"})],
    }
    # the task labels are always wanted: with metadata routing enabled nobody has to call set_fit_request(task=True)
    __metadata_request__fit: ClassVar[dict[str, Any]] = {"task": True}
    __metadata_request__predict: ClassVar[dict[str, Any]] = {"task": True}
    __metadata_request__score: ClassVar[dict[str, Any]] = {"task": True}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Constraints of all mixins apply."""
        merged: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            merged |= base.__dict__.get("_parameter_constraints", {})
        cls._parameter_constraints = merged
        super().__init_subclass__(**kwargs)

    # ---- what a family defines -------------------------------------------------------------------------------------

    @abstractmethod
    def _fit_problem(self, table: Table, problem: Problem, init: Array | None) -> tuple[Array, Array]:
        """Fit; return W (d, T) and the solver's intercepts (T,), and set the family's own attributes.

        Args:
            table: The data, for methods that split it.
            problem: The same data for a solver.
            init: Coefficients to start from (d, T), or None.
        """

    # ---- fitting ---------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, task: Any = None, sample_weight: Any = None) -> Any:
        """Fit all tasks jointly.

        Args:
            X: Inputs (n, d), dense, sparse or DataFrame; or ``{task: (X_t, y_t)}``.
            y: Targets: (n, T) with NaN for missing ones, or (n,) with ``task`` labels (or ``task_col``), or (n,) alone.
            task: Task label of each row (n,), of any sortable type.
            sample_weight: Weights of the rows (n,).

        Returns:
            The estimator.

        Raises:
            TaskError: Task labels do not fit the data, or a task has no target of positive weight.
        """
        self._validate_params()
        table = self._encode(read_table(self, X, y, task, sample_weight))
        problem = self._problem(table)
        W, b = self._fit_problem(table, problem, self._previous(table) if self.warm_start else None)
        self._store(table, problem, W, b)
        return self

    def _encode(self, table: Table) -> Table:
        """Targets as the loss wants them."""
        return table

    def _fixed_levels(self, table: Table) -> Array:
        """Intercepts (T,) of tasks whose encoded targets have no best one that is finite; NaN for all others."""
        return np.full(len(table.tasks), np.nan)

    def _get_loss(self) -> Loss:
        name = next(iter(self._losses)) if isinstance(self.loss, str) and self.loss == "auto" else self.loss
        return get_loss(name, self._losses)

    def _problem(self, table: Table) -> Problem:
        return table.problem(self._get_loss(), intercept=self.fit_intercept, task_weight=self.task_weight)

    def _previous(self, table: Table) -> Array | None:
        """The last fit's coefficients (d, T) in the order of the new tasks; zero for new ones."""
        if not hasattr(self, "coef_"):
            return None
        old = np.atleast_2d(self.coef_)
        if old.shape[1] != table.X.shape[1]:
            return None
        place = {label: i for i, label in enumerate(self.tasks_.tolist())}
        rows = [old[place[label]] if label in place else np.zeros(old.shape[1]) for label in table.tasks.tolist()]
        units = self._units(table)
        if units is not None:
            rows = [row / unit for row, unit in zip(rows, units, strict=True)]
        return np.asfortranarray(np.stack(rows, axis=1).astype(table.X.dtype))

    def _units(self, table: Table) -> Array | None:
        """What every task's targets were divided by (T,), or None."""
        return None

    def _store(self, table: Table, problem: Problem, W: Array, b: Array) -> None:
        coef, intercept = np.ascontiguousarray(W.T), problem.intercept(W, b)
        units = self._units(table)
        if units is not None:
            coef, intercept = coef * units[:, None], intercept * units
        self.mode_, self.tasks_ = table.mode, table.tasks
        levels = intercept if table.levels is None else np.where(np.isfinite(table.levels), table.levels, intercept)
        self.coef_, self.intercept_ = table.coefficients(coef, levels)
        if self._shared == MEAN_TASK:
            self.mean_coef_, self.mean_intercept_ = coef.mean(axis=0), float(intercept.mean())
        elif self.unseen == "shared" and not self._shared:
            raise ConfigError(
                f"{type(self).__name__} has no mean task to predict unseen tasks with; use unseen='error'"
            )

    # ---- predicting ------------------------------------------------------------------------------------------------

    def _by_task(self, labels: Array) -> Iterator[tuple[Array, Array, float]]:
        """Rows of every task among the labels, with the coefficients and the intercept that predict them."""
        place = {label: i for i, label in enumerate(self.tasks_.tolist())}
        coef, intercept = np.atleast_2d(self.coef_), np.atleast_1d(self.intercept_)
        names, codes = np.unique(labels, return_inverse=True)
        for code, name in enumerate(names.tolist()):
            t = place.get(name, -1)
            w, b = (coef[t], float(intercept[t])) if t >= 0 else self._unseen_task(name)
            yield np.flatnonzero(codes == code), w, b

    def _unseen_task(self, name: Any) -> tuple[Array, float]:
        """Coefficients (d,) and intercept for a task that was not seen in fit, where the model has them."""
        if self.unseen == "error":
            hint = f"; unseen='shared' predicts it by {self._shared}" if self._shared else ""
            raise TaskError(
                f"{unknown('task', str(name), map(str, self.tasks_.tolist()))} (seen in fit){hint}; "
                "in cross-validation, TaskStratifiedKFold keeps every task in the training rows"
            )
        return self.mean_coef_, self.mean_intercept_

    def _decision(self, X: Any, task: Any) -> Array:
        """Linear predictor: (n, T) in wide layout, (n,) with one task per row."""
        check_is_fitted(self)
        X, labels = read_inputs(self, X, task, reset=False)
        coef, intercept = np.atleast_2d(self.coef_), np.atleast_1d(self.intercept_)
        if labels is None:
            return LAYOUTS[self.mode_].scores(np.asarray(X @ coef.T) + intercept)
        out = np.empty(X.shape[0], dtype=np.result_type(X.dtype, coef.dtype))
        for rows, w, b in self._by_task(labels):
            out[rows] = X[rows] @ w + b
        return out

    def _score(self, X: Any, y: Any, task: Any, sample_weight: Any) -> float:
        X, y, task = unpacked(X, y, task)
        labels = task if self.task_col is None else read_inputs(self, X, None, reset=False)[1]
        return task_mean(self._metric, y, self.predict(X, task=task), labels, sample_weight)

    _metric: ClassVar[Any]

    @abstractmethod
    def _outcome(self, scores: Array) -> Array:
        """Predictions from linear predictors."""

    def predict(self, X: Any, task: Any = None) -> Any:
        """Predictions.

        Args:
            X: Inputs (n, d), or ``{task: X_t}``.
            task: Label of each row; a model fitted in wide layout then predicts that task for the row.

        Returns:
            (n, T) for a model fitted in wide layout, (n,) otherwise; a dict for a dict.

        Raises:
            TaskError: A task was not seen in fit.
        """
        return by_task(lambda part, labels: self._outcome(self._decision(part, labels)), X, task)
