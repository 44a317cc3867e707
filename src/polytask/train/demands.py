"""What a balancing method asks of the training loop beyond losses: metrics, and a second batch per step."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from polytask.balance import Method
from polytask.data import Batch, Inputs, Part
from polytask.errors import ConfigError
from polytask.tasks import TaskSet
from polytask.train.evaluation import Evaluation

__all__ = ["check_metrics", "halves", "skills"]

UNIT = ("accuracy", "auroc", "average_precision", "balanced_accuracy", "f1")
"""Metrics in [0, 1] of which higher is better."""


def check_metrics(method: Method, tasks: TaskSet) -> None:
    """Refuse a method that asks for numbers which validation does not give.

    Args:
        method: What balances the tasks.
        tasks: Their primary metrics are what the method would get.

    Raises:
        ConfigError: It wants numbers that only the caller can measure, or a task's primary metric is not in [0, 1]
            with 1 the best.

    Examples:
        >>> from polytask.balance import get_method
        >>> from polytask.tasks import Task
        >>> check_metrics(get_method("dtp"), TaskSet([Task("age")]))
        Traceback (most recent call last):
            ...
        polytask.errors.ConfigError: DTP weighs tasks by their validation metrics, ...
    """
    if not method.needs_metrics:
        return
    name = type(method).__name__
    if not method.takes_skill:
        raise ConfigError(
            f"{name} needs numbers that are measured between the steps and that validation does not give; write a loop "
            "of your own and call balancer.observe_metrics({task: value}) in it (the method's documentation says what "
            "to measure), or train with a method that looks at losses (dwa, uw)"
        )
    unfit = {task.name: task.primary for task in tasks.values() if task.primary not in UNIT}
    if unfit:
        found = ", ".join(
            f"{task!r} is {metric!r}" if metric else f"{task!r} is none" for task, metric in unfit.items()
        )
        raise ConfigError(
            f"{name} weighs tasks by their validation metrics, which must lie in [0, 1] with 1 the best; the primary "
            f"metric of {found}. Put one of {', '.join(UNIT)} first in its metrics=, use a method that looks at losses "
            f"(dwa, uw), or hand over rescaled values in a loop of your own: "
            f"balancer.observe_metrics({{{next(iter(unfit))!r}: value}})"
        )


def skills(found: Evaluation, tasks: TaskSet) -> dict[str, float]:
    """Validation value of each task's primary metric; tasks for which it is undefined are left out."""
    values = {name: found.metrics.get(name, {}).get(task.primary, math.nan) for name, task in tasks.items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """The first and the second half of the rows of every part; a part of one row is in the second half only.

    Examples:
        >>> import torch
        >>> part = Part(torch.arange(5), {"a": torch.arange(5)})
        >>> first, second = halves(Batch((part,), ("data",)))
        >>> first.parts[0].inputs.tolist(), second.parts[0].targets["a"].tolist()
        ([0, 1], [2, 3, 4])
    """
    first: list[tuple[Part, str]] = []
    second: list[tuple[Part, str]] = []
    for part, source in zip(batch.parts, batch.sources, strict=True):
        one = part.inputs if isinstance(part.inputs, Tensor) else next(iter(part.inputs.values()))
        rows = len(one)
        if rows >= 2:
            first.append((_rows(part, slice(0, rows // 2)), source))
        if rows >= 1:
            second.append((_rows(part, slice(rows // 2, rows)), source))
    return _batch(first), _batch(second)


def _rows(part: Part, rows: slice) -> Part:
    inputs: Inputs = (
        part.inputs[rows]
        if isinstance(part.inputs, Tensor)
        else {name: value[rows] for name, value in part.inputs.items()}
    )
    targets: Mapping[str, Tensor] = {name: target[rows] for name, target in part.targets.items()}
    return Part(inputs, dict(targets))


def _batch(parts: list[tuple[Part, str]]) -> Batch:
    return Batch(tuple(part for part, _ in parts), tuple(source for _, source in parts))
