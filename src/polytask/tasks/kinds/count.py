"""Targets that count events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from polytask.remedies import setting
from polytask.tasks import weighted
from polytask.tasks.kind import Kind, Score, finite, made_by, rows_of_one
from polytask.tasks.nature import Nature

__all__ = ["Count"]


@final
class Count(Kind):
    """A number of events per row; loss exp(z) − y·z + log y!, the Poisson likelihood of y at the rate exp(z).

    Notes:
        The constant log y! is included: the loss is then −log of a probability and never negative, which methods that
        compare the logarithms or ratios of losses rely on.
    """

    nature = Nature.COUNT
    filler = 0
    default_metrics = ("deviance", "mae", "rmse")

    @property
    def out_features(self) -> int:
        """One logarithm of a rate."""
        return 1

    def arrange(self, prediction: Tensor) -> Tensor:
        """(B,)."""
        return rows_of_one(self, prediction)

    def check(self, target: Tensor) -> Tensor:
        """Whole numbers from 0 on."""
        target = finite(self, target)
        wrong = (target < 0) | (target != target.round()) if target.is_floating_point() else target < 0
        if bool(wrong.any()):
            raise self.fail(
                f"expected counts, whole numbers from 0 on, found {float(target[wrong][0])} "
                f"({int(wrong.sum())} of {len(target)} labels); use {setting('kind', 'regression')} for other numbers"
            )
        return target

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Negative log likelihood."""
        counts = target.to(prediction.dtype)
        return prediction.exp() - counts * prediction + torch.lgamma(counts + 1)

    def decode(self, prediction: Tensor) -> Tensor:
        """Expected count."""
        # Not zero: the deviance has its logarithm.
        return prediction.exp().clamp_min(torch.finfo(prediction.dtype).tiny)

    def point(self, decoded: Tensor) -> Tensor:
        """Expected count."""
        return decoded

    def scores(self) -> Mapping[str, Score]:
        """Mean Poisson deviance 2·[y·log(y/λ) − y + λ], and errors of the expected count λ."""
        return {
            "deviance": Score(
                made_by("torchmetrics.TweedieDevianceScore", power=1.0),
                weighted=weighted.poisson_deviance,
                higher_is_better=False,
            ),
            "mae": Score(made_by("torchmetrics.MeanAbsoluteError"), weighted=weighted.absolute, higher_is_better=False),
            "rmse": Score(
                made_by("torchmetrics.MeanSquaredError", squared=False), weighted=weighted.root, higher_is_better=False
            ),
        }
