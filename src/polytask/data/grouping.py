"""Rows that belong together (of a patient, of a school): random rows put some of a group on each side of a split."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from polytask.data.columns import Column
from polytask.data.factors import VISIT, codes_of, factor, in_blocks, is_number, scores
from polytask.remedies import option

__all__ = ["Alike", "alike_within", "grouping"]

Array = NDArray[np.float64]

_WHOSE = "subj(ect)?|patient|participant|respondent|individual|pupil|student|user|customer|client|household|hh|donor"
_WHAT = (
    "person|family|school|child|member|class(room)?|teacher|hospital|clinic|ward|physician|doctor|animal|rat|mouse|dog|"
    "cow|herd|litter|brood|plot|batch|specimen|sample|firm|company|store|shop|village|district|site|worker|driver|"
    "machine|device|station"
)
_NUMBER = r"[_\s.-]?(id|no|nr|num|number|code|name)?[_\s.-]?[0-9k]?"
# Names that say whose the rows are, and names that may say it.
_SURELY = re.compile(rf"(^|[_\s.-])({_WHOSE}){_NUMBER}$|(^|[_\s.-])id$|[a-z](Id|ID)$", re.IGNORECASE)
_PERHAPS = re.compile(rf"(^|[_\s.-])({_WHAT}){_NUMBER}$", re.IGNORECASE)
_QUANTITY = re.compile(
    r"(^|[_\s.-])(age|years?|months?|days?|weeks?|hours?|dates?|time|counts?|size|n|num|number)([_\s.-]|$)",
    re.IGNORECASE,
)
_FEW = 5  # groups below which holding some of them out decides nothing
_UNNAMED = 12  # groups that a column must have that no name gives away
_ALIKE = 0.05  # intraclass correlation that such a column must have
_SURE = 1e-6
_MOST = 50_000  # of more than twice as many rows, so many tell how alike levels are
_EACH = 20  # of them, so many at least for each level, on average


class Alike(NamedTuple):
    """How alike the rows of one group are.

    Attributes:
        correlation: The intraclass correlation.
        chance: Probability of a ratio of variances as large if groups did not matter.
    """

    correlation: float
    chance: float


def alike_within(values: Array, codes: NDArray[np.intp]) -> Alike:
    """Intraclass correlation of one-way analysis of variance, and its F test.

    ρ = (B − W) / (B + (m − 1) W), with B and W the mean squares between and within groups, and m the size of a group
    (for unequal ones (N − Σ nᵢ² / N) / (G − 1)).

    Args:
        values: One number per row, (N,), none missing.
        codes: Its group, from 0 on.

    Reference:
        Shrout and Fleiss (1979), Intraclass correlations: uses in assessing rater reliability.

    Examples:
        >>> alike_within(np.array([1.0, 1.0, 5.0, 5.0]), np.array([0, 0, 1, 1])).correlation
        1.0
    """
    from scipy.special import fdtrc

    sizes = np.bincount(codes)
    rows, groups = len(values), int((sizes > 0).sum())
    if groups < 2 or rows <= groups:
        return Alike(0.0, 1.0)
    values = values - values.mean()
    means = np.bincount(codes, values) / np.maximum(sizes, 1)
    between = float(sizes @ means**2) / (groups - 1)
    within = float(((values - means[codes]) ** 2).sum()) / (rows - groups)
    usual = (rows - float(sizes @ sizes) / rows) / (groups - 1)
    if between == 0:
        return Alike(0.0, 1.0)
    chance = float(fdtrc(groups - 1, rows - groups, between / within)) if within > 0 else 0.0
    return Alike((between - within) / (between + (usual - 1) * within), chance)


def grouping(frame: pd.DataFrame, columns: Iterable[Column], labels: Mapping[str, Tensor]) -> str:
    """That a column names what rows belong to (a patient, a school), with figures; nothing where none does.

    Such a column has few levels that repeat. It is known by its name; or its levels explain a target although they are
    no quantity, and its rows stand together in the table or share their other values; or it has one row for each of
    several times.

    Args:
        frame: All rows.
        columns: The input columns.
        labels: Labels by target.
    """
    targets = {name: scores(label) for name, label in labels.items()}
    dated = {column.name for column in columns if column.role == "date"}
    best: tuple[tuple[int, float], str] | None = None
    for name in map(str, frame.columns):
        if name in labels or name in dated or not targets:
            continue
        series = frame[name]
        codes, levels = factor(series)
        present = int((codes >= 0).sum())
        surely = _SURELY.search(name) is not None
        if not _FEW <= levels <= present / (1.5 if surely else 2) or not (surely or _possible(series, codes)):
            continue
        some = _some(len(codes), levels)
        found = {task: _most_alike([part[some] for part in parts], codes[some]) for task, parts in targets.items()}
        task = max(found, key=lambda one: (-found[one].chance, found[one].correlation))
        sure = 2 if surely else 1 if _perhaps(frame, name, codes, targets, found[task], task) else 0
        rank = (sure + (found[task].chance < 0.01), found[task].correlation)
        if sure and (best is None or rank > best[0]):
            best = rank, _grouped(name, levels, present, task, found[task])
    return best[1] if best else ""


def _some(rows: int, levels: int) -> NDArray[np.int64] | slice:
    """Rows by which the likeness of levels is judged: all, or many of each level, drawn without return."""
    most = max(_MOST, _EACH * levels)
    return slice(None) if rows <= 2 * most else np.random.default_rng(0).choice(rows, most, replace=False)


def _perhaps(
    frame: pd.DataFrame,
    name: str,
    codes: NDArray[np.intp],
    targets: Mapping[str, list[Array]],
    alike: Alike,
    task: str,
) -> bool:
    """Whether a column whose name does not say so for sure holds groups."""
    series, levels = frame[name], int(codes.max()) + 1
    blocks = in_blocks(codes)
    if blocks and _visits(frame, name, codes):
        return True
    if (is_number(series) and _smooth(series, targets[task])) or not (blocks or levels >= _UNNAMED):
        return False
    if _PERHAPS.search(name):
        counted = is_number(series) and bool(series.min() == 0) and levels < 30
        return alike.chance < 0.01 and not counted
    if levels < _UNNAMED or _spread(series, levels) or alike.correlation < _ALIKE or alike.chance > _SURE:
        return False
    return blocks or _shared(frame, name, codes, targets)


def _possible(series: pd.Series[Any], codes: NDArray[np.intp]) -> bool:
    """Whether a column may hold groups, by what is quickly seen: its name, its levels, where its rows stand."""
    name, levels = str(series.name), int(codes.max()) + 1
    if _PERHAPS.search(name) or _QUANTITY.search(name):
        return not _QUANTITY.search(name)
    return in_blocks(codes) or (levels >= _UNNAMED and not _spread(series, levels))


def _spread(series: pd.Series[Any], levels: int) -> bool:
    """Whether a column's numbers lie too far apart for numbers that count groups."""
    return is_number(series) and bool(series.max() - series.min() >= 3 * levels)


def _visits(frame: pd.DataFrame, name: str, codes: NDArray[np.intp]) -> bool:
    """Whether each level has one row for each of several times."""
    for other in map(str, frame.columns):
        if other == name or not VISIT.fullmatch(other) or not is_number(frame[other]):
            continue
        times, distinct = codes_of(frame[other])
        pairs = codes.astype(np.int64) * (distinct + 1) + times
        levels = int(codes.max()) + 1
        if distinct >= 3 and len(np.unique(pairs)) == len(pairs) >= 3 * levels and len(pairs) > 0.3 * levels * distinct:
            return True
    return False


def _grouped(name: str, levels: int, rows: int, task: str, alike: Alike) -> str:
    how = "rows of one level belong together"
    if alike.chance < 0.01:
        chance = f"p = {alike.chance:.0e}" if alike.chance > 1e-99 else "p < 1e-99"
        how = f"those of one level are alike in {task!r} (intraclass correlation {alike.correlation:.2f}, {chance})"
    return (
        f"column {name!r} has {levels:,} levels in {rows:,} rows, and {how}; random rows put a level into training and "
        "test, which flatters a model. If new levels are to be predicted, keep each in one split: "
        + option("group", name)
    )


def _most_alike(columns: list[Array], codes: NDArray[np.intp]) -> Alike:
    """Of a target's columns, the one that groups tell most surely."""
    found = [Alike(0.0, 1.0)]
    for values in columns:
        both = ~np.isnan(values) & (codes >= 0)
        alike = alike_within(values[both], codes[both])
        found.append(alike._replace(chance=min(1.0, alike.chance * len(columns))))
    return min(found, key=lambda alike: (alike.chance, -alike.correlation))


def _smooth(series: pd.Series[Any], columns: list[Array]) -> bool:
    """Whether a target changes little from one level to the next larger one, as with a quantity."""
    for values in columns:
        both = ~np.isnan(values) & series.notna().to_numpy()
        means = pd.Series(values[both]).groupby(series.to_numpy()[both].astype(np.float64)).mean()
        if len(means) >= 4 and np.ptp(means) > 0 and _next(np.asarray(means, dtype=np.float64)) > 0.5:
            return True
    return False


def _next(means: Array) -> float:
    """Share of the variance of means that the step to the next does not hold: 1 for a smooth curve, 0 for none."""
    return 1.0 - float((np.diff(means) ** 2).mean()) / (2 * float(means.var(ddof=1)))


def _shared(frame: pd.DataFrame, name: str, codes: NDArray[np.intp], targets: Mapping[str, Any]) -> bool:
    """Whether at least two other columns have one value per level although they vary: age and sex of a patient."""
    sizes = np.bincount(codes[codes >= 0])
    often = np.flatnonzero(sizes >= 2)[:200]
    some = np.flatnonzero(np.isin(codes, often))[:20_000]
    groups = len(np.unique(codes[some]))
    others = 0
    for other in map(str, frame.columns):
        if other == name or other in targets:
            continue
        own, levels = codes_of(frame[other].iloc[some])
        if 3 <= levels <= groups:
            others += len(np.unique(codes[some].astype(np.int64) * (levels + 1) + own + 1)) <= 1.02 * groups
    return groups >= _UNNAMED and others >= 2
