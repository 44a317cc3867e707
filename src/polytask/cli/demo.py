"""``polytask demo``: the whole walk on built-in data, without a download."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from polytask.cli.answer import Answer, Debug, Json, verb
from polytask.cli.compare import outcome

__all__ = ["demo"]

METHODS = ("stl", "equal", "uw", "nash_mtl", "upgrad")
EPOCHS = 10


@verb
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the trials, results.json and report.html.")] = Path("runs/demo"),
    seeds: Annotated[int, typer.Option(min=1, help="Number of paired seeds.")] = 3,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Trials side by side; by default one per core, at most 4.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One epoch on a tenth of the data: does it run?")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Train, compare and report on two overlaid handwritten digits, which hurt each other when learned together."""
    from polytask import data, study

    pairs = data.load("multidigits", n=600) if quick else data.load("multidigits")
    comparison = study.compare(
        pairs,
        methods=METHODS,
        seeds=seeds,
        train={"epochs": 1 if quick else EPOCHS},
        workers=workers or min(os.cpu_count() or 1, 4),
        out=out,
    )
    return outcome(comparison, out)
