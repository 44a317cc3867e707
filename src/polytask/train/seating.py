"""What the seats of a model see of a step, and what the loss is given instead."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from polytask.data import Batch
from polytask.share import Seats
from polytask.tasks import Task, TaskSet, labels

__all__ = ["replace_targets"]


def replace_targets(seats: Seats, tasks: TaskSet, batches: Sequence[Batch]) -> tuple[list[Batch], frozenset[str]]:
    """Show a step's targets to the seats, and put those they return in their place.

    Args:
        seats: The model's seats.
        tasks: The tasks to learn; other targets are left alone.
        batches: The step's micro-batches.

    Returns:
        The batches, and the tasks whose targets are now on the loss's scale, with NaN where a label is missing.
    """
    places = [(batch, part) for batch in batches for part in batch.parts]
    found = {
        name: [_on_the_losses_scale(task, part.targets[name]) if name in part.targets else None for _, part in places]
        for name, task in tasks.items()
    }
    given = {
        name: torch.cat([value for value in values if value is not None])
        for name, values in found.items()
        if any(value is not None for value in values)
    }
    replaced = seats.before_losses(given)
    targets = [dict(part.targets) for _, part in places]
    for name, value in replaced.items():
        at = [i for i, part in enumerate(found[name]) if part is not None]
        for i, piece in zip(at, value.split([len(targets[i][name]) for i in at]), strict=True):
            targets[i][name] = piece
    parts = iter([part.with_targets(own) for (_, part), own in zip(places, targets, strict=True)])
    return [Batch(tuple(next(parts) for _ in batch.parts), batch.sources) for batch in batches], frozenset(replaced)


def _on_the_losses_scale(task: Task, target: Tensor) -> Tensor:
    """(y − shift)/scale in double precision, NaN where missing; the target as it is for kinds without a scale."""
    if not task.rule.affine:
        return target
    if task.rule.target_dims == 1:
        target = target.flatten()  # (B,) and (B, 1) are the same labels
    values = (target.double() - task.shift) / task.scale
    return torch.where(labels.known(task, target, None), values, math.nan)
