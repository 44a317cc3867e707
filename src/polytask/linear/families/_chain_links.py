"""What chains of regressors and of classifiers share: the order, the links, and what is fed from one to the next."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.model_selection import KFold, check_cv
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from polytask.errors import TaskError, unknown
from polytask.linear.base import ManyTargets
from polytask.linear.core.design import is_sparse
from polytask.linear.layout import read_wide
from polytask.linear.tables import SharedRows

__all__ = ["TaskChain"]

Array = NDArray[Any]


class TaskChain(ManyTargets):
    """What both chains share: the order, the links, and what is fed from one to the next."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "estimator": [None, BaseEstimator],
        "order": [None, "array-like", StrOptions({"random"})],
        "n_chains": [Interval(Integral, 1, None, closed="left")],
        "cv": [None, "cv_object"],
        "random_state": ["random_state"],
    }

    def __init__(
        self, estimator: Any = None, *, order: Any = None, n_chains: int = 1, cv: Any = None, random_state: Any = None
    ) -> None:
        self.estimator, self.order, self.n_chains, self.cv = estimator, order, n_chains, cv
        self.random_state = random_state

    @abstractmethod
    def _link(self, X: Any, y: Array, weight: Array | None) -> Any:
        """The fitted model of one task."""

    @abstractmethod
    def _outcome(self, links: list[Any], inputs: list[Any]) -> Array:
        """What one chain says of its tasks, (n, T), before chains are averaged."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit every link of every chain.

        Args:
            X: Inputs (n, d).
            y: Targets (n, T) with NaN for missing ones, or (n,).
            sample_weight: Weights of the rows (n,), if the links' estimator takes them.

        Returns:
            The estimator.

        Raises:
            TaskError: A task has no label, or ``order`` does not name the tasks.
        """
        self._validate_params()
        table = read_wide(self, X, y, sample_weight)
        self.tasks_, self._layout = table.tasks, type(table)
        Y = self._encode(table)
        self.orders_ = self._orders(Y.shape[1])
        self.estimators_ = [self._chain(table.X, Y, order, table.weight) for order in self.orders_]
        return self

    def _encode(self, table: SharedRows) -> Array:
        """Targets as numbers (n, T)."""
        return table.targets.astype(float)

    def _orders(self, T: int) -> Array:
        random = check_random_state(self.random_state)
        if self.n_chains > 1 or (isinstance(self.order, str) and self.order == "random"):
            if not (self.order is None or isinstance(self.order, str)):
                raise TaskError("several chains take random orders: leave order out, or use n_chains=1")
            return np.stack([random.permutation(T) for _ in range(self.n_chains)])
        if self.order is None:
            return np.arange(T)[None]
        place = {label: t for t, label in enumerate(self.tasks_.tolist())}
        wanted = np.asarray(self.order).tolist()
        if sorted(map(str, wanted)) != sorted(map(str, place)):
            odd = next((label for label in wanted if label not in place), None)
            hint = unknown("task", str(odd), map(str, place)) if odd is not None else "a task is missing or repeated"
            raise TaskError(f"order must name each task once: {hint} (in order)")
        return np.array([[place[label] for label in wanted]])

    def _chain(self, X: Any, Y: Array, order: Array, weight: Array | None) -> list[Any]:
        links: list[Any] = []
        for t in order:
            present = ~np.isnan(Y[:, t])
            link = self._link(X[present], Y[present, t], None if weight is None else weight[present])
            links.append(link)
            if len(links) < len(order):
                X = _append(X, self._fed(X, Y[:, t], present, link, weight))
        return links

    def _fed(self, X: Any, y: Array, present: Array, link: Any, weight: Array | None) -> Array:
        """What later links see of a task: its label where there is one; with ``cv`` predictions from other folds."""
        if self.cv is None:
            fed = y.copy()
            if not present.all():
                fed[~present] = link.predict(X[~present])
            return fed
        fed = np.empty(len(y))
        folds = KFold(self.cv, shuffle=True, random_state=0) if isinstance(self.cv, Integral) else check_cv(self.cv)
        for train, test in folds.split(np.zeros((len(y), 1)), np.where(present, y, 0)):
            rows = train[present[train]]
            if not len(rows):
                raise TaskError("a fold leaves a task without labels; use fewer folds")
            fed[test] = self._link(X[rows], y[rows], None if weight is None else weight[rows]).predict(X[test])
        return fed

    def _inputs(self, X: Any) -> Any:
        check_is_fitted(self)
        return validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)

    def _outcomes(self, X: Any) -> Array:
        """Mean of the chains, (n, T)."""
        X = self._inputs(X)
        total = np.zeros((X.shape[0], self.orders_.shape[1]))
        for order, links in zip(self.orders_, self.estimators_, strict=True):
            inputs = [X]
            for link in links[:-1]:
                inputs.append(_append(inputs[-1], link.predict(inputs[-1])))
            total[:, order] += self._outcome(links, inputs)
        return total / len(self.orders_)


def _append(X: Any, column: Array) -> Any:
    if is_sparse(X):
        return sparse.hstack([X, sparse.csr_array(column[:, None])], format="csr")
    return np.column_stack([X, column])
