"""What a metric is called elsewhere: names of scikit-learn and torchmetrics for those of the kinds' catalogues."""

from __future__ import annotations

import re
from collections.abc import Container

__all__ = ["canonical"]

_ELSEWHERE = {
    "roc_auc": "auroc",
    "roc_auc_ovr": "auroc",
    "f1_macro": "f1",
    "recall_macro": "balanced_accuracy",
    "matthews_corrcoef": "mcc",
    "matthews_corr_coef": "mcc",
    "brier_score_loss": "brier",
    "cohen_kappa": "qwk",
    "quadratic_weighted_kappa": "qwk",
    "mean_squared_error": "mse",
    "root_mean_squared_error": "rmse",
    "mean_absolute_error": "mae",
    "mean_absolute_percentage_error": "mape",
    "mean_poisson_deviance": "deviance",
    "mean_pinball_loss": "pinball",
    "pinball_loss": "pinball",
    "quantile_loss": "pinball",
}


def canonical(name: str, catalogue: Container[str]) -> str:
    """The name in a catalogue for what scikit-learn (its function or scorer) or torchmetrics (its class) calls it.

    Args:
        name: A metric's name.
        catalogue: Names that are known.

    Returns:
        One of the catalogue, or ``name`` as it is where none means the same.

    Examples:
        >>> names = ("auroc", "mae", "r2", "log_loss")
        >>> [canonical(name, names) for name in ("roc_auc", "MeanAbsoluteError", "R2Score", "neg_log_loss", "iou")]
        ['auroc', 'mae', 'r2', 'log_loss', 'iou']
    """
    if name in catalogue:
        return name
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    words = re.sub(r"^(neg|binary|multiclass|multilabel)_", "", words)
    for one in (words, words.removesuffix("_score")):
        found = _ELSEWHERE.get(one, one)
        if found in catalogue:
            return found
    return name
