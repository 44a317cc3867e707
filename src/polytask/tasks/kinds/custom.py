"""Targets of which only the user's own loss knows what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from torch import Tensor

from polytask.tasks.kind import Kind, Score

__all__ = ["Custom"]


@final
class Custom(Kind):
    """Whatever the user's loss and metrics accept: (n, …) predictions and targets of the n present rows.

    The head has ``classes`` outputs, one by default.
    """

    has_loss = False
    takes = ("classes",)
    target_dims = 0

    def setup(self) -> None:
        """At least one output."""
        if self.classes is not None and self.classes < 1:
            raise self.fail(
                f"classes= is the number of outputs of the head and must be at least 1, found {self.classes}"
            )

    @property
    def out_features(self) -> int:
        """As many as the user says."""
        return self.classes or 1

    def arrange(self, prediction: Tensor) -> Tensor:
        """As it is."""
        if prediction.ndim == 0:
            raise self.fail("expected a prediction with one row per label, found a single number")
        return prediction

    def check(self, target: Tensor) -> Tensor:
        """As they are."""
        return target

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """There is none of its own."""
        raise self.fail("kind 'custom' needs loss=")

    def decode(self, prediction: Tensor) -> Tensor:
        """As it is."""
        return prediction

    def point(self, decoded: Tensor) -> Tensor:
        """As it is."""
        return decoded

    def scores(self) -> Mapping[str, Score]:
        """None by name."""
        return {}
