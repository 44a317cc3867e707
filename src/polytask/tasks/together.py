"""Losses of several tasks of one kind, evaluated on one matrix of labels: the same numbers in fewer calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polytask.errors import TaskError
from polytask.tasks.labels import known
from polytask.tasks.task import Task

__all__ = ["Columns", "alike", "column_losses", "columns"]


class Columns(NamedTuple):
    """The labels of K tasks that are alike, one column per task with at least one label.

    Attributes:
        tasks: Those tasks.
        labels: Checked labels in natural units; where one is missing, the kind's filler. (B, K).
        absent: Which entries have no label, (B, K); ``None`` where all have one.
        numbers: Labels present, (K,).
        counts: The same by task, of tasks without any too.
    """

    tasks: Sequence[Task]
    labels: Tensor
    absent: Bool[Tensor, "B K"] | None
    numbers: Int[Tensor, "K"]
    counts: dict[str, int]


def alike(task: Task) -> tuple[object, ...] | None:
    """What a task has in common with those whose loss is the same function: equal for tasks that are alike.

    ``None`` for a task whose loss is the user's, whose classes have weights, or whose kind has no filler.

    Examples:
        >>> alike(Task("a")) == alike(Task("b", scale=2.0)) != alike(Task("c", "binary"))
        True
    """
    rule = task.rule
    if task.class_weight is not None or task.loss_function is not None or rule.filler is None or rule.target_dims != 1:
        return None
    return type(rule), repr((rule.classes, rule.quantiles, rule.own, task.missing))


def columns(tasks: Sequence[Task], targets: Mapping[str, Tensor]) -> Columns | None:
    """The labels of tasks that are alike as one matrix.

    Args:
        tasks: Tasks with the same :func:`alike`.
        targets: A target for each of them.

    Returns:
        ``None`` where they make no matrix (types or shapes differ), no label is present, or a label is impossible: the
        tasks by themselves then tell what is wrong.
    """
    given = [targets[task.name] for task in tasks]
    labels = _side_by_side(given)
    if labels is None:
        return None
    present = known(tasks[0], labels, None)
    numbers = present.sum(0)
    found = numbers.tolist()
    counts = {task.name: number for task, number in zip(tasks, found, strict=True)}
    if not all(found):
        kept = [i for i, number in enumerate(found) if number]
        if not kept:
            return None
        tasks, labels, present, numbers = [tasks[i] for i in kept], labels[:, kept], present[:, kept], numbers[kept]
    absent = None if sum(found) == present.numel() else present.logical_not()
    rule = tasks[0].rule
    assert rule.filler is not None
    if absent is not None:
        labels = labels.masked_fill(absent, rule.filler)
    try:
        labels = rule.check(labels.view(-1)).view(labels.shape)
    except TaskError:
        return None
    return Columns(tasks, labels, absent, numbers, counts)


def _side_by_side(given: Sequence[Tensor]) -> Tensor | None:
    """The columns as a matrix: the one they were taken from, if they are all its columns in order, or a new one."""
    whole = given[0]._base
    if whole is not None and whole.ndim == 2 and whole.shape[1] == len(given) and given[0].ndim == 1:
        start, step = whole.storage_offset(), whole.stride(1)
        places = range(start, start + len(given) * step, step) if step else ()
        rows = whole.stride(0)
        if (
            step
            and len(places) == len(given)
            and all(
                y._base is whole and y.storage_offset() == place and y.shape == whole.shape[:1] and y.stride(0) == rows
                for y, place in zip(given, places, strict=True)
            )
        ):
            return whole
    if given[0].ndim != 1 or len({(y.dtype, y.shape, y.device) for y in given}) > 1:
        return None
    return torch.stack(list(given), 1)


def column_losses(found: Columns, predictions: Float[Tensor, "B outs"]) -> Float[Tensor, "K"] | None:
    """Mean loss of each task over its present labels.

    A missing label leaves no trace in loss and gradient, whatever the prediction is: the entry is evaluated at an
    output of 0, where the kind's loss is finite, and has the weight 0.

    Args:
        found: The labels.
        predictions: Outputs of the same tasks' heads side by side, float32 at least.

    Returns:
        ``None`` where the rows do not fit, which the tasks by themselves then say.
    """
    rule, (rows, size) = found.tasks[0].rule, found.labels.shape
    if predictions.shape != (rows, size * rule.out_features):
        return None
    outputs = predictions.reshape(rows * size, rule.out_features)
    if found.absent is not None:
        outputs = outputs.masked_fill(found.absent.view(-1, 1), 0.0)
    labels = _on_scale(found, outputs.dtype) if rule.affine else found.labels
    entries = rule.loss(rule.arrange(outputs), labels.reshape(-1)).view(rows, size)
    if found.absent is None:
        return entries.mean(0)
    return (entries * (found.absent.logical_not().to(entries.dtype) / found.numbers)).sum(0)


def _on_scale(found: Columns, dtype: torch.dtype) -> Float[Tensor, "B K"]:
    """(y − shift)/scale, each task's own, in the precision of the labels before that of the predictions."""
    exact = found.labels if found.labels.is_floating_point() else found.labels.to(dtype)
    if any((task.shift, task.scale) != (0.0, 1.0) for task in found.tasks):
        shift, scale = zip(*((task.shift, task.scale) for task in found.tasks), strict=True)
        exact = (exact - exact.new_tensor(shift)) / exact.new_tensor(scale)
    return exact.to(dtype)
