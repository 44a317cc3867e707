"""Chains of tasks: each task's model sees the tasks before it, also where labels are missing."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils.validation import check_is_fitted

from polytask.linear.families._chain_links import TaskChain
from polytask.linear.families._classes import coding
from polytask.linear.scoring import task_mean
from polytask.linear.supervised import accuracy, r_squared
from polytask.linear.tables import SharedRows

__all__ = ["TaskChainClassifier", "TaskChainRegressor"]

Array = NDArray[Any]


@final
class TaskChainRegressor(RegressorMixin, TaskChain):  # type: ignore[misc]
    """Regression of several tasks on shared rows, each on the inputs and the tasks before it (regressor chain).

    ŷ_{σ(k)} = f_k(x, ŷ_{σ(1)}, …, ŷ_{σ(k−1)}) for an order σ of the tasks, averaged over ``n_chains`` orders. A link is
    trained on the rows with its label; it sees earlier labels, and their predictions where they are missing. With all
    labels, one chain is scikit-learn's :class:`~sklearn.multioutput.RegressorChain`.

    Args:
        estimator: Regressor of the links; None for ridge regression. ``RidgeCV()`` tunes every link by itself, a grid
            search over ``estimator__alpha`` all together.
        order: Task labels (columns of y) from first to last; None for the order of the columns; ``"random"``.
        n_chains: Number of chains; more than one take random orders.
        cv: None feeds observed labels to later links; folds feed predictions from the other folds instead, which are
            what a link will see of new rows.
        random_state: Seed of the orders.

    Attributes:
        estimators_: Links of every chain.
        orders_: Positions of the tasks in every chain (chains, T).
        tasks_: Task labels (T,).

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(100, 2))
        >>> Y = np.column_stack([X[:, 0] ** 2, X[:, 0] ** 2 + X[:, 1]])
        >>> Y[::3, 0] = np.nan
        >>> TaskChainRegressor(n_chains=4, random_state=0).fit(X, Y).predict(X).shape
        (100, 2)

    References:
        Spyromitros-Xioufis, Tsoumakas, Groves & Vlahavas (2016), Multi-target regression via input space expansion.
    """

    def _link(self, X: Any, y: Array, weight: Array | None) -> Any:
        model = Ridge() if self.estimator is None else clone(self.estimator)
        return model.fit(X, y) if weight is None else model.fit(X, y, sample_weight=weight)

    def _outcome(self, links: list[Any], inputs: list[Any]) -> Array:
        return np.column_stack([link.predict(X) for link, X in zip(links, inputs, strict=True)])

    def predict(self, X: Any) -> Array:
        """Predictions (n, T), or (n,) after a fit on a vector.

        Args:
            X: Inputs (n, d).
        """
        out = self._outcomes(X)
        return self._layout.scores(out)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R² of each task with at least two targets, averaged over the tasks; missing targets are left out.

        Args:
            X: Inputs (n, d).
            y: Targets (n, T) or (n,).
            sample_weight: (n,).
        """
        return task_mean(r_squared, y, self.predict(X), None, sample_weight)


@final
class TaskChainClassifier(ClassifierMixin, TaskChain):  # type: ignore[misc]
    """Binary classification of several tasks on shared rows, each given the tasks before it (classifier chain).

    As :class:`TaskChainRegressor` with classifiers of two classes (numbers or words) that all columns share, coded 0
    and 1: a link predicts P(y_{σ(k)} = 1 | x, y_{σ(1)}, …, y_{σ(k−1)}), and
    later links are fed the predicted class. Several chains average their probabilities. With all labels, one chain is
    scikit-learn's :class:`~sklearn.multioutput.ClassifierChain`.

    Args:
        estimator: Classifier of the links; None for logistic regression. ``LogisticRegressionCV()`` tunes every link by
            itself, a grid search over ``estimator__C`` all together.
        order: Task labels (columns of y) from first to last; None for the order of the columns; ``"random"``.
        n_chains: Number of chains; more than one take random orders (an ensemble of classifier chains).
        cv: None feeds observed labels to later links; folds feed predictions from the other folds instead.
        random_state: Seed of the orders.

    Attributes:
        estimators_: Links of every chain.
        orders_: Positions of the tasks in every chain (chains, T).
        classes_: The two classes of every task (T, 2), or the classes of y when it is a vector.
        tasks_: Task labels (T,).

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(200, 2))
        >>> Y = np.column_stack([X[:, 0] > 0, X[:, 0] > 0]).astype(float)
        >>> Y[::2, 1] = np.nan
        >>> TaskChainClassifier().fit(X, Y).predict([[2.0, 0.0], [-2.0, 0.0]]).tolist()
        [[1, 1], [0, 0]]

    References:
        Read, Pfahringer, Holmes & Frank (2011), Classifier chains for multi-label classification.
    """

    def __sklearn_tags__(self) -> Any:
        """Matrices of 0/1 targets are welcome."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _encode(self, table: SharedRows) -> Array:
        self._coding = coding(table)
        self.classes_ = self._coding.classes
        return self._coding.codes

    def _link(self, X: Any, y: Array, weight: Array | None) -> Any:
        codes = y.astype(np.int64)
        if np.ptp(codes) == 0:
            return DummyClassifier(strategy="most_frequent").fit(X, codes)
        model = LogisticRegression(max_iter=1000) if self.estimator is None else clone(self.estimator)
        return model.fit(X, codes) if weight is None else model.fit(X, codes, sample_weight=weight)

    def _outcome(self, links: list[Any], inputs: list[Any]) -> Array:
        return np.column_stack([self._coding.said(link, X) for link, X in zip(links, inputs, strict=True)])

    def predict(self, X: Any) -> Array:
        """Predicted classes (n, T), or (n,) after a fit on a vector.

        Args:
            X: Inputs (n, d).
        """
        out = self._outcomes(X)
        return self._layout.scores(self._coding.named(self._coding.decided(out)))

    def predict_proba(self, X: Any) -> Array:
        """Probability of the second class in every task (n, T); of every class (n, C) after a fit on a vector.

        Args:
            X: Inputs (n, d).
        """
        check_is_fitted(self)
        return self._coding.averaged(self, X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy of each task, averaged over the tasks; missing targets are left out.

        Args:
            X: Inputs (n, d).
            y: Targets (n, T) or (n,).
            sample_weight: (n,).
        """
        return task_mean(accuracy, y, self.predict(X), None, sample_weight)
