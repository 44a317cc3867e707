"""Every run as a point: which methods no other beats on all tasks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from polytask.study.outcome.figures.style import (
    INK,
    MUTED,
    Figure,
    Look,
    Omitted,
    Panel,
    clip_at,
    few_ticks,
    look_of,
    panel,
)
from polytask.study.outcome.numbers import Numbers

__all__ = ["front", "pareto"]


def pareto(comparison: Numbers) -> Figure | Omitted:
    """Two or three tasks: a panel per pair of tasks. More: gains as parallel coordinates."""
    name = "Trade-offs between tasks"
    tasks = [task for task in comparison.tasks if task not in comparison.excluded]
    means = comparison.primary.groupby("method", sort=False).mean()[tasks]
    if len(tasks) < 2:
        return Omitted(name, "there are no two tasks to trade")
    if len(means) < 2:
        return Omitted(name, "there are no two methods to compare")
    best = front(comparison, means)
    looks = look_of(comparison)
    panels: list[Panel] = []
    if len(tasks) <= 3:
        for number, (a, b) in enumerate(itertools.combinations(tasks, 2)):
            with panel(f"pareto-{number}", f"{a} against {b}, one point per run", panels, 2.6) as axes:
                _scatter(axes, comparison, (a, b), means, best, looks, join=len(tasks) == 2)
        how = (
            "Small points: single runs; large ones: means over seeds, filled when no other method's mean is at least "
            "as good on every task. Both axes point towards better, so better is up and to the right."
        )
    else:
        width = min(max(5.2, 0.55 * len(tasks)), 8.0)
        with panel("pareto-parallel", "mean gain of each method, task by task", panels, 2.6, width) as axes:
            _parallel(axes, comparison, tasks, looks)
        how = (
            "Mean gain over the reference in per cent, task by task; higher is better. Crossing lines are trade-offs. "
            "A gain far beyond all others ends at the edge, with its value."
        )
    legend = tuple((method, looks[method]) for method in comparison.methods if method in means.index)
    data = comparison.primary.reset_index()
    return Figure("pareto", name, _title(comparison, means, best), how, tuple(panels), data, legend)


def front(comparison: Numbers, means: pd.DataFrame) -> list[str]:
    """Methods whose mean no other method matches or beats on every task."""
    signs = [comparison.protocol.tasks[t].directions[comparison.protocol.tasks[t].primary] for t in means.columns]
    values = means.to_numpy() * np.asarray(signs)
    beaten = [
        any((other >= row).all() and (other > row).any() for j, other in enumerate(values) if j != i)
        for i, row in enumerate(values)
    ]
    return [str(method) for method, lost in zip(means.index, beaten, strict=True) if not lost]


def _scatter(
    axes: Axes,
    comparison: Numbers,
    pair: tuple[str, str],
    means: pd.DataFrame,
    best: list[str],
    looks: dict[str, Look],
    *,
    join: bool,
) -> None:
    a, b = pair
    for method in means.index:
        look, runs, centre = looks[method], comparison.primary.loc[method], means.loc[method]
        axes.plot(runs[a], runs[b], look.marker, color=look.colour, ms=2.8, alpha=0.55, mew=0.7)
        fill = look.colour if method in best else "white"
        axes.plot(centre[a], centre[b], look.marker, color=look.colour, ms=7, mew=1.5, mfc=fill, zorder=3)
    infos = [comparison.protocol.tasks[task] for task in pair]
    if join and len(best) > 1:
        line = means.loc[best].sort_values(a)
        axes.plot(line[a], line[b], color=MUTED, lw=0.8, dashes=(2, 2), zorder=1)
    axes.margins(0.12)
    for axis, info, invert in ((axes.xaxis, infos[0], axes.invert_xaxis), (axes.yaxis, infos[1], axes.invert_yaxis)):
        if info.directions[info.primary] < 0:
            invert()
        few_ticks(axis, 5)
    unit = [f" [{info.unit}]" if info.unit else "" for info in infos]
    axes.set_xlabel(f"{a}: {infos[0].primary}{unit[0]}, better →")
    axes.set_ylabel(f"{b}: {infos[1].primary}{unit[1]}, better →")


def _parallel(axes: Axes, comparison: Numbers, tasks: list[str], looks: dict[str, Look]) -> None:
    axes.axhline(0, color=INK, lw=0.8)
    rows = comparison.gains.groupby("method", sort=False).mean()[tasks]
    limit = clip_at(rows.to_numpy().ravel().tolist())
    for method in comparison.methods:
        if method == comparison.reference or comparison.interval(method) is None:
            continue
        look, mean = looks[method], rows.loc[method]
        for place, value in enumerate(mean):
            if abs(value) > limit:  # written where it leaves the axes
                side = math.copysign(1, value)
                words, corner = f"{value:+.0f} %".replace("-", "−"), (place, side * limit)
                axes.annotate(words, corner, (0, -7 * side), textcoords="offset points", ha="center", va="center",
                              fontsize=6.5, color=look.colour, weight="bold")  # fmt: skip
        axes.plot(
            range(len(tasks)),
            mean.clip(-limit, limit),
            look.marker,
            color=look.colour,
            ls="-",
            dashes=look.dashes or (None, None),
            ms=4,
            lw=1.2,
        )
    turned = max(map(len, tasks)) * len(tasks) > 60
    axes.set_xticks(range(len(tasks)), tasks, rotation=35 if turned else 0, ha="right" if turned else "center")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:+g} %" if value else "0")
    for index in range(len(tasks)):
        axes.axvline(index, color=MUTED, lw=0.3, zorder=0)


def _title(comparison: Numbers, means: pd.DataFrame, best: list[str]) -> str:
    if not len(best):
        return "No method has all metrics"
    if len(best) == 1:
        return f"{best[0]} is at least as good as every other method on every task, by its means"
    lead: dict[str, list[str]] = {}
    for task, sign in _signs(comparison, means):
        lead.setdefault(str((means[task] * sign).idxmax()), []).append(task)
    if len(means.columns) > 6:
        return f"No method leads on every task, by their means; {', '.join(best)} are beaten by none"
    words = "; ".join(f"{method} on {' and '.join(tasks)}" for method, tasks in lead.items())
    return f"No method leads on every task, by their means: {words}"


def _signs(comparison: Numbers, means: pd.DataFrame) -> list[tuple[str, int]]:
    infos = comparison.protocol.tasks
    return [(str(task), infos[str(task)].directions[infos[str(task)].primary]) for task in means.columns]
