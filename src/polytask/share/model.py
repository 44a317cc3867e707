"""What every architecture is: a trunk that encodes inputs for all tasks, and what decodes each task from it."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, final

from torch import Tensor, nn

from polytask.errors import TaskError, unknown
from polytask.share.options import Option, checked
from polytask.share.representation import Encoded, Representation
from polytask.share.summary import ModelSummary, summarise
from polytask.tasks import Task, TaskSet

__all__ = ["Inputs", "MultiTaskModel"]

Inputs = Tensor | Mapping[str, Tensor]
"""A batch of inputs: one tensor, or several by name."""


class MultiTaskModel(nn.Module, abc.ABC):
    """A model with one output per task, keyed by the task's name.

    The forward pass is ``decode(encode(inputs))``: :meth:`encode` ends at the last tensors that several tasks read,
    which is where ``grads="features"`` takes gradients; :meth:`decode` is everything after them. What these tensors
    are, one, several or none, the architecture says in :attr:`representation`. A concrete architecture is final and
    implements the abstract methods; nothing concrete here is meant to be overridden. It is called as
    ``(encoder, tasks, seed=…, **options)`` and declares its options in :attr:`options`, which are checked before its
    ``__init__`` runs. Terms of its own in the loss are those that a part of it gives in ``extra_losses``
    (:class:`~polytask.share.Seat`).

    Args:
        tasks: The tasks, or whatever describes a :class:`~polytask.tasks.TaskSet`.
    """

    options: ClassVar[Mapping[str, Option]]
    """Keyword arguments that are plain values; they are checked before a model is built, and kept with it."""
    representation: Representation = Representation.ONE
    """What :meth:`encode` returns, and whether ``grads="features"`` can use it; of the class, or set in ``__init__``
    where options decide."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "__init__" in vars(cls):
            cls.__init__ = checked(cls.__init__)  # type: ignore[method-assign]

    def __init__(self, tasks: TaskSet | Task | Iterable[Task] | Mapping[str, Task | str]) -> None:
        super().__init__()
        self._tasks = TaskSet.of(tasks)

    @property
    @final
    def tasks(self) -> TaskSet:
        """The tasks the model predicts."""
        return self._tasks

    @final  # type: ignore[misc]
    def forward(self, inputs: Inputs, tasks: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Outputs of the heads.

        Args:
            inputs: A batch, as the encoder wants it.
            tasks: Only these tasks; all by default.

        Returns:
            Outputs by task, (B, ``out_features``) each, in the model's order of tasks.

        Raises:
            TaskError: One of ``tasks`` is no task of this model.
        """
        wanted = self.select(tasks)
        return self.decode(self.encode(inputs), wanted)

    @final
    def select(self, tasks: Iterable[str] | None) -> tuple[str, ...]:
        """The names asked for, checked, in the model's order; all for None."""
        if tasks is None:
            return self._tasks.names
        wanted = {tasks} if isinstance(tasks, str) else set(tasks)
        for name in wanted:
            if name not in self._tasks:
                raise TaskError(f"{unknown('task', name, self._tasks)}; the model can learn it after add_task()")
        return tuple(name for name in self._tasks if name in wanted)

    @abc.abstractmethod
    def encode(self, inputs: Inputs) -> Encoded:
        """The representation of a batch, as :attr:`representation` says."""

    @abc.abstractmethod
    def decode(self, features: Any, tasks: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Outputs by task from what :meth:`encode` returned."""

    @abc.abstractmethod
    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters that more than one task can reach."""

    @abc.abstractmethod
    def task_parameters(self, name: str) -> Iterator[nn.Parameter]:
        """Parameters that only this task reaches."""

    @abc.abstractmethod
    def _extend(self, task: Task, **options: Any) -> None:
        """Make the parts that a new task needs."""

    @final
    def add_task(self, task: Task, **options: Any) -> None:
        """Add a task with freshly initialised parts; the other tasks' parameters stay as they are.

        The optimizer has to be told of the new parameters: :meth:`task_parameters`.

        Args:
            task: The new task.
            **options: What the architecture takes for a new task (hard sharing: ``head=``, a module).

        Raises:
            TaskError: There is a task of this name.
        """
        if task.name in self._tasks:
            raise TaskError(f"the model has a task {task.name!r} already; give the new one another name")
        self._extend(task, **options)
        self._tasks = TaskSet([*self._tasks.values(), task])

    @final
    def describe(self, inputs: Inputs | None = None) -> ModelSummary:
        """Parameters, shared and per task; with a batch of inputs, also floating-point operations per row.

        Args:
            inputs: A batch to run once, without gradient and in evaluation mode.

        Returns:
            A summary that prints as a table.
        """
        return summarise(self, inputs)
