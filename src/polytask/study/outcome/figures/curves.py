"""Learning curves: single-task models grey, joint ones coloured, bands over seeds, best epochs marked."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from polytask.study.outcome.figures.style import Figure, Omitted, Panel, few_ticks, look_of, panel, pick_tasks
from polytask.study.outcome.numbers import Numbers

__all__ = ["curves"]


def curves(comparison: Numbers) -> Figure | Omitted:
    """One panel per task: the primary metric on validation by epoch."""
    data = collect(comparison)
    if data.empty or data["epoch"].max() < 2:
        return Omitted("Learning curves", "no trial has validation values over two or more epochs")
    looks = look_of(comparison)
    split = str(data["split"].iloc[0])
    peaks = _peaks(comparison, data)
    shown = pick_tasks(comparison.tasks, comparison.gains, 6)
    panels: list[Panel] = []
    for number, task in enumerate(shown):
        info = comparison.protocol.tasks[task]
        with panel(f"curves-{number}", f"{task}: {info.primary} on {split} by epoch", panels) as axes:
            for method in comparison.methods:
                part = data[(data["task"] == task) & (data["method"] == method)]
                table = part.pivot(index="epoch", columns="seed", values="value").dropna()
                if table.empty:
                    continue
                look, mean = looks[method], table.mean(axis=1)
                axes.fill_between(
                    table.index, table.min(axis=1), table.max(axis=1), color=look.colour, alpha=0.13, lw=0
                )
                axes.plot(mean.index, mean, color=look.colour, dashes=look.dashes or (None, None), lw=1.3)
                best = peaks.get((method, task))
                if best is not None and best in mean.index:
                    axes.plot(best, mean[best], look.marker, color=look.colour, ms=4, mew=1.2)
            axes.set_title(f"{task}  ({info.primary} {info.arrow})")
            axes.set_xlabel("epoch")
            few_ticks(axes.xaxis, 6, whole=True)
    caption = (
        f"{_axis(split)} by epoch, mean over seeds with the band from the lowest to the highest seed, as far as "
        "every seed went. The marker sits where the task's own mean is best; a trial keeps one epoch for all its tasks."
    )
    if len(shown) < len(comparison.tasks):
        caption += f" Shown are the {len(shown)} of {len(comparison.tasks)} tasks that change most."
    learned = [method for method in comparison.methods if (data["method"] == method).any()]
    legend = tuple((method, looks[method]) for method in learned)
    fitted = [method for method in comparison.protocol.estimators if method not in learned]
    if fitted:
        caption += f" Fitted without epochs, so not drawn: {', '.join(fitted)}."
    title = _title(comparison, data, peaks)
    return Figure("curves", "Learning curves", title, caption, tuple(panels), data, legend)


def _axis(split: str) -> str:
    """What the vertical axis is."""
    return "Primary metric on the validation rows" if split == "val" else f"Primary metric on the {split} rows"


def collect(comparison: Numbers) -> pd.DataFrame:
    """Primary metric of every trial by epoch: on validation, or on the split that was selected on."""
    rows = [
        (trial.method, trial.seed, task, split, epoch, value)
        for trial in comparison.trials
        for split, tasks in trial.curves.items()
        for task, metrics in tasks.items()
        for epoch, value in enumerate(metrics.get(comparison.protocol.tasks[task].primary, ()), start=1)
    ]
    data = pd.DataFrame(rows, columns=["method", "seed", "task", "split", "epoch", "value"])
    held_out = [split for split in ("val", "test") if (data["split"] == split).any()]
    return data[data["split"] == (held_out[0] if held_out else "")]


def _peaks(comparison: Numbers, data: pd.DataFrame) -> dict[tuple[str, str], int]:
    """Epoch at which the mean over seeds is best, by method and task."""
    found = {}
    for (method, task), part in data.groupby(["method", "task"], sort=False):
        info = comparison.protocol.tasks[str(task)]
        mean = part.pivot(index="epoch", columns="seed", values="value").dropna().mean(axis=1)
        score = mean * info.directions[info.primary]
        if len(score) and np.isfinite(score).any():
            found[str(method), str(task)] = int(np.asarray(score.index)[int(np.nanargmax(score))])
    return found


def _still(data: pd.DataFrame, epoch: int) -> str:
    return ", the last one: training longer may help" if epoch == data["epoch"].max() else ""


def _title(comparison: Numbers, data: pd.DataFrame, peaks: dict[tuple[str, str], int]) -> str:
    """Whether the tasks of the best joint method peak together."""
    ranked = sorted(comparison.joint, key=lambda m: -_mean(comparison, m))
    for method in ranked:
        own = {task: peaks[method, task] for task in comparison.tasks if (method, task) in peaks}
        if len(own) < 2:
            continue
        first, last = min(own, key=own.__getitem__), max(own, key=own.__getitem__)
        apart = own[last] - own[first]
        if apart == 0:
            return f"With {method} all tasks peak at epoch {own[last]}{_still(data, own[last])}"
        if apart <= max(1, round(0.1 * max(own.values()))):
            return f"With {method} all tasks peak at epochs {own[first]} to {own[last]}{_still(data, own[last])}"
        return f"With {method} tasks peak apart: {first} at epoch {own[first]}, {last} at epoch {own[last]}"
    return "How the models learned"


def _mean(comparison: Numbers, method: str) -> float:
    interval = comparison.interval(method)
    return -math.inf if interval is None or math.isnan(interval.mean) else interval.mean
