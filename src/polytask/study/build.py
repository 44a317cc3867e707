"""From a configuration to data: built-in sets, tables, and functions of the user's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from polytask import data as datasets
from polytask.data import MultiTaskData
from polytask.data.files import with_path
from polytask.data.section import DataSection
from polytask.errors import ConfigError, unknown
from polytask.study.functions import resolve
from polytask.tasks import Task, TaskSet
from polytask.tasks.naming import canonical
from polytask.tasks.section import TaskSection

__all__ = ["Wanted", "build_data"]

_SPLITTING = ("group", "stratify", "folds", "time", "gap", "split_column")
_READING = (*_SPLITTING, "ignore", "missing_values", "decimal", "thousands", "encoding")
_TABLE_ONLY = ("val", "test", "seed", "kinds", "test_table", "weight", *_READING)


class Wanted(NamedTuple):
    """What a configuration says of its data.

    Attributes:
        data: ``[data]``.
        tasks: ``[tasks]``; empty for every task of a built-in dataset.
        folder: What relative paths are relative to.
        where: The configuration, for messages.
    """

    data: DataSection
    tasks: Mapping[str, TaskSection]
    folder: Path
    where: str


def build_data(config: Wanted) -> MultiTaskData:
    """The data that a configuration describes, with its tasks.

    Raises:
        ConfigError: ``[tasks]`` names a task that is not there, or a key does not apply to this source.
        DataError: The table cannot be read as asked.
    """
    section = config.data
    if section.is_table:
        return _table(config)
    extra = [key for key in _TABLE_ONLY if key in section.model_fields_set]
    if extra:
        raise ConfigError(
            f"{config.where}: [data] {extra[0]} applies to tables only, and source is {section.source!r}; "
            f"options of this source go under [data.options]"
        )
    if section.is_factory:
        made = resolve(section.source, f"{config.where}: [data] source")(**section.options)
        if not isinstance(made, MultiTaskData):
            raise ConfigError(
                f"{config.where}: {section.source} must return a MultiTaskData, found {type(made).__name__}"
            )
        return _with_tasks(made, config)
    return _with_tasks(datasets.load(section.source, **section.options), config)


def _table(config: Wanted) -> MultiTaskData:
    section = config.data
    if not config.tasks:
        raise ConfigError(f"{config.where}: a table needs one [tasks.NAME] section per column to predict, found none")
    if section.options:
        raise ConfigError(f"{config.where}: [data.options] applies to built-in datasets only")
    options: dict[str, Any] = {"val": section.val, "test": section.test, "seed": section.seed}
    for key in _READING:
        if key in section.model_fields_set:
            options[key] = getattr(section, key)
    if section.test_table is not None:
        options["test_table"] = with_path(section.test_table, lambda path: str(config.folder / path))
    weights = {name: task.weight_column or section.weight for name, task in config.tasks.items()}
    options["weight"] = {name: column for name, column in weights.items() if column is not None}
    made = datasets.read_table(
        with_path(section.source, lambda path: str(config.folder / path)),
        list(config.tasks),
        kinds=dict(section.kinds) | {name: task.kind for name, task in config.tasks.items() if task.kind is not None},
        **options,
    )
    return _with_tasks(made, config)


def _with_tasks(made: MultiTaskData, config: Wanted) -> MultiTaskData:
    """The same data with the tasks the configuration names, in its order."""
    if not config.tasks:
        return made
    apart = [name for name, section in config.tasks.items() if section.weight_column is not None]
    if apart and not config.data.is_table:
        raise ConfigError(f"{config.where}: [tasks.{apart[0]}] weight_column applies to tables only")
    for name in config.tasks:
        if name not in made.tasks:
            raise ConfigError(f"{config.where}: {unknown('task', name, made.tasks.names)}")
    tasks = TaskSet([_adjust(made.tasks[name], section, config.where) for name, section in config.tasks.items()])
    return dataclasses.replace(made, tasks=tasks)


def _adjust(task: Task, section: TaskSection, where: str) -> Task:
    if section.kind is not None and section.kind != task.kind:
        raise ConfigError(f"{where}: [tasks.{task.name}] kind is {section.kind!r}, but the data make it {task.kind!r}")
    changes: dict[str, Any] = {"weight": section.weight} if "weight" in section.model_fields_set else {}
    if section.unit:
        changes["unit"] = section.unit
    if section.class_weight is not None:
        changes["class_weight"] = section.class_weight
    if section.quantiles is not None:
        changes["quantiles"] = section.quantiles
    for key, value in section.options.items():
        if key not in task.rule.declared:
            known = [*TaskSection.model_fields, *task.rule.declared]
            raise ConfigError(f"{where}: [tasks.{task.name}] {unknown(f'option of kind {task.kind!r}:', key, known)}")
        changes[key] = value
    if section.metric is not None:
        shown = list(task.directions)
        known = list(dict.fromkeys([*shown, *task.rule.scores()]))
        metric = canonical(section.metric, known)
        if metric not in known:
            raise ConfigError(f"{where}: [tasks.{task.name}] {unknown('metric', section.metric, known)}")
        changes["metrics"] = [metric, *(name for name in shown if name != metric)]
    return dataclasses.replace(task, **changes)
