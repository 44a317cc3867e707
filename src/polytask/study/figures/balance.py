"""What balancing did: weights and effective shares over time, conflicts between gradients."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from polytask.study.comparison import Comparison
from polytask.study.figures.style import INK, MUTED, Figure, Look, Omitted, Panel, look_of, panel, shades

__all__ = ["conflicts", "weights"]

FLAT = 1e-3
"""Relative change below which weights count as constant."""


def weights(comparison: Comparison) -> Figure | Omitted:
    """Per method: the share of the step that each task takes, and the raw weights where they move."""
    data = by_epoch(comparison, ("weights", "shares", "norms"))
    name = "Weights and effective shares"
    if data.empty:
        return Omitted(name, "no method recorded weights of two or more tasks")
    tasks = [task for task in comparison.tasks if (data["task"] == task).any()]
    tones = dict(zip(tasks, shades(len(tasks)), strict=True))
    panels: list[Panel] = []
    quiet, largest = [], (0.0, "", "")
    for number, method in enumerate(m for m in comparison.methods if (data["method"] == m).any()):
        part = data[data["method"] == method]
        share, weight = _wide(part, "shares", tasks), _wide(part, "weights", tasks)
        with_norms = (part["quantity"] == "norms").any()
        moving = bool((np.ptp(weight.to_numpy(), axis=0) > FLAT * weight.abs().to_numpy().max()).any())
        if not with_norms and not moving:
            quiet.append(method)
            continue
        if with_norms:
            top = str(share.mean().idxmax())
            largest = max(largest, (float(share[top].mean()), method, top))
        what = "share of the step" if with_norms else "share of the weights"
        with panel(f"shares-{number}", f"{method}: {what} by epoch", panels) as axes:
            _stack(axes, share, tones)
            axes.set_title(f"{method}: {what}")
        if moving:
            with panel(f"weights-{number}", f"{method}: raw weights by epoch", panels) as axes:
                _lines(axes, weight, tones)
                axes.set_title(f"{method}: raw weights")
    if not panels:
        why = "weights are constant and no gradients were recorded" if quiet else "nothing was recorded"
        return Omitted(name, why)
    caption = (
        "Left to right: epochs, mean over steps and seeds. Share of the step: w·‖g‖ of a task over the sum of all tasks', "
        "with w its weight and g its gradient in the shared part. Share of the weights where no gradients were computed. "
        "Raw weights are drawn where they move."
    )
    if quiet:
        caption += f" Not drawn: {', '.join(quiet)} (constant weights, no gradients)."
    moved = [str(m) for m in comparison.methods if m in set(data["method"]) and m not in quiet]
    title = (
        f"Under {largest[1]}, {largest[2]} takes {largest[0]:.0%} of the step on average".replace("%", " %")
        if largest[1]
        else f"Weights of {', '.join(moved)} move during training"
    )
    return Figure("weights", name, title, caption, tuple(panels), data)


def conflicts(comparison: Comparison) -> Figure | Omitted:
    """Per method: mean cosines between the tasks' gradients, and how they change over time."""
    data = by_epoch(comparison, ("cosines", "conflicts"))
    name = "Gradient conflicts"
    if data.empty:
        return Omitted(name, "no method computed gradients of single tasks")
    looks = list(look_of(comparison).values())
    panels: list[Panel] = []
    for number, method in enumerate(m for m in comparison.methods if (data["method"] == m).any()):
        part = data[(data["method"] == method)]
        cosine = _wide(part, "cosines", sorted(set(part["task"]), key=_pair_order(comparison)))
        share = (
            _wide(part, "conflicts", list(cosine.columns)).mean() if (part["quantity"] == "conflicts").any() else None
        )
        if len(comparison.tasks) > 2:
            height = min(0.9 + 0.32 * len(comparison.tasks), 3.6)
            with panel(f"conflict-map-{number}", f"{method}: cosines between tasks", panels, height) as axes:
                _matrix(axes, comparison.tasks, cosine.mean(), share)
                axes.set_title(f"{method}: cosine" + (" ╱ conflicts" if share is not None else ""), pad=4)
        if len(cosine) > 1 and cosine.shape[1] <= 6:
            with panel(f"conflict-time-{number}", f"{method}: cosine of each pair by epoch", panels) as axes:
                _pairs(axes, cosine, looks)
                axes.set_title(f"{method}: cosine over time")
    caption = (
        "Lower triangle: mean cosine between two tasks' gradients in the shared part; below zero they pull apart. Upper "
        "triangle: share of steps in which it is below zero. Curves: the cosine by epoch. Means over steps and seeds."
    )
    return Figure("conflicts", name, _conflict_title(data), caption, tuple(panels), data)


def by_epoch(comparison: Comparison, quantities: tuple[str, ...]) -> pd.DataFrame:
    """Records of balancing in long form, mean over seeds; only trials of two or more tasks."""
    rows = [
        (trial.method, trial.seed, epoch, quantity, task, value)
        for trial in comparison.trials
        if len(trial.tasks) > 1
        for epoch, record in enumerate(trial.balance, start=1)
        for quantity in quantities
        for task, value in (record.get(quantity) or {}).items()
    ]
    data = pd.DataFrame(rows, columns=["method", "seed", "epoch", "quantity", "task", "value"])
    keys = ["method", "epoch", "quantity", "task"]
    return data.groupby(keys, sort=False, as_index=False)["value"].mean()


def _wide(part: pd.DataFrame, quantity: str, columns: list[str]) -> pd.DataFrame:
    table = part[part["quantity"] == quantity].pivot(index="epoch", columns="task", values="value")
    return table.reindex(columns=columns).fillna(0.0 if quantity == "shares" else math.nan)


def _pair_order(comparison: Comparison) -> dict[str, int].get:  # type: ignore[valid-type]
    pairs = itertools.combinations(comparison.tasks, 2)
    order = {f"{a}|{b}": index for index, (a, b) in enumerate(pairs)}
    return order.get


def _stack(axes: Axes, share: pd.DataFrame, tones: dict[str, str]) -> None:
    epochs = share.index.to_numpy(dtype=float)
    if len(epochs) == 1:  # an area needs two points
        epochs = np.array([epochs[0] - 0.5, epochs[0] + 0.5])
        share = pd.concat([share, share])
    columns = [task for task in tones if task in share]
    axes.stackplot(epochs, share[columns].to_numpy().T, colors=[tones[c] for c in columns], edgecolor="white", lw=0.8)
    last = share[columns].iloc[-1].cumsum() - share[columns].iloc[-1] / 2
    for task in columns:
        if share[task].iloc[-1] > 0.04:
            axes.text(epochs[-1], last[task], f" {task}", va="center", fontsize=6.5, color=INK, clip_on=False)
    axes.set_ylim(0, 1)
    axes.set_xlim(epochs[0], epochs[-1])
    axes.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=6)


def _lines(axes: Axes, table: pd.DataFrame, tones: dict[str, str]) -> None:
    dashes = itertools.cycle([(None, None), (4, 1.5), (1.2, 1.3), (6, 1.5, 1.2, 1.5)])
    for task, dash in zip([t for t in tones if t in table], dashes, strict=False):
        axes.plot(table.index, table[task], color=tones[task], lw=1.5, dashes=dash)
    _labels(
        axes,
        {task: float(table[task].dropna().iloc[-1]) for task in table if table[task].notna().any()},
        table.index[-1],
    )
    axes.set_xlabel("epoch")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=6)


def _labels(axes: Axes, ends: dict[str, float], x: float) -> None:
    """Names at the ends of lines, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    step, floor = 0.085 * (high - low), -math.inf
    for name, value in sorted(ends.items(), key=lambda item: item[1]):
        floor = max(value, floor + step)
        axes.text(x, floor, f" {name}", va="center", fontsize=6.5, color=INK)


def _pairs(axes: Axes, cosine: pd.DataFrame, looks: list[Look]) -> None:
    palette = [look for look in looks if look.marker != "x"] or looks
    axes.axhline(0, color=INK, lw=0.8)
    for pair, look in zip(cosine.columns, itertools.cycle(palette), strict=False):
        axes.plot(cosine.index, cosine[pair], color=INK, alpha=0.75, dashes=look.dashes or (None, None), lw=1.2)
    span = float(np.nanmax(np.abs(cosine.to_numpy()))) or 1.0
    axes.set_ylim(-1.15 * span, 1.15 * span)
    ends = {
        pair.replace("|", " · "): float(cosine[pair].dropna().iloc[-1]) for pair in cosine if cosine[pair].notna().any()
    }
    _labels(axes, ends, cosine.index[-1])
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=6)


def _matrix(axes: Axes, tasks: tuple[str, ...], cosine: pd.Series, share: pd.Series | None) -> None:
    size = len(tasks)
    grid = np.full((size, size), math.nan)
    for i, j in itertools.combinations(range(size), 2):
        value = cosine.get(f"{tasks[i]}|{tasks[j]}", math.nan)
        grid[j, i] = value
    span = float(np.nanmax(np.abs(grid))) if np.isfinite(grid).any() else 1.0
    axes.imshow(grid, cmap="PuOr", vmin=-max(span, 0.05), vmax=max(span, 0.05), aspect="auto")
    for i, j in itertools.combinations(range(size), 2):
        if math.isfinite(grid[j, i]):
            dark = abs(grid[j, i]) > 0.65 * span
            axes.text(
                i, j, f"{grid[j, i]:+.2f}", ha="center", va="center", fontsize=6.5, color="white" if dark else INK
            )
        if share is not None:
            part = share.get(f"{tasks[i]}|{tasks[j]}", math.nan)
            if math.isfinite(part):
                axes.text(j, i, f"{part:.0%}".replace("%", " %"), ha="center", va="center", fontsize=6.5, color=MUTED)
    axes.set_xticks(range(size), tasks, rotation=0 if size <= 4 else 40, ha="center" if size <= 4 else "right")
    axes.set_yticks(range(size), tasks)
    axes.tick_params(length=0, labelcolor=INK)
    for side in axes.spines.values():
        side.set_visible(False)


def _conflict_title(data: pd.DataFrame) -> str:
    share = data[data["quantity"] == "conflicts"]
    if share.empty:
        mean = data.groupby(["method", "task"])["value"].mean()
        method, pair = mean.idxmin()
        return f"{_words(pair)} are least aligned: mean cosine {mean.min():+.2f} under {method}"
    mean = share.groupby(["method", "task"], sort=False)["value"].mean()
    method, pair = mean.idxmax()
    worst = float(mean.max())
    if worst < 0.05:
        return f"Gradients hardly conflict: at most {worst:.0%} of the steps".replace("%", " %")
    return f"{_words(pair)} pull apart in {worst:.0%} of the steps under {method}".replace("%", " %")


def _words(pair: str) -> str:
    return " and ".join(pair.split("|"))
