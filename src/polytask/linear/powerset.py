"""Label powerset: binary tasks predicted jointly, as one task whose classes are the combinations seen in training."""

from __future__ import annotations

from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from polytask.errors import TaskError
from polytask.linear.layout import _read_targets

__all__ = ["LabelPowerset"]

Array = NDArray[Any]


@final
class LabelPowerset(ClassifierMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """Binary tasks on shared rows, predicted together by one multiclass classifier on their combinations.

    It knows P(y_1, …, y_T | x) for the combinations of training, hence dependence between the tasks that is left after
    x; combinations that were not seen have probability 0. The chain rule without this restriction is scikit-learn's
    :class:`~sklearn.multioutput.ClassifierChain`.

    Args:
        estimator: Multiclass classifier; None for logistic regression.

    Attributes:
        combinations_: Combinations seen in training (C, T).
        estimator_: The fitted classifier; its classes number the combinations.
        classes_: ``[0, 1]``, or the classes of y when it is a vector.

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

    def __sklearn_tags__(self) -> Any:
        """Matrices of 0/1 targets are welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X: Any, y: Any) -> LabelPowerset:
        """Fit the classifier of combinations.

        Args:
            X: Inputs (n, d).
            y: 0/1 targets (n, T), NaN = missing, or classes (n,).
        """
        self._validate_params()
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32])
        y = _read_targets(y)
        if len(y) != X.shape[0]:
            raise ValueError(f"X and y must have as many rows, found {X.shape[0]} and {len(y)}: inconsistent numbers")
        if y.ndim == 2 and y.shape[1] == 1:
            from sklearn.utils import column_or_1d

            y = column_or_1d(y, warn=True)
        self._wide = y.ndim == 2
        if self._wide:
            full = ~np.isnan(y.astype(float)).any(axis=1)
            if not full.any():
                raise TaskError("no row has the labels of all tasks: label powerset learns from complete rows only")
            if not np.isin(y[full], (0, 1)).all():
                raise ValueError("label powerset takes targets 0 and 1 in every column")
            self.combinations_, codes = np.unique(y[full].astype(np.int64), axis=0, return_inverse=True)
            self.classes_ = np.array([0, 1])
            codes, X = codes.reshape(-1), X[full]
        else:
            check_classification_targets(y)
            self.classes_, codes = np.unique(y, return_inverse=True)
            self.combinations_ = self.classes_[:, None]
        self._only = len(self.combinations_) == 1
        if self._only and not self._wide:
            raise ValueError(f"a classifier needs samples of two classes, found only one class: {self.classes_[0]!r}")
        base = LogisticRegression(max_iter=1000) if self.estimator is None else clone(self.estimator)
        self.estimator_ = base if self._only else base.fit(X, codes)
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
        found = self.combinations_[shares.argmax(axis=1)]
        return np.asarray(found if self._wide else found[:, 0])

    def predict_proba(self, X: Any) -> Array:
        """Probability of 1 in every task (n, T), summed over the combinations; of every class (n, C) for a vector y.

        Args:
            X: Inputs (n, d).
        """
        shares = self._shares(X)
        return np.asarray(shares @ self.combinations_ if self._wide else shares)
