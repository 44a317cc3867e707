"""scikit-learn's metrics over several targets of which some are missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polytask.errors import ConfigError
from polytask.linear.scoring import pooled_score, task_mean, task_scores, undefined_as_nan

__all__ = ["masked_score"]


def masked_score(
    metric: Callable[..., float],
    y_true: Any,
    y_pred: Any,
    *,
    sample_weight: Any = None,
    average: str | None = "macro",
) -> Any:
    """A metric of scikit-learn over several targets, each on the rows where it is present.

    Args:
        metric: ``metric(y_true, y_pred)`` of :mod:`sklearn.metrics`; takes ``sample_weight`` where weights are given.
        y_true: (n,) or (n, T); NaN = missing. A DataFrame gives the targets names.
        y_pred: Shaped like it: predictions, or scores for metrics that rank.
        sample_weight: (n,) or (n, T), from 0 on; 0 is a missing label.
        average: ``"macro"``: mean over the targets for which the metric is defined; ``"pooled"``: one value over all
            present labels; ``None``: a value by target, NaN where the metric is undefined.

    Returns:
        A number, or a dictionary from targets to numbers.

    Raises:
        ConfigError: Unknown ``average``.
        TaskError: Shapes do not fit.

    Examples:
        >>> import numpy as np
        >>> from sklearn.metrics import mean_squared_error
        >>> y = np.array([[1.0, np.nan], [3.0, 2.0]])
        >>> masked_score(mean_squared_error, y, np.zeros((2, 2)), average=None)
        {0: 5.0, 1: 4.0}
    """
    if average not in ("macro", "pooled", None):
        raise ConfigError(f"average must be 'macro', 'pooled' or None, found {average!r}")
    measure = undefined_as_nan(metric)
    if average == "pooled":
        return pooled_score(measure, y_true, y_pred, sample_weight)
    if average == "macro":
        return task_mean(measure, y_true, y_pred, None, sample_weight)
    return task_scores(measure, y_true, y_pred, None, sample_weight)
