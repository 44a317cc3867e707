"""What a study holds besides its trials: tasks, methods, seeds, rules, and everything needed to repeat it."""

from __future__ import annotations

import dataclasses
from typing import Any, final

from polytask.study.outcome.results import Number

__all__ = ["Protocol", "TaskInfo"]


@final
@dataclasses.dataclass(frozen=True)
class TaskInfo:
    """What a table or figure must know of a task.

    Attributes:
        kind: Kind of the task.
        primary: The metric that counts for Δm.
        directions: +1 or −1 per metric.
        unit: Unit of the values; empty if they have none.
        labels: Labels present per split.
        rarer: Test rows of the rarer of two classes, in the split that has fewest; ``None`` for other tasks.
        skill: Metrics whose 0 is no better than chance: their gains are differences in points of 0.01, not ratios.
    """

    kind: str
    primary: str
    directions: dict[str, int]
    unit: str = ""
    labels: dict[str, int] = dataclasses.field(default_factory=dict)
    rarer: int | None = None
    skill: tuple[str, ...] = ()

    @property
    def arrow(self) -> str:
        """``"↑"`` when a higher primary metric is better, else ``"↓"``."""
        return "↑" if self.directions[self.primary] > 0 else "↓"


@final
@dataclasses.dataclass(frozen=True)
class Protocol:
    """How the numbers came about; everything needed to repeat them.

    Attributes:
        name: Name of the data.
        tasks: Tasks by name.
        methods: Labels of the methods, in the order asked for.
        seeds: Paired seeds.
        selection: ``"val"``, ``"last"`` or ``"test"``.
        rows: Rows per split.
        fingerprint: Hash of data and split.
        encoder: Specification of the shared part.
        architecture: How tasks share it.
        train: Options of training.
        balancer: Options of the balancing engine.
        versions: Versions of the packages the numbers depend on.
        notes: What a reader of the numbers should know, one sentence each.
        about: What the data are, in words.
        baseline: The method that gains are measured against; empty for the rule of :attr:`Comparison.reference`.
        alone: Methods in which no task can gain from another.
        singles: Those of them that are one network per task; the first is the reference unless another is named.
        estimators: Methods that are fitted rather than trained, and what they are.
        splits: What split of the rows each seed has (``"hold-outs"``, ``"5 folds"``); empty if all seeds share one.
        left_out: Method → tasks that it cannot learn, each with the reason. It has no Δm, only the gains of the others.
        trivial: Task → primary metric, on the test rows of each seed, of a prediction that looks at no input.
    """

    name: str
    tasks: dict[str, TaskInfo]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    selection: str = "val"
    rows: dict[str, int] = dataclasses.field(default_factory=dict)
    fingerprint: str = ""
    encoder: str = ""
    architecture: str = "hard"
    train: dict[str, Any] = dataclasses.field(default_factory=dict)
    balancer: dict[str, Any] = dataclasses.field(default_factory=dict)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    about: str = ""
    baseline: str = ""
    alone: tuple[str, ...] = ("stl",)
    singles: tuple[str, ...] = ("stl",)
    estimators: dict[str, str] = dataclasses.field(default_factory=dict)
    splits: str = ""
    left_out: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    trivial: dict[str, tuple[Number, ...]] = dataclasses.field(default_factory=dict)

    def problem(self) -> str:
        """What contradicts itself, in words; empty if nothing does."""
        for name, info in self.tasks.items():
            if info.primary not in info.directions:
                return f"task {name!r} has no direction for its metric {info.primary!r}"
            if not set(info.directions.values()) <= {-1, 1}:
                return f"a metric of task {name!r} has another direction than 1 or -1"
        if any(task not in self.tasks or len(found) != len(self.seeds) for task, found in self.trivial.items()):
            return "its trivial predictions are of other tasks or seeds"
        if not (self.tasks and self.methods and self.seeds):
            return "it names no tasks, methods or seeds"
        if len({*self.methods}) < len(self.methods) or len({*self.seeds}) < len(self.seeds):
            return "it names a method or a seed twice"
        if self.baseline not in ("", *self.methods):
            return f"its baseline {self.baseline!r} is none of its methods"
        if self.selection not in ("val", "last", "test"):
            return f"its selection is {self.selection!r}"
        return ""
