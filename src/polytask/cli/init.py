"""``polytask init``: from a table to a configuration."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from polytask.cli.answer import Answer, Debug, Json, names, verb
from polytask.errors import ConfigError, DataError, StorageError, unknown
from polytask.files import check_writable, write_atomically

if TYPE_CHECKING:
    from polytask.data import TableReport

__all__ = ["init"]

# Rows of the table up to which a batch of this size still gives a few hundred steps per epoch.
_BATCHES = {500: 16, 20_000: 64, 200_000: 256}
_LARGEST_BATCH = 1024
# So many optimizer steps that the method decides and not the budget; patience ends most trials long before.
_STEPS, _EPOCHS, _PATIENCE = 2000, 20, 5
_SPLITTING = {
    "stratify": "every split gets its share of classes, and of low and high numbers",
    "folds": "test rows are one fold; as many seeds test every row once",
    "time": "the latest rows are the test rows",
}
_LIST = "separated by commas or repeated; a name with a comma in double quotes"


@verb
def init(
    table: Annotated[
        str,
        typer.Argument(
            help="CSV, Parquet, Feather, JSON-lines or Excel file (book.xlsx#sheet), or a table or query of a database "
            "(sqlite:///clinic.db#visits).",
            metavar="data.csv",
        ),
    ],
    targets: Annotated[list[str] | None, typer.Option(help=f"Columns to predict, {_LIST}.")] = None,
    out: Annotated[Path, typer.Option(help="Configuration to write.")] = Path("polytask.toml"),
    ignore: Annotated[list[str] | None, typer.Option(help=f"Columns that are no input, {_LIST}.")] = None,
    group: Annotated[
        list[str] | None, typer.Option(help=f"Columns whose rows stay in one split (patient, school), {_LIST}.")
    ] = None,
    stratify: Annotated[
        bool, typer.Option("--stratify/--no-stratify", help="Give every split its share of every class.")
    ] = True,
    folds: Annotated[int | None, typer.Option(min=2, help="Test rows are one of so many folds.")] = None,
    time: Annotated[str | None, typer.Option(help="Column to split by in time; the latest rows are test rows.")] = None,
    gap: Annotated[float, typer.Option(min=0, help="Least distance in time between splits (days for dates).")] = 0.0,
    split_column: Annotated[str | None, typer.Option(help="Column that says train, val or test.")] = None,
    test_table: Annotated[Path | None, typer.Option(help="A table of its own with the test rows.")] = None,
    missing: Annotated[
        list[str] | None, typer.Option(help=f"Texts that mean 'no value', {_LIST}; COLUMN=TEXT for one column.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN=KIND", help="Kind of a column where the guess is wrong.")
    ] = None,
    decimal: Annotated[str | None, typer.Option(help="Decimal mark of numbers: . or , (found by default).")] = None,
    thousands: Annotated[str | None, typer.Option(help="Separator of thousands (found by default).")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of the text, such as cp1252 (default: UTF-8).")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the configuration.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Guess what each column of a table is, write a configuration, and list what is surprising."""
    from polytask.data import inspect_table
    from polytask.data.files import with_path
    from polytask.data.split_rule import SplitRule

    if out.is_file() and not force:
        raise ConfigError(f"{out} exists; --force overwrites it, --out writes another file")
    if out.is_dir() or not out.parent.is_dir():
        raise ConfigError(f"--out {out}: expected a file in a folder that exists")
    try:
        check_writable(out)
    except StorageError as error:
        raise ConfigError(f"--out: {error}") from error
    wanted, left_out = names(targets), names(ignore)
    asked = {
        "decimal": decimal,
        "thousands": thousands,
        "encoding": encoding,
        "missing_values": _missing(names(missing)),
    }
    reading: dict[str, Any] = {key: value for key, value in asked.items() if value}
    if not wanted:
        report = inspect_table(table, **reading)
        raise ConfigError(f"name the columns to predict: --targets a,b\n{report.describe()}")
    kinds = dict(map(_kind, kind or ()))
    group_columns = names(group) or None
    report = inspect_table(table, wanted, ignore=left_out, group=group_columns, time=time, kinds=kinds, **reading)
    columns = [column.name for column in report.columns]
    named = [("--group", name) for name in names(group)]
    named += [(option, name) for option, name in (("--time", time), ("--split-column", split_column)) if name]
    for option, name in named:
        if name not in columns:
            raise ConfigError(unknown(f"column in {option}", name, columns))
    splitting = {
        "stratify": stratify and time is None,
        "folds": folds,
        "time": time,
        "gap": gap,
        "split_column": split_column,
        "test_table": test_table and Path(os.path.relpath(test_table, out.parent)).as_posix(),
    }
    SplitRule(
        group=tuple(names(group)),
        stratify=bool(splitting["stratify"]),
        folds=folds,
        time=time,
        gap=gap or 0.0,
        column=split_column,
    )  # whose parts may contradict each other, which is better said now
    unusable = [name for name in wanted if name not in report.targets]
    if unusable:
        raise DataError("\n".join(say for say in report.surprises if any(repr(name) in say for name in unusable)))
    left_out += [column.name for column in report.columns if column.role == "unusable" and column.name not in left_out]
    source = with_path(table, lambda path: Path(os.path.relpath(path, out.parent)).as_posix())
    inputs = {column: chosen for column, chosen in kinds.items() if column not in wanted}
    table_options = {**reading, "ignore": left_out, "group": names(group), "kinds": inputs, "splitting": splitting}
    page = _page(report, source, table_options)
    write_atomically(out, page)
    return Answer(
        {**report.to_dict(), "targets": report.targets, "file": out},
        (Text(report.describe()), Text(f"\nwrote {out}; next: polytask check {out}")),
    )


def _kind(text: str) -> tuple[str, str]:
    column, equals, chosen = text.rpartition("=")
    if not equals or not column.strip():
        raise ConfigError(f"--kind {text!r}: expected COLUMN=KIND, for example --kind zip=categorical")
    return column.strip(), chosen.strip()


def _missing(texts: list[str]) -> list[str] | dict[str, list[str]]:
    """Texts of all columns, or by column where some are of one."""
    if not any("=" in text for text in texts):
        return texts
    found: dict[str, list[str]] = {}
    for text in texts:
        column, equals, value = text.rpartition("=")
        found.setdefault(column.strip() if equals else "*", []).append(value.strip())
    return found


def _missing_lines(given: list[str] | dict[str, list[str]] | None) -> list[str]:
    from polytask.study import toml

    remark = "texts that mean 'no value'"
    if not isinstance(given, dict):
        return [_optional("missing_values", given, ["unknown"], remark)]
    return [f"missing_values.{toml.dumps({column: texts}).strip()}" for column, texts in given.items()]


def _page(report: TableReport, source: str, table: dict[str, Any]) -> str:
    """The configuration, with a remark on everything that one may want to change."""
    from polytask.data.said import condensed
    from polytask.study import toml

    batch = next((size for rows, size in _BATCHES.items() if report.rows <= rows), _LARGEST_BATCH)
    columns = {column.name: column for column in report.columns}
    lines = [
        "# Relative paths start from this file. A key that is not known is an error, so typing mistakes are found."
    ]
    lines += ["", "[data]", _line("source", source)]
    lines += [_line("val", 0.2, "share of the rows to select epochs by"), _line("test", 0.2, "share to report on")]
    lines += [_line("ignore", table["ignore"], "columns that are no input")]
    group = table["group"][0] if len(table["group"]) == 1 else table["group"]
    lines += [_optional("group", group, "school", "rows with the same value stay in one split")]
    lines += [_line(key, value, _SPLITTING.get(key, "")) for key, value in table["splitting"].items() if value]
    lines += _missing_lines(table.get("missing_values"))
    lines += [_line(key, table[key]) for key in ("decimal", "thousands", "encoding") if key in table]
    lines += [f"kinds.{toml.dumps({column: kind}).strip()}" for column, kind in table["kinds"].items()]
    if report.surprises:
        lines += ["#", "# Look at these before you believe a result:"]
        lines += [line for say in condensed(report.surprises) for line in _remark(say)]
    for name, kind in report.targets.items():
        column = columns[name]
        missing = f"{column.missing:.0%} of the rows lack it" if column.missing else "no row lacks it"
        seen = f"guessed; {column.distinct} different values such as {', '.join(column.examples)}; {missing}"
        lines += ["", _section(name), *_remark(seen), _line("kind", kind)]
    lines += [
        "# Of each task also: metric (for the verdict), weight, lr (of its own part), unit.",
        "",
        "[model]",
        _line("encoder", "tabular:128,128", "embeddings and numbers into two layers of 128"),
    ]
    lines += ["", "[method]", _line("name", "uw", "of `polytask train`; `polytask methods` lists them")]
    epochs = max(_EPOCHS, math.ceil(_STEPS / math.ceil(0.6 * report.rows / batch)))
    lines += ["", "[train]", _line("epochs", epochs, f"at most; {_STEPS:,} steps, or {_EPOCHS} epochs if that is more")]
    lines += [_line("batch_size", batch), _line("lr", 1e-3)]
    remark = "stop after so many epochs without progress on the validation rows"
    lines += [_line("patience", max(_PATIENCE, epochs // 10), remark)]
    remark = "stl: one network for each task; ridge: one linear model"
    lines += ["", "[protocol]", _line("methods", ["stl", "equal", "uw", "fairgrad", "ridge"], remark)]
    lines += [_line("seeds", 3, "runs of each method, each on a split of its own; more narrow the intervals")]
    lines += [_line("workers", 1, "trials side by side; the results do not depend on it")]
    return "\n".join(lines) + "\n"


def _line(key: str, value: Any, remark: str = "") -> str:
    from polytask.study import toml

    text = f"{key} = {toml.dumps({'value': value}).strip().removeprefix('value = ')}"
    return f"{text:<34}  # {remark}" if remark else text


def _optional(key: str, value: Any, example: Any, remark: str) -> str:
    """A line with the value, or one that is commented out and shows an example."""
    return _line(key, value, remark) if value else _line(f"# {key}", example, remark)


def _section(task: str) -> str:
    from polytask.study import toml

    return toml.dumps({"tasks": {task: {}}}).strip()


def _remark(text: str) -> Sequence[str]:
    return textwrap.wrap(text, 110, initial_indent="# - ", subsequent_indent="#   ", break_on_hyphens=False)
