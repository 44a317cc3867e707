"""Bases of the regressors and of the classifiers: what their targets, predictions and scores are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if

from polytask.errors import ConfigError
from polytask.linear.base import LinearMultiTask, parameters
from polytask.linear.core.losses import CLASSIFICATION_LOSSES, REGRESSION_LOSSES, Loss, Poisson
from polytask.linear.labels import missing
from polytask.linear.layout import by_task
from polytask.linear.tables import Table

__all__ = ["MultiTaskClassifier", "MultiTaskRegressor", "accuracy", "r_squared", "two_classes"]

Array = NDArray[Any]


def r_squared(y: Array, prediction: Array, weight: Array | None) -> float:
    """R²; NaN for less than two targets."""
    return float(r2_score(y, prediction, sample_weight=weight)) if len(y) > 1 else float("nan")


def accuracy(y: Array, prediction: Array, weight: Array | None) -> float:
    """Share of equal labels."""
    return float(np.average(y == prediction, weights=weight))


def _spreads(y: Array, table: Table) -> Array:
    """Weighted standard deviation of every task's targets (T,); 1 where it is 0."""
    known = ~np.isnan(y)
    rows, tasks = table.entries(known)
    values, weight = y[known].astype(float), np.ones(len(rows)) if table.weight is None else table.weight[rows]
    T = len(table.tasks)
    total = np.bincount(tasks, weight, T)
    total[total == 0] = 1
    mean = np.bincount(tasks, weight * values, T) / total
    spread = np.sqrt(np.bincount(tasks, weight * (values - mean[tasks]) ** 2, T) / total)
    return np.where(spread > 1e-12 * np.maximum(np.abs(mean), 1e-300), spread, 1.0)


def two_classes(y: Array) -> tuple[Array, Array]:
    """The two classes of targets, and 0 or 1 for each target, NaN where it is missing.

    Args:
        y: Numbers or words, (n,) or (n, T); all tasks have the same two classes. One class alone is 0 or 1 of a matrix.

    Raises:
        ValueError: More classes, or fewer.
    """
    there = ~missing(y)
    known = y[there]
    if known.dtype == object:
        words = [isinstance(value, str) for value in known]
        if any(words) and not all(words):
            raise ValueError("the classes are words in some rows and numbers in others; write all of them alike")
        known = known.astype(str if any(words) else float)
    seen = np.unique(known)
    whole = seen.dtype.kind != "f" or bool(np.all(seen == np.round(seen)))
    if len(seen) > 2:
        kind = "multiclass" if whole else "continuous"
        raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
    if len(seen) == 1 and y.ndim == 2 and seen[0] in (0, 1):
        seen = np.array([0, 1])
    if len(seen) < 2:
        found = f"only one class: {seen[0]!r}" if len(seen) else "no target at all"
        raise ValueError(f"a classifier needs samples of two classes, found {found}")
    codes = np.full(y.shape, np.nan)
    codes[there] = known == seen[1]
    return (seen.astype(np.int64) if seen.dtype.kind == "f" and whole else seen), codes


@parameters
class MultiTaskRegressor(RegressorMixin, LinearMultiTask):  # type: ignore[misc]
    """Base of the regressors.

    Args:
        scale_y: Whether every task's targets are divided by their standard deviation for the fit, so that one penalty
            suits tasks in different units. Coefficients, intercepts and predictions stay in the targets' units; the
            objective, the gap and the matrices of a method are those of the scaled problem.

    Attributes:
        target_scale_: What the targets were divided by (T,), with ``scale_y``.
    """

    scale_y: bool = False

    _parameter_constraints: ClassVar[dict[str, Any]] = {"scale_y": ["boolean"]}
    _losses: ClassVar[dict[str, type[Loss]]] = REGRESSION_LOSSES
    _metric: ClassVar[Any] = staticmethod(r_squared)

    def _encode(self, table: Table) -> Table:
        y = table.y.astype(table.X.dtype)
        self._get_loss().check(y)
        if self.scale_y:
            if isinstance(self._get_loss(), Poisson):
                raise ConfigError(
                    "scale_y=True would turn counts into something else; use scale_y=False with the loss 'poisson'"
                )
            self.target_scale_ = _spreads(y, table).astype(y.dtype)
            y = y / table.spread(self.target_scale_)
        return replace(table, y=y)

    def _fixed_levels(self, table: Table) -> Array:
        """Log rate of tasks whose counts are all zero, that of half an event."""
        levels = super()._fixed_levels(table)
        if not isinstance(self._get_loss(), Poisson):
            return levels
        seen, events = table.count(~np.isnan(table.y)), table.count(table.y > 0)
        return np.where((events == 0) & (seen > 0), np.log(0.5 / np.maximum(seen, 1)), levels)

    def _units(self, table: Table) -> Array | None:
        return self.target_scale_ if self.scale_y else None

    def score(self, X: Any, y: Any = None, task: Any = None, sample_weight: Any = None) -> float:
        """R² of each task with at least two targets, averaged over the tasks; missing targets are left out.

        Args:
            X: Inputs, or ``{task: (X_t, y_t)}``.
            y: Targets as in fit.
            task: Labels (n,).
            sample_weight: (n,).
        """
        return self._score(X, y, task, sample_weight)

    def _outcome(self, scores: Array) -> Array:
        return self._get_loss().mean(scores)


@parameters
class MultiTaskClassifier(ClassifierMixin, LinearMultiTask):  # type: ignore[misc]
    """Base of the binary classifiers.

    ``loss`` is ``"logistic"`` (``"auto"``), log(1 + exp(−y z)) for y = ±1 and the score z, or ``"squared_hinge"``,
    ½ max(0, 1 − y z)², or a :class:`Loss`; the rest of the objective is the regressor's of the same family.

    Attributes:
        classes_: The two classes (2,); for a matrix of 0 and 1 the numbers of its columns (T,), as scikit-learn's tools
            expect of classifiers of several labels.
        one_class_tasks_: Tasks with targets of one class only, predicted by their odds.
    """

    _losses: ClassVar[dict[str, type[Loss]]] = CLASSIFICATION_LOSSES
    _metric: ClassVar[Any] = staticmethod(accuracy)
    __metadata_request__predict_proba: ClassVar[dict[str, Any]] = {"task": True}
    __metadata_request__decision_function: ClassVar[dict[str, Any]] = {"task": True}

    def __sklearn_tags__(self) -> Any:
        """Binary per task; 0/1 matrices in wide layout."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.classifier_tags.multi_label = True
        return tags

    def _encode(self, table: Table) -> Table:
        """Targets ±1; tasks with a single class, whose likelihood has no maximum, are left to their odds."""
        self._pair, codes = two_classes(table.y)
        self.classes_ = table.classes(self._pair)
        encoded = replace(table, y=2 * codes - 1)
        levels = self._fixed_levels(encoded)
        lonely = np.isfinite(levels)
        if lonely.all():
            raise ValueError("no task has samples of two classes with positive weight, found only one class in each")
        self.one_class_tasks_ = table.tasks[lonely]
        return encoded.without(levels)

    def _fixed_levels(self, table: Table) -> Array:
        """Log odds of tasks with one class, from half an observation more of each."""
        positive, negative = (table.count(sign * table.y > 0) for sign in (1, -1))
        return np.where((positive == 0) | (negative == 0), np.log((positive + 0.5) / (negative + 0.5)), np.nan)

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
        """Signed distance from the boundary, positive for the second class.

        Args:
            X: Inputs (n, d), or ``{task: X_t}``.
            task: Label of each row.

        Returns:
            (n, T) for a model fitted in wide layout, (n,) otherwise; a dict for a dict.
        """
        return by_task(self._decision, X, task)

    def _outcome(self, scores: Array) -> Array:
        return np.asarray(self._pair[(scores > 0).astype(int)])

    def _has_probabilities(self) -> bool:
        return isinstance(self.loss, str) and self.loss in ("auto", "logistic")

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any, task: Any = None) -> Any:
        """Class probabilities (logistic loss only).

        Args:
            X: Inputs (n, d), or ``{task: X_t}``.
            task: Label of each row.

        Returns:
            (n, 2) with one task per row; in wide layout (n, T), the probability of the second class; a dict for a dict.
        """
        return by_task(lambda part, labels: _chances(self._decision(part, labels)), X, task)


def _chances(scores: Array) -> Array:
    """Probabilities of both classes (n, 2); of the second one (n, T) for scores of several tasks."""
    return np.asarray(expit(scores) if scores.ndim == 2 else np.column_stack([expit(-scores), expit(scores)]))
