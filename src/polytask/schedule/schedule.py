"""What every schedule is: which tasks count in the coming step, and what follows a validation."""

from __future__ import annotations

import abc
import copy
from collections.abc import Collection, Iterable, Mapping
from typing import Any, ClassVar, final

import numpy as np

from polytask.errors import ConfigError, unknown
from polytask.options import Option, PerTask, TaskName
from polytask.schedule.standing import Standing

__all__ = ["Schedule"]


class Schedule(abc.ABC):
    """Decides before every step which tasks count in it; the others are absent from it, as without labels.

    An absent task leaves the step's problem, and everything of its own stays as it is: its head, the optimizer's
    moments for it, its state in the balancing method. This is neither a task weight nor a method weight.

    A concrete schedule is final, declares its options as fields, ``every: int = option(4, Whole(1))``
    (:mod:`polytask.options`), and implements :meth:`counts`. What it learns is kept per task in :attr:`memory`, as
    plain values, so that it is saved, restored and reset without more ado.

    Args:
        **options: Values of the declared options.

    Attributes:
        tasks: Names of the tasks of the run.
        seed: Of the run, for schedules that draw at random.
        step: Steps begun.
        memory: What is remembered of every task.

    Raises:
        ConfigError: An option is unknown, or its value is not allowed.
    """

    declared: ClassVar[Mapping[str, Option]] = {}
    """Options by name, collected from the fields."""
    needs_validation: ClassVar[bool] = False
    """Whether it waits for validations, and does nothing without."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.declared = {**cls.declared, **{name: v for name, v in vars(cls).items() if isinstance(v, Option)}}

    @final
    def __init__(self, **options: Any) -> None:
        name = type(self).__name__
        for key in options:
            if key not in self.declared:
                raise ConfigError(unknown(f"option of {name}:", key, self.declared))
        for key, field in self.declared.items():
            value = options.get(key, field.default)
            if not field.limit.allows(value):
                raise ConfigError(f"{name}({key}=…) must be {field.limit}, found {value!r}")
            setattr(self, key, field.plain(value))
        self.tasks: tuple[str, ...] = ()
        self.seed = self.step = 0
        self.memory: dict[str, dict[str, Any]] = {}
        self._steps, self._counted = 0, dict[str, int]()

    @abc.abstractmethod
    def counts(self, step: int) -> Iterable[str]:
        """Names of the tasks that count in a step; the answer depends on options, memory, seed and ``step`` alone.

        Args:
            step: Number of the step, from 0; steps in which no task counted are numbered, too.
        """

    def fresh(self) -> dict[str, Any]:
        """What is remembered of a task of which nothing is known yet: numbers, texts, lists."""
        return {}

    def follow(self, standing: Standing) -> None:
        """Take note of a validation, in :attr:`memory`; that of a task without the numbers stays as it is."""

    def retired(self) -> Collection[str]:
        """Tasks that will not count any more."""
        return ()

    @final
    def begin(self, tasks: Iterable[str], seed: int = 0) -> None:
        """Forget everything, for a new run.

        Args:
            tasks: Names of its tasks.
            seed: Seed of whatever is drawn.

        Raises:
            ConfigError: An option names another task.
        """
        self.tasks, self.seed, self.step = tuple(tasks), seed, 0
        for key, field in self.declared.items():
            value = getattr(self, key)
            named = [value] if isinstance(field.limit, TaskName) and value is not None else []
            named += value if isinstance(field.limit, PerTask) and isinstance(value, Mapping) else []
            for name in named:
                if name not in self.tasks:
                    raise ConfigError(unknown(f"task in {type(self).__name__}({key}=…):", name, self.tasks))
        self.memory = {name: self.fresh() for name in self.tasks}
        self._steps, self._counted = 0, dict.fromkeys(self.tasks, 0)

    @final
    def next(self) -> frozenset[str]:
        """The tasks that count in the coming step, which is thereby begun."""
        found = frozenset(self.counts(self.step)) & frozenset(self.tasks)
        self.step += 1
        self._steps += 1
        for name in found:
            self._counted[name] += 1
        return found

    @final
    def end_epoch(self) -> dict[str, float]:
        """Share of the epoch's steps in which each task counted; the next epoch begins."""
        found = {name: self._counted[name] / max(self._steps, 1) for name in self.tasks}
        self._steps, self._counted = 0, dict.fromkeys(self.tasks, 0)
        return found

    @final
    @property
    def ended(self) -> bool:
        """Whether no task will count any more."""
        return bool(self.tasks) and set(self.tasks) <= set(self.retired())

    @final
    def random(self, step: int) -> np.random.Generator:
        """Random numbers of one step: the same in every process, and after a resume."""
        return np.random.default_rng([self.seed, step])

    @final
    def describe(self) -> dict[str, Any]:
        """Class and options as plain values."""
        return {"schedule": type(self).__name__, **{name: getattr(self, name) for name in self.declared}}

    @final
    def state_dict(self) -> dict[str, Any]:
        """Everything that changes, as plain values keyed by task.

        Raises:
            ConfigError: The schedule remembers something that no file can hold safely.
        """
        return {
            "step": self.step,
            "steps": self._steps,
            "counted": dict(self._counted),
            "memory": {name: _plain(known, name) for name, known in self.memory.items()},
        }

    @final
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave; tasks that are new since then are as at the beginning of a run."""
        self.step, self._steps = int(state["step"]), int(state["steps"])
        for name in self.tasks:
            self.memory[name] = copy.deepcopy(state["memory"].get(name, self.fresh()))
            self._counted[name] = int(state["counted"].get(name, 0))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.declared)
        return f"{type(self).__name__}({options})"


def _plain(value: Any, task: str) -> Any:
    """A copy in values that every checkpoint can hold."""
    if isinstance(value, dict):
        return {key: _plain(item, task) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, task) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ConfigError(
        f"a schedule remembers numbers, texts, and lists and dictionaries of them; found {type(value).__name__} in the "
        f"memory of task {task!r}"
    )
