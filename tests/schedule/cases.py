"""The list of schedules that the conformance suite runs over; a new schedule gets its entry here."""

import dataclasses

from polytask.schedule import StopAndGo, TaskWiseStopping


@dataclasses.dataclass(frozen=True)
class Case:
    """A schedule in one setting.

    Attributes:
        made: The class.
        options: Options that differ from the defaults, such that it acts within a few epochs.
        bad: For every option a value that is not allowed.
        by_names: Why renaming the tasks may change more than names; empty where it may not.
    """

    made: type
    options: dict = dataclasses.field(default_factory=dict)
    bad: dict = dataclasses.field(default_factory=dict)
    by_names: str = ""

    def __str__(self):
        return "-".join([self.made.__name__, *(f"{key}={value}" for key, value in self.options.items())])


CASES = [
    Case(StopAndGo, {"patience": 0}, {"improvement": -0.1, "patience": -1, "fall": "deep", "every": -1}),
    Case(StopAndGo, {"patience": 0, "every": 0, "fall": 10.0}),
    Case(TaskWiseStopping, {"window": 2, "threshold": 0.1},
         {"main": "", "window": 1, "threshold": 0.0, "importance": {"a": 0.0}}),
    Case(TaskWiseStopping, {"window": 2, "threshold": 0.1, "importance": {"a": 1e9}}, by_names="a is said to matter"),
]  # fmt: skip
