"""Targets that are one of several ordered classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from polytask.tasks import weighted
from polytask.tasks.kind import Kind, Score, Seen, chances, made_by, named, rows_of_many, settings, whole
from polytask.tasks.nature import Nature

__all__ = ["CumulativeLinks", "Ordinal"]


@final
class CumulativeLinks(nn.Module):
    """One score and K − 1 thresholds: z_k = wᵀx + b_k, the logit of "the class is above k".

    The same w for every k keeps the order of the thresholds the same for all rows. They start where all classes are
    equally probable.

    Args:
        in_features: Width of x.
        out_features: K − 1.

    Examples:
        >>> CumulativeLinks(4, 2)(torch.zeros(1, 4)).sigmoid()
        tensor([[0.6667, 0.3333]], grad_fn=<SigmoidBackward0>)
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.score = nn.Linear(in_features, 1, bias=False)
        above = 1 - torch.arange(1, out_features + 1) / (out_features + 1)
        self.thresholds = nn.Parameter(above.logit())

    def forward(self, features: Float[Tensor, "B width"]) -> Float[Tensor, "B thresholds"]:
        """Logits."""
        logits: Tensor = self.score(features) + self.thresholds
        return logits


@final
class Ordinal(Kind):
    """One of K ordered classes per row; loss −Σ_k [1(y > k)·log σ(z_k) + 1(y ≤ k)·log(1 − σ(z_k))], k = 0 … K − 2.

    Notes:
        The built head shares its slope between thresholds (:class:`CumulativeLinks`). Where another head, or training,
        puts P(y > k) out of order, decoding takes the running minimum over k. Metrics see the median class, the number
        of k with P(y > k) > ½.

    Reference:
        Cao, Mirjalili, Raschka, Rank consistent ordinal regression for neural networks (CORAL), Pattern Recognition
        Letters 140, 2020.
    """

    nature = Nature.ORDERED
    takes = ("classes",)
    filler = 0
    layer = CumulativeLinks
    default_metrics = ("mae", "accuracy", "qwk")

    def setup(self) -> None:
        """At least two classes."""
        if self.classes is None or self.classes < 2:
            raise self.fail(f"kind 'ordinal' needs classes= of at least 2, found {self.classes}")
        self.levels = self.classes

    @property
    def out_features(self) -> int:
        """K − 1 logits."""
        return (self.classes or 1) - 1

    def arrange(self, prediction: Tensor) -> Tensor:
        """(B, K − 1)."""
        return rows_of_many(self, prediction)

    def check(self, target: Tensor) -> Tensor:
        """Class indices."""
        return whole(self, target, self.classes or 0, f"recode the labels from 0 on, or raise classes={self.classes}")

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Sum of the cross-entropies of the K − 1 questions "is the class above k?"."""
        above = target[:, None] > torch.arange(self.out_features, device=target.device)
        losses = functional.binary_cross_entropy_with_logits(prediction, above.to(prediction.dtype), reduction="none")
        return losses.sum(1)

    def decode(self, prediction: Tensor) -> Tensor:
        """Class probabilities, (B, K)."""
        above = prediction.sigmoid().cummin(-1).values
        edge = torch.ones_like(above[..., :1])
        return torch.cat([edge, above], -1) - torch.cat([above, 0 * edge], -1)

    def point(self, decoded: Tensor) -> Tensor:
        """The median class."""
        if not bool(torch.isfinite(decoded).all()):
            return decoded.sum(-1)
        return (decoded.cumsum(-1)[..., :-1] < 0.5).sum(-1)

    def answers(self, decoded: Tensor, labels: Sequence[str] | None) -> dict[str, NDArray[Any]]:
        """The median class, and the probability of each."""
        sure = decoded.isfinite().all(-1)
        return {"": named(self.point(decoded.nan_to_num(0.0)).long(), labels, sure), **chances(decoded, labels)}

    def scores(self) -> Mapping[str, Score]:
        """Distance in classes, share of right answers, and chance-corrected agreement with quadratic weights."""
        options = settings(num_classes=self.classes)
        return {
            "mae": Score(made_by("torchmetrics.MeanAbsoluteError"), weighted=weighted.absolute, higher_is_better=False),
            "accuracy": Score(
                made_by("torchmetrics.classification.MulticlassAccuracy", average="micro", **options),
                weighted=weighted.accuracy,
                higher_is_better=True,
            ),
            "qwk": Score(
                made_by("torchmetrics.classification.MulticlassCohenKappa", weights="quadratic", **options),
                weighted=weighted.kappa,
                higher_is_better=True,
                undefined=Seen.two_classes,
                skill=True,
            ),
        }
