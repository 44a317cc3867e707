"""What is to be learned: tasks, their kinds, losses and metrics, and the rule for missing labels."""

from __future__ import annotations

from polytask.tasks.kind import Kind, Score, Seen
from polytask.tasks.kinds import KINDS
from polytask.tasks.meter import TaskMeter
from polytask.tasks.nature import Nature
from polytask.tasks.task import LossFunction, Task
from polytask.tasks.taskset import TaskSet

__all__ = ["KINDS", "Kind", "LossFunction", "Nature", "Score", "Seen", "Task", "TaskMeter", "TaskSet"]
