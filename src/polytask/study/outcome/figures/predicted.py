"""Predicted against true, and what is left over: numbers, counts and medians."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from polytask.study.outcome.answers import Answers, Kept
from polytask.study.outcome.figures.style import (
    INK,
    MUTED,
    Figure,
    Look,
    Omitted,
    Panel,
    few_ticks,
    look_of,
    panel,
    pick_tasks,
)
from polytask.study.outcome.figures.subjects import answered, subjects
from polytask.study.outcome.numbers import Numbers
from polytask.study.outcome.text import number

__all__ = ["predicted", "r2"]

Array = NDArray[np.float64]
DOTS = 400
"""Most dots of a drawing; more are one blot, and a heavy page."""
TASKS = 4
"""Most tasks that are drawn."""


def predicted(comparison: Numbers, kept: Kept) -> Figure | Omitted:
    """R² of every method; of the reference and the best other, predictions and residuals row by row."""
    name = "Predicted against true"
    tasks = [t for t in comparison.tasks if any(not a.classes and a.target.ndim == 1 for a in answered(kept, t))]
    if not tasks:
        what = "of single rows were kept" if not kept else "are numbers"
        return Omitted(name, f"no answers {what}")
    scores = _scores(comparison, kept, tasks)
    means = {key: _mean(values) for key, values in scores.items()}
    looks, drawn = look_of(comparison), subjects(comparison)
    panels: list[Panel] = []
    for index, task in enumerate(shown := pick_tasks(tasks, comparison.gains, TASKS)):
        seed = next(s for s in comparison.protocol.seeds if any((task, m, s) in kept for m in comparison.methods))
        pairs = {m: kept[task, m, seed] for m in drawn if (task, m, seed) in kept}
        span = _span([values for answers in pairs.values() for values in _pair(answers)])
        unit = comparison.protocol.tasks[task].unit
        for place, (method, answers) in enumerate(pairs.items()):
            title = f"{task}, {method}: R² {_r2_text(means[task, method])}"
            with panel(f"predicted-{index}-{place}", title, panels, 2.3) as axes:
                _scatter(axes, *_pair(answers), looks[method], span, unit)
                axes.set_title(title)
        method, answers = list(pairs.items())[-1]
        words, left = _residuals(answers)
        with panel(f"residuals-{index}", f"{task}, {method}: {words}", panels, 2.3) as axes:
            _left_over(axes, _pair(answers)[1], left, looks[method], unit)
            axes.set_title(f"{task}, {method}: {words}")
    caption = (
        "First seed, one dot per test row (at most 400 are drawn): above the line the model says too much, below it "
        "too little. Rows beyond the axes sit on their edge as triangles and are counted. Residual: true minus "
        "predicted; the line is its median in tenths of the predictions. R² is the share of the variance of the test "
        "labels that the predictions explain, mean over seeds; 0 is no better than their mean."
    )
    if len(shown) < len(tasks):
        caption += f" Drawn are the {len(shown)} of {len(tasks)} tasks that change most; the table has all."
    methods = [m for m in comparison.methods if any((task, m) in scores for task in tasks)]
    table = [("R²", *methods)]
    table += [(task, *(_r2_cell(scores.get((task, m), [])) for m in methods)) for task in tasks]
    rows = [(task, m, s, v) for (task, m), values in scores.items() for s, v in values]
    data = pd.DataFrame(rows, columns=["task", "method", "seed", "r2"])
    return Figure("predicted", name, _title(tasks, methods, means), caption, tuple(panels), data, table=tuple(table))


def r2(true: Array, said: Array) -> float:
    """Coefficient of determination of present labels; NaN where it is undefined."""
    known = np.isfinite(true) & np.isfinite(said)
    true, said = true[known], said[known]
    total = float(((true - true.mean()) ** 2).sum()) if len(true) > 1 else 0.0
    return 1 - float(((true - said) ** 2).sum()) / total if total > 0 else math.nan


def _scores(comparison: Numbers, kept: Kept, tasks: Sequence[str]) -> dict[tuple[str, str], list[tuple[int, float]]]:
    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for task in tasks:
        for method in comparison.methods:
            for seed in comparison.protocol.seeds:
                if (task, method, seed) in kept:
                    found.setdefault((task, method), []).append((seed, r2(*_pair(kept[task, method, seed]))))
    return found


def _pair(answers: Answers) -> tuple[Array, Array]:
    """True and predicted values of the rows that have both."""
    true, said = answers.target.astype(np.float64), answers.point
    known = np.isfinite(true) & np.isfinite(said)
    return true[known], said[known]


def _mean(values: Sequence[tuple[int, float]]) -> float:
    known = [value for _, value in values if math.isfinite(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _r2_text(value: float) -> str:
    return f"{value:.2f}".replace("-", "−") if math.isfinite(value) else "undefined"


def _r2_cell(values: Sequence[tuple[int, float]]) -> str:
    known = [value for _, value in values if math.isfinite(value)]
    if not values:
        return ""
    return number(_mean(values), float(np.std(known, ddof=1)) if len(known) > 1 else math.nan)


def _span(values: Sequence[Array]) -> tuple[float, float]:
    """Where nearly all labels and predictions lie, with some room."""
    known = np.concatenate([*values, np.zeros(0)])
    if not len(known):
        return 0.0, 1.0
    low, high = (float(v) for v in np.quantile(known, [0.005, 0.995]))
    room = 0.06 * (high - low) or max(abs(high), 1.0) * 0.06
    return low - room, high + room


def _thin(count: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, DOTS)).round()).astype(np.int64)


def _dots(axes: Axes, x: Array, y: Array, look: Look, xs: tuple[float, float], ys: tuple[float, float]) -> None:
    """Dots; those beyond the axes as hollow triangles on the edge, with their number."""
    outside = (x < xs[0]) | (x > xs[1]) | (y < ys[0]) | (y > ys[1])
    few = _thin(len(x))
    inside = few[~outside[few]]
    axes.plot(x[inside], y[inside], "o", color=look.colour, ms=2.4, alpha=0.5, mew=0)
    edge = (np.clip(x[outside], *xs)[:DOTS], np.clip(y[outside], *ys)[:DOTS])
    axes.plot(*edge, "^", color=look.colour, ms=3.2, mfc="none", mew=0.8, clip_on=False)
    if outside.any():
        words = f"{int(outside.sum())} beyond"
        axes.text(0.99, 0.02, words, transform=axes.transAxes, ha="right", va="bottom", color=MUTED, fontsize=6.5)
    axes.set_xlim(*xs)
    axes.set_ylim(*ys)


def _scatter(axes: Axes, true: Array, said: Array, look: Look, span: tuple[float, float], unit: str) -> None:
    axes.plot(span, span, color=INK, lw=0.8, zorder=1)
    _dots(axes, true, said, look, span, span)
    for axis, what in ((axes.xaxis, "true"), (axes.yaxis, "predicted")):
        few_ticks(axis, 4)
        axis.set_label_text(f"{what} [{unit}]" if unit else what)


def _residuals(answers: Answers) -> tuple[str, Array]:
    """What is odd about the residuals, in words: bias, or a spread that goes with the prediction."""
    true, said = _pair(answers)
    left = true - said
    if len(left) < 20:
        return "residuals", left
    spread = float(left.std())
    bias = float(left.mean())
    if bias == spread == 0:
        return "no residuals", left
    if abs(bias) > 3 * spread / math.sqrt(len(left)):
        return f"predicts too {'little' if bias > 0 else 'much'}, by {abs(bias):.3g}", left
    order = np.argsort(said, kind="stable")
    third = len(order) // 3
    low, high = (float(np.abs(left[part]).mean()) for part in (order[:third], order[-third:]))
    if high > 1.5 * low:
        return "errors grow with the prediction", left
    if low > 1.5 * high:
        return "errors shrink with the prediction", left
    return "residuals without a trend", left


def _left_over(axes: Axes, said: Array, left: Array, look: Look, unit: str) -> None:
    axes.axhline(0, color=INK, lw=0.8, zorder=1)
    _dots(axes, said, left, look, _span([said]), _span([left]))
    if len(said) >= 50:
        order = np.argsort(said, kind="stable")
        parts = np.array_split(order, 10)
        middle = [float(np.median(left[part])) for part in parts]
        axes.plot([float(np.median(said[part])) for part in parts], middle, color=INK, lw=1.3)
    few_ticks(axes.xaxis, 4)
    few_ticks(axes.yaxis, 4)
    axes.set_xlabel(f"predicted [{unit}]" if unit else "predicted")
    axes.set_ylabel("true − predicted")


def _title(tasks: Sequence[str], methods: Sequence[str], means: dict[tuple[str, str], float]) -> str:
    best = {}
    for task in tasks:
        known = {m: means[task, m] for m in methods if math.isfinite(means.get((task, m), math.nan))}
        if known:
            method = max(known, key=known.__getitem__)
            best[task] = (known[method], method)
    if not best:
        return "R² is undefined on these rows"
    most, least = max(best, key=lambda t: best[t][0]), min(best, key=lambda t: best[t][0])
    if most == least:
        return f"{best[most][1]} explains most of {most}: {_share(best[most][0])} of its variance"
    of = [f"{_share(best[task][0])} of the variance of {task} ({best[task][1]})" for task in (most, least)]
    return f"The best methods explain {of[0]} and {of[1]}"


def _share(value: float) -> str:
    return f"{100 * value:.0f} %" if value > 0.005 else "nothing"
