"""Scores per task: NaN-aware averages and scorers that hand the task labels on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils.metadata_routing import _MetadataRequester

from polytask.errors import ConfigError, TaskError
from polytask.linear.labels import missing, read_labels, task_column

__all__ = ["TaskScorer", "make_task_scorer", "pooled_score", "task_mean", "task_scores", "undefined_as_nan"]

Array = NDArray[Any]
Metric = Callable[[Array, Array, "Array | None"], float]


def task_scores(
    metric: Metric, y: Any, prediction: Any, task: Any = None, sample_weight: Any = None
) -> dict[Any, float]:
    """A metric of each task on its observed targets.

    Args:
        metric: ``metric(y, prediction, sample_weight) -> float``.
        y: (n, T) with NaN = missing, or (n,).
        prediction: Shaped like y.
        task: Labels (n,) when y is a vector of several tasks.
        sample_weight: (n,), one per row, or (n, T), one per target; 0 is a missing target. None: all alike.

    Returns:
        Score by task label; NaN where the metric is undefined.

    Examples:
        >>> import numpy as np
        >>> error = lambda y, p, w: float(np.average(np.abs(y - p), weights=w))
        >>> task_scores(error, [1.0, 2.0, 5.0], [1.0, 3.0, 5.0], ["a", "a", "b"])
        {'a': 0.5, 'b': 0.0}
    """
    names = list(y.columns) if hasattr(y, "columns") else None
    y, prediction = np.asarray(y), np.asarray(prediction)
    weight = None if sample_weight is None else _weights(sample_weight, y)
    if y.ndim == 2 and y.shape[1] == 1 and prediction.ndim == 1:
        y, weight = y[:, 0], None if weight is None else weight[:, 0]
    if y.shape != prediction.shape:
        raise TaskError(f"targets and predictions must have one shape, found {y.shape} and {prediction.shape}")
    out: dict[Any, float] = {}
    if y.ndim == 2:
        for t in range(y.shape[1]):
            rows = _counting(y[:, t], None if weight is None else weight[:, t])
            if rows.any():
                part = None if weight is None else weight[rows, t]
                out[t if names is None else names[t]] = metric(y[rows, t], prediction[rows, t], part)
        return out
    labels = np.zeros(len(y), dtype=int) if task is None else read_labels(task, len(y))
    present = _counting(y, weight)
    for label in np.unique(labels[present]).tolist():
        rows = present & (labels == label)
        out[label] = metric(y[rows], prediction[rows], None if weight is None else weight[rows])
    return out


def _weights(given: Any, y: Array) -> Array:
    """Weights in the shape of the targets."""
    weight = np.asarray(given, dtype=float)
    if weight.shape not in (y.shape, y.shape[:1]):
        raise TaskError(f"weights must have the shape {y.shape} or ({len(y)},), found {weight.shape}")
    if not (np.isfinite(weight) & (weight >= 0)).all():
        raise TaskError("weights must be finite and from 0 on, 0 for a missing target; found another among them")
    return np.broadcast_to(weight.reshape(weight.shape + (1,) * (y.ndim - weight.ndim)), y.shape)


def _counting(y: Array, weight: Array | None) -> Array:
    """Which targets are present, with a weight above 0."""
    present = ~missing(y)
    return present if weight is None else present & (weight > 0)


def _amount(y: Array, prediction: Array, weight: Array | None) -> float:
    return float(len(y) if weight is None else weight.sum())


def pooled_score(metric: Metric, y: Any, prediction: Any, sample_weight: Any = None) -> float:
    """One score over all present targets; arguments as for :func:`task_scores`."""
    y, prediction = np.asarray(y), np.asarray(prediction)
    if y.shape != prediction.shape:
        raise TaskError(f"targets and predictions must have one shape, found {y.shape} and {prediction.shape}")
    weight = None if sample_weight is None else _weights(sample_weight, y)
    rows = _counting(y, weight)
    return metric(y[rows], prediction[rows], None if weight is None else weight[rows])


def task_mean(metric: Metric, y: Any, prediction: Any, task: Any = None, sample_weight: Any = None) -> float:
    """Mean over the tasks of :func:`task_scores`; tasks on which the metric is undefined are left out."""
    scores = np.array(list(task_scores(metric, y, prediction, task, sample_weight).values()))
    if scores.size and np.isnan(scores).all():
        return float("nan")
    return float(np.nanmean(scores))


@final
class TaskScorer(_MetadataRequester):  # type: ignore[misc] # scikit-learn has no types
    """Callable ``scorer(estimator, X, y, task=None, sample_weight=None)`` made by :func:`make_task_scorer`."""

    __metadata_request__score = {"task": True}  # noqa: RUF012 - read by scikit-learn as a class attribute

    def __init__(self, metric: Metric, average: str, sign: int, response: str) -> None:
        self.metric, self.average, self.sign, self.response = metric, average, sign, response

    def score(self, estimator: Any, X: Any, y: Any, task: Any = None, sample_weight: Any = None) -> float:
        """See ``__call__``; the name lets scikit-learn find the metadata request."""
        return self(estimator, X, y, task=task, sample_weight=sample_weight)

    def __call__(self, estimator: Any, X: Any, y: Any, task: Any = None, sample_weight: Any = None) -> float:
        """Signed score: larger is better."""
        method = getattr(estimator, self.response)
        prediction = method(X) if task is None else method(X, task=task)
        if self.response == "predict_proba" and prediction.shape != np.shape(y):
            prediction = prediction[:, 1]
        labels = task if task is not None else _column_labels(estimator, X)
        if self.average == "pooled":
            return self.sign * pooled_score(self.metric, y, prediction, sample_weight)
        if self.average == "macro":
            return self.sign * task_mean(self.metric, y, prediction, labels, sample_weight)
        scores = task_scores(self.metric, y, prediction, labels, sample_weight)
        counts = task_scores(_amount, y, prediction, labels, sample_weight)
        values = np.array(list(scores.values()))
        keep = ~np.isnan(values)
        return self.sign * float(np.average(values[keep], weights=np.array(list(counts.values()))[keep]))


def _column_labels(estimator: Any, X: Any) -> Any:
    """Labels from the task column of X, also behind a pipeline or a search."""
    seen = estimator
    for name in ("best_estimator_", "estimator_"):
        seen = getattr(seen, name, seen)
    if hasattr(seen, "steps"):
        column = getattr(seen.steps[-1][1], "task_col", None)
    else:
        column = getattr(seen, "task_col", None)
    return None if column is None else read_labels(task_column(X, column))


def make_task_scorer(
    metric: Callable[..., float],
    *,
    average: str = "macro",
    greater_is_better: bool = True,
    response: str = "predict",
) -> TaskScorer:
    """A scorer for cross_val_score and GridSearchCV that scores every task on its observed targets.

    Take it where targets are missing: scikit-learn's own scorers (``scoring="neg_mean_squared_error"``) know no missing
    targets, and their scores are NaN; take
    ``make_task_scorer(mean_squared_error, greater_is_better=False)``.

    Args:
        metric: ``metric(y_true, y_pred)`` as in :mod:`sklearn.metrics`, with ``sample_weight`` if weights are routed.
        average: ``"macro"`` (mean over tasks), ``"n-weighted"`` (weighted by observed targets), ``"pooled"`` (one
            score over all targets).
        greater_is_better: Direction of the metric; the scorer's sign is flipped for losses.
        response: ``"predict"``, ``"predict_proba"`` or ``"decision_function"``.

    Returns:
        The scorer.

    Raises:
        ConfigError: Unknown ``average``.

    Examples:
        >>> from sklearn.metrics import mean_absolute_error
        >>> make_task_scorer(mean_absolute_error, greater_is_better=False).average
        'macro'
    """
    if average not in {"macro", "n-weighted", "pooled"}:
        raise ConfigError(f"average must be 'macro', 'n-weighted' or 'pooled', found {average!r}")
    return TaskScorer(undefined_as_nan(metric), average, 1 if greater_is_better else -1, response)


def undefined_as_nan(metric: Callable[..., float]) -> Metric:
    """A metric of scikit-learn as ``metric(y, prediction, sample_weight)``, NaN where it is undefined."""
    return _Plain(metric)


@final
class _Plain:
    """Adapts a scikit-learn metric; undefined values become NaN. A class, so that scorers can be pickled."""

    def __init__(self, metric: Callable[..., float]) -> None:
        self.metric = metric

    def __call__(self, y: Array, prediction: Array, weight: Array | None) -> float:
        options = {} if weight is None else {"sample_weight": weight}
        with warnings.catch_warnings():
            # a task with one row or one class in a fold is no news: its NaN is left out of the average
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            try:
                return float(self.metric(y, prediction, **options))
            except ValueError:
                return float("nan")
