"""Labels and predictions of one task, checked, without the rows that have no label."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from polytask.errors import DataError

__all__ = ["chances_of", "numbers", "with_labels"]

Array = NDArray[Any]


def numbers(what: str, values: Any) -> Array:
    """Values as an array of float64.

    Raises:
        DataError: They are no numbers.
    """
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} must be numbers: {error}") from error


def with_labels(y: Any, prediction: Any, weight: Any = None) -> tuple[Array, Array, Array]:
    """Labels (m,), predictions (m, …) and weights (m,) of the rows that have a label.

    Args:
        y: Labels (n,), NaN where missing.
        prediction: (n,) or (n, k).
        weight: (n,); ``None`` for ones.

    Raises:
        DataError: Lengths differ, a prediction of a labelled row or a weight is not finite, a weight is negative, or no
            row has a label and a positive weight.
    """
    labels, predictions = numbers("labels", y), numbers("predictions", prediction)
    weights = np.ones(len(labels)) if weight is None else numbers("weights", weight)
    if labels.ndim != 1 or len(predictions) != len(labels) or weights.shape != labels.shape:
        raise DataError(
            f"expected labels (n,) with predictions and weights of as many rows, found shapes {labels.shape}, "
            f"{predictions.shape} and {weights.shape}"
        )
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise DataError("weights must be finite and not negative")
    keep = ~np.isnan(labels) & (weights > 0)
    if not keep.any():
        raise DataError(f"none of the {len(labels)} rows has a label and a positive weight")
    labels, predictions, weights = labels[keep], predictions[keep], weights[keep]
    if not np.isfinite(labels).all():
        raise DataError("labels must be finite; NaN says that one is missing")
    odd = ~np.isfinite(predictions.reshape(len(labels), -1)).all(axis=1)
    if odd.any():
        raise DataError(f"{int(odd.sum())} of {len(labels)} predictions of rows with a label are not finite")
    return labels, predictions, weights


def chances_of(y: Any, chance: Any, weight: Any = None) -> tuple[Array, Array, Array]:
    """The same for classes: labels as places (m,), probabilities of all classes (m, C), weights (m,).

    Args:
        y: 0 or 1, or places of classes (n,); NaN where missing.
        chance: Probability of 1 (n,), or of every class (n, C).
        weight: (n,).

    Raises:
        DataError: As in :func:`with_labels`; or labels are no places of classes, or probabilities lie outside [0, 1].
    """
    labels, chances, weights = with_labels(y, chance, weight)
    if chances.ndim == 1:
        chances = np.stack([1 - chances, chances], axis=1)
    if chances.ndim != 2 or chances.shape[1] < 2:
        raise DataError(f"expected probabilities (n,) or (n, C) with C ≥ 2, found shape {chances.shape}")
    places = labels.astype(np.int64)
    if (places != labels).any() or places.min() < 0 or places.max() >= chances.shape[1]:
        raise DataError(
            f"labels must be 0 … {chances.shape[1] - 1}, one of the classes, found {labels.min():g} … {labels.max():g}"
        )
    if chances.min() < -1e-6 or chances.max() > 1 + 1e-6:
        raise DataError(f"probabilities must lie in [0, 1], found {chances.min():g} … {chances.max():g}")
    return places, chances.clip(0, 1), weights
