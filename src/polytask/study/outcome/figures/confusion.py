"""Which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from polytask.study.outcome.answers import Kept
from polytask.study.outcome.figures.style import INK, Figure, Omitted, Panel, panel, pick_tasks, short
from polytask.study.outcome.figures.subjects import answered, subjects
from polytask.study.outcome.numbers import Numbers

__all__ = ["confusion", "counted"]

CLASSES = 12
"""Most classes of a drawn matrix."""
TASKS = 4
"""Most tasks that are drawn."""
FEW = 10
"""Rows of a class below which its share is not worth a title."""


class _Mistake(NamedTuple):
    share: float
    rows: int
    task: str
    true: str
    said: str
    method: str


def confusion(comparison: Numbers, kept: Kept) -> Figure | Omitted:
    """Confusion matrices of the reference and the best other method; the most frequent mistake of every method."""
    name = "Confusion of classes"
    names = {t: a.labels for t in comparison.tasks for a in answered(kept, t) if a.classes}
    if not names:
        return Omitted(name, "no answers of single rows were kept" if not kept else "no task has classes")
    matrices = {
        (task, method): matrix
        for task in names
        for method in comparison.methods
        if (matrix := counted(kept, task, method, comparison.protocol.seeds)).sum()
    }
    mistakes = {key: _worst(matrix, names[key[0]], *key) for key, matrix in matrices.items()}
    panels: list[Panel] = []
    small = [task for task in names if max(len(m) for (t, _), m in matrices.items() if t == task) <= CLASSES]
    shown = pick_tasks(small, comparison.gains, TASKS)
    drawn = subjects(comparison)
    for index, task in enumerate(shown):
        for place, method in enumerate(m for m in drawn if (task, m) in matrices):
            matrix = matrices[task, method]
            title = f"{task}, {method}: {100 * np.trace(matrix) / matrix.sum():.0f} % right"
            height = min(1.0 + 0.34 * len(matrix), 4.0)
            with panel(f"confusion-{index}-{place}", title, panels, height) as axes:
                _matrix(axes, matrix, names[task])
                axes.set_title(title)
        pair = [matrices[task, method] for method in drawn if (task, method) in matrices]
        if len(pair) == 2 and pair[0].shape == pair[1].shape:
            title = f"{task}: {drawn[1]} minus {drawn[0]}, in rows"
            with panel(f"confusion-{index}-change", title, panels, min(1.0 + 0.34 * len(pair[0]), 4.0)) as axes:
                _difference(axes, pair[1] - pair[0], names[task])
                axes.set_title(title)
    caption = (
        "Test rows of all seeds, counted; shades are shares of the true class, so every row of a matrix adds up to 1. "
        "Yes above a probability of ½, the likeliest class, or of ordered classes the median. The difference counts "
        "rows: on the diagonal more is better, beside it less."
    )
    if len(shown) < len(names):
        caption += f" Drawn are {len(shown)} of {len(names)} tasks; the table has all."
    methods = [m for m in comparison.methods if any(method == m for _, method in matrices)]
    table = [("right; most frequent mistake", *methods)]
    table += [(task, *(_cell(matrices.get((task, m)), mistakes.get((task, m))) for m in methods)) for task in names]
    rows = [
        (task, method, _class(names[task], i), _class(names[task], j), int(count))
        for (task, method), matrix in matrices.items()
        for (i, j), count in np.ndenumerate(matrix)
    ]
    data = pd.DataFrame(rows, columns=["task", "method", "true", "predicted", "rows"])
    title = _title([m for key, m in mistakes.items() if m is not None and key[1] == drawn[-1]], drawn[-1])
    return Figure("confusion", name, title, caption, tuple(panels), data, table=tuple(table))


def counted(kept: Kept, task: str, method: str, seeds: Sequence[int]) -> NDArray[np.int64]:
    """Rows by true class (first) and predicted class (second), all seeds together."""
    found = [kept[task, method, seed] for seed in seeds if (task, method, seed) in kept]
    size = max((answers.classes for answers in found), default=0)
    matrix = np.zeros((size, size), dtype=np.int64)
    for answers in found:
        known = np.isfinite(answers.target) & np.isfinite(answers.point)
        np.add.at(matrix, (answers.target[known].astype(int), answers.point[known].astype(int)), 1)
    return matrix


def _class(names: Sequence[str], index: int) -> str:
    return names[index] if names else str(index)


def _worst(matrix: NDArray[np.int64], names: Sequence[str], task: str, method: str) -> _Mistake | None:
    """The true class and the wrong answer that most rows of one class share; ``None`` without mistakes."""
    rows = matrix.sum(axis=1, keepdims=True)
    share = np.where(rows >= FEW, matrix / np.maximum(rows, 1), 0.0)
    np.fill_diagonal(share, 0.0)
    i, j = np.unravel_index(int(share.argmax()), share.shape)
    if share[i, j] == 0:
        return None
    true, said = _class(names, int(i)), _class(names, int(j))
    return _Mistake(float(share[i, j]), int(matrix[i, j]), task, true, said, method)


def _cell(matrix: NDArray[np.int64] | None, mistake: _Mistake | None) -> str:
    if matrix is None:
        return ""
    right = f"{100 * np.trace(matrix) / matrix.sum():.0f} %"
    if mistake is None:
        return right
    return f"{right}; {100 * mistake.share:.0f} % of {short(mistake.true)} → {short(mistake.said)}"


def _title(mistakes: Sequence[_Mistake], method: str) -> str:
    if not mistakes:
        return f"{method} takes no class for another"
    worst = max(mistakes)
    return f"{method} takes {100 * worst.share:.0f} % of the rows with {worst.task} = {worst.true} for {worst.said}"


def _matrix(axes: Axes, matrix: NDArray[np.int64], names: Sequence[str]) -> None:
    size = len(matrix)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, j), count in np.ndenumerate(matrix):
        if size <= 5:
            words = f"{count:,}\n{100 * share[i, j]:.0f} %"
        else:
            words = f"{count}" if count else ""
        tone = "white" if share[i, j] > 0.55 else INK
        axes.text(j, i, words, ha="center", va="center", fontsize=6.5, color=tone)
    _frame(axes, names, size)


def _difference(axes: Axes, change: NDArray[np.int64], names: Sequence[str]) -> None:
    size, span = len(change), max(int(np.abs(change).max()), 1)
    axes.imshow(change, cmap="PuOr", vmin=-span, vmax=span, aspect="auto")
    for (i, j), count in np.ndenumerate(change):
        if count or size <= 5:
            tone = "white" if abs(count) > 0.6 * span else INK
            words = f"{count:+d}".replace("-", "−") if count else "0"
            axes.text(j, i, words, ha="center", va="center", fontsize=6.5, color=tone)
    _frame(axes, names, size)


def _frame(axes: Axes, names: Sequence[str], size: int) -> None:
    labels = [short(_class(names, index)) for index in range(size)]
    turned = max(map(len, labels)) * size > 44
    axes.set_xticks(range(size), labels, rotation=35 if turned else 0, ha="right" if turned else "center")
    axes.set_yticks(range(size), labels)
    axes.tick_params(length=0, labelcolor=INK)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for side in axes.spines.values():
        side.set_visible(False)
