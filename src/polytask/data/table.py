"""A user's table, ready for training."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from polytask.data.bounds import without_bounds
from polytask.data.columns import Column, infer_column
from polytask.data.encoder import TableEncoder
from polytask.data.files import name_of
from polytask.data.leakage import LeakageWarning, find_leaks, judged
from polytask.data.missing import MissingValues, plain_missing
from polytask.data.multitask import SPLITS, MultiTaskData
from polytask.data.oddities import oddities
from polytask.data.opening import Opened, open_table
from polytask.data.roles import check_columns, column_names
from polytask.data.said import condensed
from polytask.data.source import TensorSource
from polytask.data.split_rule import SplitRule
from polytask.data.targets import read_target
from polytask.data.weighing import column_weights, weight_columns, without_weightless
from polytask.errors import DataError, unknown
from polytask.remedies import option
from polytask.tasks import TaskSet

__all__ = ["assemble", "read_table"]


def read_table(
    source: str | Path | pd.DataFrame,
    targets: Sequence[str | int],
    *,
    kinds: Mapping[Any, str] | None = None,
    ignore: Sequence[str | int] = (),
    val: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
    group: str | int | Sequence[str | int] | None = None,
    stratify: bool = False,
    folds: int | None = None,
    time: str | int | None = None,
    gap: float = 0.0,
    split_column: str | int | None = None,
    test_table: str | Path | pd.DataFrame | None = None,
    missing_values: MissingValues = (),
    decimal: str | None = None,
    thousands: str | None = None,
    encoding: str | None = None,
    weight: str | int | Mapping[Any, str | int] | None = None,
) -> MultiTaskData:
    """Tasks, splits and encoded inputs from a file, a database or a DataFrame.

    Every column that is neither a target nor ignored is an input: numbers are scaled (missing ones become the mean, and
    a feature says so), text and categories become codes (0: missing, rare or unseen), dates days and the place in each
    cycle that they run through twice (year, week, day); constant columns, ids and free text are dropped. Numbers with
    units, currencies and marks, dates, durations, codes with zeros in front and marks for "no value" are read as they
    are meant, which is said, and later tables are read alike. Means, scales, levels and what a column is taken for come
    from the training rows alone.
    Missing targets stay missing labels; rows without any label are dropped.

    What is returned is one split of the rows; :meth:`MultiTaskData.resplit` gives others, with means, scales and levels
    of their own training rows. :func:`polytask.compare` uses one for each seed, unless the test rows are given (by
    ``time``, ``split_column`` or ``test_table``).

    Args:
        source: What :func:`~polytask.data.files.read_source` reads: a path (CSV, Parquet, Feather, JSON lines, Excel),
            the address of a database (``"sqlite:///clinic.db#visits"``), or a DataFrame.
        targets: Columns to predict, one task each.
        kinds: Kind by column where the guess is not wanted: for targets regression, binary, multiclass, multilabel
            (cells like ``red|blue``), ordinal, count, quantile or censored; for inputs numeric, boolean, categorical or
            date (``"date:%d/%m/%Y"`` says its form).
        ignore: Columns to leave out.
        val: Share of rows (of groups) to select by.
        test: Share of rows (of groups) to judge by.
        seed: Seed of the split.
        group: Column whose equal values stay in one split (patient, school), or several: then rows that share a value
            of any of them do. They are no inputs.
        stratify: Whether every split gets its share of every class, and of low and high numbers, of all targets.
        folds: k, for test rows that are one of k folds instead of a share: seeds 0 to k − 1 test every row once.
        time: Column to split by in time: the latest rows are the test rows, those before them select.
        gap: Least distance in time between splits, in days for dates, else in the unit of ``time``; rows between are
            left out.
        split_column: Column that says train, val or test; if it never says val, these rows are drawn. It is no input.
        test_table: A table of its own with the test rows, read like ``source``; ``test`` is not used then.
        missing_values: Texts that mean "missing", besides the empty field, ``NA`` and the like; a mapping gives those
            of single columns (``{"income": ["-999"]}``), and under ``"*"`` those of all.
        decimal: Decimal mark of numbers that are texts, ``"."`` or ``","``; found from the values when None. Currency
            and percent signs, parentheses for negative numbers and signs that look like a minus are read in any case.
        thousands: Separator of thousands (a comma, point, apostrophe or space); any that fits the mark when None.
        encoding: How a CSV file's text is encoded (``"cp1252"``); UTF-8 when None.
        weight: Column of weights of the rows, from 0 on, or one column by target: 2 counts a label twice in losses and
            metrics, 0 is a missing label. They are no inputs. Means and scales count each row once.

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
    name = name_of(source)
    chosen = {str(column): kind for column, kind in (kinds or {}).items()}
    marks: dict[str, Any] = {"missing_values": missing_values, "thousands": thousands, "encoding": encoding}
    opened = open_table(source, decimal=decimal, kinds=chosen, **marks)
    frame = opened.frame
    wanted, left_out = column_names("targets", targets), column_names("ignore", ignore)
    rule = SplitRule(
        val,
        test,
        seed,
        () if group is None else tuple(map(str, [group] if isinstance(group, (str, int)) else group)),
        stratify,
        folds,
        None if time is None else str(time),
        gap,
        None if split_column is None else str(split_column),
    )
    weights = weight_columns(weight, wanted)
    named = [*rule.named(), *(("weight column", column) for column in dict.fromkeys(weights.values()))]
    check_columns(frame, wanted, chosen, left_out, named)
    judged = np.zeros(len(frame), dtype=bool)
    if test_table is not None:
        later = open_table(test_table, decimal=opened.decimal, kinds=chosen, columns=opened.columns, **marks)
        frame, judged = _with_test_rows(frame, later.frame, rule)
    frame = without_weightless(frame, weights)
    for target in wanted:
        if frame[target].notna().sum() == 0:
            raise DataError(f"target {target!r}: all {len(frame)} labels are missing; leave it out")
    labelled = frame[wanted].notna().any(axis=1).to_numpy()
    apart = {*wanted, *left_out, *rule.apart, *weights.values()}
    rows = _Rows(
        name,
        frame if labelled.all() else frame[labelled],  # the index still counts rows of the table as it was read
        {target: chosen.get(target) for target in wanted},
        {c: chosen.get(c) for c in map(str, frame.columns) if c not in apart},
        rule,
        judged[labelled] if test_table is not None else None,
        opened,
        weights,
        {
            "rows": len(frame),
            "rows_without_label": int((~labelled).sum()),
            "ignored": left_out,
            "group": rule.group[0] if len(rule.group) == 1 else list(rule.group) or None,
            "time": rule.time,
            "reading": {
                "missing_values": plain_missing(missing_values),
                "decimal": opened.decimal,
                "thousands": thousands,
                "encoding": encoding,
                "columns": {name: how for name, how in opened.columns.items() if name not in left_out},
            },
        },
    )
    return rows.split(0, first=True)


@final
@dataclasses.dataclass(frozen=True)
class _Rows:
    """The labelled rows of a table and how to split them: the :class:`~polytask.data.multitask.Splitter` of tables."""

    name: str
    frame: pd.DataFrame
    targets: Mapping[str, str | None]
    inputs: Mapping[str, str | None]
    rule: SplitRule
    judged: NDArray[np.bool_] | None
    opened: Opened
    weights: Mapping[str, str]
    details: Mapping[str, Any]

    @property
    def how(self) -> str:
        if self.judged is not None or self.rule.fixed:
            return ""
        return "hold-outs" if self.rule.folds is None else f"{self.rule.folds} folds"

    def split(self, number: int, *, first: bool = False) -> MultiTaskData:
        """Split ``number``; what is odd about the table is warned of when it is read, not at every split."""
        splits = self.rule.split(self.frame, list(self.targets), number, self.judged)
        train, read = splits["train"], self.opened.columns
        columns = [infer_column(self.frame[column].iloc[train], kind) for column, kind in self.inputs.items()]
        columns = [
            dataclasses.replace(column, format=read.get(column.name, {}).get("form", "") or column.format)
            for column in columns
        ]
        apart = "Test rows are a table of their own. " if self.judged is not None else ""
        notes = [apart + self.rule.describe(list(self.targets), number)]
        dropped, rows = self.details["rows_without_label"], self.details["rows"]
        if dropped:
            notes.append(f"{dropped} of {rows} rows have no label at all and were dropped.")
        if self.weights:
            notes.append(f"Labels have weights: {', '.join(f'{t} by {c}' for t, c in self.weights.items())}.")
        made = assemble(
            self.name,
            self.frame,
            self.targets,
            columns,
            splits,
            groups=self.rule.groups(self.frame),
            weights=self.weights,
            units={target: read[target].get("unit", "") for target in self.targets if target in read},
            notes=notes,
            surprises=self.opened.said,
            details=self.details,
            warn=first,
            advise=number == 0,
        )
        if self.judged is None:  # where the test rows stand in the table that was read, so that a reader finds them
            made.details["test_rows"] = self.frame.index[splits["test"]].tolist()
        return dataclasses.replace(made, splitter=self)


def _with_test_rows(
    frame: pd.DataFrame, judged: pd.DataFrame, rule: SplitRule
) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Both tables as one, and which rows are the second's.

    Raises:
        DataError: The second lacks a column of the first, or the rule splits off test rows, too.
    """
    if rule.fixed or rule.folds is not None or rule.group:
        raise DataError("test_table holds the test rows; leave out time, split_column, folds and group")
    absent = [str(column) for column in frame.columns if column not in judged.columns]
    if absent:
        raise DataError(f"test_table lacks the column {unknown('column', absent[0], map(str, judged.columns))}")
    both = pd.concat([frame, judged[list(frame.columns)]], ignore_index=True)
    return both, np.arange(len(both)) >= len(frame)


def assemble(
    name: str,
    frame: pd.DataFrame,
    targets: Mapping[str, str | None],
    columns: Sequence[Column],
    splits: Mapping[str, NDArray[np.int64]],
    *,
    groups: NDArray[Any] | None = None,
    weights: Mapping[str, str] | None = None,
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
        weights: Target → column of the weights of its labels.
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
    table = TableEncoder.fit(frame, columns, np.asarray(splits["train"]))
    encoded = table.encode(frame)
    index = {split: torch.from_numpy(np.asarray(splits[split], dtype=np.int64)) for split in SPLITS}
    weighed = {target: column_weights(frame, column) for target, column in (weights or {}).items()}
    given = (encoded, labels, weighed)
    sources = {split: TensorSource(*(_rows(values, index[split]) for values in given)) for split in SPLITS}
    look = index["train"][judged(len(index["train"]))]
    plain = without_bounds(labels, tasks)
    leaks = find_leaks(frame.iloc[look.numpy()], _rows(encoded, look), table, task_set, _rows(plain, look))
    if leaks and warn:
        listed = "; ".join(condensed(list(map(str, leaks))))
        columns_named = list(dict.fromkeys(leak.column for leak in leaks))
        warnings.warn(
            f"{listed}. If it is not known when predicting, leave it out: {option('ignore', columns_named)}",
            LeakageWarning,
            stacklevel=4,  # beyond what made the split, and read_table or load
        )
    dropped = {column.name: column.reason for column in columns if column.role == "dropped"}
    numbered = None if groups is None else pd.factorize(groups)[0].astype(np.int64)
    noticed += [f"column {column.name!r}: {column.surprise}" for column in columns if column.surprise]
    known = {"grouped": groups is not None or not advise, "timed": bool((details or {}).get("time")) or not advise}
    noticed += oddities(frame, columns, plain, **known)
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


def _rows(values: Mapping[str, Tensor], index: Tensor) -> dict[str, Tensor]:
    return {name: tensor[index] for name, tensor in values.items()}


def _unlearnable(names: tuple[str, ...] | None, labels: Tensor, train: NDArray[np.int64], target: str) -> list[str]:
    """Classes without a training label."""
    if names is None:
        return []
    there = labels[torch.from_numpy(np.asarray(train, dtype=np.int64))]
    seen = set(there.tolist()) if there.ndim == 1 else set((there == 1).any(0).nonzero().flatten().tolist())
    absent = [name for code, name in enumerate(names) if code not in seen]
    return [f"target {target!r}: no training row of class {', '.join(map(repr, absent))}"] if absent else []
