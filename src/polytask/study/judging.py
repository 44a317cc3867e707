"""Metrics of whatever answers as heads do, by the code that measures networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from polytask.data import Inputs, MultiTaskData, Source, batches
from polytask.data.batch import weights_of
from polytask.tasks import TaskSet

__all__ = ["judge"]

BATCH = 8192
"""Rows that are judged at a time."""


def judge(outputs: Callable[[Inputs], Mapping[str, Tensor]], data: MultiTaskData, tasks: TaskSet) -> dict[str, Any]:
    """Metrics of every task on all splits but the training rows.

    Args:
        outputs: From encoded inputs to what the tasks' heads put out, (n, ``out_features``) each.
        data: The data.
        tasks: The tasks that are answered.

    Returns:
        ``metrics`` and ``undefined`` of a :class:`~polytask.study.outcome.results.TrialResult`.
    """
    found = {split: _measured(outputs, tasks, source) for split, source in data.splits.items() if split != "train"}
    return {
        "metrics": {split: metrics for split, (metrics, _) in found.items()},
        "undefined": {split: undefined for split, (_, undefined) in found.items() if undefined},
    }


def _measured(
    outputs: Callable[[Inputs], Mapping[str, Tensor]], tasks: TaskSet, source: Source
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, str]]]:
    meter = tasks.meter()
    for part in batches(source, BATCH):
        answers = outputs(part.inputs)
        weights = {name: weight.cpu() for name, weight in weights_of(part, tasks).items()}
        meter.update(
            {name: answers[name] for name in tasks},
            {name: part.targets[name].cpu() for name in tasks if name in part.targets},
            weights=weights,
        )
    return meter.compute(), dict(meter.undefined)
