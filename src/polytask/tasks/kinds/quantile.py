"""Real-valued targets of which several quantiles are predicted."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from polytask.tasks import weighted
from polytask.tasks.kind import Kind, Score, finite, made_by, numbered, rows_of_many
from polytask.tasks.nature import Nature

__all__ = ["Quantile", "pinball"]


@final
class Quantile(Kind):
    """Quantiles of a number per row; loss (1/Q) Σ_τ max(τ·(y − q_τ), (τ − 1)·(y − q_τ)), q_τ the head's Q outputs.

    Notes:
        Nothing in the loss keeps the quantiles in order; decoding sorts them, which never raises the pinball loss.

    Reference:
        Koenker, Bassett, Regression quantiles, Econometrica 46, 1978. On sorting: Chernozhukov, Fernández-Val,
        Galichon, Quantile and probability curves without crossing, Econometrica 78, 2010.
    """

    nature = Nature.QUANTILES
    takes = ("quantiles",)
    affine = True
    filler = 0
    default_metrics = ("pinball", "coverage_error")

    def setup(self) -> None:
        """Increasing levels between 0 and 1."""
        self.quantiles = (0.1, 0.5, 0.9) if self.quantiles is None else self.quantiles
        levels = (0.0, *self.quantiles, 1.0)
        if len(levels) < 3 or any(not low < high for low, high in itertools.pairwise(levels)):
            raise self.fail(f"quantiles must be one or more increasing levels between 0 and 1, found {self.quantiles}")

    @property
    def levels_asked(self) -> tuple[float, ...]:
        """The levels, set by :meth:`setup`."""
        return self.quantiles or ()

    @property
    def out_features(self) -> int:
        """One output per level."""
        return len(self.levels_asked)

    def arrange(self, prediction: Tensor) -> Tensor:
        """(B, Q)."""
        return rows_of_many(self, prediction)

    def check(self, target: Tensor) -> Tensor:
        """Finite numbers."""
        return finite(self, target)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Pinball loss, averaged over levels."""
        return pinball(prediction, target, quantiles=self.levels_asked)

    def decode(self, prediction: Tensor) -> Tensor:
        """Quantiles in increasing order, (B, Q)."""
        return prediction.sort(-1).values

    def point(self, decoded: Tensor) -> Tensor:
        """Quantiles."""
        return decoded

    def answers(self, decoded: Tensor, labels: Sequence[str] | None) -> dict[str, NDArray[Any]]:
        """The median, where it is among the levels, and each quantile."""
        values = decoded.numpy()
        median = {"": values[:, self.levels_asked.index(0.5)]} if 0.5 in self.levels_asked else {}
        return {**median, **numbered(values, [f"q{level:g}" for level in self.levels_asked])}

    def scores(self) -> Mapping[str, Score]:
        """Pinball loss in the target's own units, and distance of the observed from the nominal coverage."""
        return {
            "pinball": Score(
                made_by("polytask.tasks.metrics.PinballLoss", quantiles=self.levels_asked),
                weighted=weighted.pinball(*self.levels_asked),
                higher_is_better=False,
            ),
            "coverage_error": Score(
                made_by("polytask.tasks.metrics.CoverageError", quantiles=self.levels_asked),
                weighted=weighted.coverage_error(*self.levels_asked),
                higher_is_better=False,
            ),
        }


def pinball(
    prediction: Float[Tensor, "n Q"], target: Float[Tensor, "n"], quantiles: tuple[float, ...]
) -> Float[Tensor, "n"]:
    """The pinball loss of each row, averaged over the levels."""
    levels = prediction.new_tensor(quantiles)
    error = target[:, None] - prediction
    return torch.maximum(levels * error, (levels - 1) * error).mean(1)
