"""How the rows of a table are split: at random, stratified, in groups, by time, by a column, in folds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polytask.data.columns import dates, infer_column
from polytask.data.copies import copied_rows, identical_rows
from polytask.data.split import split_rows
from polytask.data.split_strata import deal, strata
from polytask.errors import DataError

__all__ = ["SplitRule"]

Rows = NDArray[np.int64]
_SPLITS = ("train", "val", "test")
_COPIES = "copies of a row"
_ALSO = {"training": "train", "validation": "val", "valid": "val", "dev": "val", "testing": "test", "holdout": "test"}


@final
@dataclasses.dataclass(frozen=True)
class SplitRule:
    """How rows are split, and split again under another number.

    A rule without ``time`` and ``column`` gives a different split for every number: of hold-outs, number s is drawn
    with the seed ``seed`` + s; of k folds, it is fold s mod k of repetition ⌊s/k⌋, so that numbers 0 to k − 1 test
    every row once. Number 0 is what is read when nothing else is asked for.

    Attributes:
        val: Share of the rows (of the groups) to select by, in [0, 1).
        test: Share to judge by, in [0, 1); with ``folds``, 1/k takes its place.
        seed: Seed of everything that is drawn.
        group: Columns; rows that share a value of any of them stay in one split. Copies of a row do so in any case,
            where there are more than chance makes (:func:`~polytask.data.copies.copied_rows`).
        stratify: Whether every split gets its share of every class, and of low and high numbers, of all targets.
        folds: k, for test rows that are one of k folds; ``None`` for hold-outs.
        time: Column to split by in time: learn from the past, judge by the latest rows.
        gap: Least distance in time between splits, in days for dates, else in the unit of ``time``; rows between are
            left out.
        column: Column that says ``train``, ``val`` or ``test``; if it never says ``val``, these rows are drawn.

    Raises:
        DataError: Parts of the rule contradict each other, or a number is out of range.

    Examples:
        >>> table = pd.DataFrame({"sick": ["no"] * 12 + ["yes"] * 8})
        >>> parts = SplitRule(stratify=True, folds=4).split(table, ["sick"], number=1)
        >>> {name: table["sick"].iloc[rows].value_counts().to_dict() for name, rows in parts.items()}
        {'train': {'no': 7, 'yes': 4}, 'val': {'no': 2, 'yes': 2}, 'test': {'no': 3, 'yes': 2}}
    """

    val: float = 0.2
    test: float = 0.2
    seed: int = 0
    group: tuple[str, ...] = ()
    stratify: bool = False
    folds: int | None = None
    time: str | None = None
    gap: float = 0.0
    column: str | None = None

    def __post_init__(self) -> None:
        drawn = {"group": self.group, "stratify": self.stratify, "folds": self.folds}
        named = [name for name, value in drawn.items() if value]
        if self.time is not None and (named or self.column is not None):
            raise DataError(f"a split by time draws nothing: use time, or {' and '.join(named or ['split_column'])}")
        if self.column is not None and self.folds is not None:
            raise DataError("split_column says which rows are test rows, and so would folds; use one of them")
        if self.gap and self.time is None:
            raise DataError(f"gap is a distance in time and needs time, the column to split by; found gap={self.gap:g}")
        if not 0 <= self.gap < np.inf:
            raise DataError(f"gap must be 0 or more, found {self.gap}")
        if self.folds is not None:
            if self.folds < 2:
                raise DataError(f"folds must be at least 2, found {self.folds}; without folds, test rows are drawn")
            if not 0 <= self.val < 1 - 1 / self.folds:
                raise DataError(
                    f"with {self.folds} folds, val must be below {1 - 1 / self.folds:.3g} so that rows are left to "
                    f"train on, found {self.val}"
                )

    @property
    def fixed(self) -> bool:
        """Whether every number gives the same test rows."""
        return self.time is not None or self.column is not None

    @property
    def apart(self) -> tuple[str, ...]:
        """Columns that say how to split and are no inputs."""
        return (*self.group, *([] if self.column is None else [self.column]))

    def named(self) -> list[tuple[str, str]]:
        """Columns that the rule names, each with what it is."""
        named = [("group column", column) for column in self.group]
        named += [("time column", self.time)] if self.time is not None else []
        return named + ([("column in split_column", self.column)] if self.column is not None else [])

    def describe(self, targets: Sequence[str], number: int = 0) -> str:
        """The split in words."""
        if self.column is not None:
            return f"Split by column {self.column}."
        if self.time is not None:
            return f"Split by time, {self.time}" + (f", with a gap of {self.gap:g}." if self.gap else ".")
        what = f"groups of {' and '.join(self.group)}" if self.group else "rows"
        what += f", stratified by {', '.join(targets)}" if self.stratify else ""
        if self.folds is None:
            return f"Split by {what}, seed {self.seed + number}."
        fold, repetition = number % self.folds + 1, number // self.folds + 1
        return f"Split by {what}, fold {fold} of {self.folds}, repetition {repetition}, seed {self.seed}."

    def split(
        self, frame: pd.DataFrame, targets: Sequence[str], number: int = 0, judged: NDArray[np.bool_] | None = None
    ) -> dict[str, Rows]:
        """Row positions by split.

        Args:
            frame: The rows.
            targets: Names of the target columns, for strata.
            number: Which of the splits, from 0 on.
            judged: Rows that are test rows in any case; the rest is learned from and selected by.

        Raises:
            DataError: Too few rows, groups or rows of a class for the split, or a value that says nothing.
        """
        if number < 0:
            raise DataError(f"splits are numbered from 0 on, found {number}")
        if self.time is not None:
            return self._in_time(frame)
        if self.column is not None:
            return self._by_column(frame, targets, number)
        if judged is not None:
            return self._rest(frame, targets, number, np.flatnonzero(judged))
        if self.folds is not None:
            return self._in_folds(frame, targets, number)
        if not self.stratify:
            together = self._together(frame)
            return split_rows(len(frame), val=self.val, test=self.test, seed=self.seed + number, group=together)
        split_rows(len(frame), val=self.val, test=self.test, seed=self.seed)  # the shares are in range
        units, strata_of_units = self._units(frame, targets)
        shares = {"train": 1 - self.val - self.test, "val": self.val, "test": self.test}
        return self._checked(self._draw(units, strata_of_units, shares, [self.seed + number, 0x57]), frame, targets)

    def groups(self, frame: pd.DataFrame) -> Rows | None:
        """A number per row, the same for rows of one group; ``None`` without groups."""
        return _groups(frame, self.group) if self.group else None

    def _together(self, frame: pd.DataFrame) -> Rows | None:
        """What stays in one split: groups, and rows that are copies of each other; ``None`` where each stands alone."""
        if not copied_rows(frame):
            return self.groups(frame)
        copies = pd.Series(identical_rows(frame), index=frame.index)
        return _groups(frame.assign(**{_COPIES: copies}), (*self.group, _COPIES))

    def _units(self, frame: pd.DataFrame, targets: Sequence[str]) -> tuple[Rows, NDArray[Any] | None]:
        """What is drawn (rows or groups), as a number per row; and how often each stratum occurs in each."""
        together = self._together(frame)
        units = np.arange(len(frame)) if together is None else together
        if not self.stratify:
            return units, None
        members = strata({target: frame[target] for target in targets}).values()
        counts = [np.bincount(units, weights=rows, minlength=int(units.max()) + 1) for rows in members]
        return units, np.stack(counts, axis=1)

    def _draw(
        self, units: Rows, labels: NDArray[Any] | None, shares: dict[str, float], seed: Sequence[int]
    ) -> dict[str, Rows]:
        """Rows by part, each with its share of the units and, where there are some, of the labels."""
        count = int(units.max()) + 1
        names = [name for name, share in shares.items() if share > 0]
        if count < len(names):
            what = f"groups of {' and '.join(self.group)}" if self.group else "rows"
            raise DataError(
                f"expected at least {len(names)} {what} for {len(names)} parts, found {count}; add some, lower folds "
                "or set a share to zero"
            )
        rng = np.random.default_rng(list(seed))
        if labels is None:
            ends = np.round(np.cumsum([shares[name] for name in names]) * count).astype(int)
            part = np.empty(count, dtype=np.int64)
            part[rng.permutation(count)] = np.searchsorted(ends, np.arange(count), side="right").clip(
                max=len(names) - 1
            )
        else:
            part = deal(labels, [shares[name] for name in names], rng)
        of_row = part[units]
        drawn = {name: np.flatnonzero(of_row == place) for place, name in enumerate(names)}
        empty = [name for name in names if len(drawn[name]) == 0]
        if empty:
            raise DataError(
                f"no {'group' if self.group else 'row'} is left for {empty[0]}: {count} are too few for shares of "
                f"{', '.join(f'{share:g}' for share in shares.values())}; add some, or set a share to zero"
            )
        return {name: drawn.get(name, np.empty(0, dtype=np.int64)) for name in shares}

    def _in_folds(self, frame: pd.DataFrame, targets: Sequence[str], number: int) -> dict[str, Rows]:
        assert self.folds is not None
        repetition, fold = divmod(number, self.folds)
        units, labels = self._units(frame, targets)
        shares = {str(place): 1 / self.folds for place in range(self.folds)}
        parts = self._draw(units, labels, shares, [self.seed + repetition, 0xF01D])
        return self._rest(frame, targets, number, parts[str(fold)])

    def _rest(self, frame: pd.DataFrame, targets: Sequence[str], number: int, test: Rows) -> dict[str, Rows]:
        """The test rows as given, validation rows drawn among the others."""
        others = np.setdiff1d(np.arange(len(frame)), test)
        if not 0 <= self.val < 1 or len(others) == 0 or len(test) == 0:
            raise DataError(
                f"found {len(others)} rows to learn from, {len(test)} test rows and val={self.val}; there must be some "
                "of both, and val in [0, 1)"
            )
        share = self.val if self.folds is None else self.val / (1 - 1 / self.folds)
        units, labels = self._units(frame.iloc[others], targets)
        parts = self._draw(units, labels, {"train": 1 - share, "val": share}, [self.seed + number, 0x7A1])
        found = {"train": others[parts["train"]], "val": others[parts["val"]], "test": test}
        return self._checked(found, frame, targets) if self.stratify else found

    def _by_column(self, frame: pd.DataFrame, targets: Sequence[str], number: int) -> dict[str, Rows]:
        series = frame[self.column].astype(object)
        said = series.map(lambda value: str(value).strip().lower(), na_action="ignore")
        said = said.map(lambda value: _ALSO.get(value, value), na_action="ignore")
        odd = series[~said.isin(_SPLITS)]
        if len(odd):
            row, value = int(odd.index[0]) + 1, odd.iloc[0]
            raise DataError(
                f"column {self.column!r} must say train, val or test in every row, but row {row} "
                + ("has no value" if pd.isna(value) else f"holds {value!r}")
                + "; correct it, or leave such rows out"
            )
        parts = {name: np.flatnonzero((said == name).to_numpy()) for name in _SPLITS}
        if len(parts["train"]) == 0 or len(parts["test"]) == 0:
            raise DataError(
                f"column {self.column!r} must name rows to train on and rows to test on, found "
                f"{', '.join(f'{len(rows)} {name}' for name, rows in parts.items())}"
            )
        return parts if len(parts["val"]) else self._rest(frame, targets, number, parts["test"])

    def _in_time(self, frame: pd.DataFrame) -> dict[str, Rows]:
        split_rows(len(frame), val=self.val, test=self.test, seed=self.seed)  # the shares are in range
        when = _moments(frame[self.time])
        left, parts = np.ones(len(frame), dtype=bool), {}
        for name, share in (("test", self.test), ("val", self.val)):
            rows = np.flatnonzero(left)
            wanted = max(1, round(share * len(frame))) if share else 0
            if len(rows) <= wanted:
                raise self._too_early(name, len(frame))
            parts[name] = rows[:0]
            if wanted:
                start = np.sort(when[rows])[len(rows) - wanted]
                parts[name] = rows[when[rows] >= start]
                left &= (when < start) & (when <= start - self.gap)  # rows of one moment stay together
        parts["train"] = np.flatnonzero(left)
        if len(parts["train"]) == 0:
            raise self._too_early("train", len(frame))
        return {name: parts[name] for name in _SPLITS}

    def _too_early(self, name: str, rows: int) -> DataError:
        return DataError(
            f"no rows are left for {name} when {rows} rows are split by {self.time} with val={self.val}, "
            f"test={self.test} and a gap of {self.gap:g}: shorten the gap, or lower a share"
        )

    def _checked(self, parts: dict[str, Rows], frame: pd.DataFrame, targets: Sequence[str]) -> dict[str, Rows]:
        """The parts, if both values of every target with two of them are in each.

        Raises:
            DataError: One has too few rows for that.
        """
        for target in targets:
            labels = frame[target]
            counts = labels.value_counts()
            if len(counts) != 2:
                continue
            rarer, rows = counts.index[-1], int(counts.iloc[-1])
            empty = [name for name, part in parts.items() if len(part) and not (labels.iloc[part] == rarer).any()]
            if empty:
                raise DataError(
                    f"target {target!r} has {rows} row{'s' if rows > 1 else ''} of {rarer!r}, too few for every split "
                    f"to get one: {' and '.join(empty)} got none; add such rows, lower folds, set a share to zero, or "
                    "split without stratify"
                )
        return parts


def _groups(frame: pd.DataFrame, columns: Sequence[str]) -> Rows:
    """A number per row; rows that share a value of any of the columns, also by way of others, have the same.

    Raises:
        DataError: A row has no value.
    """
    codes = []
    for column in columns:
        absent = np.flatnonzero(frame[column].isna())
        if len(absent):
            row = int(frame.index[absent[0]]) + 1
            raise DataError(f"group column {column!r} has no value in row {row}; fill it, or leave such rows out")
        codes.append(np.unique(frame[column].to_numpy().astype(str), return_inverse=True)[1].reshape(-1))
    if len(codes) == 1:
        return codes[0]
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rows, first = len(frame), np.cumsum([0, *(int(code.max(initial=-1)) + 1 for code in codes)])
    ends = np.concatenate([rows + start + code for start, code in zip(first, codes, strict=False)])
    size = rows + int(first[-1])
    links = coo_matrix((np.ones(len(ends)), (np.tile(np.arange(rows), len(codes)), ends)), shape=(size, size))
    return np.unique(connected_components(links, directed=False)[1][:rows], return_inverse=True)[1]


def _moments(series: pd.Series[Any]) -> NDArray[np.float64]:
    """When each row is, as a number: days for dates.

    Raises:
        DataError: A row has no value, or the column holds neither dates nor numbers.
    """
    if pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series):
        when = series.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        try:
            when = dates(series, infer_column(series, "date").format)
        except DataError as error:
            raise DataError(f"time column {str(series.name)!r} must hold dates or numbers: {error}") from error
    absent = np.flatnonzero(np.isnan(when))
    if len(absent):
        row = int(series.index[absent[0]]) + 1
        raise DataError(f"time column {str(series.name)!r} has no value in row {row}; fill it, or leave such rows out")
    return when
