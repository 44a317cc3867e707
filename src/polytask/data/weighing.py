"""Weights of labels: read from columns of a table, and of classes that are to be balanced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polytask.data.source import Source, batches
from polytask.errors import DataError, unknown
from polytask.tasks import TaskSet

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["balanced_tasks", "column_weights", "weight_columns", "without_weightless"]


def balanced_tasks(tasks: TaskSet, sources: Iterable[Source]) -> TaskSet:
    """The tasks with ``class_weight="balanced"`` in numbers, from the labels of the training rows.

    Args:
        tasks: The tasks; the same object comes back where no classes are to be balanced.
        sources: Training rows. Each label counts once, whatever its weight; labels of weight 0 are none.

    Raises:
        TaskError: A task whose classes are to be balanced has no label.
    """
    asked = [name for name, task in tasks.items() if task.class_weight == "balanced"]
    if not asked:
        return tasks
    found: dict[str, list[Tensor]] = {}
    for source in sources:
        for part in batches(source, 65536):
            for name in asked:
                if name in part.targets:
                    target, weight = part.targets[name].flatten().cpu(), (part.weights or {}).get(name)
                    found.setdefault(name, []).append(target if weight is None else target[weight.flatten().cpu() > 0])
    return tasks.balanced({name: torch.cat(labels) for name, labels in found.items()})


def weight_columns(given: str | int | Mapping[Any, str | int] | None, targets: Iterable[str]) -> dict[str, str]:
    """Target → column of its weights, from one column for all targets or one by target.

    Raises:
        DataError: A key is no target.
    """
    if given is None:
        return {}
    targets = list(targets)
    if not isinstance(given, Mapping):
        return dict.fromkeys(targets, str(given))
    for target in map(str, given):
        if target not in targets:
            raise DataError(unknown("target with weights", target, targets))
    return {str(target): str(column) for target, column in given.items()}


def column_weights(frame: pd.DataFrame, column: str) -> Tensor:
    """The weights that a column holds, one per row.

    Raises:
        DataError: One is missing, negative, not finite or no number.
    """
    import pandas as pd

    values = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=float)
    wrong = ~((values >= 0) & (values < float("inf")))
    if wrong.any():
        place = int(wrong.argmax())
        raise DataError(
            f"weights {column!r} must be numbers from 0 on, found {frame[column].iloc[place]!r} in row "
            f"{int(frame.index[place]) + 1} ({int(wrong.sum())} of {len(values)}); 0 is for a label that does not count"
        )
    return torch.tensor(values, dtype=torch.float32)


def without_weightless(frame: pd.DataFrame, weights: Mapping[str, str]) -> pd.DataFrame:
    """The table with labels of weight 0 as missing ones, which they are; ``weights`` has a column by target."""
    return frame.assign(
        **{target: frame[target].mask(column_weights(frame, column).numpy() == 0) for target, column in weights.items()}
    )
