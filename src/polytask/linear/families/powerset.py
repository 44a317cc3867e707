"""Label powerset: binary tasks predicted jointly, as one task whose classes are the combinations seen in training."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Integral
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.utils.validation import check_is_fitted, validate_data

from polytask.errors import TaskError
from polytask.linear.base import ManyTargets
from polytask.linear.families._classes import coding
from polytask.linear.labels import missing
from polytask.linear.layout import read_wide
from polytask.linear.supervised import accuracy

__all__ = ["LabelPowerset", "LabelPowersetCV"]

Array = NDArray[Any]


class Powerset(ClassifierMixin, ManyTargets):  # type: ignore[misc] # scikit-learn has no types
    """One classifier of the combinations of binary tasks."""

    def __sklearn_tags__(self) -> Any:
        """Matrices of 0/1 targets are welcome."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    @abstractmethod
    def _base(self) -> Any:
        """The unfitted classifier of combinations."""

    def fit(self, X: Any, y: Any) -> Any:
        """Fit the classifier of combinations.

        Args:
            X: Inputs (n, d).
            y: Targets (n, T) of two classes that all columns share, NaN = missing, or classes (n,).
        """
        self._validate_params()
        table = read_wide(self, X, y)
        full = np.flatnonzero(~missing(table.targets).any(axis=1))
        if not len(full):
            raise TaskError("no row has the labels of all tasks: label powerset learns from complete rows only")
        table = table.rows(full)
        self.tasks_, self._layout, self._coding = table.tasks, type(table), coding(table)
        self.classes_ = self._coding.classes
        found, codes = np.unique(self._coding.codes.astype(np.intp), axis=0, return_inverse=True)
        self.combinations_ = self._coding.named(found)
        self._only = len(self.combinations_) == 1
        self.estimator_ = self._base() if self._only else self._base().fit(table.X, codes.reshape(-1))
        return self

    def _shares(self, X: Any) -> Array:
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
        return np.ones((X.shape[0], 1)) if self._only else np.asarray(self.estimator_.predict_proba(X))

    def predict(self, X: Any) -> Array:
        """The most probable combination of every row, (n, T), or its class (n,).

        Args:
            X: Inputs (n, d).
        """
        shares = self._shares(X)
        return self._layout.scores(self.combinations_[shares.argmax(axis=1)])

    def predict_proba(self, X: Any) -> Array:
        """Probability of the second class in every task (n, T); of every class (n, C) after a fit on a vector.

        Args:
            X: Inputs (n, d).
        """
        shares = self._shares(X)
        return self._coding.chances(shares, self.combinations_)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of the rows, among those with all labels, whose whole combination is predicted.

        Args:
            X: Inputs (n, d).
            y: Targets (n, T) or (n,).
            sample_weight: (n,).
        """
        y = np.asarray(y)
        targets, found = y.reshape(len(y), -1), self.predict(X).reshape(len(y), -1)
        rows = ~missing(targets).any(axis=1)
        weight = None if sample_weight is None else np.asarray(sample_weight)[rows]
        return accuracy(np.ones(int(rows.sum())), np.all(targets[rows] == found[rows], axis=1), weight)


@final
class LabelPowerset(Powerset):
    """Binary tasks on shared rows, predicted together by one multiclass classifier on their combinations.

    It knows P(y_1, …, y_T | x) for the combinations of training, hence dependence between the tasks that is left after
    x; combinations that were not seen have probability 0. The chain rule without this restriction is
    :class:`TaskChainClassifier`.

    Args:
        estimator: Multiclass classifier; None for logistic regression.

    Attributes:
        combinations_: Combinations seen in training (C, T).
        estimator_: The fitted classifier; its classes number the combinations.
        classes_: The two classes of every task (T, 2), or the classes of y when it is a vector.

    Raises:
        TaskError: No row has the labels of all tasks.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(200, 2))
        >>> y = (X[:, 0] > 0).astype(int)
        >>> LabelPowerset().fit(X, np.stack([y, 1 - y], axis=1)).predict([[3.0, 0.0], [-3.0, 0.0]]).tolist()
        [[1, 0], [0, 1]]

    Notes:
        Rows with a missing label (NaN) are left out. The most probable combination is predicted, which need not be the
        most probable label of each task.

    References:
        Tsoumakas & Katakis (2007), Multi-label classification: an overview.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {"estimator": [None, BaseEstimator]}

    def __init__(self, estimator: Any = None) -> None:
        self.estimator = estimator

    def _base(self) -> Any:
        return LogisticRegression(max_iter=1000) if self.estimator is None else clone(self.estimator)


@final
class LabelPowersetCV(Powerset):
    """:class:`LabelPowerset` with the classifier's parameters chosen by cross-validation.

    A combination that is new in the rows left out counts as missed.

    Args:
        estimator: Multiclass classifier; None for logistic regression.
        param_grid: Values of its parameters, as in :class:`~sklearn.model_selection.GridSearchCV`; None tries a C of
            0.001 to 1000 in seven steps.
        cv: Number of folds, shuffled, or a splitter.
        n_jobs: Fits in parallel.

    Attributes:
        combinations_: Combinations seen in training (C, T).
        estimator_: The fitted search; ``estimator_.best_params_`` are the chosen ones.
        classes_: The two classes of every task (T, 2), or the classes of y when it is a vector.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(200, 2))
        >>> Y = np.stack([X[:, 0] > 0, X[:, 1] > 0], axis=1).astype(int)
        >>> LabelPowersetCV(param_grid={"C": [1e-6, 10.0]}).fit(X, Y).estimator_.best_params_
        {'C': 10.0}
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "estimator": [None, BaseEstimator],
        "param_grid": [None, dict, list],
        "cv": ["cv_object"],
        "n_jobs": [None, Integral],
    }

    def __init__(self, estimator: Any = None, *, param_grid: Any = None, cv: Any = 5, n_jobs: Any = None) -> None:
        self.estimator, self.param_grid, self.cv, self.n_jobs = estimator, param_grid, cv, n_jobs

    def _base(self) -> Any:
        base = LogisticRegression(max_iter=1000) if self.estimator is None else clone(self.estimator)
        grid = {"C": np.logspace(-3, 3, 7)} if self.param_grid is None else self.param_grid
        cv = KFold(self.cv, shuffle=True, random_state=0) if isinstance(self.cv, Integral) else self.cv
        return GridSearchCV(base, grid, cv=cv, n_jobs=self.n_jobs)
