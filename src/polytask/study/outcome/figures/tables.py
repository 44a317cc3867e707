"""Data with its missing labels, and cost: tables first, drawings where they add something."""

from __future__ import annotations

import math

import pandas as pd

from polytask.study.outcome.figures.style import INK, MUTED, Figure, Omitted, Panel, beside, look_of, panel
from polytask.study.outcome.numbers import Numbers
from polytask.study.outcome.text import missing_labels, times

__all__ = ["cost", "labels"]


def labels(comparison: Numbers) -> Figure | Omitted:
    """Labels per task and split; drawn only when some are missing."""
    rows = comparison.protocol.rows
    if not rows:
        return Omitted("Data and missing labels", "numbers of rows were not recorded")
    splits = list(rows)
    table = [("task", "kind", *(f"labels in {split}" for split in splits), "missing in training")]
    missing = missing_labels(comparison)
    data = []
    for task, info in comparison.protocol.tasks.items():
        counts = [info.labels.get(split, rows[split]) for split in splits]
        table.append((task, info.kind, *(f"{count:,}" for count in counts), _percent(missing[task])))
        data.append((task, info.kind, *counts, missing[task]))
    worst = max(missing, key=missing.__getitem__)
    panels: list[Panel] = []
    sizes = ", ".join(f"{count:,} {split}" for split, count in rows.items())
    if missing[worst] > 0:
        title = f"{worst} lacks {_percent(missing[worst])} of its training labels"
        shown = sorted(missing, key=lambda task: -missing[task])[:20]
        with panel("labels-train", "share of training rows with a label", panels, 0.55 + 0.2 * len(shown)) as axes:
            axes.barh(range(len(shown)), [1.0] * len(shown), height=0.6, color="#eef0f2")
            axes.barh(range(len(shown)), [1 - missing[task] for task in shown], height=0.6, color="#5b6b7a")
            axes.set_yticks(range(len(shown)), shown)
            axes.invert_yaxis()
            axes.set_xlim(0, 1)
            axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
            axes.set_title("training rows with a label")
            axes.tick_params(axis="y", length=0, labelcolor=INK)
            axes.spines["left"].set_visible(False)
    else:
        title = "Every training row has every label"
    caption = f"{comparison.protocol.name}: {sizes} rows. A missing label takes no part in loss, step or metric."
    notes = tuple(line for line in comparison.protocol.about.splitlines() if line.strip())
    if notes:
        caption += " Below: how the rows were read and split, what was guessed, what was left out and why."
    columns = ["task", "kind", *splits, "missing_in_training"]
    return Figure(
        "labels",
        "Data and missing labels",
        title,
        caption,
        tuple(panels),
        pd.DataFrame(data, columns=columns),
        (),
        tuple(table),
        notes,
    )


def cost(comparison: Numbers) -> Figure | Omitted:
    """Time and size of each method beside the reference."""
    rows = {method: comparison.cost(method) for method in comparison.methods}
    rows = {method: row for method, row in rows.items() if row["seconds"] > 0}
    if not rows:
        return Omitted("Cost", "no times were recorded")
    base = rows.get(comparison.reference)
    table = [("method", "seconds per seed", "time", "ms per step", "parameters", "size")]
    for method, row in rows.items():
        size = row["parameters"] / base["parameters"] if base and base["parameters"] else math.nan
        table.append(
            (
                method,
                f"{row['seconds']:.1f}",
                times(row["seconds_ratio"]),
                _milliseconds(row["seconds_per_step"]),
                f"{row['parameters']:,}",
                times(size),
            )
        )
    panels: list[Panel] = []
    looks = look_of(comparison)
    if base and len(rows) > 1:
        with panel("cost-time", "training time relative to the reference", panels, 0.6 + 0.24 * len(rows)) as axes:
            for index, (method, row) in enumerate(rows.items()):
                axes.barh(index, row["seconds_ratio"], height=0.55, color=looks[method].colour, alpha=0.85)
                beside(axes, times(row["seconds_ratio"]), row["seconds_ratio"], index, MUTED)
            axes.set_yticks(range(len(rows)), list(rows))
            axes.invert_yaxis()
            axes.set_title("training time")
            axes.margins(x=0.12)
            axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=7)
            axes.spines["left"].set_visible(False)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    data = pd.DataFrame(rows).T.rename_axis("method").reset_index()
    reference = f"all single-task {_kind(comparison)} together" if comparison.against_singles else comparison.reference
    caption = (
        f"Seconds of training of one seed, all models of the method; time and size relative to {reference}. Times "
        "depend on the machine and on what else it did; no other number depends on them."
    )
    return Figure("cost", "Cost", _cost_title(comparison, rows), caption, tuple(panels), data, (), tuple(table))


def _cost_title(comparison: Numbers, rows: dict[str, dict[str, float]]) -> str:
    joint = {method: row["seconds_ratio"] for method, row in rows.items() if method != comparison.reference}
    joint = {method: ratio for method, ratio in joint.items() if math.isfinite(ratio)}
    if not joint:
        return "What training took"
    low, high = min(joint, key=joint.__getitem__), max(joint, key=joint.__getitem__)
    against = f"the single-task {_kind(comparison)} together" if comparison.against_singles else comparison.reference
    if low == high:
        return f"{low} trains in {times(joint[low])} the time of {against}"
    return f"Training takes {times(joint[low])} ({low}) to {times(joint[high])} ({high}) the time of {against}"


def _kind(comparison: Numbers) -> str:
    return "networks" if comparison.protocol.estimators else "models"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.2f}" if math.isfinite(seconds) else "no steps"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if 0 < value < 0.1 else f"{100 * value:.0f} %"
