"""Metrics of rows with weights, as functions of arrays: decoded predictions, targets and weights, (n, …) each.

A weight of 2 counts a row twice; with weights of 1 they are the metrics that torchmetrics computes. For several labels
per row, targets and weights are (n, L), with −1 in the target where a label is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polytask.tasks.concordance import concordance_index

__all__ = [
    "WeightedMetric",
    "absolute",
    "accuracy",
    "brier",
    "by_label",
    "concordance",
    "coverage_error",
    "kappa",
    "known_absolute",
    "known_root",
    "log_loss",
    "macro_auroc",
    "micro",
    "percentage",
    "pinball",
    "poisson_deviance",
    "r2",
    "ranked",
    "root",
    "sorted_out",
    "square",
]

Array = NDArray[Any]
WeightedMetric = Callable[[Array, Array, Array], float]


def square(prediction: Array, target: Array, weight: Array) -> float:
    """Σ w (ŷ − y)² / Σ w."""
    return float(np.average((prediction - target) ** 2, weights=weight))


def root(prediction: Array, target: Array, weight: Array) -> float:
    """The root of :func:`square`."""
    return float(np.sqrt(square(prediction, target, weight)))


def absolute(prediction: Array, target: Array, weight: Array) -> float:
    """Σ w |ŷ − y| / Σ w."""
    return float(np.average(np.abs(prediction - target), weights=weight))


def percentage(prediction: Array, target: Array, weight: Array) -> float:
    """Σ w |ŷ − y|/|y| / Σ w; NaN where a label is 0."""
    if not target.all():
        return float("nan")
    return float(np.average(np.abs((prediction - target) / target), weights=weight))


def r2(prediction: Array, target: Array, weight: Array) -> float:
    """1 − Σ w (ŷ − y)² / Σ w (y − ȳ)², ȳ the weighted mean."""
    from sklearn.metrics import r2_score

    return float(r2_score(target, prediction, sample_weight=weight))


def poisson_deviance(prediction: Array, target: Array, weight: Array) -> float:
    """Weighted mean of 2·[y·log(y/λ) − y + λ]."""
    from sklearn.metrics import mean_poisson_deviance

    return float(mean_poisson_deviance(target, prediction, sample_weight=weight))


def pinball(*quantiles: float) -> WeightedMetric:
    """The pinball loss, averaged over levels."""
    return partial(_pinball, quantiles)


def _pinball(quantiles: tuple[float, ...], prediction: Array, target: Array, weight: Array) -> float:
    error, levels = target[:, None] - prediction, np.asarray(quantiles)
    return float(np.average(np.maximum(levels * error, (levels - 1) * error).mean(1), weights=weight))


def coverage_error(*quantiles: float) -> WeightedMetric:
    """Mean over levels of |weighted share of rows with y ≤ q_τ − τ|."""
    return partial(_coverage_error, quantiles)


def _coverage_error(quantiles: tuple[float, ...], prediction: Array, target: Array, weight: Array) -> float:
    below = np.average(target[:, None] <= prediction, axis=0, weights=weight)
    return float(np.abs(below - np.asarray(quantiles)).mean())


def ranked(name: str) -> WeightedMetric:
    """A ranking metric of :mod:`sklearn.metrics`, of the probability of a yes."""
    return partial(_ranked, name)


def _ranked(name: str, prediction: Array, target: Array, weight: Array) -> float:
    from sklearn import metrics

    return float(getattr(metrics, name)(target, prediction, sample_weight=weight))


def sorted_out(name: str, **options: Any) -> WeightedMetric:
    """A metric of :mod:`sklearn.metrics` of classes: the likeliest one, a yes above ½, or the class as it is given."""
    return partial(_sorted_out, name, options)


def _sorted_out(name: str, options: dict[str, Any], prediction: Array, target: Array, weight: Array) -> float:
    from sklearn import metrics

    return float(getattr(metrics, name)(target, _classes(prediction), sample_weight=weight, **options))


def accuracy(prediction: Array, target: Array, weight: Array) -> float:
    """Weighted share of right answers."""
    return float(np.average(_classes(prediction) == target, weights=weight))


def log_loss(prediction: Array, target: Array, weight: Array) -> float:
    """Weighted mean of −log p of what came true, over all labels that are there."""
    from sklearn import metrics

    chances, places, weights = _by_class(prediction, target, weight)
    return float(metrics.log_loss(places, chances, sample_weight=weights, labels=range(chances.shape[1])))


def brier(prediction: Array, target: Array, weight: Array) -> float:
    """Weighted mean of (p − y)² of yes/no labels, of Σ_c (p_c − [y = c])² of more classes."""
    chances, places, weights = _by_class(prediction, target, weight)
    squares = ((chances - np.eye(chances.shape[1])[places]) ** 2).sum(1)
    return float(np.average(squares / (2 if chances.shape[1] == 2 else 1), weights=weights))


def _by_class(prediction: Array, target: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Probabilities (n, C), classes and weights (n,) of all labels that are there; a yes/no label has two classes."""
    if prediction.ndim > target.ndim:
        return prediction, target.astype(int), weight
    known = target >= 0
    return np.stack([1 - prediction[known], prediction[known]], axis=1), target[known].astype(int), weight[known]


def kappa(prediction: Array, target: Array, weight: Array) -> float:
    """Cohen's kappa with quadratic weights of the distances between classes."""
    return sorted_out("cohen_kappa_score", weights="quadratic")(prediction, target, weight)


def macro_auroc(prediction: Array, target: Array, weight: Array) -> float:
    """Mean over the classes that are on both sides of the one-against-rest area under the ROC curve."""
    found = [
        ranked("roc_auc_score")(prediction[:, c], target == c, weight)
        for c in range(prediction.shape[1])
        if 0 < (target == c).sum() < len(target)
    ]
    return float(np.mean(found))


def by_label(measure: WeightedMetric, *, both: bool = False, positive: bool = False) -> WeightedMetric:
    """The mean over labels of a metric of one of them, each on its rows.

    Args:
        measure: The metric.
        both: Leave out labels that are 0, or 1, in all rows.
        positive: Leave out labels that are 0 in all rows.
    """
    return partial(_by_label, measure, both, positive)


def _by_label(
    measure: WeightedMetric, both: bool, positive: bool, prediction: Array, target: Array, weight: Array
) -> float:
    found = []
    for label in range(target.shape[1]):
        rows = target[:, label] >= 0
        y = target[rows, label]
        if rows.any() and not (both and y.min() == y.max()) and not (positive and not y.any()):
            found.append(measure(prediction[rows, label], y, weight[rows, label]))
    return float(np.mean(found)) if found else float("nan")


def micro(prediction: Array, target: Array, weight: Array) -> float:
    """Weighted share of right answers over all labels."""
    known = target >= 0
    return accuracy(prediction[known], target[known], weight[known])


def known_root(prediction: Array, bounds: Array, weight: Array) -> float:
    """Root of the weighted mean squared error of labels whose bounds (n, 2) are equal."""
    known = bounds[:, 0] == bounds[:, 1]
    return root(prediction[known], bounds[known, 0], weight[known]) if known.any() else float("nan")


def known_absolute(prediction: Array, bounds: Array, weight: Array) -> float:
    """Weighted mean absolute error of labels whose bounds (n, 2) are equal."""
    known = bounds[:, 0] == bounds[:, 1]
    return absolute(prediction[known], bounds[known, 0], weight[known]) if known.any() else float("nan")


def concordance(prediction: Array, bounds: Array, weight: Array) -> float:
    """Harrell's index; see :func:`~polytask.tasks.concordance.concordance_index`."""
    return concordance_index(prediction, bounds, weight)


def _classes(prediction: Array) -> Array:
    if prediction.ndim == 2:
        return np.asarray(prediction.argmax(1))
    return np.asarray(prediction > 0.5) if prediction.dtype.kind == "f" else prediction
