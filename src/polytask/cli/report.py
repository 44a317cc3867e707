"""``polytask report``: rebuild the report of a study from its trials."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polytask.cli.answer import Answer, Debug, Json, verb
from polytask.cli.compare import outcome

__all__ = ["report"]

FORMS = ("html", "md", "ipynb")


@verb
def report(
    study: Annotated[Path, typer.Argument(help="Folder of a study.", metavar="runs/NAME")],
    form: Annotated[
        str, typer.Option("--format", help="html, md (Markdown) or ipynb (a notebook); one file each.")
    ] = "html",
    as_json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Rebuild results.json and report.html (or .md, .ipynb) of a study from its finished trials."""
    from polytask.errors import ConfigError, TrialError, unknown
    from polytask.study import Comparison

    if form not in FORMS:
        raise ConfigError(unknown("--format", form, FORMS))
    if not study.exists():
        raise ConfigError(f"there is no {study}; give the folder that `polytask compare` wrote, such as runs/NAME")
    try:
        comparison = Comparison.load(study)
    except TrialError as error:  # nothing was run: the folder is the wrong one, or its study is not finished
        raise ConfigError(f"{error}; give the folder that `polytask compare` wrote, such as runs/NAME") from error
    return outcome(comparison, study if study.is_dir() else study.parent, form=form)
