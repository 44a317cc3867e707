"""Which estimators a study may name, and what each can learn."""

from __future__ import annotations

import functools
import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from polytask.tasks import Nature, Task
from polytask.tasks.kinds import kinds_of

if TYPE_CHECKING:
    from polytask.study.classical.fit import Training
    from polytask.study.classical.plain import Piece

__all__ = ["BASELINES", "Entry", "Fitted", "entry_names", "find_entry", "reasons_against"]

Array = NDArray[Any]

BASELINES: dict[str, str] = {"ridge": "ridge.Ridge", "logistic": "ridge.Ridge", "boosting": "boosting.Boosting"}
"""Single-task baselines by name: module and class in this package. ``logistic`` is another name for ``ridge``."""

NO_COLUMNS: dict[str, str] = {
    "incomplete_sources": "its tasks are the patterns of missing inputs of one target, not several targets",
}
"""Families of polytask.linear whose tasks are no columns of a table, and why."""


class Fitted(ABC):
    """Estimators after fitting.

    Attributes:
        parameters: Fitted numbers by task (coefficients and intercepts, values at the leaves); ``"shared"`` for those
            that belong to all.
        facts: What was fitted and what cross-validation chose, by task or group of tasks; plain values.
    """

    parameters: dict[str, int]
    facts: dict[str, dict[str, Any]]

    @abstractmethod
    def heads(self, linear: Any, trees: Array) -> dict[str, Array]:
        """Predictions as heads put them out: task → (n,) or (n, ``out_features``), in the unit of the fitted targets.

        Args:
            linear: Matrix of the linear models.
            trees: Matrix of the trees.
        """

    @abstractmethod
    def plain(self) -> dict[str, list[Piece]] | None:
        """The same models as plain arrays, task by task; ``None`` where they have no such form."""


class Entry(ABC):
    """An estimator by name, with its options: knows what it can learn, and fits.

    Args:
        name: As the user writes it.
        options: Keyword arguments.

    Attributes:
        alone: Whether it learns each task by itself.
        natures: What it can learn; it sees labels and gives predictions as :class:`~polytask.tasks.Nature` says.
        storable: Whether what it fits can be kept as plain arrays.
    """

    alone: ClassVar[bool]
    natures: tuple[Nature, ...]
    storable: ClassVar[bool] = False

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self.name, self.options = name, dict(options)
        self.check()

    @property
    def learns(self) -> tuple[str, ...]:
        """Kinds of tasks that it can learn."""
        return kinds_of(self.natures)

    @abstractmethod
    def title(self, tasks: Iterable[Task]) -> str:
        """What is fitted to the tasks, in words."""

    @abstractmethod
    def check(self) -> None:
        """Check names and values of the options.

        Raises:
            ConfigError: One is unknown, or its value is not allowed.
        """

    @abstractmethod
    def fit(self, training: Training) -> Fitted:
        """Fit, with hyper-parameters by cross-validation over the folds of ``training``."""

    def shares(self, tasks: Iterable[Task]) -> bool:
        """Whether these tasks can gain from each other."""
        return not self.alone

    def note(self, tasks: Iterable[Task]) -> str:
        """What a reader of the numbers should know besides the title; empty for nothing."""
        return ""


@functools.cache
def entry_names() -> tuple[str, ...]:
    """Every name: the single-task baselines, then the families of polytask.linear."""
    from polytask.linear.registry import FAMILIES

    return (*BASELINES, *(name for name in FAMILIES if name not in NO_COLUMNS))


def find_entry(name: str, options: Mapping[str, Any]) -> Entry:
    """The estimator called ``name``, with its options checked.

    Raises:
        ConfigError: An option is unknown or has a value that is not allowed.
        KeyError: There is no such estimator.
    """
    if name in BASELINES:
        module, _, attribute = BASELINES[name].partition(".")
        made: Entry = getattr(importlib.import_module(f"polytask.study.classical.{module}"), attribute)(name, options)
        return made
    if name not in entry_names():
        raise KeyError(name)
    from polytask.study.classical.families import Family

    return Family(name, options)


def reasons_against(entry: Entry, tasks: Iterable[Task]) -> str:
    """Why an estimator cannot learn some of the tasks, and what would work; empty if it can learn all."""
    barred = [task for task in tasks if task.rule.nature not in entry.natures]
    if not barred:
        return ""
    named = ", ".join(f"{task.name!r} ({task.kind})" for task in barred)
    able = [name for name in ("ridge", "boosting") if all(task.rule.nature in _natures(name) for task in barred)]
    remedies = [f"use {' or '.join(able)}, which learn each task by itself"] if able else []
    remedies += [f"leave {entry.name} out", "leave these tasks out"]
    return (
        f"{entry.name} learns tasks of kind {', '.join(entry.learns)}, and cannot learn {named}; "
        f"{', or '.join(remedies)}"
    )


def _natures(name: str) -> tuple[Nature, ...]:
    return find_entry(name, {}).natures
