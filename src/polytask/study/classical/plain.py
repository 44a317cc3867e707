"""What estimators have learned, as plain arrays: linear models, trees and constants that predict without their library.

A file of them can be read by any later version of scikit-learn, and runs no code when it is opened.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from polytask.study.classical.losses import log_shares

__all__ = ["Piece", "constant", "linear", "trees"]

Array = NDArray[Any]
_FIELDS = (
    *("feature_idx", "num_threshold", "missing_go_to_left", "left", "right"),
    *("is_leaf", "is_categorical", "bitset_idx", "value"),
)


@final
@dataclasses.dataclass(frozen=True)
class Piece:
    """One fitted model.

    Attributes:
        form: ``"linear"``, ``"trees"`` or ``"constant"``: how scores come from a matrix.
        link: What the head puts out: ``"value"``, the score; ``"rate"``, the logarithm of its exponential, a rate; or
            ``"shares"``, log probabilities of classes with such scores.
        arrays: What was learned.
        seen: Classes that training rows held, for ``"shares"``.
        classes: Number of all classes, for ``"shares"``.
    """

    form: str
    link: str
    arrays: Mapping[str, Array]
    seen: tuple[int, ...] = ()
    classes: int = 0

    def head(self, X: Any) -> Array:
        """Predictions (n,) or (n, ``classes``), as a head puts them out.

        Args:
            X: Matrix (n, d) of the rows.
        """
        scores = _FORMS[self.form](self.arrays, X)
        if self.link == "value":
            return scores[:, 0] if scores.shape[1] == 1 else scores
        if self.link == "rate":
            return log_shares(np.exp(scores[:, 0]))
        yes = expit(scores[:, 0]) if scores.shape[1] == 1 else None
        known = softmax(scores, axis=1) if yes is None else np.stack([1 - yes, yes], axis=1)
        shares = np.zeros((len(scores), self.classes))
        shares[:, self.seen] = known
        return log_shares(shares)

    def facts(self) -> dict[str, Any]:
        """All but the arrays, as plain values."""
        return {"form": self.form, "link": self.link, "seen": list(self.seen), "classes": self.classes}


def linear(coef: Any, intercept: Any, link: str = "value") -> Piece:
    """Scores X·coefᵀ + intercept, from coefficients (d,) or (k, d)."""
    rows = np.ascontiguousarray(np.atleast_2d(coef), dtype=np.float64)  # sums depend on the order in memory
    return Piece("linear", link, {"coef": rows, "intercept": np.broadcast_to(np.asarray(intercept, float), len(rows))})


def constant(value: Any) -> Piece:
    """The same for every row."""
    return Piece("constant", "value", {"value": np.atleast_1d(np.asarray(value, dtype=np.float64))})


def trees(model: Any, link: str = "value") -> Piece:
    """A fitted histogram gradient boosting of scikit-learn."""
    stages = model._predictors
    grown = [tree for stage in stages for tree in stage]
    width = len(stages[0]) if stages else 1
    arrays = {name: np.concatenate([tree.nodes[name] for tree in grown]) for name in _FIELDS}
    sizes = np.array([len(tree.nodes) for tree in grown])
    bits = np.array([len(tree.raw_left_cat_bitsets) for tree in grown])
    arrays |= {
        "start": np.concatenate([[0], sizes.cumsum()]),
        "bits": np.concatenate([tree.raw_left_cat_bitsets for tree in grown]).reshape(-1, 8),
        "bits_start": np.concatenate([[0], bits.cumsum()]),
        "baseline": np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1),
        "width": np.array([width]),
    }
    is_category = np.zeros(model.n_features_in_, bool) if model.is_categorical_ is None else model.is_categorical_
    arrays["is_category"] = is_category
    if is_category.any():
        levels = model._preprocessor.named_transformers_["encoder"].categories_
        known = [
            np.asarray(codes, dtype=np.float64)[~np.isnan(np.asarray(codes, dtype=np.float64))] for codes in levels
        ]
        arrays["levels"] = np.concatenate(known)
        arrays["levels_start"] = np.concatenate([[0], np.cumsum([len(codes) for codes in known])])
    kinds = {"b": np.uint8, "u": np.int64, "i": np.int64, "f": np.float64}
    return Piece("trees", link, {name: value.astype(kinds[value.dtype.kind]) for name, value in arrays.items()})


def _linear_scores(arrays: Mapping[str, Array], X: Any) -> Array:
    return np.asarray(X @ arrays["coef"].T) + arrays["intercept"]


def _constant_scores(arrays: Mapping[str, Array], X: Any) -> Array:
    return np.broadcast_to(arrays["value"], (X.shape[0], len(arrays["value"])))


def _tree_scores(arrays: Mapping[str, Array], X: Array) -> Array:
    """Sums of the leaves that the rows end in; one sum per class."""
    values = _ranked(arrays, X)
    scores = np.zeros((len(values), len(arrays["baseline"]))) + arrays["baseline"]
    width = int(arrays["width"][0])
    for tree, start in enumerate(arrays["start"][:-1]):
        scores[:, tree % width] += arrays["value"][_leaves(arrays, values, int(start), int(arrays["bits_start"][tree]))]
    return scores


def _leaves(arrays: Mapping[str, Array], values: Array, start: int, bits: int) -> Array:
    """Where each row ends in one tree."""
    node = np.full(len(values), start)
    going = np.flatnonzero(arrays["is_leaf"][node] == 0)
    while len(going):
        at = node[going]
        found = values[going, arrays["feature_idx"][at]]
        gone = np.isnan(found)
        left = np.where(gone, arrays["missing_go_to_left"][at] == 1, found <= arrays["num_threshold"][at])
        sets = np.flatnonzero((arrays["is_categorical"][at] == 1) & ~gone)
        if len(sets):
            rank = found[sets].astype(np.int64)
            words = arrays["bits"][bits + arrays["bitset_idx"][at[sets]], rank // 32]
            left[sets] = (words >> (rank % 32)) & 1 == 1
        node[going] = start + np.where(left, arrays["left"][at], arrays["right"][at])
        going = going[arrays["is_leaf"][node[going]] == 0]
    return node


def _ranked(arrays: Mapping[str, Array], X: Array) -> Array:
    """Categories first, as places among those of the training rows, NaN for others; then numbers."""
    is_category = arrays["is_category"] == 1
    if not is_category.any():
        return X
    ranks = np.full((len(X), int(is_category.sum())), np.nan)
    for column, source in enumerate(np.flatnonzero(is_category)):
        known = arrays["levels"][arrays["levels_start"][column] : arrays["levels_start"][column + 1]]
        if len(known):
            place = np.searchsorted(known, X[:, source]).clip(max=len(known) - 1)
            ranks[:, column] = np.where(known[place] == X[:, source], place, np.nan)
    return np.hstack([ranks, X[:, ~is_category]])


_FORMS = {"linear": _linear_scores, "trees": _tree_scores, "constant": _constant_scores}
