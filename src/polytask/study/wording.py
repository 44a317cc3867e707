"""What is wrong with a configuration, in words."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import pydantic

__all__ = ["accepts", "no_key", "say"]


def say(problem: Any, root: type[pydantic.BaseModel]) -> str:
    """One pydantic problem in words."""
    location = [str(part) for part in problem["loc"]]
    section, key = _split(location)
    if problem["type"] == "extra_forbidden":
        known = _known(location[:-1], root)
        return f"{section}{no_key(key, known)}. Known keys: {', '.join(known)}"
    if problem["type"] == "missing":
        return f"{section}needs the key {key!r}"
    given = f", found {problem['input']!r}" if not isinstance(problem["input"], dict) else ""
    return f"{section}{key}: {problem['msg'][0].lower()}{problem['msg'][1:]}{given}"


def _split(location: Sequence[str]) -> tuple[str, str]:
    """The section in brackets and the key in it."""
    depth = 2 if location[:1] == ["tasks"] else 1
    if len(location) <= depth:
        return ("" if len(location) < 2 else f"[{location[0]}] "), location[-1]
    return f"[{'.'.join(location[:depth])}] ", location[depth]


def _known(path: Sequence[str], root: type[pydantic.BaseModel]) -> list[str]:
    """Keys of the section at ``path``."""
    model = root
    for part in path:
        field = model.model_fields.get(part)
        if field is None:  # the name of a task
            continue
        found = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
        model = next((kind for kind in found if issubclass(kind, pydantic.BaseModel)), model)
    return list(model.model_fields)


def no_key(key: str, known: Sequence[str]) -> str:
    """That a section has no such key, and the nearest one it has."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"has no key {key!r}" + (f" (did you mean {near[0]!r}?)" if near else "")


def accepts(parameters: Mapping[str, inspect.Parameter]) -> str:
    """Parameters with their defaults."""
    words = [
        name if parameter.default is parameter.empty else f"{name} (default {parameter.default!r})"
        for name, parameter in parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]
    return ", ".join(words) or "no options"
