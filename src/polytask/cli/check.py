"""``polytask check``: a dry run before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from polytask.cli.answer import Answer, Debug, Json, printable, verb
from polytask.cli.settings import ConfigFile, Override, read_config

__all__ = ["check"]

_MOST = 4  # classes of a task that are shown
_COSTS = ("backward passes", "ms per step", "ratio to equal", "extra MB", "MB at peak", "s per epoch")


@verb
def check(
    config: ConfigFile = Path("polytask.toml"),
    overrides: Override = None,
    evidence: Annotated[
        bool, typer.Option(help="Also take steps with every way to collect gradients, for methods that need them.")
    ] = True,
    as_json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Send one batch through everything: labels, shared parameters, cost of a step of each method. Trains nothing."""
    from polytask.cli.dryrun import dry_run

    settings = read_config(config, overrides)
    found = dry_run(settings, say=lambda text: typer.echo(printable(text), err=True), evidence=evidence)
    return Answer(found, (*_data(found), *_model(found), _methods(found), *_evidence(found), _conclusion(found)))


def _data(found: dict[str, Any]) -> tuple[Any, ...]:
    from polytask.data.said import condensed

    data, batch = found["data"], found["batch"]
    rows = ", ".join(f"{count:,} {split}" for split, count in data["rows"].items())
    table = _grid("task", "kind", "train labels", "missing", "val", "test", "in the batch", "loss")
    for task, facts in data["tasks"].items():
        labels = facts["labels"]
        loss = batch["losses"].get(task)
        table.add_row(
            task,
            facts["kind"],
            f"{labels['train']:,}",
            f"{facts['missing']['train']:.0%}",
            f"{labels['val']:,}",
            f"{labels['test']:,}",
            f"{batch['labels'].get(task, 0)} of {batch['rows']}",
            "-" if loss is None else f"{loss:.4g}",
        )
    warnings = [Text(f"  ! {warning}") for warning in condensed(data["warnings"])]
    about = Text(f"{data['name']}: {data['inputs']}; {rows}")
    return about, *warnings, Text(), table, *_classes(data["tasks"]), Text()


def _classes(tasks: dict[str, Any]) -> tuple[Any, ...]:
    """Rows of each class by split; of many classes, the rarest."""
    table = _grid("task", "class", "train rows", "val", "test")
    for task, facts in tasks.items():
        splits = facts["classes"]
        names = sorted(splits.get("train", ()), key=lambda name: -sum(splits[split][name] for split in splits))
        if len(names) > _MOST:
            names = [*names[:1], *names[1 - _MOST :]]
        for place, name in enumerate(names):
            many = f"{task}, {len(splits['train'])} classes" if len(splits["train"]) > _MOST else task
            table.add_row(many if place == 0 else "", name, *(f"{splits[split][name]:,}" for split in splits))
    return (Text(), table) if table.rows else ()


def _model(found: dict[str, Any]) -> tuple[Any, ...]:
    lines = []
    for words, model in found["models"].items():
        which = f" of {words}" if len(found["models"]) > 1 else ""
        lines.append(Text(f"parameters{which}: {model['partition']}"))
        if model["unreached"]:
            lines.append(Text(f"  ! no task reaches {', '.join(model['unreached'])}: they will not train"))
    if found["model"]["not_in_batch"]:
        absent = ", ".join(found["model"]["not_in_batch"])
        lines.append(Text(f"  ! no label of {absent} in this batch; their heads were not tried"))
    return *lines, Text()


def _methods(found: dict[str, Any]) -> Table:
    table = _grid("method", *_COSTS)
    for label, cost in found["methods"].items():
        table.add_row(label, *_cost(cost, found["steps_per_epoch"]))
    return table


def _evidence(found: dict[str, Any]) -> tuple[Any, ...]:
    """One block of lines for each method that looks at gradients."""
    from polytask.cli.cost import EVIDENCE

    table = _grid("ways to collect gradients", *_COSTS)
    for label, cost in found["methods"].items():
        ways = cost.get("evidence", {})
        if ways:
            table.add_row(f"{label}:", *[""] * len(_COSTS))
        for way, own in ways.items():
            table.add_row(f"  {EVIDENCE[way]}", *_cost(own, found["steps_per_epoch"]))
    left = [
        Text(f"not timed for {label}, since the steps before took long: {', '.join(EVIDENCE[way] for way in ways)}")
        for label, ways in found["not_timed"].items()
    ]
    note = "extra MB: at the peak of a step, beyond a step of the plain sum"
    return (Text(), table, Text(), *left, Text(note)) if table.rows else (Text(), *left, Text(note))


def _cost(cost: dict[str, Any], steps: int) -> tuple[str, ...]:
    if cost["milliseconds"] is None:
        return "no steps", *["-"] * (len(_COSTS) - 1)
    return (
        f"{cost['backward_passes']:.3g}",
        f"{cost['milliseconds']:.1f}",
        f"{cost['ratio_to_equal']:.1f}",
        f"{cost['extra_megabytes']:.2f}",
        f"{cost['megabytes']:.1f}",
        f"{cost['milliseconds'] * steps / 1000:.1f}",
    )


def _conclusion(found: dict[str, Any]) -> Text:
    return Text(f"\n{found['steps_per_epoch']} steps per epoch. Everything fits together; next: polytask compare")


def _grid(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, heading in enumerate(headings):
        words = place == 0 or heading in ("kind", "class")
        table.add_column(heading, justify="left" if words else "right", no_wrap=words)
    return table
