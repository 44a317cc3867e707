"""Inputs that give a target away."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from polytask.data.columns import levels
from polytask.data.combinations import combination, gaps_tell
from polytask.data.encoder import TableEncoder
from polytask.tasks import Nature, Task, TaskSet

__all__ = ["Leak", "LeakageWarning", "find_leaks", "judged"]

_LIMIT = 0.99  # |correlation| above which a number is taken for the target itself
_MOST = 20_000  # rows that are looked at
_GLANCE = 500  # rows that show that a column and a target do not go together
_ROWS = 20  # fewer rows with both values prove nothing
_SAMPLE = 2_000  # rows by which weighted sums are sought
_EACH = 3  # nor do fewer rows of a class: two of 100 stand at the end of a column by chance


class LeakageWarning(UserWarning):
    """An input column equals or determines a target: results would be too good to be true."""


@final
@dataclasses.dataclass(frozen=True)
class Leak:
    """An input column that gives a target away, and how."""

    column: str
    target: str
    how: str

    def __str__(self) -> str:
        return f"column {self.column!r} {self.how} target {self.target!r}"


def judged(rows: int) -> NDArray[np.int64]:
    """Positions of the rows that are judged, of so many."""
    return np.unique(np.linspace(0, rows - 1, min(rows, _MOST)).astype(np.int64))


def find_leaks(
    frame: pd.DataFrame,
    inputs: Mapping[str, Tensor],
    encoder: TableEncoder,
    tasks: TaskSet,
    targets: Mapping[str, Tensor],
) -> list[Leak]:
    """Input columns that equal a target, correlate with it above 0.99 (by value or by rank), or determine it.

    So do several columns whose weighted sum is the target, a column that is a weighted sum of targets (a total beside
    its parts), and one that has values in rows of one class only.

    A numeric input determines a class target when cutting it into intervals separates all classes, of at least 3 rows
    each; a categorical one determines a target when every level that occurs at least twice has one value of it, and
    not all the same. Pairs with fewer than 20 rows
    where both are present are not judged; of more than 20,000 rows, 20,000 evenly spaced ones are.

    Args:
        frame: Training rows.
        inputs: The same rows encoded.
        encoder: What encoded them.
        tasks: The tasks.
        targets: Their labels in these rows.

    Returns:
        One entry per pair of column and target; one for columns that give it away together.
    """
    rows = judged(len(frame))
    frame, index = frame.iloc[rows], torch.from_numpy(rows)
    inputs = {name: values[index] for name, values in inputs.items()}
    targets = {name: labels[index] for name, labels in targets.items()}
    leaks = []
    columns = [(number.name, inputs["numeric"][:, i].double().numpy()) for i, number in enumerate(encoder.numeric)]
    missing = {number.name: frame[number.name].isna().to_numpy() for number in encoder.numeric}
    grouped = {category.name: pd.factorize(levels(frame[category.name]))[0] for category in encoder.categorical}
    for task, target, discrete in _columns_of(tasks, targets):
        known = (target >= 0).numpy() if discrete else task.present(target).numpy()
        labels = target.to(torch.float64).numpy()
        for name, values in columns:
            both = known & ~missing[name]
            how = _number_leak(values[both], labels[both], discrete)
            if how:
                leaks.append(Leak(name, task.name, how))
        for name, codes in grouped.items():
            both = known & (codes >= 0)
            if _determined(codes[both], labels[both]):
                leaks.append(Leak(name, task.name, "determines"))
        if discrete and targets[task.name].ndim == 1:
            gaps = {**missing, **{name: codes < 0 for name, codes in grouped.items()}}
            told = {name: gaps_tell(gap[known], labels[known], task.labels) for name, gap in gaps.items()}
            leaks += [Leak(name, task.name, how) for name, how in told.items() if how]
    leaks = list(dict.fromkeys(leaks))
    alone = {leak.column for leak in leaks}
    numbers = {name: np.where(missing[name], np.nan, values) for name, values in columns if name not in alone}
    return leaks + _sums(numbers, tasks, targets)


def _columns_of(tasks: TaskSet, targets: Mapping[str, Tensor]) -> list[tuple[Task, Tensor, bool]]:
    """Each task with its labels and whether they are classes; of several yes/no labels, one after the other."""
    found = []
    for task in tasks.values():
        target = targets[task.name]
        several = task.rule.nature is Nature.SEVERAL_YES_NO
        parts = list(target.T) if several else [target]
        found += [(task, part, several or task.rule.nature.classes) for part in parts]
    return found


def _sums(columns: Mapping[str, NDArray[np.float64]], tasks: TaskSet, targets: Mapping[str, Tensor]) -> list[Leak]:
    """Weighted sums: of targets that are a column, of columns that are a target."""
    labels = {
        task.name: targets[task.name].double().numpy()
        for task in tasks.values()
        if task.rule.nature in (Nature.NUMBER, Nature.COUNT)
    }
    some = np.unique(np.linspace(0, max(map(len, labels.values()), default=1) - 1, _SAMPLE).astype(np.int64))
    labels = {name: values[some] for name, values in labels.items()}
    columns = {name: values[some] for name, values in columns.items()} if labels else {}
    leaks = []
    for name, values in columns.items():
        found = combination(values, labels)
        if found:
            *others, last = found
            sum_of = "sum" if np.ptp(list(found.values())) < 1e-3 * abs(found[last]) else "weighted sum"
            targets_named = " and ".join(f"target {other!r}" for other in others)
            leaks.append(Leak(name, last, f"is, up to shift and scale, the {sum_of} of {targets_named} and"))
    totals = {leak.column for leak in leaks}
    rest = {name: values for name, values in columns.items() if name not in totals}
    for name, values in labels.items():
        found = combination(values, rest)
        if found:
            first, *others = found
            leaks.append(Leak(first, name, f"in a weighted sum with {' and '.join(map(repr, others))} is"))
    return leaks


def _number_leak(values: NDArray[np.float64], labels: NDArray[np.float64], discrete: bool) -> str:
    if len(values) < _ROWS or np.ptp(values) == 0 or np.ptp(labels) == 0:
        return ""
    correlation = float(np.corrcoef(values, labels)[0, 1])
    if abs(correlation) > 1 - 1e-9:
        return "equals (up to shift and scale)"
    if discrete:
        order = np.lexsort((labels, values))
        changes = int((np.diff(labels[order]) != 0).sum())
        sizes = np.unique(labels, return_counts=True)[1]
        apart = changes == len(sizes) - 1 and sizes.min() >= _EACH
        if apart and pd.Series(labels).groupby(values).nunique().max() == 1:  # no value of the column with two classes
            return "determines"
    some = slice(None, None, max(1, len(values) // _GLANCE))
    if len(values) > 2 * _GLANCE and abs(_ranked(values[some], labels[some])) < 0.9:
        return ""  # the quick way to see that they do not go together
    ranked = _ranked(values, labels)
    if max(abs(correlation), abs(ranked)) > _LIMIT:
        what = "correlation" if abs(correlation) > _LIMIT else "rank correlation"
        return f"has {what} {correlation if abs(correlation) > _LIMIT else ranked:.4f} with"
    return ""


def _ranked(values: NDArray[np.float64], labels: NDArray[np.float64]) -> float:
    """Rank correlation; 0 where one of them is constant."""
    if np.ptp(values) == 0 or np.ptp(labels) == 0:
        return 0.0
    return float(np.corrcoef(pd.Series(values).rank(), pd.Series(labels).rank())[0, 1])


def _determined(codes: NDArray[np.intp], labels: NDArray[np.float64]) -> bool:
    if len(codes) < _ROWS or np.ptp(labels) == 0:
        return False
    groups = pd.Series(labels).groupby(codes)
    sizes = groups.size()
    repeated = sizes[sizes >= 2].index
    # Levels seen once determine anything; they count only when most rows are in repeated levels.
    if sizes[repeated].sum() < max(_ROWS, 0.5 * len(codes)) or len(repeated) < 2:
        return False
    return bool((groups.nunique()[repeated] == 1).all() and groups.first()[repeated].nunique() > 1)
