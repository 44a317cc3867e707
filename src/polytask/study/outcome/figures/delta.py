"""Δm and the gain of each task, with intervals."""

from __future__ import annotations

import math

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
    pick_tasks,
)
from polytask.study.outcome.numbers import Numbers
from polytask.study.outcome.statistics import Interval
from polytask.study.outcome.text import apart, over, percent, signed_interval

__all__ = ["delta"]


def delta(comparison: Numbers) -> Figure | Omitted:
    """Bars from zero to the mean gain, whiskers for the interval, one dot per seed; hollow where 0 is inside."""
    methods = [m for m in comparison.methods if m != comparison.reference and comparison.interval(m) is not None]
    name = f"Gain over {'single-task models' if comparison.against_singles else comparison.reference}"
    if not methods:
        return Omitted(name, "no method could be measured against a reference")
    looks = look_of(comparison)
    panels: list[Panel] = []
    height = 0.75 + 0.3 * len(methods)
    overall = {method: comparison.interval(method) for method in methods}
    with panel("delta-all", _alt("Δm", overall), panels, height) as axes:
        cut = _bars(axes, overall, looks, {method: comparison.deltas[method].tolist() for method in methods})
        axes.set_title("Δm, the mean over all tasks" if not comparison.excluded else "Δm, the mean over the tasks")
    shown = pick_tasks(comparison.tasks, comparison.gains, 8)
    for number, task in enumerate(shown):
        intervals = {method: comparison.interval(method, task) for method in methods}
        info = comparison.protocol.tasks[task]
        with panel(f"delta-{number}", _alt(task, intervals), panels, height) as axes:
            cut |= _bars(axes, intervals, looks, {m: comparison._all_gains[task][m].tolist() for m in methods})
            axes.set_title(f"{task}  ({info.primary} {info.arrow})")
    reference = apart(comparison)
    n = len(comparison.protocol.seeds)
    how = f"Relative gain over {reference} in per cent; right of zero is better. "
    how += _whiskers(comparison, n) if n > 1 else "One seed: there is no interval."
    if cut:
        how += " A bar or whisker that ends in an arrow goes on beyond the axis; the mean beside it is the whole one."
    if len(shown) < len(comparison.tasks):
        how += f" Shown are the {len(shown)} of {len(comparison.tasks)} tasks that change most; all are in the data."
    return Figure("delta", name, _title(comparison, methods), how, tuple(panels), _data(comparison))


def _whiskers(comparison: Numbers, n: int) -> str:
    """How to read intervals, and what they do not cover."""
    matter = "initialisation and order of rows matter"
    if comparison.protocol.estimators:
        matter += " (for estimators, the folds of cross-validation)"
    split = comparison.protocol.splits
    about = "as splits of the rows differ, too, it is about other rows" if split else "not the choice of rows"
    test = "corrected Student-t" if split else "Student-t"
    return (
        f"Whiskers: 95 % {test} interval over {over(comparison, n)}, not corrected for looking at several methods. "
        "Dots: single seeds. Hollow bars: the interval covers zero, there are too few rows to tell, or there is none. "
        f"It says how much {matter}{'; ' if split else ', '}{about}."
    )


def _bars(
    axes: Axes, intervals: dict[str, Interval | None], looks: dict[str, Look], seeds: dict[str, list[float]]
) -> bool:
    """Draw the bars; returns whether some go on beyond the axis."""
    axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
    beyond = axes.get_yaxis_transform()
    known = [interval for interval in intervals.values() if interval is not None and math.isfinite(interval.mean)]
    limit = clip_at([max(map(abs, _reach(interval))) for interval in known])
    for row, (method, interval) in enumerate(intervals.items()):
        words = "undefined" if interval not in known else f"{percent(interval.mean)} %".replace("-", "−")
        cut = interval in known and abs(interval.mean) > limit
        axes.text(
            1.03, row, words, transform=beyond, va="center", color=INK if cut else MUTED, weight="bold" if cut else None
        )
        if interval is None or interval not in known:
            continue
        fill = looks[method].colour if interval.verdict in ("better", "worse") else "none"
        axes.barh(row, interval.mean, 0.5, color=fill, edgecolor=looks[method].colour, lw=1, alpha=0.85, zorder=2)
        if math.isfinite(interval.low):
            whiskers = [[interval.mean - interval.low], [interval.high - interval.mean]]
            axes.errorbar(interval.mean, row, xerr=whiskers, color=INK, lw=1.1, capsize=2.5, capthick=1.1, zorder=4)
            above = [row + 0.37] * len(seeds[method])
            axes.plot(seeds[method], above, "o", color=MUTED, ms=1.9, mew=0, zorder=3)
        for end in {math.copysign(limit, value) for value in _reach(interval) if abs(value) > limit}:
            axes.plot(end, row, ">" if end > 0 else "<", color=INK, ms=5, clip_on=False, zorder=5)
    axes.set_yticks(range(len(intervals)), list(intervals))
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=7)
    axes.set_ylim(len(intervals) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+g} %".replace("-", "−") if value else "0")
    few_ticks(axes.xaxis, 4)
    axes.margins(x=0.06)
    if math.isfinite(limit):
        low = min((value for interval in known for value in _reach(interval)), default=0.0)
        high = max((value for interval in known for value in _reach(interval)), default=0.0)
        axes.set_xlim(max(1.06 * min(low, 0), -limit), min(1.06 * max(high, 0), limit))
    return math.isfinite(limit)


def _reach(interval: Interval) -> tuple[float, ...]:
    """Mean and bounds, as far as they are known."""
    return tuple(value for value in (interval.mean, interval.low, interval.high) if math.isfinite(value))


def _title(comparison: Numbers, methods: list[str]) -> str:
    groups: dict[str, list[str]] = {}
    for method in methods:
        interval = comparison.interval(method)
        assert interval is not None
        groups.setdefault(interval.verdict, []).append(f"{method} {percent(interval.mean)} %")
    words = {
        "better": "Better",
        "worse": "Worse",
        "not separable": "Not separable",
        "cannot tell": "Too few rows to tell",
        "one seed": "One seed, no interval",
        "no spread": "The same at every seed, no interval",
    }
    return "; ".join(f"{words[key]}: {', '.join(groups[key])}" for key in words if key in groups)


def _alt(what: str, intervals: dict[str, Interval | None]) -> str:
    parts = [f"{method} {signed_interval(i)}" for method, i in intervals.items() if i is not None]
    return f"{what}: {'; '.join(parts)}"


def _data(comparison: Numbers) -> pd.DataFrame:
    rows = comparison.negative_transfer.drop(columns=["hurt", "helped"])
    summary = comparison.summary
    overall = [
        (method, "(all tasks)", row["delta_m"], row["ci_low"], row["ci_high"], row["seeds"])
        for method, row in summary.iterrows()
        if method != comparison.reference
    ]
    return pd.concat([pd.DataFrame(overall, columns=rows.columns), rows], ignore_index=True)
