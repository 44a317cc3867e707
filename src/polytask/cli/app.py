"""The verbs of ``polytask``, gathered."""

from __future__ import annotations

from typing import Annotated

import typer

from polytask import __version__
from polytask.cli import check, compare, demo, init, methods, report, train

__all__ = ["app", "main"]

app = typer.Typer(
    name="polytask",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Multi-task learning: which tasks to learn together, how to balance them, and whether it helped.",
    epilog="Every verb has --json and --debug. Exit codes: 0 done, 2 something to correct, 3 the run failed or was "
    "interrupted.",
)

for module in (demo, init, check, train, compare, report, methods):
    name = module.__name__.rpartition(".")[2]
    app.command(name)(getattr(module, name))


def _version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"polytask {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _polytask(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options before the verb."""


def main() -> None:
    """Run the command line on ``sys.argv``; the entry point of the ``polytask`` script."""
    app()
