"""How chains and powersets of classifiers code their targets: two classes that all columns share, or one vector's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets

from polytask.linear.supervised import two_classes
from polytask.linear.tables import SharedRows, Wide

__all__ = ["Coding", "coding"]

Array = NDArray[Any]


class Coding(ABC):
    """Classes as numbers.

    Attributes:
        classes: As the estimator shows them: (T, 2) or (C,).
        codes: Targets as numbers (n, T), NaN where they are missing.
    """

    classes: Array
    codes: Array

    @abstractmethod
    def named(self, codes: Array) -> Array:
        """Classes of numbers (…, T)."""

    @abstractmethod
    def said(self, link: Any, X: Any) -> Array:
        """What is averaged of the chains' links, (n,)."""

    @abstractmethod
    def decided(self, outcomes: Array) -> Array:
        """Numbers of the classes (n, T) from what the chains said on average (n, T)."""

    @abstractmethod
    def averaged(self, chain: Any, X: Any) -> Array:
        """Probabilities of a fitted chain: of the second class (n, T) or of every class (n, C)."""

    @abstractmethod
    def chances(self, shares: Array, combinations: Array) -> Array:
        """From probabilities of combinations (n, C), those of the second class (n, T) or of every class (n, C)."""


@final
class _Pairs(Coding):
    """Two classes that all columns share."""

    def __init__(self, y: Array) -> None:
        self._pair, self.codes = two_classes(y)
        self.classes = np.tile(self._pair, (y.shape[1], 1))

    def named(self, codes: Array) -> Array:
        return np.asarray(self._pair[codes])

    def said(self, link: Any, X: Any) -> Array:
        """P(1); a task of one class has no other."""
        place = np.flatnonzero(link.classes_ == 1)
        if not place.size:
            return np.zeros(X.shape[0])
        if hasattr(link, "predict_proba"):
            return np.asarray(link.predict_proba(X)[:, place[0]])
        return np.asarray(link.predict(X), dtype=float)

    def decided(self, outcomes: Array) -> Array:
        return (outcomes > 0.5).astype(np.intp)

    def averaged(self, chain: Any, X: Any) -> Array:
        return np.asarray(chain._outcomes(X))

    def chances(self, shares: Array, combinations: Array) -> Array:
        return np.asarray(shares @ (combinations == self._pair[1]))


@final
class _Vector(Coding):
    """Any number of classes of one task."""

    def __init__(self, y: Array) -> None:
        check_classification_targets(y)
        self.classes, codes = np.unique(y, return_inverse=True)
        if len(self.classes) < 2:
            raise ValueError(f"a classifier needs samples of two classes, found only one class: {self.classes[0]!r}")
        self.codes = codes.astype(float)[:, None]

    def named(self, codes: Array) -> Array:
        return np.asarray(self.classes[codes])

    def said(self, link: Any, X: Any) -> Array:
        """The number of the class: all chains of one task are the same model."""
        return np.asarray(link.predict(X), dtype=float)

    def decided(self, outcomes: Array) -> Array:
        return outcomes.astype(np.intp)

    def averaged(self, chain: Any, X: Any) -> Array:
        X = chain._inputs(X)
        return np.asarray(np.mean([links[0].predict_proba(X) for links in chain.estimators_], axis=0))

    def chances(self, shares: Array, combinations: Array) -> Array:
        return shares


def coding(table: SharedRows) -> Coding:
    """The coding of a table's targets."""
    return _Pairs(table.y) if isinstance(table, Wide) else _Vector(table.y)
