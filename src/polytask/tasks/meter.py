"""Metrics, losses and label counts over many batches."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from polytask.tasks import labels
from polytask.tasks.kind import Score, Seen
from polytask.tasks.task import Task

if TYPE_CHECKING:
    from torchmetrics import Metric

    from polytask.tasks.taskset import TaskSet

__all__ = ["TaskMeter"]

CHUNK = 1 << 20
"""Rows are handed to the metrics in chunks of about so many numbers: per-batch overhead vanishes, memory is bounded."""

NAN = float("nan")


@final
class TaskMeter:
    """Accumulates the metrics, the mean loss and the number of present labels of every task over many batches.

    Batches may have any sizes: losses are Σ ℓ / Σ 1 over all present labels, not means of batch means. Everything is
    computed in float64 on the CPU.

    Args:
        tasks: The tasks, or whatever describes a :class:`TaskSet`.

    Attributes:
        undefined: Why a metric is NaN, or which classes it leaves out: task → metric → reason. Set by compute().

    Examples:
        >>> from polytask.tasks import TaskSet
        >>> meter = TaskSet([Task("sex", "binary", metrics=["accuracy", "auroc"])]).meter()
        >>> meter.update({"sex": torch.tensor([2.0, 3.0])}, {"sex": torch.tensor([1, 1])})
        >>> meter.compute()
        {'sex': {'accuracy': 1.0, 'auroc': nan}}
        >>> meter.undefined
        {'sex': {'auroc': 'one class only: all 2 labels are 1'}}
    """

    def __init__(self, tasks: TaskSet) -> None:
        self.tasks = tasks
        self.undefined: dict[str, dict[str, str]] = {}
        self._gauges = {name: _Gauge(task) for name, task in tasks.items()}

    def update(
        self,
        predictions: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        masks: Mapping[str, Tensor] | None = None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Add a batch.

        Args:
            predictions: Outputs of the heads by task.
            targets: Labels by task; a task may be left out.
            masks: True where a label is present, by task; a task may be left out.
            weights: Weights of the labels from 0 on, by task, (B,) or in the shape of the target; a task may be left
                out. Losses are then weighted means, and metrics count a row as often as its weight says. Weights of
                classes do not matter here.

        Raises:
            TaskError: A key is no task or shapes do not fit. A label that is not possible is noticed when enough rows
                have come together, at the latest in :meth:`compute`.
        """
        for task, prediction, target, mask in self.tasks.matched(predictions, targets, masks):
            self._gauges[task.name].add(prediction, target, mask, (weights or {}).get(task.name))

    def compute(self) -> dict[str, dict[str, float]]:
        """Metrics of every task; NaN where a metric is undefined, with the reason in :attr:`undefined`."""
        self.undefined = {}
        values = {}
        for name, gauge in self._gauges.items():
            values[name], reasons = gauge.compute()
            if reasons:
                self.undefined[name] = reasons
        return values

    @property
    def counts(self) -> dict[str, int]:
        """Number of present labels of every task."""
        return {name: gauge.evaluated().count for name, gauge in self._gauges.items()}

    def loss(self) -> dict[str, float]:
        """Mean loss over the present labels, of every task that has one."""
        gauges = {name: gauge.evaluated() for name, gauge in self._gauges.items()}
        return {name: gauge.total / gauge.mass for name, gauge in gauges.items() if gauge.count}

    def reset(self) -> None:
        """Forget every batch; the metrics' objects are kept, since making them costs more than an evaluation."""
        self.undefined = {}
        for gauge in self._gauges.values():
            gauge.reset()


class _Gauge:
    """The accumulated state of one task."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.metrics: dict[str, Metric] = task.make_metrics()
        self.reset()

    def reset(self) -> None:
        """As new."""
        for metric in self.metrics.values():
            metric.reset()
        self.seen = Seen()
        self.total = 0.0
        self.count = 0
        self.mass = 0.0
        self.weighed: list[tuple[Tensor, Tensor, Tensor]] | None = None
        self.broken = 0
        self.waiting: list[labels.Entries] = []
        self.size = 0

    def add(self, prediction: Tensor, target: Tensor, mask: Tensor | None, weight: Tensor | None) -> None:
        """Keep a copy of a batch, since the caller may reuse its memory; evaluate when enough is waiting."""
        prediction, target, present, weight = labels.match(self.task, prediction.detach(), target, mask, weight)
        kept = None if weight is None else weight.double().clone()
        self.waiting.append(labels.Entries(prediction.clone(), target.clone(), present, kept))
        self.size += prediction.numel() + target.numel()
        if self.size >= CHUNK:
            self.evaluated()

    @torch.no_grad()
    def evaluated(self) -> _Gauge:
        """Hand everything that waits to the metrics."""
        waiting, self.waiting, self.size = self.waiting, [], 0
        for entries in _joined(waiting):
            losses = labels.entry_losses(self.task, entries).double()
            weights = labels.entry_weights(self.task, entries, classes=False)
            self.total += float((losses if weights is None else losses * weights).sum())
            self.mass += len(losses) if weights is None else float(weights.sum())
            self.count += len(losses)
            decoded, target = labels.metric_inputs(self.task, entries)
            if len(target):
                self._same_way(entries.weight is not None)
                self.seen.add(target, self.task.rule.levels)
                self._measure(decoded, target, self._row_weights(entries))
        return self

    def _same_way(self, weighed: bool) -> None:
        """Metrics are of all rows by weights, or of none."""
        if self.seen.rows and weighed != (self.weighed is not None):
            raise self.task.rule.fail(
                "some batches have weights and others have none; give weights of 1 where all count"
            )

    def _row_weights(self, entries: labels.Entries) -> Tensor | None:
        """The weights in the shape of the targets that the metrics are given."""
        if entries.weight is None:
            return None
        if self.task.rule.whole_rows and entries.present.ndim > 1:
            return entries.weight[entries.present.any(1)]
        return entries.weight[entries.present]

    def _measure(self, decoded: Tensor, target: Tensor, weight: Tensor | None) -> None:
        finite = torch.isfinite(decoded)
        if not bool(finite.all()):
            self.broken += int((~finite).flatten(1).any(1).sum() if finite.ndim > 1 else (~finite).sum())
            return
        if weight is not None:
            self.weighed = [*(self.weighed or []), (decoded, target, weight)]
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for metric in self.metrics.values():
                metric.update(decoded, target)

    def compute(self) -> tuple[dict[str, float], dict[str, str]]:
        """Values by metric, and reasons for what is undefined."""
        self.evaluated()
        values, reasons = {}, {}
        for name, metric in self.metrics.items():
            values[name], reason = self._value(metric, self.task.scores[name])
            if reason is not None:
                reasons[name] = reason
        return values, reasons

    def _value(self, metric: Metric, score: Score) -> tuple[float, str | None]:
        if self.count == 0:
            return NAN, "no labels"
        if self.broken:
            return NAN, f"the prediction is not finite in {self.broken} of {self.seen.rows} rows"
        reason = score.undefined(self.seen) if score.undefined else None
        if reason is not None and not score.partial:
            return NAN, reason
        if self.weighed is not None:
            return self._weighted_value(score, reason)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = metric.compute()
        if not isinstance(result, Tensor) or result.numel() != 1:
            found = f"shape {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
            raise self.task.rule.fail(f"metric {type(metric).__name__} must give a single number, found {found}")
        value = float(result)
        if value != value:
            said = "; ".join(str(warning.message) for warning in caught)
            return NAN, reason or said or f"{type(metric).__name__} gives NaN"
        return value, reason

    def _weighted_value(self, score: Score, reason: str | None) -> tuple[float, str | None]:
        assert self.weighed is not None
        if score.weighted is None:
            return NAN, "it knows no weights of rows; give Score(…, weighted=…) in its place"
        arrays = (torch.cat(parts).numpy() for parts in zip(*self.weighed, strict=True))
        value = score.weighted(*arrays)
        return value, reason or ("it is not defined for these rows" if value != value else None)


def _joined(waiting: list[labels.Entries]) -> Iterator[labels.Entries]:
    """Batches that fit together as one, on the CPU."""
    groups: dict[tuple[object, ...], list[labels.Entries]] = {}
    weighed = any(entries.weight is not None for entries in waiting)
    for prediction, target, present, weight in waiting:
        alike = (prediction.shape[1:], prediction.dtype, target.shape[1:], target.dtype)
        ones = torch.ones_like(present, dtype=torch.float64) if weighed and weight is None else weight
        groups.setdefault(alike, []).append(labels.Entries(prediction, target, present, ones))
    for items in groups.values():
        weights = [entries.weight for entries in items if entries.weight is not None]
        yield labels.Entries(
            torch.cat([entries.prediction for entries in items]).cpu(),
            torch.cat([entries.target for entries in items]).cpu(),
            torch.cat([entries.present for entries in items]).cpu(),
            torch.cat(weights).cpu() if weights else None,
        )
