"""Yes/no targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from polytask.remedies import setting
from polytask.tasks import weighted
from polytask.tasks.kind import Kind, Score, Seen, made_by, named, rows_of_one, settings, whole
from polytask.tasks.nature import Nature

__all__ = ["Binary"]


@final
class Binary(Kind):
    """A yes or no per row; loss −[y·log σ(z) + (1 − y)·log(1 − σ(z))], with z the head's logit."""

    nature = Nature.YES_NO
    levels = 2
    filler = 0
    default_metrics = ("auroc", "accuracy", "f1", "average_precision")

    @property
    def out_features(self) -> int:
        """One logit."""
        return 1

    def arrange(self, prediction: Tensor) -> Tensor:
        """(B,)."""
        return rows_of_one(self, prediction)

    def check(self, target: Tensor) -> Tensor:
        """0 or 1."""
        return whole(
            self, target, 2, f"recode the labels to 0 and 1, or use {setting('kind', 'multiclass')} or 'regression'"
        )

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of the logit."""
        return functional.binary_cross_entropy_with_logits(prediction, target.to(prediction.dtype), reduction="none")

    def decode(self, prediction: Tensor) -> Tensor:
        """Probability of a yes."""
        return prediction.sigmoid()

    def point(self, decoded: Tensor) -> Tensor:
        """Probability of a yes."""
        return decoded

    def answers(self, decoded: Tensor, labels: Sequence[str] | None) -> dict[str, NDArray[Any]]:
        """The likelier of no and yes, and the probability of a yes."""
        yes = 1 if labels is None else labels[1]
        sure = decoded.isfinite()
        return {"": named((decoded > 0.5).long(), labels, sure), f"P({yes})": decoded.numpy()}

    def scores(self) -> Mapping[str, Score]:
        """Ranking metrics, metrics at the threshold ½, and penalties of the probabilities."""
        return {
            "auroc": Score(
                made_by("torchmetrics.classification.BinaryAUROC", **settings()),
                weighted=weighted.ranked("roc_auc_score"),
                higher_is_better=True,
                undefined=Seen.both_classes,
            ),
            "accuracy": Score(
                made_by("torchmetrics.classification.BinaryAccuracy", **settings()),
                weighted=weighted.accuracy,
                higher_is_better=True,
            ),
            "f1": Score(
                made_by("torchmetrics.classification.BinaryF1Score", **settings()),
                weighted=weighted.sorted_out("f1_score"),
                higher_is_better=True,
                undefined=Seen.a_positive,
            ),
            "average_precision": Score(
                made_by("torchmetrics.classification.BinaryAveragePrecision", **settings()),
                weighted=weighted.ranked("average_precision_score"),
                higher_is_better=True,
                undefined=Seen.a_positive,
            ),
            "balanced_accuracy": Score(
                made_by("polytask.tasks.metrics.BalancedAccuracy"),
                weighted=weighted.sorted_out("balanced_accuracy_score"),
                higher_is_better=True,
                undefined=Seen.both_classes,
            ),
            "mcc": Score(
                made_by("torchmetrics.classification.BinaryMatthewsCorrCoef", **settings()),
                weighted=weighted.sorted_out("matthews_corrcoef"),
                higher_is_better=True,
                undefined=Seen.both_classes,
                skill=True,
            ),
            "precision": Score(
                made_by("torchmetrics.classification.BinaryPrecision", **settings()),
                weighted=weighted.sorted_out("precision_score", zero_division=0.0),
                higher_is_better=True,
            ),
            "recall": Score(
                made_by("torchmetrics.classification.BinaryRecall", **settings()),
                weighted=weighted.sorted_out("recall_score"),
                higher_is_better=True,
                undefined=Seen.a_positive,
            ),
            "log_loss": Score(
                made_by("polytask.tasks.metrics.LogLoss"), weighted=weighted.log_loss, higher_is_better=False
            ),
            "brier": Score(made_by("polytask.tasks.metrics.Brier"), weighted=weighted.brier, higher_is_better=False),
        }
