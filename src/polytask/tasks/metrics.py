"""Metrics that torchmetrics lacks, or that it defines differently where a class is absent."""

from __future__ import annotations

import abc
import warnings
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc, binary_average_precision
from torchmetrics.utilities import dim_zero_cat

from polytask.tasks.concordance import concordance_index
from polytask.tasks.kinds.quantile import pinball

__all__ = [
    "BalancedAccuracy",
    "Brier",
    "Concordance",
    "CoverageError",
    "KnownError",
    "LogLoss",
    "MacroAUROC",
    "MacroAveragePrecision",
    "MeanAbsolutePercentageError",
    "PinballLoss",
]


class _Sums(Metric):
    """Keeps a sum of errors, and of how many labels."""

    is_differentiable = True
    higher_is_better = False
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", default=torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", default=torch.tensor(0), dist_reduce_fx="sum")

    def mean(self) -> Tensor:
        """The mean error."""
        return self.total / self.count


class _Rows(Metric):
    """Keeps all scores and targets, for metrics of their order."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    scores: list[Tensor]
    target: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("target", default=[], dist_reduce_fx="cat")


@final
class BalancedAccuracy(Metric):
    """Mean over no and yes of the share of right answers among the labels that are it, at the threshold ½.

    Examples:
        >>> metric = BalancedAccuracy()
        >>> metric.update(torch.tensor([0.1, 0.7, 0.9]), torch.tensor([0, 0, 1]))
        >>> float(metric.compute())
        0.75
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    right: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("right", default=torch.zeros(2), dist_reduce_fx="sum")
        self.add_state("count", default=torch.zeros(2), dist_reduce_fx="sum")

    def update(self, preds: Float[Tensor, "n"], target: Int[Tensor, "n"]) -> None:
        """Add rows."""
        for label in (0, 1):
            self.count[label] += (target == label).sum()
            self.right[label] += ((preds > 0.5).long() == label)[target == label].sum()

    def compute(self) -> Tensor:
        """The mean; NaN where one of them has no label."""
        return (self.right / self.count).mean()


class _OfChances(_Sums):
    """Mean over labels of a penalty of the probabilities they were given."""

    def update(self, preds: Float[Tensor, "n *C"], target: Int[Tensor, "n *L"]) -> None:
        """Add rows: chances of 1 with 0/1, both (n,), or (n, L) with −1 for missing; of C classes, (n, C) with (n,)."""
        if preds.ndim == target.ndim:  # yes/no labels
            preds, target = preds[target >= 0], target[target >= 0]
            preds = torch.stack([1 - preds, preds], dim=1)
        self.total += self.penalty(preds, target).sum()
        self.count += len(target)

    @abc.abstractmethod
    def penalty(self, chances: Float[Tensor, "n C"], target: Int[Tensor, "n"]) -> Float[Tensor, "n"]:
        """The penalty of each label."""

    def compute(self) -> Tensor:
        """The mean."""
        return self.mean()


@final
class LogLoss(_OfChances):
    """−log p of what came true, averaged; as scikit-learn's ``log_loss``, with p kept off 0 by the machine's ε.

    Examples:
        >>> metric = LogLoss()
        >>> metric.update(torch.tensor([0.8, 0.4]), torch.tensor([1, 0]))
        >>> round(float(metric.compute()), 4)  # −(log 0.8 + log 0.6)/2
        0.367
    """

    def penalty(self, chances: Float[Tensor, "n C"], target: Int[Tensor, "n"]) -> Float[Tensor, "n"]:
        """−log p."""
        given = chances.gather(1, target[:, None])[:, 0]
        return -given.clamp_min(torch.finfo(given.dtype).eps).log()


@final
class Brier(_OfChances):
    """Brier score: mean of (p − y)² of yes/no labels; of Σ_c (p_c − [y = c])² of several classes, in [0, 2].

    Examples:
        >>> metric = Brier()
        >>> metric.update(torch.tensor([0.8, 0.4]), torch.tensor([1, 0]))
        >>> round(float(metric.compute()), 4)
        0.1
    """

    def penalty(self, chances: Float[Tensor, "n C"], target: Int[Tensor, "n"]) -> Float[Tensor, "n"]:
        """Squared distance from certainty."""
        truth = torch.nn.functional.one_hot(target, chances.shape[1])
        return (chances - truth).square().sum(1) / (2 if chances.shape[1] == 2 else 1)


@final
class MeanAbsolutePercentageError(_Sums):
    """Mean of |ŷ − y|/|y|, a share and not a percentage, as scikit-learn has it; undefined where a label is 0.

    torchmetrics puts 1.17e−6 in the place of smaller labels, whatever their unit.

    Examples:
        >>> metric = MeanAbsolutePercentageError()
        >>> metric.update(torch.tensor([1.1, 1.0]), torch.tensor([1.0, 2.0]))
        >>> round(float(metric.compute()), 4)
        0.3
    """

    zeros: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("zeros", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Float[Tensor, "n"], target: Float[Tensor, "n"]) -> None:
        """Add rows."""
        self.zeros += (target == 0).sum()
        self.count += len(target)
        self.total += ((preds - target) / target)[target != 0].abs().sum()

    def compute(self) -> Tensor:
        """The mean, or NaN where a label is 0."""
        if int(self.zeros):
            warnings.warn(f"{int(self.zeros)} of {int(self.count)} labels are 0, of which no share is", stacklevel=2)
            return torch.tensor(float("nan"))
        return self.mean()


class _Columns(_Rows):
    """Averages a ranking metric over the columns for which it is defined."""

    def update(self, preds: Float[Tensor, "n C"], target: Int[Tensor, "n *C"]) -> None:
        """Add rows: scores (n, C); class indices (n,), or (n, C) of 0, 1 and −1 for missing."""
        self.scores.append(preds)
        self.target.append(target)

    def columns(self) -> list[tuple[Tensor, Tensor]]:
        """Scores and 0/1 targets of each column, without the missing."""
        scores, target = dim_zero_cat(self.scores), dim_zero_cat(self.target)
        if target.ndim == 1:
            return [(scores[:, c], (target == c).long()) for c in range(scores.shape[1])]
        return [(scores[target[:, c] >= 0, c], target[target[:, c] >= 0, c]) for c in range(scores.shape[1])]

    def mean(self, values: list[Tensor]) -> Tensor:
        """Mean, or NaN of nothing."""
        return torch.stack(values).mean() if values else torch.tensor(float("nan"))


@final
class MacroAUROC(_Columns):
    """Area under the ROC curve, averaged over the classes that have both positive and negative rows.

    Targets are class indices (one against the rest) or one column of 0/1 per label with −1 for missing.

    Examples:
        >>> metric = MacroAUROC()
        >>> metric.update(torch.tensor([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1]]), torch.tensor([0, 1]))
        >>> float(metric.compute())  # class 2 has no row: mean over classes 0 and 1
        1.0
    """

    def compute(self) -> Tensor:
        """The mean, or NaN when no class has both."""
        return self.mean([binary_auroc(s, t) for s, t in self.columns() if 0 < int(t.sum()) < len(t)])


@final
class MacroAveragePrecision(_Columns):
    """Average precision, averaged over the classes that have a positive row.

    Targets are class indices (one against the rest) or one column of 0/1 per label with −1 for missing.

    Examples:
        >>> metric = MacroAveragePrecision()
        >>> metric.update(torch.tensor([[0.8, 0.1], [0.3, 0.6]]), torch.tensor([[1, -1], [0, 0]]))
        >>> float(metric.compute())
        1.0
    """

    def compute(self) -> Tensor:
        """The mean, or NaN when no class has a positive row."""
        return self.mean([binary_average_precision(s, t) for s, t in self.columns() if int(t.sum()) > 0])


@final
class PinballLoss(_Sums):
    """Mean over rows and levels of max(τ·(y − q), (τ − 1)·(y − q)), with q the predicted τ-quantile.

    Args:
        quantiles: Levels τ in (0, 1).
        **kwargs: Options of every torchmetrics object.

    Examples:
        >>> metric = PinballLoss((0.5,))
        >>> metric.update(torch.tensor([[1.0], [3.0]]), torch.tensor([2.0, 3.0]))
        >>> float(metric.compute())  # half the mean absolute error
        0.25
    """

    def __init__(self, quantiles: tuple[float, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.quantiles = quantiles

    def update(self, preds: Float[Tensor, "n Q"], target: Float[Tensor, "n"]) -> None:
        """Add rows."""
        self.total += pinball(preds, target, self.quantiles).sum()
        self.count += len(target)

    def compute(self) -> Tensor:
        """The mean."""
        return self.mean()


@final
class CoverageError(Metric):
    """Mean over levels of |share of rows with y ≤ q_τ − τ|: 0 when every predicted quantile is one.

    Args:
        quantiles: Levels τ in (0, 1).
        **kwargs: Options of every torchmetrics object.

    Examples:
        >>> metric = CoverageError((0.5,))
        >>> metric.update(torch.tensor([[1.0], [3.0]]), torch.tensor([2.0, 2.0]))
        >>> float(metric.compute())
        0.0
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    below: Tensor
    count: Tensor

    def __init__(self, quantiles: tuple[float, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.quantiles = quantiles
        self.add_state("below", default=torch.zeros(len(quantiles)), dist_reduce_fx="sum")
        self.add_state("count", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Float[Tensor, "n Q"], target: Float[Tensor, "n"]) -> None:
        """Add rows."""
        self.below += (target[:, None] <= preds).sum(0)
        self.count += len(target)

    def compute(self) -> Tensor:
        """The mean distance between the observed and the nominal share."""
        return (self.below / self.count - self.below.new_tensor(self.quantiles)).abs().mean()


@final
class KnownError(_Sums):
    """Mean of |p − y|, or root of the mean of its square, over labels that are known; bounds (n, 2) are equal there.

    Args:
        power: 1 or 2.
        **kwargs: Options of every torchmetrics object.

    Examples:
        >>> metric = KnownError(power=1)
        >>> metric.update(torch.tensor([1.0, 9.0]), torch.tensor([[3.0, 3.0], [0.0, float("inf")]]))
        >>> float(metric.compute())
        2.0
    """

    def __init__(self, power: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.power = power

    def update(self, preds: Float[Tensor, "n"], target: Float[Tensor, "n 2"]) -> None:
        """Add rows."""
        known = target[:, 0] == target[:, 1]
        self.total += (preds[known] - target[known, 0]).abs().pow(self.power).sum()
        self.count += known.sum()

    def compute(self) -> Tensor:
        """The error; NaN where no label is known."""
        if not self.count:
            warnings.warn("no label is known, all are bounds", stacklevel=2)
            return torch.tensor(float("nan"))
        mean = self.mean()
        return mean.sqrt() if self.power == 2 else mean


@final
class Concordance(_Rows):
    """Harrell's concordance index of labels that are bounds (n, 2), equal where a label is known.

    Examples:
        >>> metric = Concordance()
        >>> metric.update(torch.tensor([1.0, 2.0]), torch.tensor([[3.0, 3.0], [4.0, float("inf")]]))
        >>> float(metric.compute())
        1.0
    """

    def update(self, preds: Float[Tensor, "n"], target: Float[Tensor, "n 2"]) -> None:
        """Add rows."""
        self.scores.append(preds)
        self.target.append(target)

    def compute(self) -> Tensor:
        """The index; NaN where the order of no two labels is known."""
        found = concordance_index(dim_zero_cat(self.scores).cpu().numpy(), dim_zero_cat(self.target).cpu().numpy())
        if found != found:
            warnings.warn("of no two labels the order is known", stacklevel=2)
        return torch.tensor(found)
