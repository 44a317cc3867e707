"""Which tasks count in which step: the schedule of a study's networks, before it runs and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polytask.data import MultiTaskData
from polytask.errors import ConfigError
from polytask.schedule import get_schedule

__all__ = ["check_schedule", "schedule_in_words"]


def check_schedule(chosen: Mapping[str, Any] | None, tasks: Sequence[str], data: MultiTaskData) -> None:
    """Find out whether a schedule fits the data.

    Args:
        chosen: Its name and options; ``None`` for none.
        tasks: Tasks to learn.
        data: On what.

    Raises:
        ConfigError: An option names a task that is none, or there are no rows to validate on.
    """
    schedule = get_schedule(chosen)
    if schedule is not None:
        schedule.begin(tasks)
        if schedule.needs_validation and len(data.val) == 0:
            raise ConfigError(
                f"{type(schedule).__name__} decides after every validation, and {data.name} has no validation rows; "
                "split it with val above 0"
            )


def schedule_in_words(chosen: Mapping[str, Any]) -> str:
    """A schedule with its options, for the report."""
    options = ", ".join(f"{key}={value}" for key, value in chosen.items() if key != "name")
    return f"schedule of all networks that learn several tasks: {chosen['name']}{f' ({options})' if options else ''}"
