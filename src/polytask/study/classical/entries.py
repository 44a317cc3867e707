"""Which estimators a study may name, and what each can learn."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from polytask.study.classical.entry import Entry
from polytask.tasks import Nature, Task

__all__ = ["BASELINES", "entry_names", "find_entry", "reasons_against"]

BASELINES: dict[str, str] = {
    "ridge": "ridge.Ridge",
    "logistic": "ridge.Ridge",
    "boosting": "boosting.Boosting",
    "learner": "learner.Learner",
}
"""Single-task baselines by name: module and class in this package. ``logistic`` is another name for ``ridge``, and
``learner`` is any other learner of scikit-learn's interface."""

NO_COLUMNS: dict[str, str] = {
    "incomplete_sources": "its tasks are the patterns of missing inputs of one target, not several targets",
}
"""Families of polytask.linear whose tasks are no columns of a table, and why."""


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
        base = getattr(importlib.import_module(f"polytask.study.classical.{module}"), attribute)
        from polytask.study.classical.together import together

        return together(name, options, base)
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
