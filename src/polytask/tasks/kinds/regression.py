"""Real-valued targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from torch import Tensor

from polytask.tasks import weighted
from polytask.tasks.kind import Kind, Score, Seen, finite, made_by, rows_of_one
from polytask.tasks.nature import Nature

__all__ = ["Regression"]


@final
class Regression(Kind):
    """A number per row; loss (ŷ − y)², with ŷ the head's output and y the shifted and scaled target."""

    nature = Nature.NUMBER
    affine = True
    filler = 0
    default_metrics = ("rmse", "mae", "r2")

    @property
    def out_features(self) -> int:
        """One."""
        return 1

    def arrange(self, prediction: Tensor) -> Tensor:
        """(B,)."""
        return rows_of_one(self, prediction)

    def check(self, target: Tensor) -> Tensor:
        """Finite numbers."""
        return finite(self, target)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Squared error."""
        return (prediction - target).square()

    def decode(self, prediction: Tensor) -> Tensor:
        """The value."""
        return prediction

    def point(self, decoded: Tensor) -> Tensor:
        """The value."""
        return decoded

    def scores(self) -> Mapping[str, Score]:
        """Errors in the target's own units and as shares of it, and explained variance."""
        return {
            "mse": Score(made_by("torchmetrics.MeanSquaredError"), weighted=weighted.square, higher_is_better=False),
            "rmse": Score(
                made_by("torchmetrics.MeanSquaredError", squared=False), weighted=weighted.root, higher_is_better=False
            ),
            "mae": Score(made_by("torchmetrics.MeanAbsoluteError"), weighted=weighted.absolute, higher_is_better=False),
            "mape": Score(
                made_by("polytask.tasks.metrics.MeanAbsolutePercentageError"),
                weighted=weighted.percentage,
                higher_is_better=False,
            ),
            "r2": Score(
                made_by("torchmetrics.R2Score"),
                weighted=weighted.r2,
                higher_is_better=True,
                undefined=Seen.two_rows_that_differ,
                skill=True,
            ),
        }
