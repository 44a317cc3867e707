"""``polytask compare``: single-task baselines, methods and estimators over paired seeds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from polytask.cli.answer import RUN_FAILED, Answer, Debug, Json, verb
from polytask.cli.decided import say_decisions
from polytask.cli.settings import ConfigFile, Override, method_entries, read_config
from polytask.errors import ConfigError

if TYPE_CHECKING:
    from polytask.study import Comparison

__all__ = ["compare", "outcome"]


@verb
def compare(
    config: ConfigFile = Path("polytask.toml"),
    methods: Annotated[
        str | None,
        typer.Option(
            help="Methods, separated by commas; stl is one network per task, ridge and boosting are one "
            "estimator per task, a family of polytask.linear such as joint_feature one for all. "
            "[protocol] methods"
        ),
    ] = None,
    architectures: Annotated[
        str | None,
        typer.Option(
            help="Architectures, separated by commas, each with every balancing method; stl has the first. "
            "[model] architecture"
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Which of them gains are measured against; stl by default. [protocol] baseline")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of paired seeds. [protocol] seeds")] = None,
    fixed_split: Annotated[
        bool, typer.Option("--fixed-split", help="One split for all seeds. [protocol] split_seeds = false")
    ] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Trials side by side. [protocol] workers")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the study. [protocol] out")] = None,
    keep: Annotated[str | None, typer.Option(help="Trained models to keep: all, best or none. [protocol] keep")] = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="Train the best model again on all rows with labels. [protocol] refit")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train every trial anew, also those that are finished.")
    ] = False,
    overrides: Override = None,
    as_json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Train single-task baselines and methods over paired seeds, and say whether joint training helped.

    Finished trials are kept: after an interruption, the same command does the rest.
    """
    from polytask import study

    settings = read_config(
        config,
        overrides,
        protocol__methods=method_entries(methods),
        model__architecture=method_entries(architectures),
        protocol__baseline=baseline,
        protocol__seeds=seeds,
        protocol__split_seeds=False if fixed_split else None,
        protocol__workers=workers,
        protocol__keep=keep,
        protocol__refit=refit or None,
        protocol__out=None if out is None else str(out.absolute()),
    )
    options = settings.compare_options()
    folder = options.get("out")
    if folder is not None and Path(folder).exists() and not Path(folder).is_dir():
        raise ConfigError(f"expected a folder for the study, found the file {folder}; give another --out")
    comparison = study.compare(settings.build_data(), **options, resume=not fresh)
    return outcome(comparison, comparison.out or Path(), again=False)


def outcome(comparison: Comparison, folder: Path, *, again: bool = True, form: str = "html") -> Answer:
    """Write results and report of a finished comparison into a folder, and answer with the table.

    A trial that the machine ended is no result of its method: the run counts as failed.
    """
    from polytask.share.stored import predicting, read_model
    from polytask.study.outcome.text import table_for

    results = comparison.to_json(folder / "results.json")
    page = comparison.report(folder / f"report.{form}", again=again)
    data: dict[str, Any] = {**comparison.to_dict(), "files": {"results": results, "report": page}}
    # A terminal's width is known; in a pipe or file, the table of fixed width is left as it is.
    table = table_for(comparison, Console().width) if sys.stdout.isatty() else Text(str(comparison))
    best = comparison.best
    use = "" if best is None else f"\npredict: {predicting(folder)}"
    data["files"]["best"] = best
    decisions = {} if best is None else read_model(best).decisions
    decided = (Text(), say_decisions(decisions)) if decisions else ()
    if decisions:
        data["decisions"] = decisions
    where = Text(f"\nresults: {results}\nreport:  {page}{use}")
    return Answer(data, (table, *decided, where), RUN_FAILED if comparison.unjudged else 0)
