"""A task's arguments in the types they are meant to have, or an error that says what was found and what to write."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Never

from polytask.errors import TaskError, unknown

if TYPE_CHECKING:
    from polytask.tasks.kind import Kind

__all__ = [
    "choice",
    "class_weights",
    "distinct",
    "missing_value",
    "name_of",
    "number",
    "numbers_of",
    "options_of",
    "text",
    "whole_number",
]


def name_of(value: object) -> str:
    """The task's name."""
    if not isinstance(value, str):
        raise TaskError(f"a task's name must be a text, found {_shown(value)}; write it as in Task('age')")
    if not value or value != value.strip():
        raise TaskError(
            f"a task needs a name without space around it, found {value!r}; write Task('age', 'regression')"
        )
    return value


def options_of(task: str, value: object, own: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the kind: one mapping, and those that were given by keyword."""
    if value is not None and not (isinstance(value, Mapping) and all(isinstance(name, str) for name in value)):
        _fail(task, f"options must be a mapping from names to values, found {_shown(value)}", "write options={}")
    return {**(value or {}), **own}


def text(task: str, what: str, value: object) -> str:
    """Any text."""
    if not isinstance(value, str):
        _fail(task, f"{what} must be a text, found {_shown(value)}", f"put {what} in quotes")
    return value


def choice(task: str, what: str, value: object, known: Iterable[str]) -> str:
    """A word that has to be known."""
    known = list(known)
    if not isinstance(value, str):
        _fail(task, f"{what} must be a text, found {_shown(value)}", f"choose from {', '.join(known)}")
    if value not in known:
        raise TaskError(f"task {task!r}: {unknown(what, value, known)}")
    return value


def number(task: str, what: str, value: object) -> float:
    """A finite real number; a truth value is none."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        _fail(task, f"{what} must be a finite number, found {_shown(value)}", f"write {what}=1.0, or leave it out")
    return float(value)


def numbers_of(task: str, what: str, value: Any) -> tuple[float, ...] | None:
    """Several finite numbers, or None."""
    if value is None:
        return None
    if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
        _fail(task, f"{what} must be a list of numbers, found {_shown(value)}", f"write {what}=[0.1, 0.5, 0.9]")
    entries = list(value)
    for entry in entries:
        if isinstance(entry, bool) or not isinstance(entry, numbers.Real):
            _fail(
                task, f"every entry of {what} must be a number, found {_shown(entry)}", f"write {what}=[0.1, 0.5, 0.9]"
            )
    return tuple(map(float, entries))


def whole_number(task: str, what: str, value: object) -> int | None:
    """A whole number, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        _fail(task, f"{what} must be a whole number, found {_shown(value)}", f"write {what}=3, without quotes or point")
    return int(value)


def missing_value(task: str, value: object) -> float | None:
    """The value that means "no label", as it was given: a number (NaN too), or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        _fail(
            task,
            f"missing must be the number that means 'no label', found {_shown(value)}",
            "write missing=-1, or leave it out for NaN in float targets and -100 in integer ones",
        )
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def distinct(task: str, what: str, value: Any, *, example: str) -> tuple[str, ...]:
    """Several names, none of them twice; numbers will do as names."""
    if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
        _fail(task, f"{what} must be a list of names, found {_shown(value)}", f"write {what}={example}")
    found = list(value)
    for entry in found:
        if not isinstance(entry, (str, numbers.Real)):
            _fail(task, f"every entry of {what} must be a name, found {_shown(entry)}", f"write {what}={example}")
    names = tuple(map(str, found))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        _fail(task, f"{what} must differ from one another, found {', '.join(map(repr, twice))} twice", "name each once")
    return names


def class_weights(rule: Kind, labels: tuple[str, ...] | None, value: Any) -> str | tuple[float, ...] | None:
    """Weights of the classes: "balanced", one positive number per class, or None."""
    if value is None:
        return None
    what = "class_weight"
    if not rule.nature.classes:
        _fail(rule.task, f"{what} is for labels that are classes, not numbers or several labels", "leave it out")
    if isinstance(value, str):
        return choice(rule.task, what, value, ("balanced",))
    count = rule.levels or 2
    names = list(map(str, range(count))) if labels is None else list(labels)
    if isinstance(value, Mapping):
        given = {str(name): number for name, number in value.items()}
        for name in given:
            if name not in names:
                raise TaskError(f"task {rule.task!r}: {unknown(f'class in {what}', name, names)}")
        value = [given.get(name, 1.0) for name in names]
    weights = numbers_of(rule.task, what, value) or ()
    if len(weights) != count or not all(0 < weight < math.inf for weight in weights):
        _fail(rule.task, f"{what} must be {count} positive numbers, one per class, found {value!r}", "or 'balanced'")
    return weights


def _fail(task: str, fault: str, remedy: str) -> Never:
    raise TaskError(f"task {task!r}: {fault}; {remedy}")


def _shown(value: object) -> str:
    return f"{value!r} ({type(value).__name__})"
