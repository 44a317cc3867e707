"""Several tasks, in order and by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast, final

from torch import Tensor

from polytask.errors import TaskError, unknown
from polytask.tasks.meter import TaskMeter
from polytask.tasks.task import Task

__all__ = ["TaskSet"]


@final
class TaskSet(Mapping[str, Task]):
    """Tasks with unique names, in a fixed order; losses, counts and metrics of all of them, by name.

    Args:
        tasks: Tasks, or a mapping from their names to tasks or to the names of their kinds.

    Raises:
        TaskError: Two tasks have the same name, a key differs from its task's name, or there is no task.

    Examples:
        >>> import torch
        >>> tasks = TaskSet([Task("age"), Task("sex", "binary")])
        >>> targets = {"age": torch.tensor([1.0, float("nan")]), "sex": torch.tensor([-100, -100])}
        >>> losses = tasks.losses({"age": torch.zeros(2, 1), "sex": torch.zeros(2, 1)}, targets)
        >>> {name: float(loss) for name, loss in losses.items()}  # no label of "sex": it is left out
        {'age': 1.0}
    """

    def __init__(self, tasks: Iterable[Task] | Mapping[str, Task | str]) -> None:
        if isinstance(tasks, Mapping):
            tasks = [self._named(name, task) for name, task in tasks.items()]
        given = cast(Any, tasks)
        if isinstance(given, (str, Task)) or not isinstance(given, Iterable):
            raise TaskError(f"expected several Task objects, found {given!r}; put them in a list")
        self._tasks: dict[str, Task] = {}
        for task in tasks:
            if not isinstance(task, Task):
                raise TaskError(f'expected Task objects, found {task!r}; write Task("name", kind=…)')
            if task.name in self._tasks:
                raise TaskError(f"two tasks are named {task.name!r}; names must be unique")
            self._tasks[task.name] = task
        if not self._tasks:
            raise TaskError("expected at least one task, found none")

    @staticmethod
    def _named(name: str, task: Task | str) -> Task:
        if isinstance(task, str):
            return Task(name, task)
        if isinstance(task, Task) and task.name != name:
            raise TaskError(f"the key {name!r} holds a task named {task.name!r}; give both the same name")
        return task

    @classmethod
    def of(cls, tasks: TaskSet | Task | Iterable[Task] | Mapping[str, Task | str]) -> TaskSet:
        """A task set from whatever describes one; a task set is returned as it is."""
        if isinstance(tasks, TaskSet):
            return tasks
        return cls([tasks] if isinstance(tasks, Task) else tasks)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(self._tasks)

    def __getitem__(self, name: str) -> Task:
        if name not in self._tasks:
            raise KeyError(unknown("task", name, self._tasks))
        return self._tasks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, name: object) -> bool:
        return name in self._tasks

    def __repr__(self) -> str:
        return f"TaskSet([{', '.join(map(repr, self._tasks.values()))}])"

    def check_names(self, what: str, names: Iterable[str]) -> None:
        """Raise TaskError if one of ``names``, keys of ``what``, is no task."""
        for name in names:
            if name not in self._tasks:
                raise TaskError(f"{what}: {unknown('task', name, self._tasks)}. To skip a task leave it out")

    def subset(self, names: Iterable[str]) -> TaskSet:
        """The tasks of these names, in this set's order."""
        wanted = [names] if isinstance(names, str) else list(names)
        self.check_names("subset", wanted)
        return TaskSet([task for name, task in self._tasks.items() if name in wanted])

    def weights(self) -> dict[str, float]:
        """The fixed preferences, by name."""
        return {name: task.weight for name, task in self._tasks.items()}

    def losses(
        self,
        predictions: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        masks: Mapping[str, Tensor] | None = None,
        tasks: Iterable[str] | None = None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Mean loss over the present labels of each task that has a prediction and at least one present label.

        Args:
            predictions: Outputs of the heads by task, (B, ``out_features``) each.
            targets: Labels by task; a task may be left out.
            masks: True where a label is present, by task; a task may be left out.
            tasks: Only these tasks.
            weights: Weights of the labels by task, from 0 on, (B,) or in the shape of the target; then losses are
                weighted means: a weight of 2 counts a label twice, and one of 0 is a missing label. A task may be left
                out.

        Returns:
            Scalar losses by task, in this set's order.

        Raises:
            TaskError: A key is no task, shapes do not fit, or a label is not possible.
        """
        losses = {}
        weights = weights or {}
        self.check_names("weights", weights)
        for task, prediction, target, mask in self.matched(predictions, targets, masks, tasks):
            loss = task.loss(prediction, target, mask, weights.get(task.name))
            if loss is not None:
                losses[task.name] = loss
        return losses

    def matched(
        self,
        predictions: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        masks: Mapping[str, Tensor] | None = None,
        tasks: Iterable[str] | None = None,
    ) -> Iterator[tuple[Task, Tensor, Tensor, Tensor | None]]:
        """Task, prediction, target and mask of every task that has a prediction and a target; names are checked."""
        wanted = self._tasks if tasks is None else set(tasks)
        masks = masks or {}
        for what, names in (("predictions", predictions), ("targets", targets), ("masks", masks), ("tasks", wanted)):
            self.check_names(what, names)
        for name, task in self._tasks.items():
            if name in wanted and name in predictions and name in targets:
                yield task, predictions[name], targets[name], masks.get(name)

    def counts(self, targets: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None = None) -> dict[str, int]:
        """Number of present labels of every task; 0 for a task without a target."""
        masks = masks or {}
        self.check_names("targets", targets)
        self.check_names("masks", masks)
        return {
            name: task.count(targets[name], masks.get(name)) if name in targets else 0
            for name, task in self._tasks.items()
        }

    def balanced(self, targets: Mapping[str, Tensor]) -> TaskSet:
        """The tasks with ``class_weight="balanced"`` in numbers, from the training labels.

        Args:
            targets: All training labels by task; needed of the tasks whose classes are to be balanced.

        Raises:
            TaskError: Such a task has no labels here, or an impossible one.
        """
        self.check_names("targets", targets)
        made = []
        for name, task in self._tasks.items():
            if task.class_weight != "balanced":
                made.append(task)
                continue
            if name not in targets or not task.count(targets[name]):
                raise task.rule.fail("class_weight='balanced' needs training labels, found none")
            labels = task.rule.check(targets[name][task.present(targets[name])])
            made.append(task.balanced(labels.long().flatten().bincount(minlength=task.rule.levels or 2).tolist()))
        return TaskSet(made)

    def meter(self) -> TaskMeter:
        """A fresh :class:`TaskMeter` for these tasks."""
        return TaskMeter(self)
