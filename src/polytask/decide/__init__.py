"""What to do with a prediction: thresholds, calibrated probabilities, intervals that hold, and what a model looks at.

Functions of labels and predictions of one task, as arrays; nothing here needs a model or PyTorch.
"""

from __future__ import annotations

from polytask.decide.calibration import (
    Isotonic,
    Reliability,
    Temperature,
    brier,
    expected_calibration_error,
    reliability,
)
from polytask.decide.conformal import AroundValue, BetweenQuantiles, ClassSets, conformal_quantile
from polytask.decide.importance import partial_dependence, permutation_importance
from polytask.decide.slices import by_group
from polytask.decide.thresholds import Threshold, best_threshold

__all__ = [
    "AroundValue",
    "BetweenQuantiles",
    "ClassSets",
    "Isotonic",
    "Reliability",
    "Temperature",
    "Threshold",
    "best_threshold",
    "brier",
    "by_group",
    "conformal_quantile",
    "expected_calibration_error",
    "partial_dependence",
    "permutation_importance",
    "reliability",
]
