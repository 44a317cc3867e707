"""``polytask predict``: new rows through a finished model."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from polytask.cli.answer import Answer, Debug, Json, names, verb
from polytask.errors import ConfigError, DataError, unknown

__all__ = ["predict"]


@verb
def predict(
    run: Annotated[Path, typer.Argument(help="Folder that train wrote, or compare: a trial, or the whole study.")],
    rows: Annotated[str, typer.Argument(help="New rows: a file or a query, as for init; .npy for arrays.")],
    tasks: Annotated[
        list[str] | None, typer.Option(help="Tasks to predict, separated by commas; all by default.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write, .csv, .tsv, .parquet or .jsonl; else CSV on standard output.")
    ] = None,
    along: Annotated[
        list[str] | None, typer.Option("--with", help="Columns of the rows to write beside the answers, such as an id.")
    ] = None,
    fill_missing: Annotated[
        bool, typer.Option("--fill-missing", help="Predict although a column is not there, as if it had no values.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Predict new rows with a finished model, in the tasks' own labels and units.

    What is odd about the rows (unused columns, unknown categories, gaps, other types, numbers far off) is counted and
    told on standard error.
    """
    from polytask.deploy import PredictionWarning, load, read_rows, write_rows
    from polytask.deploy.rows import check_out, records, to_csv

    if out is not None:
        check_out(out)
        if out.exists() and Path(rows).exists() and out.samefile(rows):
            raise ConfigError(f"--out {out} is the file of the rows themselves; give another name")
    model = load(run)
    found = read_rows(rows, model.interface.opening)
    beside = names(along)
    for name in beside:
        if name not in getattr(found, "columns", ()):
            raise DataError(unknown("column for --with:", name, map(str, getattr(found, "columns", ()))))
    unread = [name for name in beside if model.table is not None and name not in model.table.columns]
    asked = found.drop(columns=unread) if unread else found
    with warnings.catch_warnings():
        warnings.simplefilter("always", PredictionWarning)
        answers = model.predict(asked, names(tasks) or None, fill_missing=fill_missing)
    facts = {"rows": len(answers), "units": answers.attrs.get("units", {}), "remarks": answers.attrs.get("remarks", [])}
    for name in reversed(beside):
        if name in answers.columns:
            raise DataError(f"--with: {name!r} is a column of the answers already; leave it out")
        answers.insert(0, name, found[name].to_numpy())
    answer: dict[str, Any] = {"model": run, "file": rows, "tasks": list(model.tasks.names), **facts}
    if tasks:
        answer["tasks"] = names(tasks)
    if out is None:
        return Answer({**answer, "predictions": records(answers)}, (), raw=to_csv(answers))
    write_rows(answers, out)
    return Answer({**answer, "out": out}, (Text(f"{len(answers):,} rows predicted: {out}"),))
