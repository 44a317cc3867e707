"""The verbs of ``polytask``, gathered."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from polytask.cli import check, compare, demo, explain, init, methods, predict, report, train
from polytask.cli.answer import Verbs
from polytask.version import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    name="polytask",
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Multi-task learning: which tasks to learn together, how to balance them, and whether it helped.",
    epilog="Every verb has --json and --debug. Exit codes: 0 done, 2 something to correct, 3 the run failed or was "
    "interrupted.",
)

app.command(short_help="Train, compare and report on built-in data.")(demo.demo)
app.command(short_help="Guess a table's columns, write polytask.toml.")(init.init)
app.command(short_help="Dry run: labels, shared parameters, cost.")(check.check)
app.command(short_help="Fit one model and keep it.")(train.train)
app.command(short_help="New rows through a finished model.")(predict.predict)
app.command(short_help="What a finished model looks at, and whom it serves.")(explain.explain)
app.command(short_help="Baselines and methods over paired seeds.")(compare.compare)
app.command(short_help="Write a study's results and report again.")(report.report)
app.command(short_help="Methods and estimators, or the card of one.")(methods.methods)


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
    try:
        app()
    finally:  # everything is said; a second Ctrl-C must not end in tracebacks of Python's own clean-up
        signal.signal(signal.SIGINT, signal.SIG_IGN)
