"""Metrics and predictions over a whole source, without gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polytask.data import Inputs, MultiTaskData, MultiTaskLoader, Part, Source, batches
from polytask.errors import DataError
from polytask.share.inference import inference

if TYPE_CHECKING:
    from polytask.tasks import TaskSet
    from polytask.train.forward import Forward

__all__ = ["Evaluation", "evaluate", "predict"]


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


def evaluate(forward: Forward, tasks: TaskSet, source: Source | Mapping[str, Source], batch_size: int) -> Evaluation:
    """Metrics of every task over ``source``; several sources by name count as one.

    Args:
        forward: The model and how to call it.
        tasks: What to measure; other targets of the source are ignored.
        source: Rows to judge by.
        batch_size: Rows per forward pass.
    """
    meter = tasks.meter()
    with inference(forward.model):
        for part in map(forward.to_device, _parts(source, batch_size)):
            predictions = forward.predictions(part.inputs, part.targets)
            meter.update(predictions, {name: part.targets[name] for name in predictions})
    return Evaluation(meter.compute(), meter.loss(), dict(meter.counts), dict(meter.undefined))


def predict(
    forward: Forward, tasks: TaskSet, source: Inputs | Source | Mapping[str, Source], batch_size: int
) -> dict[str, Tensor]:
    """Decoded predictions of every task for every row, on the CPU, in the order of the rows.

    Args:
        forward: The model and how to call it.
        tasks: What to predict.
        source: Rows, as a source or as bare inputs.
        batch_size: Rows per forward pass.
    """
    found: dict[str, list[Tensor]] = {}
    with inference(forward.model):
        for part in map(forward.to_device, _parts(source, batch_size)):
            for name, prediction in forward.predictions(part.inputs, tasks.names).items():
                found.setdefault(name, []).append(tasks[name].decode(prediction).cpu())
    return {name: torch.cat(found[name]) for name in tasks.names if name in found}


def _parts(source: Any, batch_size: int) -> Iterator[Part]:
    if isinstance(source, MultiTaskData):
        raise DataError("a dataset has three splits; pass one of them: data.val or data.test")
    if isinstance(source, MultiTaskLoader):
        source = source.sources
    if isinstance(source, Mapping) and source and all(isinstance(x, Tensor) for x in source.values()):
        sizes = {len(x) for x in source.values()}
        for start in range(0, max(sizes), batch_size):
            yield Part({name: x[start : start + batch_size] for name, x in source.items()}, {})
    elif isinstance(source, Mapping):
        for one in source.values():
            yield from batches(one, batch_size)
    elif isinstance(source, Tensor):
        for rows in source.split(batch_size):
            yield Part(rows, {})
    else:
        yield from batches(source, batch_size)
