"""What every verb has in common: one answer on standard output, progress on standard error, an exit code."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import json
import logging
import math
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console, Group, RenderableType

from polytask.errors import ConfigError, DataError, MethodError, MissingExtraError, PolytaskError, TaskError
from polytask.remedies import Notation, said_in

__all__ = ["Answer", "Debug", "Json", "names", "plain", "predicting", "verb"]

USER_ERROR = 2
RUN_FAILED = 3
# What the user can correct; anything else went wrong in the run.
_CORRECTABLE = (ConfigError, DataError, TaskError, MethodError, MissingExtraError, FileNotFoundError, PermissionError)

Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON on standard output.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a verb has to say.

    Attributes:
        data: The answer for programs: anything ``json`` can write, and paths. NaN and infinities become ``null``.
        view: The answer for people: text or rich renderables, one below the other.
        raw: Text that is printed as it is, before the rest: what other programs are to read.
    """

    data: Mapping[str, Any]
    view: tuple[RenderableType, ...]
    raw: str = ""


def verb(run: Callable[..., Answer]) -> Callable[..., None]:
    """Make a typer command of a function that returns an :class:`Answer`.

    The function takes ``as_json`` and ``debug`` among its arguments. Whatever it prints or logs while it works goes to
    standard error, so that standard output holds the answer alone. Errors become one message and an exit code.
    """

    @functools.wraps(run)
    def command(*args: Any, as_json: bool, debug: bool, **options: Any) -> None:
        try:
            spoken: Notation = "init" if run.__name__ == "init" else "toml"
            with contextlib.redirect_stdout(sys.stderr), _logging(run.__name__), said_in(spoken):
                answer = run(*args, as_json=as_json, debug=debug, **options)
        except KeyboardInterrupt as error:
            again = shlex.join(["polytask", *sys.argv[1:]])
            what = str(error) or "what was finished is kept"
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
        if as_json:
            typer.echo(json.dumps(plain(answer.data), indent=2, ensure_ascii=False))
            return
        typer.echo(answer.raw, nl=False)
        if answer.view:
            # In a pipe or a file, a line is as long as it needs to be.
            Console(width=None if sys.stdout.isatty() else 400).print(Group(*answer.view))

    return command


@contextlib.contextmanager
def _logging(action: str) -> Iterator[None]:
    """Show what the library says about its work, line by line, on standard error.

    The lines of the training loop are for ``polytask train``; of a study's many trials they would bury the rest.
    """
    logger = logging.getLogger("polytask")
    handler, level = logging.StreamHandler(sys.stderr), logger.level
    if action != "train":
        handler.addFilter(lambda line: line.levelno > logging.INFO or Path(line.pathname).parent.name != "train")
    handler.setFormatter(logging.Formatter("%(message)s"))
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
    typer.echo(f"warning: {message}", err=True)


def names(texts: Sequence[str] | None) -> list[str]:
    """The parts of a comma-separated option that may be repeated, trimmed, without empty ones.

    As in a CSV file, a part in double quotes is taken as it stands, commas included.

    Examples:
        >>> names(["a, b", '"weight, kg",c'])
        ['a', 'b', 'weight, kg', 'c']
    """
    parts = [part for text in texts or () for part in next(csv.reader([text], skipinitialspace=True), [])]
    return [part.strip() for part in parts if part.strip()]


def predicting(folder: Path) -> str:
    """The command that predicts new rows with a kept model."""
    return f"polytask predict {shlex.quote(str(folder))} new.csv"


def _stop(code: int, kind: str, message: str, as_json: bool) -> NoReturn:
    typer.echo(f"error: {message}" if kind != "Interrupted" else message, err=True)
    if as_json:
        typer.echo(json.dumps({"error": {"kind": kind, "message": message}}, ensure_ascii=False))
    raise typer.Exit(code)


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
