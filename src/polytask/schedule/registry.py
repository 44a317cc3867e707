"""Schedules by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polytask.errors import ConfigError
from polytask.registry import Registry
from polytask.schedule.schedule import Schedule

__all__ = ["SCHEDULES", "get_schedule", "read_schedule"]

SCHEDULES: Registry[type[Schedule]] = Registry(
    "schedule",
    {
        "stop_and_go": "stop_and_go:StopAndGo",
        "task_wise_stopping": "task_wise_stopping:TaskWiseStopping",
    },
    package="polytask.schedule",
    group="polytask.schedules",
    fits=lambda thing: isinstance(thing, type) and issubclass(thing, Schedule),
    expected="a subclass of Schedule",
)
"""Schedules by name; each is called with its options."""


def read_schedule(given: str | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Name and options of a schedule, checked; ``None`` for none.

    Args:
        given: Its name, or a table with ``name`` and options.

    Raises:
        ConfigError: The schedule or an option is unknown, or a value is not allowed.

    Examples:
        >>> read_schedule({"name": "stop_and_go", "every": 8})
        {'name': 'stop_and_go', 'every': 8}
    """
    if given is None:
        return None
    table = {"name": given} if isinstance(given, str) else given
    if not isinstance(table, Mapping) or not isinstance(table.get("name"), str):
        raise ConfigError(f"a schedule is a name, or a table with a name and options; found {given!r}")
    options = {key: value for key, value in table.items() if key != "name"}
    made = SCHEDULES.find(table["name"])(**options)
    return {"name": table["name"], **{key: getattr(made, key) for key in options}}


def get_schedule(given: str | Mapping[str, Any] | Schedule | None) -> Schedule | None:
    """A schedule from its name, from a table with ``name`` and options, or the object itself; ``None`` for none.

    Raises:
        ConfigError: As for :func:`read_schedule`.

    Examples:
        >>> get_schedule("stop_and_go")
        StopAndGo(improvement=0.001, patience=1, fall=0.005, every=4)
    """
    if isinstance(given, Schedule):
        return given
    read = read_schedule(given)
    return None if read is None else SCHEDULES[read.pop("name")](**read)
