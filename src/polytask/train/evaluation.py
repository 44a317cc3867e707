"""Metrics and predictions over a whole source, without gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polytask.data import MultiTaskData, MultiTaskLoader, Part, Source, TensorSource, are_inputs, batches, given_rows
from polytask.data.batch import weights_of
from polytask.errors import DataError
from polytask.share.inference import inference

if TYPE_CHECKING:
    from polytask.tasks import TaskSet
    from polytask.train.forward import Forward

__all__ = ["Evaluation", "evaluate", "predict", "sources_of"]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How good the predictions for one source are.

    Attributes:
        metrics: Task → metric → value, in the targets' natural units; NaN where undefined.
        losses: Mean loss over present labels; tasks without labels are missing.
        counts: Labels present, by task.
        undefined: Task → metric → why it has no value.
    """

    metrics: dict[str, dict[str, float]]
    losses: dict[str, float]
    counts: dict[str, int]
    undefined: dict[str, dict[str, str]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)


def evaluate(forward: Forward, tasks: TaskSet, source: Any, batch_size: int) -> Evaluation:
    """Metrics of every task over ``source``; several sources by name count as one.

    Args:
        forward: The model and how to call it.
        tasks: What to measure; other targets of the source are ignored.
        source: Rows to judge by, in any form that :func:`~polytask.data.given_rows` takes.
        batch_size: Rows per forward pass.
    """
    meter = forward.meter
    try:
        with inference(forward.model):
            for part in map(forward.to_device, _parts(source, tasks.names, batch_size)):
                predictions = forward.predictions(part.inputs, part.targets)
                targets = {name: part.targets[name] for name in predictions}
                meter.update(predictions, targets, weights=weights_of(part, targets))
        return Evaluation(meter.compute(), meter.loss(), dict(meter.counts), dict(meter.undefined))
    finally:
        meter.reset()  # for the next time, and because ranking metrics hold every row


def predict(forward: Forward, tasks: TaskSet, source: Any, batch_size: int) -> dict[str, Tensor]:
    """Decoded predictions of every task for every row, on the CPU, in the order of the rows.

    Args:
        forward: The model and how to call it.
        tasks: What to predict.
        source: Rows, likewise, or bare inputs.
        batch_size: Rows per forward pass.
    """
    found: dict[str, list[Tensor]] = {}
    with inference(forward.model):
        for part in map(forward.to_device, _parts(source, tasks.names, batch_size)):
            for name, prediction in forward.predictions(part.inputs, tasks.names).items():
                found.setdefault(name, []).append(tasks[name].decode(prediction).cpu())
    return {name: torch.cat(found[name]) for name in tasks.names if name in found}


def sources_of(rows: Any, tasks: Sequence[str]) -> Source | dict[str, Source]:
    """Sources from rows in any form, or those of a loader.

    Raises:
        DataError: It holds no rows, or three splits of them.
    """
    if isinstance(rows, MultiTaskData):
        raise DataError("a dataset has three splits; pass one of them: data.val or data.test")
    return rows.sources if isinstance(rows, MultiTaskLoader) else given_rows(rows, tasks).sources


def _parts(rows: Any, tasks: Sequence[str], batch_size: int) -> Iterator[Part]:
    sources = TensorSource(rows, {}) if are_inputs(rows) else sources_of(rows, tasks)
    for source in sources.values() if isinstance(sources, dict) else [sources]:
        yield from batches(source, batch_size)
