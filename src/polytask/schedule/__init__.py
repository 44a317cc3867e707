"""Which task, when? Schedules say which tasks count in a step, and learn from every validation.

>>> from polytask.schedule import StopAndGo
>>> schedule = StopAndGo(every=4)
>>> schedule.begin(["age", "sex"])
>>> sorted(schedule.next())
['age', 'sex']
"""

from __future__ import annotations

from polytask.schedule.registry import SCHEDULES, get_schedule, read_schedule
from polytask.schedule.schedule import Schedule
from polytask.schedule.standing import Standing, gain
from polytask.schedule.stop_and_go import StopAndGo
from polytask.schedule.task_wise_stopping import TaskWiseStopping

__all__ = [
    "SCHEDULES",
    "Schedule",
    "Standing",
    "StopAndGo",
    "TaskWiseStopping",
    "gain",
    "get_schedule",
    "read_schedule",
]
