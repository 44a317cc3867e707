"""``polytask explain``: what a finished model looks at, and whom it serves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from polytask.cli.answer import Answer, Debug, Json, names, verb

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["explain"]


@verb
def explain(
    run: Annotated[Path, typer.Argument(help="Folder that train wrote, or compare: a trial, or the whole study.")],
    rows: Annotated[str, typer.Argument(help="Rows with labels that the model was not fitted on: a file or a query.")],
    by: Annotated[
        list[str] | None, typer.Option(help="Columns whose groups of rows are judged one by one, instead.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="Columns whose effect on the predictions is shown, instead.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="How often each column is shuffled.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of shuffles and of bootstrap samples.")] = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Say which columns a finished model looks at, by task and for all; whom it serves; how a column acts."""
    from polytask.deploy import load

    model = load(run)
    found = model.read_rows(rows)
    answer: dict[str, Any] = {"model": run, "file": rows, "rows": len(found)}
    shown: list[Any] = []
    if by:
        answer["by_group"] = {name: model.by_group(found, name, seed=seed) for name in names(by)}
        shown += [_table(f"by {name}", table) for name, table in answer["by_group"].items()]
    if column:
        answer["partial_dependence"] = {name: model.partial_dependence(found, name) for name in names(column)}
        shown += [_table(f"mean prediction by {name}", one) for name, one in answer["partial_dependence"].items()]
    if not by and not column:
        table = model.importance(found, repeats=repeats, seed=seed)
        answer |= {"metrics": table.attrs["metrics"], "importance": table.rename_axis("column")}
        metrics = ", ".join(f"{task}: {metric}" for task, metric in table.attrs["metrics"].items())
        shown += [
            _table("how much worse when a column is shuffled", answer["importance"]),
            Text(f"measured by {metrics}"),
        ]
    return Answer(_plain(answer), tuple(shown))


def _plain(value: Any) -> Any:
    """Frames as lists of records."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value.reset_index().to_dict(orient="records") if hasattr(value, "reset_index") else value


def _table(title: str, frame: pd.DataFrame) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    flat = frame.reset_index()
    for name in flat:
        table.add_column(str(name), justify="right" if flat[name].dtype.kind in "fi" else "left")
    for row in flat.itertuples(index=False):
        table.add_row(*(_cell(value) for value in row))
    return table


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "–" if value != value else f"{value:.3g}"
    return str(value)
