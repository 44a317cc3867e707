"""What a trial is known by, as plain values that JSON holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polytask.data import MultiTaskData
from polytask.share.blueprint import encoder_name
from polytask.study.outcome.results import SCHEMA
from polytask.tasks import Task

__all__ = ["plain", "surroundings"]


def surroundings(data: MultiTaskData, tasks: tuple[str, ...], seed: int) -> dict[str, Any]:
    """What determines a trial's result whatever the row: data, split, tasks, seed."""
    return {
        "schema": SCHEMA,
        "data": data.name,
        "fingerprint": data.fingerprint,
        "tasks": [plain(_task(data.tasks[name])) for name in tasks],
        "seed": seed,
    }


def plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON can hold, as it comes back from a file; what it cannot hold, as text."""
    return {str(key): _plain(item) for key, item in value.items()}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return plain(value)
    return repr(value)


def _task(task: Task) -> dict[str, Any]:
    """A task as plain values; functions by name, as their content cannot be compared."""
    try:
        values = dict(task.to_dict())
    except ValueError:
        loss = getattr(task, "loss_function", None)
        values = {"name": task.name, "kind": task.kind, "loss": encoder_name(loss), "weight": task.weight}
    return {**values, "primary": task.primary}
