"""Base classes of the linear estimators: layouts in, coefficients per task out.

An estimator is a dataclass (its fields are its constructor's parameters) that names a penalty. See
:mod:`polytask.linear.registry` for how to add one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any, ClassVar, TypeVar, dataclass_transform

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted

from polytask.errors import ConfigError, TaskError, unknown
from polytask.linear.layout import Table, is_dict, join, read_inputs, read_table
from polytask.linear.losses import CLASSIFICATION_LOSSES, REGRESSION_LOSSES, Loss, get_loss
from polytask.linear.problem import Problem, shared_problem, stacked_problem
from polytask.linear.scoring import task_mean

__all__ = ["LinearMultiTask", "MultiTaskClassifier", "MultiTaskRegressor", "parameters"]

Array = NDArray[Any]
_Class = TypeVar("_Class")


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field,))
def parameters(cls: type[_Class]) -> type[_Class]:
    """Turn the fields of a class into keyword parameters of its constructor, as scikit-learn wants them."""
    return dataclass(kw_only=True, eq=False, repr=False)(cls)


@parameters
class LinearMultiTask(BaseEstimator, ABC):  # type: ignore[misc] # scikit-learn has no types
    """What all linear multi-task estimators share; see the regressors and classifiers for use.

    Args:
        loss: ``"auto"`` (squared for regressors, logistic for classifiers), a name, or a :class:`Loss`.
        fit_intercept: Whether each task has an unpenalised intercept.
        task_weight: ``"samples"``: every row counts alike (loss divided by the mean number of rows per task);
            ``"equal"``: every task counts alike (each task's loss divided by its own number of rows).
        tol: Duality gap asked for, relative to the objective.
        max_iter: Iterations after which a ConvergenceWarning names the gap reached.
        warm_start: Start from the last fit's coefficients, matched by task label.
        task_col: Column of X with the task labels: a DataFrame's column name, or a column number.
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
    _has_mean_task: ClassVar[bool] = False
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

    def __sklearn_tags__(self) -> Any:
        """Sparse inputs and several outputs are welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        tags.target_tags.required = True
        return tags

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
            TaskError: Task labels do not fit the data, or a task has no target.
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

    def _get_loss(self) -> Loss:
        name = next(iter(self._losses)) if isinstance(self.loss, str) and self.loss == "auto" else self.loss
        return get_loss(name, self._losses)

    def _problem(self, table: Table) -> Problem:
        options: dict[str, Any] = {"intercept": self.fit_intercept, "task_weight": self.task_weight}
        if table.codes is not None:
            problem = stacked_problem(
                table.X, table.y, table.codes, len(table.tasks), table.weight, self._get_loss(), **options
            )
        else:
            Y = table.y if table.y.ndim == 2 else table.y[:, None]
            problem = shared_problem(table.X, Y.astype(float), table.weight, self._get_loss(), **options)
        return replace(problem, tasks=table.tasks)

    def _previous(self, table: Table) -> Array | None:
        """The last fit's coefficients (d, T) in the order of the new tasks; zero for new ones."""
        if not hasattr(self, "coef_"):
            return None
        old = np.atleast_2d(self.coef_)
        if old.shape[1] != table.X.shape[1]:
            return None
        place = {label: i for i, label in enumerate(self.tasks_.tolist())}
        rows = [old[place[label]] if label in place else np.zeros(old.shape[1]) for label in table.tasks.tolist()]
        return np.asfortranarray(np.stack(rows, axis=1).astype(table.X.dtype))

    def _store(self, table: Table, problem: Problem, W: Array, b: Array) -> None:
        coef, intercept = np.ascontiguousarray(W.T), problem.intercept(W, b)
        self.mode_, self.tasks_ = table.mode, table.tasks
        self.coef_ = coef[0] if table.mode == "single" else coef
        self.intercept_ = float(intercept[0]) if table.mode == "single" else intercept
        if self._has_mean_task:
            self.mean_coef_, self.mean_intercept_ = coef.mean(axis=0), float(intercept.mean())
        elif self.unseen == "shared":
            raise ConfigError(
                f"{type(self).__name__} has no mean task to predict unseen tasks with; use unseen='error'"
            )

    # ---- predicting ------------------------------------------------------------------------------------------------

    def _codes(self, labels: Array) -> Array:
        """Positions of task labels in ``tasks_``; −1 for unseen ones, where the model can predict them."""
        place = {label: i for i, label in enumerate(self.tasks_.tolist())}
        codes = np.array([place.get(label, -1) for label in labels.tolist()], dtype=np.intp)
        if np.any(codes < 0) and self.unseen == "error":
            new = sorted({str(label) for label in labels[codes < 0].tolist()})
            hint = "; unseen='shared' predicts them with the mean task" if hasattr(self, "mean_coef_") else ""
            raise TaskError(f"{unknown('task', new[0], map(str, self.tasks_.tolist()))} (seen in fit){hint}")
        return codes

    def _decision(self, X: Any, task: Any) -> Any:
        """Linear predictor: (n, T) in wide mode, (n,) with one task per row."""
        check_is_fitted(self)
        if is_dict(X):
            return {name: self._decision(part, np.full(len(part), name)) for name, part in X.items()}
        X, labels = read_inputs(self, X, task, reset=False)
        coef, intercept = np.atleast_2d(self.coef_), np.atleast_1d(self.intercept_)
        if labels is None:
            if self.mode_ == "long":
                raise TaskError(
                    "this model was fitted with task labels: pass task= (one label per row) or set task_col"
                )
            out = np.asarray(X @ coef.T) + intercept
            return out[:, 0] if self.mode_ == "single" else out
        codes = self._codes(labels)
        out = np.empty(X.shape[0], dtype=np.result_type(X.dtype, coef.dtype))
        for code in np.unique(codes):
            rows = np.flatnonzero(codes == code)
            w, b = (self.mean_coef_, self.mean_intercept_) if code < 0 else (coef[code], intercept[code])
            out[rows] = X[rows] @ w + b
        return out

    def _score(self, X: Any, y: Any, task: Any, sample_weight: Any) -> float:
        if is_dict(X):
            X, y, task = join(X)
        labels = task if self.task_col is None else read_inputs(self, X, None, reset=False)[1]
        return task_mean(self._metric, y, self.predict(X, task=task), labels, sample_weight)

    _metric: ClassVar[Any]

    def predict(self, X: Any, task: Any = None) -> Any:
        """Predict; see the subclasses."""
        raise NotImplementedError


def _r2(y: Array, prediction: Array, weight: Array | None) -> float:
    from sklearn.metrics import r2_score

    return float(r2_score(y, prediction, sample_weight=weight)) if len(y) > 1 else float("nan")


def _accuracy(y: Array, prediction: Array, weight: Array | None) -> float:
    return float(np.average(y == prediction, weights=weight))


@parameters
class MultiTaskRegressor(RegressorMixin, LinearMultiTask):  # type: ignore[misc]
    """Base of the regressors."""

    _losses: ClassVar[dict[str, type[Loss]]] = REGRESSION_LOSSES
    _metric: ClassVar[Any] = staticmethod(_r2)

    def _encode(self, table: Table) -> Table:
        return Table(table.mode, table.X, table.y.astype(table.X.dtype), table.codes, table.tasks, table.weight)

    def score(self, X: Any, y: Any = None, task: Any = None, sample_weight: Any = None) -> float:
        """R² of each task with at least two targets, averaged over the tasks; missing targets are left out.

        Args:
            X: Inputs, or ``{task: (X_t, y_t)}``.
            y: Targets as in fit.
            task: Labels (n,).
            sample_weight: (n,).
        """
        return self._score(X, y, task, sample_weight)

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
        return self._decision(X, task)


@parameters
class MultiTaskClassifier(ClassifierMixin, LinearMultiTask):  # type: ignore[misc]
    """Base of the binary classifiers."""

    _losses: ClassVar[dict[str, type[Loss]]] = CLASSIFICATION_LOSSES
    _metric: ClassVar[Any] = staticmethod(_accuracy)
    __metadata_request__predict_proba: ClassVar[dict[str, Any]] = {"task": True}
    __metadata_request__decision_function: ClassVar[dict[str, Any]] = {"task": True}

    def __sklearn_tags__(self) -> Any:
        """Binary per task; 0/1 matrices in wide layout."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.classifier_tags.multi_label = True
        return tags

    def _encode(self, table: Table) -> Table:
        """Targets ±1; tasks with a single class get no weight (their intercept is set in ``_store``)."""
        y = table.y
        seen = np.unique(y[~np.isnan(y.astype(float))] if y.dtype.kind == "f" else y)
        if len(seen) > 2:
            kind = type_of_target(y[:, 0] if y.ndim == 2 else y, input_name="y")
            kind = kind if kind in {"multiclass", "continuous"} else "multiclass"
            raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
        if len(seen) == 1 and table.mode == "wide" and seen[0] in (0, 1):
            seen = np.array([0, 1])
        if len(seen) < 2:
            raise ValueError(f"a classifier needs samples of two classes, found only one class: {seen[0]!r}")
        if seen.dtype.kind == "f" and np.all(seen == np.round(seen)):
            seen = seen.astype(np.int64)
        self.classes_ = seen
        signs = np.where(y == seen[1], 1.0, -1.0)
        if y.dtype.kind == "f":
            signs = np.where(np.isnan(y), np.nan, signs)
        weight = table.weight
        counted = (
            signs if weight is None else np.where((weight > 0) if signs.ndim == 1 else (weight > 0)[:, None], signs, 0)
        )
        if table.codes is not None:
            positive = np.bincount(table.codes[counted > 0], minlength=len(table.tasks))
            negative = np.bincount(table.codes[counted < 0], minlength=len(table.tasks))
        else:
            positive, negative = np.atleast_1d((counted > 0).sum(axis=0)), np.atleast_1d((counted < 0).sum(axis=0))
        lonely = (positive == 0) | (negative == 0)
        if lonely.all():
            raise ValueError("no task has samples of two classes with positive weight, found only one class in each")
        self.one_class_tasks_ = table.tasks[lonely]
        self._prior_odds = np.where(lonely, np.log((positive + 0.5) / (negative + 0.5)), np.nan)
        if lonely.any():
            if table.codes is not None:
                weight = (np.ones(len(signs)) if weight is None else weight) * ~lonely[table.codes]
            else:
                signs = np.where(lonely, np.nan, signs)
        return Table(table.mode, table.X, signs, table.codes, table.tasks, weight)

    def _store(self, table: Table, problem: Problem, W: Array, b: Array) -> None:
        super()._store(table, problem, W, b)
        if np.isfinite(self._prior_odds).any():
            # the likelihood of one class alone has no finite maximiser: odds with half an observation of each class
            self.intercept_ = np.where(np.isfinite(self._prior_odds), self._prior_odds, self.intercept_)
        del self._prior_odds

    def score(self, X: Any, y: Any = None, task: Any = None, sample_weight: Any = None) -> float:
        """Accuracy of each task, averaged over the tasks; missing targets are left out.

        Args:
            X: Inputs, or ``{task: (X_t, y_t)}``.
            y: Targets as in fit.
            task: Labels (n,).
            sample_weight: (n,).
        """
        return self._score(X, y, task, sample_weight)

    def decision_function(self, X: Any, task: Any = None) -> Any:
        """Signed distance from the boundary, positive for ``classes_[1]``.

        Args:
            X: Inputs (n, d), or ``{task: X_t}``.
            task: Label of each row.

        Returns:
            (n, T) for a model fitted in wide layout, (n,) otherwise; a dict for a dict.
        """
        return self._decision(X, task)

    def predict(self, X: Any, task: Any = None) -> Any:
        """Predicted classes.

        Args:
            X: Inputs (n, d), or ``{task: X_t}``.
            task: Label of each row.

        Returns:
            (n, T) for a model fitted in wide layout, (n,) otherwise; a dict for a dict.

        Raises:
            TaskError: A task was not seen in fit.
        """
        scores = self._decision(X, task)
        if isinstance(scores, dict):
            return {name: self.classes_[(part > 0).astype(int)] for name, part in scores.items()}
        return self.classes_[(scores > 0).astype(int)]

    def _has_probabilities(self) -> bool:
        return isinstance(self.loss, str) and self.loss in ("auto", "logistic")

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any, task: Any = None) -> Any:
        """Class probabilities (logistic loss only).

        Args:
            X: Inputs (n, d), or ``{task: X_t}``.
            task: Label of each row.

        Returns:
            (n, 2) with one task per row; (n, T), the probability of ``classes_[1]``, in wide layout; a dict for a dict.
        """
        from scipy.special import expit

        scores = self._decision(X, task)
        if isinstance(scores, dict):
            return {name: np.column_stack([expit(-part), expit(part)]) for name, part in scores.items()}
        return expit(scores) if scores.ndim == 2 else np.column_stack([expit(-scores), expit(scores)])
