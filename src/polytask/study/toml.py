"""Writing TOML, and reading its dotted keys by themselves; the standard library reads whole documents."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from polytask.errors import ConfigError

__all__ = ["dumps", "key_parts", "split_setting"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_PART = re.compile(r"""\s*(?:("(?:[^"\\]|\\.)*"|'[^']*')|([^."'=\s][^.=]*))\s*""")


def dumps(document: Mapping[str, Any]) -> str:
    """Write nested mappings of plain values as TOML text; ``None`` values are left out, as TOML has no null.

    Args:
        document: Strings, booleans, numbers, paths, lists of those, and mappings of all of it, at any depth.

    Returns:
        Text that :func:`tomllib.loads` reads back to the same values.

    Raises:
        ConfigError: A value has no TOML form.

    Examples:
        >>> print(dumps({"train": {"epochs": 5, "task_lr": {"a b": 1e-3}}, "protocol": {"methods": ["stl", "equal"]}}))
        [train]
        epochs = 5
        <BLANKLINE>
        [train.task_lr]
        "a b" = 0.001
        <BLANKLINE>
        [protocol]
        methods = ["stl", "equal"]
        <BLANKLINE>
    """
    blocks: list[str] = []
    _table(document, (), blocks)
    return "\n\n".join(blocks) + "\n"


def key_parts(dotted: str) -> list[str]:
    """The names in a dotted key; in quotes, a name may hold anything.

    Args:
        dotted: As in TOML, but that a name with spaces or letters of any script needs no quotes.

    Raises:
        ConfigError: A quote or a name is missing.

    Examples:
        >>> key_parts('tasks."Sepal.Width".weight'), key_parts("tasks.Körper größe.weight")
        (['tasks', 'Sepal.Width', 'weight'], ['tasks', 'Körper größe', 'weight'])
    """
    parts, rest = _parts(dotted)
    if rest:
        raise ConfigError(f"{dotted!r} is no dotted key; expected section.key, a name with a dot or = in double quotes")
    return parts


def split_setting(text: str) -> tuple[list[str], str | None]:
    """The names of the key in ``section.key=value``, and the text of the value; None where there is none.

    Examples:
        >>> split_setting('tasks."a=b".lr=1e-3')
        (['tasks', 'a=b', 'lr'], '1e-3')
    """
    parts, rest = _parts(text)
    return parts, rest[1:] if rest.startswith("=") else None


def _parts(text: str) -> tuple[list[str], str]:
    """The names at the start of a text, and what comes after."""
    parts, at = [], 0
    while found := _PART.match(text, at):
        quoted, bare = found.groups()
        parts.append(tomllib.loads(f"name = {quoted}")["name"] if quoted else bare.strip())
        at = found.end()
        if text[at : at + 1] != ".":
            return parts, text[at:]
        at += 1
    return parts, text[at:] or "."


def _table(table: Mapping[str, Any], path: tuple[str, ...], blocks: list[str]) -> None:
    """Append this table's own lines as one block, then its sub-tables."""
    own = {key: value for key, value in table.items() if value is not None and not isinstance(value, Mapping)}
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    lines = [f"{_key(key)} = {_value(value, (*path, key))}" for key, value in own.items()]
    if path and (own or not inner):
        lines.insert(0, f"[{'.'.join(map(_key, path))}]")
    if lines:
        blocks.append("\n".join(lines))
    for key, value in inner.items():
        _table(value, (*path, key), blocks)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    # TOML's basic strings are JSON's, except that DEL must be escaped too.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any, path: tuple[str, ...]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, PurePath):
        return _string(value.as_posix())
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(item, path) for item in value)}]"
    if isinstance(value, Mapping):
        items = (f"{_key(key)} = {_value(item, (*path, key))}" for key, item in value.items() if item is not None)
        return "{ " + ", ".join(items) + " }"
    raise ConfigError(f"{'.'.join(path)}: {value!r} ({type(value).__name__}) cannot be written as TOML")
