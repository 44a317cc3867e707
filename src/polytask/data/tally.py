"""How many rows of each class a split holds, and where they are too few."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from polytask.data.multitask import MultiTaskData
from polytask.data.source import batches
from polytask.tasks.labels import known

__all__ = ["Tally", "tally", "too_few"]

Tally = dict[str, dict[str, int]]
"""Split → class → rows."""

_FEW = 5
_WHY = {
    "train": "a model learns little of it",
    "val": "the choice of the epoch hangs on them",
    "test": "the result hangs on them",
}
_NAMED = 5


def tally(data: MultiTaskData) -> dict[str, Tally]:
    """Rows of each class in each split, by task; tasks without classes are left out.

    Args:
        data: Splits and tasks.

    Returns:
        For every class of a task, named by its label if it has one, its rows with a label; 0 where there are none.
    """
    found: dict[str, Tally] = {}
    for name, task in data.tasks.items():
        if not task.rule.nature.classes:
            continue
        classes = task.classes or 2
        names = task.labels or tuple(map(str, range(classes)))
        found[name] = {}
        for split, source in data.splits.items():
            counts = np.zeros(classes, dtype=np.int64)
            for part in batches(source, 65536):
                if name in part.targets:
                    target = part.targets[name].cpu().reshape(-1)
                    present = target[known(task, target, None)].long().numpy()
                    counts += np.bincount(present, minlength=classes)[:classes]
            found[name][split] = dict(zip(names, counts.tolist(), strict=True))
    return found


def too_few(counts: Mapping[str, Tally]) -> list[str]:
    """Sentences about classes that a split lacks, or holds fewer than five rows of.

    Args:
        counts: What :func:`tally` gave.

    Examples:
        >>> too_few({"sold": {"train": {"no": 90, "yes": 8}, "val": {"no": 30, "yes": 2}}})
        ["target 'sold': 2 rows of 'yes' in val: the choice of the epoch hangs on them"]
    """
    said = []
    for task, splits in counts.items():
        for split, classes in splits.items():
            absent = [name for name, count in classes.items() if count == 0]
            few = {name: count for name, count in classes.items() if 0 < count < _FEW}
            if absent and any(classes.values()):
                said.append(
                    f"target {task!r}: no row of {_listed(absent)} in {split}: metrics that compare classes are "
                    "undefined or say nothing there"
                    if split != "train"
                    else f"target {task!r}: no training row of {_listed(absent)}: no model can know it"
                )
            if few:
                least = min(few.values())
                rows = f"{least} {'row' if least == 1 else 'rows'}" if len(few) == 1 else f"fewer than {_FEW} rows"
                said.append(f"target {task!r}: {rows} of {_listed(list(few))} in {split}: {_WHY[split]}")
    return said


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more classes" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + more
