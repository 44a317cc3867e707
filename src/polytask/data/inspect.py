"""A first look at a table: what each column would be taken for, and what is odd about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd

from polytask.data.bounds import without_bounds
from polytask.data.columns import Column, infer_column, plain
from polytask.data.encoder import TableEncoder
from polytask.data.leakage import find_leaks, judged
from polytask.data.missing import MissingValues
from polytask.data.oddities import oddities
from polytask.data.opening import open_table
from polytask.data.roles import check_columns, column_names
from polytask.data.said import condensed
from polytask.data.targets import read_target
from polytask.errors import DataError
from polytask.tasks import TaskSet

__all__ = ["ColumnReport", "TableReport", "inspect_table"]

_WIDE = 60  # columns above which inputs are not described one by one
_SHOWN = 8


@final
@dataclasses.dataclass(frozen=True)
class ColumnReport:
    """What is known of one column.

    Attributes:
        name: Column.
        role: ``"target"``, or how it would be encoded as an input: numeric, boolean, date, categorical, dropped;
            ``"unusable"`` when reading it as it is would be an error.
        kind: Kind of task, for targets; ``"unusable"`` when the column cannot be one.
        missing: Share of rows without a value, in [0, 1].
        distinct: Number of different values.
        examples: Up to three values, as text.
        note: Why it is dropped or unusable, or what is surprising; empty when there is nothing to say.
    """

    name: str
    role: str
    kind: str
    missing: float
    distinct: int
    examples: tuple[str, ...]
    note: str = ""


@final
@dataclasses.dataclass(frozen=True)
class TableReport:
    """What is known of a table.

    Attributes:
        rows: Number of rows.
        columns: One report per column, in order.
        surprises: Sentences worth reading before training.
        rows_without_label: Rows where every target is missing.
    """

    rows: int
    columns: tuple[ColumnReport, ...]
    surprises: tuple[str, ...]
    rows_without_label: int = 0

    @property
    def targets(self) -> dict[str, str]:
        """Kind of task by target, without the unusable ones."""
        return {c.name: c.kind for c in self.columns if c.role == "target" and c.kind != "unusable"}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "rows": self.rows,
            "rows_without_label": self.rows_without_label,
            "columns": [{**dataclasses.asdict(c), "examples": list(c.examples)} for c in self.columns],
            "surprises": list(self.surprises),
        }

    @property
    def frame(self) -> pd.DataFrame:
        """One row per column of the table."""
        return pd.DataFrame([dataclasses.asdict(column) for column in self.columns]).set_index("name")

    def describe(self) -> str:
        """The report in words; of a wide table, inputs of one role share a line, as do surprises of one kind."""
        wide = len(self.columns) > _WIDE
        shown = [column for column in self.columns if column.role == "target" or not wide]
        width = max((len(column.name) for column in shown), default=0)
        lines = [f"{self.rows:,} rows, {len(self.columns)} columns"]
        for column in shown:
            what = f"target, {column.kind}" if column.role == "target" else column.role
            missing = f", {column.missing:.1%} missing" if column.missing else ""
            lines.append(f"  {column.name:<{width}}  {what}{missing}{f' ({column.note})' if column.note else ''}")
        lines += self._by_role() if wide else []
        return "\n".join([*lines, *(f"! {surprise}" for surprise in condensed(self.surprises))])

    def _by_role(self) -> list[str]:
        roles: dict[str, list[ColumnReport]] = {}
        for column in self.columns:
            if column.role != "target":
                roles.setdefault(column.role, []).append(column)
        lines = []
        for role, found in roles.items():
            listed = ", ".join(column.name for column in found[:_SHOWN])
            gaps = sum(column.missing > 0 for column in found)
            missing = f"; {gaps:,} of them with missing values" if gaps else ""
            lines.append(f"  {len(found):,} {role}: {listed}{', …' if len(found) > _SHOWN else ''}{missing}")
        return lines


def inspect_table(
    source: str | Path | pd.DataFrame,
    targets: Sequence[str | int] | None = None,
    *,
    kinds: Mapping[Any, str] | None = None,
    ignore: Sequence[str | int] = (),
    group: str | int | Sequence[str | int] | None = None,
    time: str | int | None = None,
    missing_values: MissingValues = (),
    decimal: str | None = None,
    thousands: str | None = None,
    encoding: str | None = None,
) -> TableReport:
    """What :func:`read_table` would take each column for, without stopping at the first problem.

    Args:
        source: Path or DataFrame.
        targets: Columns to predict; without them every column is reported as an input.
        kinds: Kind by column where the guess is not wanted.
        ignore: Columns to leave out of the search for leaks.
        group: Column by which rows are to be split, or several.
        time: Column of times by which rows are to be split.
        missing_values: Texts that mean "missing", in all columns or by column.
        decimal: Decimal mark of numbers that are texts.
        thousands: Separator of thousands.
        encoding: How a CSV file's text is encoded.

    Returns:
        The report; unusable columns are named in ``surprises`` with the remedy.

    Raises:
        DataError: The file cannot be read, or a column named does not exist.

    Examples:
        >>> rows = pd.DataFrame({"row_id": range(40), "x": [1.5, 2.5] * 20, "y": [0.1, 0.3, 0.2, None] * 10})
        >>> report = inspect_table(rows, ["y"])
        >>> report.targets
        {'y': 'regression'}
        >>> print(report.describe())
        40 rows, 3 columns
          row_id  dropped (an id: a different whole number in each row)
          x       numeric
          y       target, regression, 25.0% missing
        ! column 'row_id' would be dropped: an id: a different whole number in each row
        ! 10 of 40 rows have no label and would be dropped
    """
    chosen = {str(column): kind for column, kind in (kinds or {}).items()}
    frame, surprises, *_ = open_table(
        source, missing_values=missing_values, decimal=decimal, thousands=thousands, encoding=encoding, kinds=chosen
    )
    wanted, left_out = column_names("targets", targets or []), column_names("ignore", ignore)
    groups = [] if group is None else list(map(str, [group] if isinstance(group, (str, int)) else group))
    if targets is not None:
        check_columns(frame, wanted, chosen, left_out)
    reports, columns, tasks, labels = [], [], [], {}
    everything, noted = np.arange(len(frame)), list[str]()
    for name in map(str, frame.columns):
        series = frame[name]
        if name in wanted:
            kind, note = "unusable", ""
            try:
                task, labels[name], guess = read_target(series, everything, chosen.get(name))
                tasks.append(task)
                kind, note = guess.kind, guess.surprise
            except DataError as error:
                surprises.append(str(error))
            if note:
                noted.append(f"target {name!r}: {note}")
            reports.append(_report(series, "target", kind, note))
            continue
        column = _column(series, chosen.get(name), surprises, noted)
        if name not in left_out and name not in groups:
            columns.append(column)
        reports.append(_report(series, column.role if column.reason != _BAD else "unusable", "", column.reason))
    labels = without_bounds(labels, tasks)
    if tasks and any(column.role != "dropped" for column in columns):
        surprises += _leaks(frame, columns, TaskSet.of(tasks), labels)
    surprises += oddities(frame, columns, labels, grouped=bool(groups), timed=time is not None)
    surprises += noted
    unlabelled = int(frame[wanted].isna().all(axis=1).sum()) if wanted else 0
    if unlabelled:
        surprises.append(f"{unlabelled} of {len(frame)} rows have no label and would be dropped")
    return TableReport(len(frame), tuple(reports), tuple(surprises), unlabelled)


_BAD = "cannot be read as it is"


def _column(series: pd.Series[Any], kind: str | None, errors: list[str], noted: list[str]) -> Column:
    try:
        column = infer_column(series, kind)
        if column.role != "dropped":
            TableEncoder.fit(series.to_frame(), [column])  # finds text and infinities
    except DataError as error:
        errors.append(str(error))
        return Column(str(series.name), "dropped", _BAD)
    if column.surprise:
        noted.append(f"column {column.name!r}: {column.surprise}")
    elif column.role == "dropped":
        noted.append(f"column {column.name!r} would be dropped: {column.reason}")
    return column


def _report(series: pd.Series[Any], role: str, kind: str, note: str) -> ColumnReport:
    present = series.dropna()
    unique = present.drop_duplicates() if plain(present) else present
    examples = tuple(text if len(text) <= 30 else text[:29] + "…" for text in map(str, unique.head(3)))
    return ColumnReport(str(series.name), role, kind, float(series.isna().mean()), len(unique), examples, note)


def _leaks(frame: pd.DataFrame, columns: list[Column], tasks: TaskSet, labels: dict[str, Any]) -> list[str]:
    rows = judged(len(frame))
    frame, labels = frame.iloc[rows], {name: label[rows] for name, label in labels.items()}
    encoder = TableEncoder.fit(frame, columns)
    return [str(leak) for leak in find_leaks(frame, encoder.encode(frame), encoder, tasks, labels)]
