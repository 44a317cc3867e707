"""A user's table, ready for training."""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from polytask.data.columns import Column, infer_column
from polytask.data.encoder import TableEncoder
from polytask.data.leakage import LeakageWarning, find_leaks
from polytask.data.multitask import SPLITS, MultiTaskData
from polytask.data.oddities import oddities
from polytask.data.opening import open_table
from polytask.data.said import condensed
from polytask.data.source import TensorSource
from polytask.data.split import split_rows
from polytask.data.targets import read_target
from polytask.errors import DataError, unknown
from polytask.remedies import option
from polytask.tasks import TaskSet

__all__ = ["assemble", "check_columns", "column_names", "read_table"]


def read_table(
    source: str | Path | pd.DataFrame,
    targets: Sequence[str | int],
    *,
    kinds: Mapping[Any, str] | None = None,
    ignore: Sequence[str | int] = (),
    val: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
    group: str | int | None = None,
    missing_values: Sequence[str] = (),
    decimal: str | None = None,
    thousands: str | None = None,
    encoding: str | None = None,
) -> MultiTaskData:
    """Tasks, splits and encoded inputs from a CSV file, a Parquet file or a DataFrame.

    Every column that is neither a target nor ignored is an input: numbers are scaled (missing ones become the mean, and
    a feature says so), text and categories become codes (0: missing or unseen), dates days; constant columns, ids and
    free text are dropped. Means, scales, levels and what a column is taken for come from the training rows alone.
    Missing targets stay missing labels; rows without any label are dropped.

    Args:
        source: Path (``.csv``, ``.tsv``, ``.txt``, ``.parquet``) or DataFrame.
        targets: Columns to predict, one task each.
        kinds: Kind by column where the guess is not wanted: for targets regression, binary, multiclass, ordinal, count
            or quantile; for inputs numeric, boolean, date or categorical.
        ignore: Columns to leave out.
        val: Share of rows (of groups) to select by.
        test: Share of rows (of groups) to judge by.
        seed: Seed of the split.
        group: Column whose equal values stay in one split (patient, school); it is not an input.
        missing_values: Texts that mean "missing", besides the empty field, ``NA`` and the like.
        decimal: Decimal mark of numbers that are texts, ``"."`` or ``","``; found from the values when None. Currency
            and percent signs, parentheses for negative numbers and signs that look like a minus are read in any case.
        thousands: Separator of thousands (a comma, point, apostrophe or space); any that fits the mark when None.
        encoding: How a CSV file's text is encoded (``"cp1252"``); UTF-8 when None.

    Returns:
        The data; ``.table`` encodes later rows, ``.details`` lists what was dropped and noticed, and under ``reading``
        how the table was read, for later ones like it.

    Raises:
        DataError: The table cannot be used; the message names the column, the value and the remedy.
        MissingExtraError: A Parquet file, and pyarrow is not installed.

    Warns:
        LeakageWarning: An input equals or determines a target.

    Examples:
        >>> rows = pd.DataFrame({"dose": range(50), "sex": ["f", "m"] * 25, "pain": [0.5, 2.0, None, 1.0, 0.1] * 10})
        >>> data = read_table(rows, ["pain"])
        >>> len(data.train), data.tasks["pain"].kind, data.inputs.cardinalities
        (24, 'regression', (3,))
    """
    name = Path(source).stem if not isinstance(source, pd.DataFrame) else "table"
    chosen = {str(column): kind for column, kind in (kinds or {}).items()}
    frame, written, mark = open_table(
        source, missing_values=missing_values, decimal=decimal, thousands=thousands, encoding=encoding, kinds=chosen
    )
    wanted, left_out = column_names("targets", targets), column_names("ignore", ignore)
    group = None if group is None else str(group)
    check_columns(frame, wanted, chosen, left_out, group)
    reading = {"missing_values": list(missing_values), "decimal": mark, "thousands": thousands, "encoding": encoding}
    labelled = frame[wanted].notna().any(axis=1).to_numpy()
    for target in wanted:
        if frame[target].notna().sum() == 0:
            raise DataError(f"target {target!r}: all {len(frame)} labels are missing; leave it out")
    kept = frame[labelled]  # the index still counts rows of the table as it was read
    groups = None
    if group is not None:
        if kept[group].isna().any():
            row = int(kept.index[int(np.flatnonzero(kept[group].isna())[0])]) + 1
            raise DataError(f"group column {group!r} has no value in row {row}; fill it, or leave such rows out")
        groups = kept[group].to_numpy()
    splits = split_rows(len(kept), val=val, test=test, seed=seed, group=groups)
    apart = {*wanted, *left_out, *([] if group is None else [group])}
    train = kept.iloc[splits["train"]]
    columns = [infer_column(train[c], chosen.get(c)) for c in map(str, kept.columns) if c not in apart]
    notes = [f"Split by {f'groups of {group}' if group else 'rows'}, seed {seed}."]
    dropped = int((~labelled).sum())
    if dropped:
        notes.append(f"{dropped} of {len(frame)} rows have no label at all and were dropped.")
    return assemble(
        name,
        kept,
        {target: chosen.get(target) for target in wanted},
        columns,
        splits,
        groups=groups,
        notes=notes,
        surprises=written,
        details={
            "rows": len(frame),
            "rows_without_label": dropped,
            "ignored": left_out,
            "group": group,
            "reading": reading,
        },
    )


def column_names(what: str, names: Sequence[str | int]) -> list[str]:
    """Names of columns as the texts by which a table that was read knows them (a DataFrame's may be numbers).

    Raises:
        DataError: A single text in place of a list.
    """
    if isinstance(names, str):
        raise DataError(f"{what} must be a list of column names, found the text {names!r}; write [{names!r}]")
    return [str(name) for name in names]


def check_columns(
    frame: pd.DataFrame, targets: Sequence[str], kinds: Mapping[str, str], ignore: Sequence[str], group: str | None
) -> None:
    """Check that every column named exists and has one role.

    Raises:
        DataError: A name is unknown, given twice, or has two roles.
    """
    if not targets:
        raise DataError(f"name at least one target; columns are {', '.join(map(str, frame.columns))}")
    known = [str(column) for column in frame.columns]
    named = [("target", name) for name in targets] + [("column in kinds", name) for name in kinds]
    named += [("column in ignore", name) for name in ignore] + ([("group column", group)] if group is not None else [])
    for what, name in named:
        if name not in known:
            raise DataError(unknown(what, name, known))
    twice = [name for name, count in Counter(targets).items() if count > 1]
    if twice:
        raise DataError(f"target {twice[0]!r} is named {Counter(targets)[twice[0]]} times; name it once")
    for target in targets:
        other = "ignored" if target in ignore else "the group" if target == group else ""
        if other:
            raise DataError(f"column {target!r} is both a target and {other}; remove it from one of them")


def assemble(
    name: str,
    frame: pd.DataFrame,
    targets: Mapping[str, str | None],
    columns: Sequence[Column],
    splits: Mapping[str, NDArray[np.int64]],
    *,
    groups: NDArray[Any] | None = None,
    units: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    surprises: Sequence[str] = (),
    details: Mapping[str, Any] | None = None,
    encoder: str = "tabular:128,128",
    scale_targets: bool = True,
    warn: bool = True,
    advise: bool = True,
) -> MultiTaskData:
    """A dataset from a table whose columns' roles and splits are decided.

    Args:
        name: Its name.
        frame: All rows.
        targets: Target column → kind, or None for a guess.
        columns: What each input column is.
        splits: Row positions by split.
        groups: What each row belongs to, where such rows stay in one split.
        units: Units of targets.
        notes: Sentences about origin and splits.
        surprises: Sentences about how the table was read.
        details: Facts to keep.
        encoder: Default built-in encoder.
        scale_targets: Set shift and scale of numeric targets from the training labels.
        warn: Warn of inputs that give a target away; they are listed in the notes in any case.
        advise: Say how rows might better be split; of no use where the split is part of a dataset.

    Raises:
        DataError: A column does not hold what it should, or no input is left.
    """
    train = frame.iloc[splits["train"]]
    tasks, labels, noticed = [], {}, [*surprises]
    for target, kind in targets.items():
        task, labels[target], guess = read_target(frame[target], splits["train"], kind)
        tasks.append(task)
        if guess.surprise:
            noticed.append(f"target {target!r}: {guess.surprise}")
        noticed += _unlearnable(task.labels, labels[target], splits["train"], target)
    if not scale_targets:
        tasks = [dataclasses.replace(task, shift=0.0, scale=1.0) for task in tasks]
    if units:
        tasks = [dataclasses.replace(task, unit=units.get(task.name, "")) for task in tasks]
    task_set = TaskSet.of(tasks)
    table = TableEncoder.fit(train, columns)
    sources = {}
    for split in SPLITS:
        index = torch.from_numpy(np.asarray(splits[split], dtype=np.int64))
        rows = frame.iloc[splits[split]]
        sources[split] = TensorSource(table.encode(rows), {target: y[index] for target, y in labels.items()})
    encoded = sources["train"].inputs
    assert not isinstance(encoded, Tensor)
    leaks = find_leaks(train, encoded, table, task_set, sources["train"].targets)
    if leaks and warn:
        listed = "; ".join(condensed(list(map(str, leaks))))
        columns_named = list(dict.fromkeys(leak.column for leak in leaks))
        warnings.warn(
            f"{listed}. If it is not known when predicting, leave it out: {option('ignore', columns_named)}",
            LeakageWarning,
            stacklevel=3,
        )
    dropped = {column.name: column.reason for column in columns if column.role == "dropped"}
    numbered = None if groups is None else pd.factorize(groups)[0].astype(np.int64)
    noticed += [f"column {column.name!r}: {column.surprise}" for column in columns if column.surprise]
    known = {"grouped": groups is not None or not advise, "timed": bool((details or {}).get("time")) or not advise}
    noticed += oddities(frame, columns, labels, **known)
    said = [*notes]
    if dropped:
        said.append("Dropped: " + "; ".join(f"{column} ({reason})" for column, reason in dropped.items()) + ".")
    said += [f"Note: {surprise}." for surprise in condensed(noticed)]
    said += [f"Possible leakage: {leak}." for leak in condensed(list(map(str, leaks)))]
    return MultiTaskData(
        name=name,
        tasks=task_set,
        train=sources["train"],
        val=sources["val"],
        test=sources["test"],
        inputs=table.inputs,
        encoder=encoder,
        notes="\n".join(said),
        details={
            **(details or {}),
            "roles": {column.name: column.role for column in columns},
            "dropped_columns": dropped,
            "surprises": noticed,
            "leakage": [{"column": leak.column, "target": leak.target, "how": leak.how} for leak in leaks],
        },
        table=table,
        groups=None if numbered is None else {split: numbered[splits[split]] for split in SPLITS},
    )


def _unlearnable(names: tuple[str, ...] | None, labels: Tensor, train: NDArray[np.int64], target: str) -> list[str]:
    """Classes without a training label."""
    if names is None:
        return []
    seen = set(labels[torch.from_numpy(np.asarray(train, dtype=np.int64))].tolist())
    absent = [name for code, name in enumerate(names) if code not in seen]
    return [f"target {target!r}: no training row of class {', '.join(map(repr, absent))}"] if absent else []
