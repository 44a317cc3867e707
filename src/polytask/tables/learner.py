"""A learner that knows one target, and what is asked of it: fit, outputs, and outputs for rows that it has not seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils import get_tags
from sklearn.utils.validation import _num_samples, has_fit_parameter

from polytask.errors import ConfigError, TaskError
from polytask.tables.design import rows_of
from polytask.tables.targets import Target

__all__ = ["Clones", "Folds", "Learner", "Model", "Models", "fed", "held_out", "standard"]

Array = NDArray[Any]
Folds = Sequence[tuple[Array, Array]]


@runtime_checkable
class Model(Protocol):
    """One fitted model of one target."""

    def output(self, X: Any) -> Array:
        """Numbers (n, 1), or probabilities of the target's classes (n, C)."""


@runtime_checkable
class Models(Protocol):
    """One fitted model of several targets."""

    def outputs(self, X: Any) -> list[Array]:
        """As :meth:`Model.output`, for each target."""


@runtime_checkable
class Learner(Protocol):
    """Fits one target."""

    def fit(self, X: Any, target: Target, like: Any = None) -> Model:
        """Fit on the rows of ``X`` where the target is present.

        Args:
            X: Inputs (n, d).
            target: The target.
            like: A model of the same target on more rows, whose hyper-parameters are taken over where some were chosen.
        """

    def fit_jointly(self, X: Any, targets: Sequence[Target], labels: Sequence[Array], weight: Array | None) -> Models:
        """Fit one model to several targets of one type, of which all ``labels`` (n,) are given."""


def fed(target: Target, output: Array) -> list[Array]:
    """What a later model is given of an output: the number, the probability of the second of two classes, or of all."""
    if target.width == 2:
        return [output[:, 1]]
    return list(output.T)


def held_out(learner: Learner, X: Any, target: Target, folds: Folds) -> tuple[Model, Array]:
    """A model of all labels, and outputs (n, width) of which none comes from a model that knew the row's own label.

    Rows without a label get the output of the model of all labels, which has not seen them.

    Args:
        learner: What fits.
        X: Inputs (n, d).
        target: The target.
        folds: Rows to fit and rows to predict, a partition.

    Raises:
        TaskError: The target has one label only.
    """
    full = learner.fit(X, target)
    output = np.array(full.output(X), dtype=float)
    if any(not target.present[train].any() for train, test in folds if target.present[test].any()):
        folds = _own_folds(target, len(folds))
    for train, test in folds:
        rows = test[target.present[test]]
        if len(rows):
            output[rows] = learner.fit(rows_of(X, train), target.within(train), full).output(rows_of(X, rows))
    return full, output


def _own_folds(target: Target, count: int) -> Folds:
    """Folds of the rows with a label, for one whose labels all lie in one fold of all rows."""
    labelled = np.flatnonzero(target.present)
    if len(labelled) < 2:
        raise TaskError(
            f"target {target.name!r} has one label only, of which no prediction can be made without it; leave it out, "
            "or let later models see labels instead of predictions: cv=None"
        )
    parts = np.array_split(labelled, min(count, len(labelled)))
    return [(np.setdiff1d(labelled, part), part) for part in parts]


@final
@dataclasses.dataclass(frozen=True)
class Clones:
    """Copies of learners of scikit-learn's interface.

    Attributes:
        regressor: For numbers, or ``None``.
        classifier: For classes, or ``None``.
    """

    regressor: Any
    classifier: Any

    def fit(self, X: Any, target: Target, like: Any = None) -> Model:
        """A fitted copy, whose options are its own whatever it is like; a constant where there is one class only.

        Raises:
            ConfigError: There are weights, and the learner takes none.
        """
        rows = target.present
        y = target.values[rows]
        if target.classes is not None and (y == y[0]).all():
            return _Always(np.eye(target.width)[y[0]])
        weight = None if target.weight is None else target.weight[rows]
        model = self._fitted(target, rows_of(X, rows), y, weight)
        return _Clone(model, target.width if target.classes is not None else 0)

    def fit_jointly(self, X: Any, targets: Sequence[Target], labels: Sequence[Array], weight: Array | None) -> Models:
        """A copy fitted to a matrix of targets.

        Raises:
            ConfigError: There are weights, and the learner takes none; or it takes one target only.
        """
        units = [_unit(target, values) for target, values in zip(targets, labels, strict=True)]
        Y = np.column_stack([(y - mean) / spread for y, (mean, spread) in zip(labels, units, strict=True)])
        if targets[0].classes is not None:
            Y = Y.astype(np.int64)
        try:
            model = self._fitted(targets[0], X, Y if len(targets) > 1 else Y[:, 0], weight)
        except ValueError as error:
            if len(targets) == 1 or get_tags(self._of(targets[0])).target_tags.multi_output:
                raise
            raise ConfigError(
                f"how='joint' needs a learner that takes a matrix of targets, such as a random forest, and "
                f"{type(self._of(targets[0])).__name__} takes one target ({error}); take how='chain' or how='stack'"
            ) from error
        return _Many(model, [0 if target.classes is None else target.width for target in targets], units)

    def _of(self, target: Target) -> Any:
        return self.regressor if target.classes is None else self.classifier

    def _fitted(self, target: Target, X: Any, y: Array, weight: Array | None) -> Any:
        model = clone(self._of(target))
        if weight is None or (weight == weight[0]).all():
            return model.fit(X, y)
        if not has_fit_parameter(model, "sample_weight"):
            raise ConfigError(f"{type(model).__name__} takes no sample_weight; leave it out, or take another learner")
        return model.fit(X, y, sample_weight=weight)


@final
@dataclasses.dataclass(frozen=True)
class _Clone:
    """A fitted estimator.

    Attributes:
        estimator: It.
        classes: Number of classes; 0 for a number.
    """

    estimator: Any
    classes: int

    def output(self, X: Any) -> Array:
        if not self.classes:
            return np.asarray(self.estimator.predict(X), dtype=float).reshape(-1, 1)
        if not hasattr(self.estimator, "predict_proba"):
            return _certain(self.estimator.predict(X), self.classes)
        return _spread(self.estimator.predict_proba(X), self.estimator.classes_, self.classes)


@final
@dataclasses.dataclass(frozen=True)
class _Many:
    """A fitted estimator of several targets.

    Attributes:
        estimator: It.
        classes: Number of classes of each target; 0 for a number.
        units: Mean and standard deviation of each target.
    """

    estimator: Any
    classes: list[int]
    units: list[tuple[float, float]]

    def outputs(self, X: Any) -> list[Array]:
        several = len(self.classes) > 1
        if not self.classes[0] or not hasattr(self.estimator, "predict_proba"):
            found = np.asarray(self.estimator.predict(X)).reshape(_num_samples(X), -1).T
            if self.classes[0]:
                return [_certain(one, count) for one, count in zip(found, self.classes, strict=True)]
            return [(one * spread + mean)[:, None] for one, (mean, spread) in zip(found, self.units, strict=True)]
        chances, seen = self.estimator.predict_proba(X), self.estimator.classes_
        if not several:
            chances, seen = [chances], [seen]
        return [_spread(*one) for one in zip(chances, seen, self.classes, strict=True)]


def _certain(codes: Any, classes: int) -> Array:
    """Probability one for the class that is predicted."""
    shares: Array = np.eye(classes)[np.asarray(codes, dtype=np.intp)]
    return shares


def _spread(chances: Any, seen: Any, classes: int) -> Array:
    """Probabilities of the classes that were seen, in their places among all."""
    shares = np.zeros((len(chances), classes))
    shares[:, np.asarray(seen, dtype=np.intp)] = chances
    return shares


def _unit(target: Target, labels: Array) -> tuple[float, float]:
    """Mean and standard deviation of numbers; (0, 1) for classes."""
    if target.classes is not None:
        return 0.0, 1.0
    return standard(labels, None)


def standard(values: Array, weight: Array | None) -> tuple[float, float]:
    """Mean and standard deviation, the latter 1 where it is 0 but for rounding.

    Examples:
        >>> standard(np.array([1.0, 3.0]), None), standard(np.array([5.0, 5.0]), None)
        ((2.0, 1.0), (5.0, 1.0))
    """
    mean = float(np.average(values, weights=weight))
    spread = float(np.sqrt(np.average((values - mean) ** 2, weights=weight)))
    return mean, spread if spread > 1e-12 * max(abs(mean), 1e-300) else 1.0


@final
@dataclasses.dataclass(frozen=True)
class _Always:
    """The same output for every row.

    Attributes:
        value: (width,).
    """

    value: Array

    def output(self, X: Any) -> Array:
        return np.tile(self.value, (_num_samples(X), 1))
