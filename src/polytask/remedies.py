"""Remedies in the words of whoever reads them: a call in Python, a line of the configuration, an option of a verb."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Literal

__all__ = [
    "Notation",
    "afresh",
    "column_kind",
    "elsewhere",
    "missing_in_column",
    "notation",
    "option",
    "said_in",
    "setting",
    "worded",
]

Notation = Literal["python", "toml", "init", "rows"]

_notation: ContextVar[Notation] = ContextVar("notation", default="python")
# Options of ``polytask init`` that are not called as the argument they fill.
_FLAGS = {"missing_values": "missing"}


@contextlib.contextmanager
def said_in(notation: Notation) -> Iterator[None]:
    """Word the remedies of every message made inside the context in this notation.

    Args:
        notation: ``"python"`` (the default elsewhere), ``"toml"`` for whoever has a configuration file, ``"init"`` for
            whoever is about to make one with ``polytask init``, ``"rows"`` for whoever has new rows for a finished
            model.

    Examples:
        >>> with said_in("toml"):
        ...     option("ignore", ["id"])
        '[data] ignore = ["id"]'
    """
    token = _notation.set(notation)
    try:
        yield
    finally:
        _notation.reset(token)


def notation() -> Notation:
    """The notation of the present context, to hand on to another process."""
    return _notation.get()


def worded(python: str, terminal: str) -> str:
    """The one of two wordings that its reader can follow.

    Args:
        python: For whoever calls the library.
        terminal: For whoever typed a command.

    Examples:
        >>> with said_in("toml"):
        ...     worded("pass workers=1", "add --workers 1")
        'add --workers 1'
    """
    return python if _notation.get() == "python" else terminal


def setting(name: str, value: object) -> str:
    """How an option that is an argument in Python and a key in the configuration is set.

    Args:
        name: The option.
        value: Its value.

    Examples:
        >>> setting("nonfinite", "skip")
        "nonfinite='skip'"
        >>> with said_in("toml"):
        ...     setting("nonfinite", "skip"), setting("accumulate", 1)
        ('nonfinite = "skip"', 'accumulate = 1')
    """
    return worded(f"{name}={value!r}", f"{name} = {json.dumps(value, ensure_ascii=False)}")


def elsewhere() -> str:
    """How a run is sent to another folder."""
    return worded("give another folder (out=)", "give another folder (--out)")


def afresh() -> str:
    """How a run starts anew where there is one already."""
    return worded("start afresh: fit() without resume=", "start afresh with --fresh")


def option(name: str, value: str | list[str]) -> str:
    """How an option of :func:`~polytask.data.read_table` is set.

    Args:
        name: The argument.
        value: Its value: a text, or a list of texts.

    Examples:
        >>> option("missing_values", ["?"])
        "missing_values=['?']"
        >>> with said_in("init"):
        ...     option("missing_values", ["n/a", "?"])
        "--missing n/a --missing '?'"
    """
    match _notation.get():
        case "python":
            return f"{name}={value!r}"
        case "toml":
            return f"[data] {name} = {json.dumps(value, ensure_ascii=False)}"
        case "rows":
            return f"[data] {name} = {json.dumps(value, ensure_ascii=False)} and train again"
        case _:
            flag = f"--{_FLAGS.get(name, name)}"
            if isinstance(value, str):
                return f"{flag} {shlex.quote(value)}"
            return " ".join(f"{flag} {shlex.quote(_quoted(text))}" for text in value)


def column_kind(column: str, kind: str, *, target: bool) -> str:
    """How a column is told its kind.

    Args:
        column: The column.
        kind: The kind.
        target: Whether it is to be predicted; a configuration has a section for each such column.

    Examples:
        >>> column_kind("zip", "categorical", target=False)
        "kinds={'zip': 'categorical'}"
        >>> with said_in("toml"):
        ...     column_kind("zip", "categorical", target=False), column_kind("a b", "count", target=True)
        ('[data.kinds] zip = "categorical"', '[tasks."a b"] kind = "count"')
    """
    match _notation.get():
        case "python":
            return f"kinds={{{column!r}: {kind!r}}}"
        case "toml" | "rows" as reader:
            key = _key(column)
            line = f'[tasks.{key}] kind = "{kind}"' if target else f'[data.kinds] {key} = "{kind}"'
            return f"{line} and train again" if reader == "rows" else line
        case _:
            return f"--kind {shlex.quote(f'{column}={kind}')}"


def missing_in_column(column: str, texts: list[str]) -> str:
    """How texts are declared to mean "no value" in one column.

    Args:
        column: The column.
        texts: What means "no value" there.

    Examples:
        >>> missing_in_column("income", ["-999"])
        "missing_values={'income': ['-999']}"
        >>> with said_in("toml"):
        ...     missing_in_column("income", ["-999"])
        '[data.missing_values] income = ["-999"]'
        >>> with said_in("init"):
        ...     missing_in_column("income", ["-999"])
        '--missing income=-999'
    """
    match _notation.get():
        case "python":
            return f"missing_values={{{column!r}: {texts!r}}}"
        case "toml" | "rows" as reader:
            line = f"[data.missing_values] {_key(column)} = {json.dumps(texts, ensure_ascii=False)}"
            return f"{line} and train again" if reader == "rows" else line
        case _:
            return " ".join(f"--missing {shlex.quote(_quoted(f'{column}={text}'))}" for text in texts)


def _key(column: str) -> str:
    """A column as a key of the configuration."""
    return column if column.isascii() and column.replace("-", "_").isidentifier() else json.dumps(column)


def _quoted(text: str) -> str:
    """The text as one field of a comma-separated option."""
    if any(character in text for character in ',"') or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text
