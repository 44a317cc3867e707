"""What balancing did: weights and effective shares over time, conflicts between gradients."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from polytask.study.outcome.figures.style import (
    DASHES,
    INK,
    LINE,
    Figure,
    Omitted,
    Panel,
    beside,
    few_ticks,
    panel,
    shades,
)
from polytask.study.outcome.numbers import Numbers

__all__ = ["conflicts", "weights"]

RAW = 3
"""Most methods whose raw weights are drawn."""
FLAT = 1e-3
"""Relative change below which weights count as constant."""


def weights(comparison: Numbers) -> Figure | Omitted:
    """Per method: the share of the step that each task takes, and the raw weights where they move."""
    data = by_epoch(comparison, ("weights", "shares", "norms"))
    name = "Weights and effective shares"
    if data.empty:
        return Omitted(name, "no method recorded weights of two or more tasks")
    tasks = [task for task in comparison.tasks if (data["task"] == task).any()]
    tones = dict(zip(tasks, shades(len(tasks)), strict=True))
    panels: list[Panel] = []
    raw: list[Panel] = []
    changing: list[tuple[int, str, pd.DataFrame]] = []
    quiet: list[str] = []
    means: dict[str, pd.Series] = {}
    ends: dict[tuple[str, str], float] = {}
    for number, method in enumerate(m for m in comparison.methods if (data["method"] == m).any()):
        part = data[data["method"] == method]
        share, weight = _wide(part, "shares", tasks), _wide(part, "weights", tasks)
        with_norms = bool((part["quantity"] == "norms").any())
        moving = _moving(weight)
        if not with_norms and not moving:
            quiet.append(method)
            continue
        if with_norms:
            means[method] = share.mean().dropna()
        what = "share of the step" if with_norms else "share of the weights"
        with panel(f"shares-{number}", f"{method}: {what} by epoch", panels) as axes:
            _stack(axes, share.fillna(0.0), tones)
            axes.set_title(f"{method}: {what}")
        if moving:
            ends |= {(method, str(task)): change for task, change in (weight.iloc[-1] / weight.iloc[0] - 1).items()}
            changing.append((number, method, weight))
    for number, method, weight in changing[:RAW]:
        with panel(f"weights-{number}", f"{method}: raw weights by epoch", raw) as axes:
            _lines(axes, weight, tasks)
            axes.set_title(f"{method}: raw weights")
    if not panels:
        return Omitted(name, f"weights are constant and no gradients were recorded ({', '.join(quiet)})")
    caption = (
        "By epoch, mean over steps and seeds. Share of the step: w·‖g‖ of a task over the sum of all tasks', with w "
        "its weight and g its gradient in the shared part; share of the weights where no gradients were computed. Raw "
        "weights are drawn where they move."
    )
    if quiet:
        caption += f" Not drawn: {', '.join(quiet)} (constant weights, no gradients)."
    title = _step_title(means) if means else _weight_title(ends)
    if len(changing) > RAW:
        caption += f" Raw weights of the first {RAW} of {len(changing)} methods whose weights move; the data has all."
    return Figure("weights", name, title, caption, (*panels, *raw), data)


def _step_title(means: dict[str, pd.Series]) -> str:
    """Who takes most of the step, beside what an even share would be."""
    method = max(means, key=lambda m: float(means[m].max()) * len(means[m]))
    share, even = means[method], 1 / len(means[method])
    top, last = str(share.idxmax()), str(share.idxmin())
    if share[top] > 1.5 * even:
        return (
            f"Under {method}, {top} takes {_percent(share[top])} of the step on average, where an even share is "
            f"{_percent(even)}"
        )
    return (
        f"No task dominates: even under {method} shares of the step go from {_percent(share[last])} ({last}) to "
        f"{_percent(share[top])} ({top}), where an even share is {_percent(even)}"
    )


def _weight_title(ends: dict[tuple[str, str], float]) -> str:
    """The weights that grow and fall most from the first epoch to the last."""
    known = {key: change for key, change in ends.items() if math.isfinite(change)}
    if not known:
        return "Weights move during training, from or to 0"
    method, task = max(known, key=lambda key: abs(known[key]))
    rest = {t: change for (m, t), change in known.items() if m == method and (change > 0) != (known[method, task] > 0)}
    rest = {other: change for other, change in rest.items() if abs(change) >= 0.005}
    words = f"Under {method}, the weight of {task} {_moved(known[method, task])}"
    if rest:
        other = max(rest, key=lambda t: abs(rest[t]))
        words += f" and that of {other} {_moved(rest[other])}"
    return f"{words} over the training"


def _moved(change: float) -> str:
    return (
        f"grows to {1 + change:.1f}×"
        if change >= 1
        else f"{'grows' if change > 0 else 'falls'} by {_percent(abs(change))}"
    )


def conflicts(comparison: Numbers) -> Figure | Omitted:
    """Per method: mean cosines between the tasks' gradients, and how they change over time."""
    data = by_epoch(comparison, ("cosines",))
    name = "Gradient conflicts"
    if data.empty:
        return Omitted(name, "no method computed gradients of single tasks")
    pairs = [f"{a}|{b}" for a, b in itertools.combinations(comparison.tasks, 2)]
    panels: list[Panel] = []
    for number, method in enumerate(m for m in comparison.methods if (data["method"] == m).any()):
        cosine = _wide(data[data["method"] == method], "cosines", pairs)
        if len(comparison.tasks) > 2:
            height = min(max(0.75 + 0.33 * len(comparison.tasks), 2.1), 3.6)
            with panel(f"conflict-map-{number}", f"{method}: cosines between tasks", panels, height) as axes:
                _matrix(axes, comparison.tasks, cosine.mean())
                axes.set_title(f"{method}: mean cosine")
        if len(cosine) > 1 and len(pairs) <= 6:
            with panel(f"conflict-time-{number}", f"{method}: cosine of each pair by epoch", panels) as axes:
                _pairs(axes, cosine)
                axes.set_title(f"{method}: cosine by epoch")
    caption = (
        "Cosine between two tasks' gradients in the shared part, mean over steps and seeds: above zero a step for one "
        "helps the other, below zero (orange) they pull apart."
    )
    return Figure("conflicts", name, _conflict_title(comparison, data), caption, tuple(panels), data)


def by_epoch(comparison: Numbers, quantities: tuple[str, ...]) -> pd.DataFrame:
    """Records of balancing in long form, mean over seeds; only trials of two or more tasks."""
    rows = [
        (trial.method, trial.seed, epoch, quantity, task, value)
        for trial in comparison.trials
        if len(trial.tasks) > 1
        for epoch, record in enumerate(trial.balance, start=1)
        for quantity in quantities
        for task, value in record.get(quantity, {}).items()
    ]
    data = pd.DataFrame(rows, columns=["method", "seed", "epoch", "quantity", "task", "value"])
    keys = ["method", "epoch", "quantity", "task"]
    return data.groupby(keys, sort=False)["value"].mean().reset_index()


def _wide(part: pd.DataFrame, quantity: str, columns: list[str]) -> pd.DataFrame:
    table = part[part["quantity"] == quantity].pivot(index="epoch", columns="task", values="value")
    return table.reindex(columns=columns)


def _moving(weight: pd.DataFrame) -> bool:
    """Whether a weight changes over epochs."""
    spread = weight.max() - weight.min()
    return bool(spread.max() > FLAT * weight.abs().max().max())


def _epochs(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    few_ticks(axes.xaxis, 6, whole=True)


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
            beside(axes, task, float(epochs[-1]), float(last[task]))
    axes.set_ylim(0, 1)
    axes.set_xlim(epochs[0], epochs[-1])
    axes.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    _epochs(axes)


def _lines(axes: Axes, table: pd.DataFrame, tasks: list[str]) -> None:
    known = [task for task in tasks if table[task].notna().any()]
    for task, dash in zip(known, itertools.cycle(DASHES), strict=False):
        axes.plot(table.index, table[task], color=LINE, lw=1.3, dashes=dash or (None, None))
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    _labels(axes, {task: float(table[task].dropna().iloc[-1]) for task in known}, float(table.index[-1]))
    _epochs(axes)


def _labels(axes: Axes, ends: dict[str, float], x: float) -> None:
    """Names at the ends of lines, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    step = 0.085 * (high - low)
    ranked = sorted(ends.items(), key=lambda item: item[1])
    places = [value for _, value in ranked]
    for index in range(1, len(places)):
        places[index] = max(places[index], places[index - 1] + step)
    shift = max(places[-1] - high, 0.0) if places else 0.0
    for (name, _), place in zip(ranked, places, strict=True):
        beside(axes, name, x, place - shift)


def _pairs(axes: Axes, cosine: pd.DataFrame) -> None:
    axes.axhline(0, color=INK, lw=0.8)
    for pair, dash in zip(cosine.columns, itertools.cycle(DASHES), strict=False):
        axes.plot(cosine.index, cosine[pair], color=LINE, dashes=dash or (None, None), lw=1.3)
    known = [pair for pair in cosine.columns if cosine[pair].notna().any()]
    span = float(np.nanmax(np.abs(cosine[known].to_numpy()))) if known else 1.0
    axes.set_ylim(-1.15 * (span or 1.0), 1.15 * (span or 1.0))
    _labels(
        axes,
        {pair.replace("|", " · "): float(cosine[pair].dropna().iloc[-1]) for pair in known},
        float(cosine.index[-1]),
    )
    _epochs(axes)


def _matrix(axes: Axes, tasks: tuple[str, ...], cosine: pd.Series) -> None:
    size = len(tasks)
    grid = np.full((size, size), math.nan)
    for i, j in itertools.combinations(range(size), 2):
        grid[i, j] = grid[j, i] = cosine.get(f"{tasks[i]}|{tasks[j]}", math.nan)
    # a floor, so that cosines near zero look it
    span = max(float(np.nanmax(np.abs(grid))) if np.isfinite(grid).any() else 1.0, 0.25)
    axes.imshow(grid, cmap="PuOr", vmin=-span, vmax=span, aspect="auto")
    if size <= 12:
        for i, j in itertools.permutations(range(size), 2):
            if math.isfinite(grid[i, j]):
                tone = "white" if abs(grid[i, j]) > 0.6 * span else INK
                axes.text(j, i, f"{grid[i, j]:+.2f}", ha="center", va="center", fontsize=6.5, color=tone)
    few = size <= 4
    axes.set_xticks(range(size), tasks, rotation=0 if few else 40, ha="center" if few else "right")
    axes.set_yticks(range(size), tasks)
    axes.tick_params(length=0, labelcolor=INK)
    for side in axes.spines.values():
        side.set_visible(False)


def _conflict_title(comparison: Numbers, data: pd.DataFrame) -> str:
    """The least aligned pair, and how often pairs conflict."""
    mean = data.groupby(["method", "task"], sort=False)["value"].mean().dropna().reset_index()
    if mean.empty:
        return "Gradients of single tasks were zero"
    row = mean.sort_values("value", kind="stable").iloc[0]
    method, pair, least = str(row["method"]), str(row["task"]), float(row["value"])
    shares = [
        record["conflicts"]
        for trial in comparison.trials
        if trial.method == method and len(trial.tasks) > 1
        for record in trial.balance
        if math.isfinite(record.get("conflicts", math.nan))
    ]
    words = " and ".join(pair.split("|"))
    often = f"; {_percent(float(np.mean(shares)))} of all pairs conflict step by step" if shares else ""
    if least <= -0.05:
        return f"{words} pull apart under {method}: mean cosine {least:+.2f}{often}"
    kind = "nearly orthogonal" if least < 0.05 else "aligned"
    return f"Gradients are {kind} on average: at least {least:+.2f}, {words} under {method}{often}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
