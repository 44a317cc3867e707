"""``[schedule]`` of a configuration: which tasks are trained when."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict

from polytask.errors import ConfigError
from polytask.schedule.registry import SCHEDULES, read_schedule
from polytask.section import Section

__all__ = ["ScheduleSection"]


class ScheduleSection(Section):
    """``[schedule]``: which tasks count in which step; further keys of the section are options of the schedule.

    Attributes:
        name: Registry name of the schedule; all tasks count in all steps when left out.

    Examples:
        >>> ScheduleSection(name="stop_and_go", every=8).chosen
        {'name': 'stop_and_go', 'every': 8}
    """

    model_config = ConfigDict(extra="allow")

    name: str | None = None

    @property
    def chosen(self) -> dict[str, Any] | None:
        """A table with name and options; ``None`` for none."""
        return None if self.name is None else {"name": self.name, **(self.model_extra or {})}

    def check(self, no_key: Any) -> None:
        """Check the schedule and its options.

        Args:
            no_key: Words the message for a key that is none, from the key and the known ones.

        Raises:
            ConfigError: The schedule or an option is unknown, or a value is not allowed.
        """
        declared = {} if self.name is None else SCHEDULES.find(self.name).declared
        for key in self.model_extra or {}:
            if key not in declared:
                known = ["name", *declared]
                unnamed = "" if self.name else f"; options go with the name of a schedule: {', '.join(SCHEDULES)}"
                raise ConfigError(f"{no_key(key, known)}. Known keys: {', '.join(known)}{unnamed}")
        read_schedule(self.chosen)
