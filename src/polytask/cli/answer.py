"""What every verb has in common: one answer on standard output, progress on standard error, an exit code."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import json
import logging
import math
import os
import shlex
import sys
import traceback
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.segment import Segment
from rich.text import Text
from typer.core import TyperGroup

from polytask.errors import ConfigError, DataError, MethodError, MissingExtraError, PolytaskError, TaskError
from polytask.remedies import Notation, said_in
from polytask.signals import undisturbed

__all__ = [
    "RUN_FAILED",
    "Answer",
    "Debug",
    "Json",
    "PlainConsole",
    "Verbs",
    "names",
    "plain",
    "printable",
    "verb",
]

USER_ERROR = 2
RUN_FAILED = 3
_UsageError: Any = typer.BadParameter.__base__  # typer does not export it
# What the user can correct; anything else went wrong in the run.
_CORRECTABLE = (ConfigError, DataError, TaskError, MethodError, MissingExtraError, FileNotFoundError, PermissionError)

_NOTATIONS: dict[str, Notation] = {"init": "init", "predict": "rows"}  # of remedies; "toml" for the other verbs

Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON on standard output.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a verb has to say.

    Attributes:
        data: The answer for programs: anything ``json`` can write, and paths. NaN and infinities become ``null``.
        view: The answer for people: text or rich renderables, one below the other.
        code: Exit code of the verb.
        raw: Text that is printed as it is, before the rest: what other programs are to read.
    """

    data: Mapping[str, Any]
    view: tuple[RenderableType, ...]
    code: int = 0
    raw: str = ""


def verb(run: Callable[..., Answer]) -> Callable[..., None]:
    """Make a typer command of a function that returns an :class:`Answer`.

    The function takes ``as_json`` and ``debug`` among its arguments. Whatever it prints or logs while it works goes to
    standard error, so that standard output holds the answer alone. Errors become one message and an exit code.
    """

    @functools.wraps(run)
    def command(*args: Any, as_json: bool, debug: bool, **options: Any) -> None:
        try:
            spoken = _NOTATIONS.get(run.__name__, "toml")
            with contextlib.redirect_stdout(sys.stderr), _logging(run.__name__), said_in(spoken):
                answer = run(*args, as_json=as_json, debug=debug, **options)
        except KeyboardInterrupt as error:
            with undisturbed():
                again = shlex.join(["polytask", *(word for word in sys.argv[1:] if word != "--fresh")])
                what = str(error).removeprefix("interrupted; ") or "what was finished is kept"
                message = f"interrupted: {what}\nresume with: {again}"
                _stop(RUN_FAILED, "Interrupted", message, as_json)
        except (PolytaskError, FileNotFoundError, PermissionError) as error:
            if debug:
                traceback.print_exc()
            code = USER_ERROR if isinstance(error, _CORRECTABLE) else RUN_FAILED
            _stop(code, type(error).__name__, str(error), as_json)
        except Exception as error:  # noqa: BLE001 - the outermost place: a defect must still give exit code 3
            traceback.print_exc()
            _stop(RUN_FAILED, type(error).__name__, f"unexpected {type(error).__name__}: {error}", as_json)
        try:
            _show(answer, as_json)
        except BrokenPipeError:
            raise
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in its buffer goes nowhere
            message = f"the answer could not be written to standard output: {error.strerror}"
            _stop(RUN_FAILED, "StorageError", message, as_json=False)
        if answer.code:
            raise typer.Exit(answer.code)

    return command


def _show(answer: Answer, as_json: bool) -> None:
    if as_json:
        _echo_json(answer.data)
        return
    typer.echo(answer.raw, nl=False)
    if answer.view:
        # In a pipe or a file, a line is as long as it needs to be.
        PlainConsole(width=None if sys.stdout.isatty() else 400).print(Group(*answer.view))
    sys.stdout.flush()


class Verbs(TyperGroup):
    """The verbs; with ``--json`` a command that cannot be read is answered as every error is."""

    _as_json = False

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> Any:
        """As the base class does."""
        self._as_json = "--json" in args
        with self._answered():
            return super().make_context(info_name, args, *rest, **extra)

    def invoke(self, ctx: Any) -> Any:
        """As the base class does."""
        with self._answered():
            return super().invoke(ctx)

    @contextlib.contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except _UsageError as error:
            if self._as_json:
                _echo_json({"error": {"kind": "UsageError", "message": error.format_message()}}, indent=None)
            raise


class PlainConsole(Console):
    """A console on which names are data: what looks like markup, emoji codes or an escape sequence is shown as it is.

    Args:
        **options: As for ``rich.console.Console``.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """As the base class does, of a text without control characters; also where a table measures its cells."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As the base class does, of texts without control characters."""
        if isinstance(renderable, Text) and printable(renderable.plain) != renderable.plain:
            renderable = Text(printable(renderable.plain), renderable.style)
        return super().render(renderable, options)


def printable(text: str) -> str:
    r"""The text with control characters, and what no encoding can write, spelled out; line ends and tabs stay.

    Examples:
        >>> printable("a\x1b[31mb"), printable("\udcff")
        ('a\\x1b[31mb', '\\udcff')
    """
    return "".join(
        letter if letter in "\n\t" or not _is_odd(letter) else letter.encode("unicode_escape").decode()
        for letter in text
    )


def _is_odd(letter: str) -> bool:
    """Whether it is a control character, half a letter, or turns the direction of what follows."""
    return (
        unicodedata.category(letter) in ("Cc", "Cs") or "\u202a" <= letter <= "\u202e" or "\u2066" <= letter <= "\u2069"
    )


class _Formatter(logging.Formatter):
    """The message alone, as :func:`printable` text."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


@contextlib.contextmanager
def _logging(action: str) -> Iterator[None]:
    """Show what the library says about its work, line by line, on standard error.

    The lines of the training loop are for ``polytask train``; of a study's many trials they would bury the rest.
    """
    logger = logging.getLogger("polytask")
    handler, level = logging.StreamHandler(sys.stderr), logger.level
    if action != "train":
        handler.addFilter(lambda line: line.levelno > logging.INFO or Path(line.pathname).parent.name != "train")
    handler.setFormatter(_Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **rest: Any) -> None:
    """A warning as a sentence: where in the library it was raised helps nobody at the command line."""
    typer.echo(printable(f"warning: {message}"), err=True)


def names(texts: Sequence[str] | None) -> list[str]:
    """The parts of a comma-separated option that may be repeated, trimmed, without empty ones.

    As in a CSV file, a part in double quotes is taken as it stands, commas included.

    Examples:
        >>> names(["a, b", '"weight, kg",c'])
        ['a', 'b', 'weight, kg', 'c']
    """
    parts = [part for text in texts or () for part in next(csv.reader([text], skipinitialspace=True), [])]
    return [part.strip() for part in parts if part.strip()]


def _stop(code: int, kind: str, message: str, as_json: bool) -> NoReturn:
    typer.echo(printable(f"error: {message}" if kind != "Interrupted" else message), err=True)
    if as_json:
        _echo_json({"error": {"kind": kind, "message": message}}, indent=None)
    raise typer.Exit(code)


def _echo_json(data: Mapping[str, Any], indent: int | None = 2) -> None:
    text = json.dumps(plain(data), indent=indent, ensure_ascii=False)
    typer.echo(text.encode(errors="backslashreplace").decode())  # half letters: JSON spells them the same way


def plain(value: Any) -> Any:
    """The value as JSON's types; NaN, which JSON does not have, as ``None``."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):  # a number of numpy or torch
        return plain(value.item())
    return value
