"""Several yes/no labels per row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from polytask.tasks import weighted
from polytask.tasks.kind import Kind, Score, Seen, chances, made_by, named, numbered, rows_of_many, settings, whole
from polytask.tasks.nature import Nature

__all__ = ["Multilabel"]


@final
class Multilabel(Kind):
    """L yes/no labels per row, each of which may be missing; loss: cross-entropy averaged over all present labels.

    A row with few present labels thus weighs less than a complete row.
    """

    nature = Nature.SEVERAL_YES_NO
    takes = ("classes",)
    target_dims = 2
    levels = 2
    whole_rows = True
    default_metrics = ("auroc", "average_precision", "accuracy", "f1")

    def setup(self) -> None:
        """At least one label."""
        if self.classes is None or self.classes < 1:
            raise self.fail(f"kind 'multilabel' needs classes=, the number of labels, found {self.classes}")

    @property
    def out_features(self) -> int:
        """L logits."""
        return self.classes or 0

    def arrange(self, prediction: Tensor) -> Tensor:
        """(B, L)."""
        return rows_of_many(self, prediction)

    def check(self, target: Tensor) -> Tensor:
        """0 or 1."""
        return whole(self, target, 2, "recode the labels to 0 and 1, one column per label")

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of each logit."""
        return functional.binary_cross_entropy_with_logits(prediction, target.to(prediction.dtype), reduction="none")

    def decode(self, prediction: Tensor) -> Tensor:
        """Probability of each yes, (B, L)."""
        return prediction.sigmoid()

    def point(self, decoded: Tensor) -> Tensor:
        """Probability of each yes."""
        return decoded

    def answers(self, decoded: Tensor, labels: Sequence[str] | None) -> dict[str, NDArray[Any]]:
        """Of each label whether it is likelier than not, 0 or 1, and its probability."""
        names = range(decoded.shape[1]) if labels is None else labels
        yes = named((decoded > 0.5).long(), None, decoded.isfinite())
        return {**numbered(yes, names), **chances(decoded, labels)}

    def scores(self) -> Mapping[str, Score]:
        """Means over labels of ranking metrics and F1; share of right answers and mean penalties over all labels."""
        options = settings(num_labels=self.classes, ignore_index=-1)
        return {
            "auroc": Score(
                made_by("polytask.tasks.metrics.MacroAUROC"),
                weighted=weighted.by_label(weighted.ranked("roc_auc_score"), both=True),
                higher_is_better=True,
                undefined=Seen.every_label_both_ways,
                partial=True,
            ),
            "average_precision": Score(
                made_by("polytask.tasks.metrics.MacroAveragePrecision"),
                weighted=weighted.by_label(weighted.ranked("average_precision_score"), positive=True),
                higher_is_better=True,
                undefined=Seen.every_label_positive,
                partial=True,
            ),
            "accuracy": Score(
                made_by("torchmetrics.classification.MultilabelAccuracy", average="micro", **options),
                weighted=weighted.micro,
                higher_is_better=True,
            ),
            "f1": Score(
                made_by("torchmetrics.classification.MultilabelF1Score", average="macro", **options),
                weighted=weighted.by_label(weighted.sorted_out("f1_score", zero_division=0.0)),
                higher_is_better=True,
            ),
            "log_loss": Score(
                made_by("polytask.tasks.metrics.LogLoss"), weighted=weighted.log_loss, higher_is_better=False
            ),
            "brier": Score(made_by("polytask.tasks.metrics.Brier"), weighted=weighted.brier, higher_is_better=False),
        }
