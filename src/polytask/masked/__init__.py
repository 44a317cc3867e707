"""Missing labels in a program of your own: plain functions for losses, metrics and scikit-learn's scorers.

Nothing of the rest of the library is needed. Losses load PyTorch; metrics and scorers cost scikit-learn only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polytask.lazy import lazy

if TYPE_CHECKING:
    from polytask.linear.scoring import TaskScorer, make_task_scorer, task_scores
    from polytask.masked.losses import bce, cross_entropy, huber, mae, masked_loss, mse, poisson
    from polytask.masked.scores import masked_score

__all__ = [
    "TaskScorer",
    "bce",
    "cross_entropy",
    "huber",
    "mae",
    "make_task_scorer",
    "masked_loss",
    "masked_score",
    "mse",
    "poisson",
    "task_scores",
]

__getattr__, __dir__ = lazy(
    "polytask",
    {
        "linear.scoring": ("TaskScorer", "make_task_scorer", "task_scores"),
        "masked.losses": ("bce", "cross_entropy", "huber", "mae", "masked_loss", "mse", "poisson"),
        "masked.scores": ("masked_score",),
    },
)
