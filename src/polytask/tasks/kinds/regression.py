"""Real-valued targets."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import final

from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, R2Score

from polytask.tasks.kind import Kind, Score, Seen, finite, rows_of_one

__all__ = ["Regression"]


@final
class Regression(Kind):
    """A number per row; loss (ŷ − y)², with ŷ the head's output and y the shifted and scaled target."""

    affine = True
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
        """Errors and explained variance, in the target's own units."""
        return {
            "mse": Score(MeanSquaredError),
            "rmse": Score(partial(MeanSquaredError, squared=False)),
            "mae": Score(MeanAbsoluteError),
            "r2": Score(R2Score, undefined=Seen.two_rows_that_differ),
        }
