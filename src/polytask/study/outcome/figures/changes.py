"""Row by row: what a method changes against the reference, and where methods disagree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from polytask.study.outcome.answers import Answers, Kept
from polytask.study.outcome.figures.style import (
    INK,
    MUTED,
    Figure,
    Omitted,
    Panel,
    look_of,
    panel,
    pick_tasks,
    short,
)
from polytask.study.outcome.figures.subjects import subjects
from polytask.study.outcome.numbers import Numbers

__all__ = ["changes", "disagreements", "paired"]

Array = NDArray[np.float64]
TASKS = 12
"""Most tasks that are drawn."""
ROWS = 12
"""Rows of disagreement, over all tasks; two per task at least."""
TABLE = 24
"""Most of them in the table; all are in the data."""
METHODS = 6
"""Most methods in that table."""
EVEN = 0.02
"""Difference of shares below which a method does as often worse as better."""


def changes(comparison: Numbers, kept: Kept) -> Figure | Omitted:
    """Shares of test rows that each method answers better, and worse, than the reference."""
    name, reference = "What changes, row by row", comparison.reference
    if not kept:
        return Omitted(name, "no answers of single rows were kept")
    found = {
        (task, method): counts
        for task in comparison.tasks
        for method in comparison.methods
        if method != reference and (counts := paired(kept, task, method, reference, comparison.protocol.seeds))[0]
    }
    if not found:
        return Omitted(name, "no two methods answered the same rows")
    best = subjects(comparison)[-1]
    tasks = [task for task in comparison.tasks if any(t == task for t, _ in found)]
    methods = [method for method in comparison.methods if any(m == method for _, m in found)]
    shown = pick_tasks([task for task in tasks if (task, best) in found], comparison.gains, TASKS)
    panels: list[Panel] = []
    words = "; ".join(f"{task}: {_cell(found[task, best])}" for task in shown)
    if shown:
        alt, height = f"{best} against {reference}, {words}", 0.75 + 0.3 * len(shown)
        with panel("changes-best", alt, panels, height, 5.2) as axes:
            _bars(axes, {task: found[task, best] for task in shown}, look_of(comparison)[best].colour)
            axes.set_title(f"rows that {best} answers worse (left) and better (right) than {reference}")
    table = [(f"better / worse than {reference}", *methods)]
    table += [(task, *(_cell(found[task, m]) if (task, m) in found else "" for m in methods)) for task in tasks]
    rows = [(task, method, *counts) for (task, method), counts in found.items()]
    data = pd.DataFrame(rows, columns=["task", "method", "rows", "better", "worse"])
    caption = (
        f"Both answer the same test rows; all seeds together. Better: closer to the true value than {reference}, or "
        "the right class where it is wrong; the rest of 100 % is the same for both. How often says nothing of how "
        "much: the mean error, which Δm is made of, can go the other way."
    )
    title = _changed(found, best, reference)
    return Figure("changes", name, title, caption, tuple(panels), data, table=tuple(table))


def paired(kept: Kept, task: str, method: str, other: str, seeds: Sequence[int]) -> tuple[int, int, int]:
    """Labelled rows that both answered, those that ``method`` answered better, and those it answered worse."""
    rows = better = worse = 0
    for seed in seeds:
        mine, theirs = kept.get((task, method, seed)), kept.get((task, other, seed))
        if mine is None or theirs is None or not np.array_equal(mine.rows, theirs.rows):
            continue
        a, b = _error(mine), _error(theirs)
        known = np.isfinite(a) & np.isfinite(b)
        close = 1e-6 * (float(np.abs(b[known]).max()) if known.any() else 0.0)  # float32 tells no more apart
        rows += int(known.sum())
        better += int((a[known] < b[known] - close).sum())
        worse += int((a[known] > b[known] + close).sum())
    return rows, better, worse


def _error(answers: Answers) -> Array:
    """Distance of numbers and ordered classes, or the number of wrong labels; NaN without a label."""
    target, point = answers.target.astype(np.float64), answers.point
    known = np.isfinite(target) & np.isfinite(point)
    far = np.where(known, np.abs(target - point), np.nan)
    if answers.classes:
        return np.asarray(np.where(known, far > 0, np.nan))
    if far.ndim == 1:
        return np.asarray(far)
    return np.asarray(np.where(known.any(axis=1), np.where(known, far, 0.0).sum(axis=1), np.nan))


def _cell(counts: tuple[int, int, int]) -> str:
    rows, better, worse = counts
    return f"{100 * better / rows:.0f} % / {100 * worse / rows:.0f} %"


def _changed(found: dict[tuple[str, str], tuple[int, int, int]], best: str, reference: str) -> str:
    net = {task: (better - worse) / rows for (task, method), (rows, better, worse) in found.items() if method == best}
    if not net:
        return f"No row was answered by both {best} and {reference}"
    most = max(net, key=lambda task: abs(net[task]))
    rows, better, worse = found[most, best]
    if abs(net[most]) < EVEN:
        return f"{best} answers as many rows worse than {reference} as better, on every task"
    word, often, less = ("better", better, worse) if net[most] > 0 else ("worse", worse, better)
    other = "worse" if word == "better" else "better"
    return (
        f"{best} answers {100 * often / rows:.0f} % of the rows of {most} {word} than {reference}, and "
        f"{100 * less / rows:.0f} % {other}"
    )


def _bars(axes: Axes, found: dict[str, tuple[int, int, int]], colour: str) -> None:
    axes.axvline(0, color=INK, lw=0.8, zorder=3)
    for place, (rows, better, worse) in enumerate(found.values()):
        axes.barh(place, better / rows, 0.55, color=colour, alpha=0.85)
        axes.barh(place, -worse / rows, 0.55, color="none", edgecolor=colour, lw=1)
        for share, side in ((better / rows, 1), (worse / rows, -1)):
            axes.annotate(
                f"{100 * share:.0f} %", (side * share, place), (3 * side, 0), textcoords="offset points",
                ha="left" if side > 0 else "right", va="center", color=MUTED, fontsize=6.5,
            )  # fmt: skip
    axes.set_yticks(range(len(found)), [short(task, 24) for task in found])
    axes.set_ylim(len(found) - 0.4, -0.6)
    wide = 1.25 * max(max(better, worse) / rows for rows, better, worse in found.values()) or 0.1
    axes.set_xlim(-wide, wide)
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(100 * value):.0f} %")
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=7)
    axes.spines["left"].set_visible(False)


def disagreements(comparison: Numbers, kept: Kept) -> Figure | Omitted:
    """The test rows on which methods' answers lie furthest apart."""
    name = "Rows the methods disagree on"
    if not kept:
        return Omitted(name, "no answers of single rows were kept")
    far = {task: found for task in comparison.tasks if (found := _apart(comparison, kept, task))}
    rows = [row for task in far for row in _furthest(task, far[task], max(ROWS // len(far), 2))]
    if not rows:
        return Omitted(name, "no two methods answered the same rows differently")
    methods = [m for m in comparison.methods if any(method == m for _, method, _ in kept)][:METHODS]
    data: list[tuple[Any, ...]] = []
    for apart, task, seed, place in rows:
        answers = {m: kept[task, m, seed] for m in methods if (task, m, seed) in kept}
        one = next(kept[task, m, seed] for m in comparison.methods if (task, m, seed) in kept)
        true = one.named(float(one.target[place])) if one.target.ndim == 1 else ""
        said = [_said(answers[m], place) if m in answers else "" for m in methods]
        data.append((task, int(one.rows[place]), seed, true, apart, *said))
    table: list[tuple[str, ...]] = [("task", "row", "seed", "true", *methods)]
    table += [(task, f"{row:,}", f"{seed}", true, *said) for task, row, seed, true, _, *said in data[:TABLE]]
    caption = (
        "Rows of the table that was read, counted from 0 (test rows, where there is no table). Numbers: distance of "
        "the largest from the smallest answer, in standard deviations of the labels; classes: largest difference "
        "between two methods' probabilities of a class. The share counts rows where that is above ½."
    )
    frame = pd.DataFrame(data, columns=["task", "row", "seed", "true", "apart", *methods])
    return Figure("disagreements", name, _far_title(far), caption, (), frame, table=tuple(table))


def _furthest(task: str, far: Sequence[tuple[int, Array]], most: int) -> list[tuple[float, str, int, int]]:
    """Distance, task, seed and place of the rows on which answers lie furthest apart."""
    found = [
        (float(values[place]), task, seed, int(place))
        for seed, values in far
        for place in np.argsort(-np.nan_to_num(values), kind="stable")[:most]
        if values[place] > 0
    ]
    return sorted(found, key=lambda row: (-row[0], row[2:]))[:most]


def _far_title(far: dict[str, list[tuple[int, Array]]]) -> str:
    shares = {task: float(np.mean(np.concatenate([v for _, v in found]) > 0.5)) for task, found in far.items()}
    most, least = max(shares, key=lambda task: shares[task]), min(shares, key=lambda task: shares[task])
    if shares[most] < 0.005:
        return "The methods answer nearly the same on every task"
    title = f"The methods lie far apart on {100 * shares[most]:.0f} % of the rows of {most}"
    if most != least:
        rest = f"{100 * shares[least]:.0f} % of those" if shares[least] >= 0.005 else "hardly any"
        title += f" and on {rest} of {least}"
    return title


def _apart(comparison: Numbers, kept: Kept, task: str) -> list[tuple[int, Array]]:
    """Per seed, how far methods' answers lie apart on each row: in standard deviations of labels, or in probability."""
    found = []
    for seed in comparison.protocol.seeds:
        answers = [kept[task, m, seed] for m in comparison.methods if (task, m, seed) in kept]
        if len(answers) < 2 or any(not np.array_equal(a.rows, answers[0].rows) for a in answers):
            continue
        first = answers[0]
        chances = first.classes > 0 or first.target.ndim == 2
        values = np.stack([(a.decoded if chances else a.point).astype(np.float64) for a in answers])
        spread = values.max(axis=0) - values.min(axis=0)
        if not chances:
            unit = float(np.nanstd(first.target)) if np.isfinite(first.target).any() else 0.0
            spread = spread / unit if unit > 0 else np.zeros_like(spread)
        found.append((seed, spread if spread.ndim == 1 else spread.max(axis=1)))
    return found


def _said(answers: Answers, place: int) -> str:
    if answers.target.ndim == 2:
        return ", ".join(f"{value:.2f}" for value in answers.decoded[place][:6])
    said = answers.named(float(answers.point[place]))
    if not answers.classes:
        return said
    chance = answers.decoded[place]
    sure = float(chance if chance.ndim == 0 else chance[int(answers.point[place])])
    if chance.ndim == 0 and not answers.point[place]:
        sure = 1 - sure
    return f"{said} ({100 * sure:.0f} %)"
