"""What models answered on test rows, kept beside a trial's record: what figures of single rows are drawn from."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from polytask.data import Inputs, MultiTaskData
from polytask.errors import DamagedError
from polytask.files import read_bytes, write_atomically
from polytask.study.classical.rows import labels_of
from polytask.tasks import Nature, Task

__all__ = ["ANSWERS", "Answers", "Kept", "read_answers", "write_answers"]

logger = logging.getLogger("polytask")

ANSWERS = "answers.safetensors"
"""Name of the file in a trial's folder."""
ROWS = 5000
"""Most test rows that are kept."""
CELLS = 500_000
"""Most numbers that are kept of a row's answers and labels, all rows and tasks of the data together: 2 MB."""
BATCH = 4096
"""Rows that are answered at a time."""

Array = NDArray[Any]


@final
@dataclasses.dataclass(frozen=True)
class Answers:
    """Labels of one task and what one model answered, row by row.

    Attributes:
        nature: What the labels are.
        labels: Names of the classes; empty if they have none.
        rows: Which rows they are, (n,): their places in the table that was read, counted from 0, or among the test rows
            where there is no table.
        target: Labels in natural units, NaN where missing, (n,), or (n, L) for several yes/no labels.
        decoded: What :meth:`polytask.tasks.Task.decode` makes of the model's output, (n,) or (n, …).
        levels: The levels of quantiles; empty for other tasks.
    """

    nature: Nature
    labels: tuple[str, ...]
    rows: Array
    target: Array
    decoded: Array
    levels: tuple[float, ...] = ()

    @functools.cached_property
    def point(self) -> Array:
        """One answer per row, as the labels are: value, class, expected count, or the quantile next to the median.

        Yes/no answers are a yes above ½. NaN where the model answered nothing finite.
        """
        decoded = self.decoded.astype(np.float64)
        if self.nature in (Nature.YES_NO, Nature.SEVERAL_YES_NO):
            return np.where(np.isfinite(decoded), decoded > 0.5, np.nan)
        if self.nature is Nature.QUANTILES:
            middle = int(np.argmin(np.abs(np.asarray(self.levels or (0.5,)) - 0.5)))
            return np.asarray(decoded[:, middle])
        if self.nature is Nature.CLASSES:
            found = decoded.argmax(axis=1)
        elif self.nature is Nature.ORDERED:  # the median class, as the metrics have it
            found = (decoded.cumsum(axis=1)[:, :-1] < 0.5).sum(axis=1)
        else:
            return decoded
        return np.where(np.isfinite(decoded).all(axis=1), found, np.nan)

    @property
    def classes(self) -> int:
        """How many classes there are; 0 for numbers."""
        if self.nature is Nature.YES_NO:
            return 2
        return self.decoded.shape[1] if self.nature in (Nature.CLASSES, Nature.ORDERED) else 0

    def named(self, value: Any) -> str:
        """A label or an answer, which is a number, in words."""
        if not np.isfinite(value):
            return "none"
        if self.classes:
            return self.labels[int(value)] if self.labels else f"{value:.0f}"
        return f"{value:.4g}"


Kept = Mapping[tuple[str, str, int], Answers]
"""Answers by task, method and seed."""


def write_answers(
    folder: Path, outputs: Callable[[Inputs], Mapping[str, Tensor]], data: MultiTaskData, tasks: Iterable[str]
) -> None:
    """Keep what a model answers on test rows: all of them, or as many as :data:`ROWS` and :data:`CELLS` allow.

    The rows are spread evenly and depend on the data alone, so that all models of a split are kept on the same ones.
    Tasks with a loss of the user's own are left out.

    Args:
        folder: The trial's.
        outputs: From encoded inputs to what the tasks' heads put out.
        data: The data.
        tasks: The tasks that the model learned.

    Raises:
        StorageError: The file cannot be written.
    """
    known = {name: task for name, task in data.tasks.items() if task.rule.nature is not Nature.OTHER}
    wanted = {name: known[name] for name in tasks if name in known}
    width = sum(_width(task) for task in known.values())
    most = min(ROWS, CELLS // max(width, 1))
    if not wanted or not len(data.test) or most == 0:
        return
    rows = torch.from_numpy(
        np.unique(np.linspace(0, len(data.test) - 1, min(most, len(data.test))).round()).astype(int)
    )
    found: dict[str, list[Tensor]] = {}
    for part in rows.split(BATCH):
        inputs, targets = data.test.batch(part)
        heads = outputs(inputs)
        for name, task in wanted.items():
            decoded = task.decode(heads[name].detach().cpu().double())
            labels = torch.from_numpy(labels_of(task, targets.get(name), len(part)))
            found.setdefault(f"decoded {name}", []).append(decoded.float())
            found.setdefault(f"target {name}", []).append(labels.float())
    whole = {key: torch.cat(parts).contiguous() for key, parts in found.items()}
    places = data.details.get("test_rows", ())
    if len(places) == len(data.test):
        rows = torch.tensor(places)[rows]
    facts = {
        name: {"nature": task.rule.nature.name, "labels": task.labels or (), "levels": task.quantiles or ()}
        for name, task in wanted.items()
    }
    write_atomically(folder / ANSWERS, save({"rows": rows, **whole}, {"tasks": json.dumps(facts)}))


def read_answers(folder: Path) -> dict[str, Answers]:
    """What :func:`write_answers` kept, by task; nothing where there is no such file, or one that is damaged."""
    path = folder / ANSWERS
    try:
        read_bytes(path)
        with safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {})["tasks"])
            rows = file.get_tensor("rows")
            return {
                name: Answers(
                    Nature[fact["nature"]],
                    tuple(map(str, fact["labels"])),
                    rows,
                    _rowed(file.get_tensor(f"target {name}"), rows),
                    _rowed(file.get_tensor(f"decoded {name}"), rows),
                    tuple(fact["levels"]),
                )
                for name, fact in facts.items()
            }
    except FileNotFoundError:
        return {}
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the numbers of the study do not need it
        logger.warning("%s cannot be read, so that its rows are not in the report: %s", path, error)
        return {}


def _rowed(values: Array, rows: Array) -> Array:
    if len(values) != len(rows):
        raise DamagedError(f"{len(values)} answers of {len(rows)} rows")
    return values


def _width(task: Task) -> int:
    return 2 * task.out_features if task.rule.nature is Nature.SEVERAL_YES_NO else 1 + max(task.out_features, 1)
