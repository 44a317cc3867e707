"""Targets that are one of several classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from polytask.tasks import weighted
from polytask.tasks.kind import Kind, Score, Seen, chances, made_by, named, rows_of_many, settings, whole
from polytask.tasks.nature import Nature

__all__ = ["Multiclass"]


@final
class Multiclass(Kind):
    """One of C classes per row; loss −log softmax(z)_y, with z the head's C logits."""

    nature = Nature.CLASSES
    takes = ("classes",)
    filler = 0
    default_metrics = ("accuracy", "f1")

    def setup(self) -> None:
        """At least two classes."""
        if self.classes is None or self.classes < 2:
            raise self.fail(f"kind 'multiclass' needs classes= of at least 2, found {self.classes}")
        self.levels = self.classes

    @property
    def out_features(self) -> int:
        """C logits."""
        return self.classes or 0

    def arrange(self, prediction: Tensor) -> Tensor:
        """(B, C)."""
        return rows_of_many(self, prediction)

    def check(self, target: Tensor) -> Tensor:
        """Class indices."""
        return whole(self, target, self.out_features, f"recode the labels from 0 on, or raise classes={self.classes}")

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of the logits."""
        return functional.cross_entropy(prediction, target, reduction="none")

    def decode(self, prediction: Tensor) -> Tensor:
        """Class probabilities, (B, C)."""
        return prediction.softmax(-1)

    def point(self, decoded: Tensor) -> Tensor:
        """Class probabilities."""
        return decoded

    def answers(self, decoded: Tensor, labels: Sequence[str] | None) -> dict[str, NDArray[Any]]:
        """The likeliest class, and the probability of each."""
        sure = decoded.isfinite().all(-1)
        return {"": named(decoded.argmax(-1), labels, sure), **chances(decoded, labels)}

    def scores(self) -> Mapping[str, Score]:
        """Share of right answers; means over classes of F1, recall and one-against-rest AUROC; penalties of chances."""
        options = settings(num_classes=self.classes)
        return {
            "accuracy": Score(
                made_by("torchmetrics.classification.MulticlassAccuracy", average="micro", **options),
                weighted=weighted.accuracy,
                higher_is_better=True,
            ),
            "f1": Score(
                made_by("torchmetrics.classification.MulticlassF1Score", average="macro", **options),
                weighted=weighted.sorted_out("f1_score", average="macro", zero_division=0.0),
                higher_is_better=True,
            ),
            "balanced_accuracy": Score(
                made_by("torchmetrics.classification.MulticlassAccuracy", average="macro", **options),
                weighted=weighted.sorted_out("recall_score", average="macro", zero_division=0.0),
                higher_is_better=True,
            ),
            "auroc": Score(
                made_by("polytask.tasks.metrics.MacroAUROC"),
                weighted=weighted.macro_auroc,
                higher_is_better=True,
                undefined=Seen.every_class_and_another,
                partial=True,
            ),
            "mcc": Score(
                made_by("torchmetrics.classification.MulticlassMatthewsCorrCoef", **options),
                weighted=weighted.sorted_out("matthews_corrcoef"),
                higher_is_better=True,
                undefined=Seen.two_classes,
                skill=True,
            ),
            "log_loss": Score(
                made_by("polytask.tasks.metrics.LogLoss"), weighted=weighted.log_loss, higher_is_better=False
            ),
            "brier": Score(made_by("polytask.tasks.metrics.Brier"), weighted=weighted.brier, higher_is_better=False),
        }
