"""Means over an epoch of what its steps looked like, collected without slowing the steps down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from polytask.balance import StepRecord

__all__ = ["EpochMeter", "EpochSummary"]

Array = np.ndarray
_CHUNK = 1 << 16
"""Numbers that may wait to be summed: half a megabyte."""
_PAIRS = 512
"""Most pairs of tasks whose cosines are recorded, each a row of the history in every epoch."""
_VECTORS = ("losses", "labels", "weights", "seen", "shares", "norms", "judged")


class EpochSummary:
    """Means over the steps of one epoch.

    Attributes:
        losses: Mean loss per label, by task.
        weights: Mean weight of each task's shared gradient, over the steps it took part in.
        shares: Mean effective share in the shared step, likewise.
        norms: Mean norm of the shared gradient, by task; empty when the method looks at losses only.
        cosines: Mean cosine between the shared gradients of a pair of tasks (a before b in the order of tasks); of more
            than 512 pairs, the 512 that point apart most.
        conflicts: Share of pairs and steps with a negative cosine; ``None`` without gradients.
        iterations: Mean iterations of the method's solver per step.
        labels: Labels seen, by task; tasks without any count 0.
        steps: Calls of the balancer.
        extra: Mean of each loss that a part of the model adds by itself, by its own name.
        skipped: Steps in which a task was left out because its loss or gradient was not finite, by task.
    """

    def __init__(self, tasks: Sequence[str], labels: Mapping[str, int]) -> None:
        self.losses: dict[str, float] = {}
        self.weights: dict[str, float] = {}
        self.shares: dict[str, float] = {}
        self.norms: dict[str, float] = {}
        self.cosines: dict[tuple[str, str], float] = {}
        self.conflicts: float | None = None
        self.iterations = 0.0
        self.labels = {task: labels.get(task, 0) for task in tasks}
        self.steps = 0
        self.extra: dict[str, float] = {}
        self.skipped: dict[str, int] = {}


class EpochMeter:
    """Collects step records as sums, so that an epoch of any length takes the same memory.

    A step costs a few list appends: records wait, per set of present tasks, until there are enough of them to be summed
    as arrays.

    Args:
        tasks: Names of all tasks, in order.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks = tuple(tasks)
        self._place = {task: i for i, task in enumerate(self.tasks)}
        self.reset()

    def reset(self) -> None:
        """Start a new epoch."""
        size = len(self.tasks)
        self._labels: dict[str, int] = {}
        self._skipped: dict[str, int] = {}
        self._extra: dict[str, tuple[float, int]] = {}
        self._sums: dict[str, Array] = {name: np.zeros(size) for name in _VECTORS}
        self._pairs: dict[str, Array] = {}  # made when the first gradients come
        self._totals = dict.fromkeys(("steps", "iterations", "apart", "judged"), 0)
        # one list per column: losses, weights, labels, gramian, iterations
        self._waiting: dict[tuple[str, ...], tuple[list[Any], ...]] = {}
        self._numbers = 0

    def add(self, record: StepRecord | None, counts: Mapping[str, int]) -> None:
        """Take in one step and the labels its batch had.

        Args:
            record: What the balancer returned; ``None`` for a batch that made no step.
            counts: Labels present in the batch, by task.
        """
        for task, count in counts.items():
            self._labels[task] = self._labels.get(task, 0) + count
        if record is None:
            return
        for task in record.skipped:
            self._skipped[task] = self._skipped.get(task, 0) + 1
        if not record.tasks:
            return
        columns = self._waiting.get(record.tasks)
        if columns is None:
            columns = self._waiting[record.tasks] = ([], [], [], [], [])
        columns[0].append(record.raw_losses)
        columns[1].append(record.raw_weights)
        columns[2].append([counts.get(task, 0) for task in record.tasks])
        columns[4].append(record.iterations)
        self._numbers += 3 * len(record.tasks)
        if record.gramian is not None:
            columns[3].append((len(columns[1]) - 1, record.gramian))
            self._numbers += record.gramian.size
        if self._numbers >= _CHUNK:
            self._sum_up()

    def add_extra(self, values: Mapping[str, Sequence[float]]) -> None:
        """Take in the losses that parts of the model add by themselves, by their own names."""
        for name, found in values.items():
            total, number = self._extra.get(name, (0.0, 0))
            self._extra[name] = (total + sum(found), number + len(found))

    def _sum_up(self) -> None:
        """Turn what waits into sums."""
        for present, columns in self._waiting.items():
            at = np.array([self._place[task] for task in present])
            stacked = _stack(columns)
            sums, steps = self._sums, len(stacked["weights"])
            self._totals["steps"] += steps
            self._totals["iterations"] += int(stacked["iterations"].sum())
            sums["losses"][at] += (stacked["losses"] * stacked["labels"]).sum(0)
            sums["labels"][at] += stacked["labels"].sum(0)
            sums["weights"][at] += stacked["weights"].sum(0)
            sums["seen"][at] += steps
            sums["shares"][at] += _shares(stacked).sum(0)
            if len(stacked["gramian"]):
                self._compare(at, stacked["gramian"])
        self._waiting, self._numbers = {}, 0

    def _compare(self, at: Array, gramian: Float[Array, "S K K"]) -> None:
        """Norms and cosines of some steps with the same tasks."""
        lengths = np.sqrt(np.diagonal(gramian, axis1=1, axis2=2))
        self._sums["norms"][at] += lengths.sum(0)
        self._sums["judged"][at] += len(lengths)
        products = lengths[:, :, None] * lengths[:, None, :]
        cosine = np.divide(gramian, products, out=np.full_like(products, np.nan), where=products > 0)
        known = np.isfinite(cosine)
        if not self._pairs:
            size = len(self.tasks)
            self._pairs = {"cosines": np.zeros((size, size)), "known": np.zeros((size, size))}
        block = np.ix_(at, at)
        self._pairs["cosines"][block] += np.nansum(np.clip(cosine, -1, 1), axis=0)
        self._pairs["known"][block] += known.sum(0)
        first, second = np.triu_indices(len(at), k=1)
        self._totals["apart"] += int((cosine[:, first, second] < 0).sum())
        self._totals["judged"] += int(known[:, first, second].sum())

    def summary(self) -> EpochSummary:
        """The epoch so far."""
        self._sum_up()
        sums, totals = self._sums, self._totals
        result = EpochSummary(self.tasks, self._labels)
        with np.errstate(invalid="ignore", divide="ignore"):
            result.losses = _named(self.tasks, sums["losses"] / sums["labels"], sums["labels"])
            result.weights = _named(self.tasks, sums["weights"] / sums["seen"], sums["seen"])
            result.shares = _named(self.tasks, sums["shares"] / sums["seen"], sums["seen"])
            result.norms = _named(self.tasks, sums["norms"] / sums["judged"], sums["judged"])
        if self._pairs:
            result.cosines = self._most_apart()
        if totals["judged"]:
            result.conflicts = totals["apart"] / totals["judged"]
        result.steps = totals["steps"]
        result.iterations = totals["iterations"] / max(1, totals["steps"])
        result.extra = {name: total / number for name, (total, number) in self._extra.items()}
        result.skipped = dict(self._skipped)
        return result

    def _most_apart(self) -> dict[tuple[str, str], float]:
        """Mean cosine by pair, in the order of the tasks; the lowest ones where there are too many to record."""
        first, second = np.triu_indices(len(self.tasks), k=1)
        known = self._pairs["known"][first, second] > 0
        first, second = first[known], second[known]
        cosine = self._pairs["cosines"][first, second] / self._pairs["known"][first, second]
        chosen = np.sort(np.argsort(cosine, kind="stable")[:_PAIRS])
        return {(self.tasks[first[i]], self.tasks[second[i]]): float(cosine[i]) for i in chosen.tolist()}

    def state_dict(self) -> dict[str, Any]:
        """The unfinished epoch, as tensors and plain values."""
        waiting = [
            {
                "tasks": list(present),
                "losses": torch.as_tensor(np.array(columns[0])),
                "weights": torch.as_tensor(np.array(columns[1])),
                "labels": [list(row) for row in columns[2]],
                "at": [at for at, _ in columns[3]],
                "gramian": torch.as_tensor(np.array([matrix for _, matrix in columns[3]])),
                "iterations": [int(number) for number in columns[4]],
            }
            for present, columns in self._waiting.items()
        ]
        return {
            "labels": dict(self._labels),
            "skipped": dict(self._skipped),
            "extra": dict(self._extra),
            "totals": dict(self._totals),
            "sums": {name: torch.from_numpy(value.copy()) for name, value in self._sums.items()},
            "pairs": {name: torch.from_numpy(value.copy()) for name, value in self._pairs.items()},
            "waiting": waiting,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._labels, self._skipped = dict(state["labels"]), dict(state["skipped"])
        self._extra, self._totals = dict(state["extra"]), dict(state["totals"])
        self._sums = {name: value.numpy().copy() for name, value in state["sums"].items()}
        self._pairs = {name: value.numpy().copy() for name, value in state["pairs"].items()}
        self._waiting = {
            tuple(saved["tasks"]): (
                list(saved["losses"].numpy()),
                list(saved["weights"].numpy()),
                [list(row) for row in saved["labels"]],
                list(zip(saved["at"], saved["gramian"].numpy(), strict=True)),
                list(saved["iterations"]),
            )
            for saved in state["waiting"]
        }
        self._numbers = sum(
            3 * len(present) * len(columns[0]) + sum(matrix.size for _, matrix in columns[3])
            for present, columns in self._waiting.items()
        )


def _stack(columns: tuple[list[Any], ...]) -> dict[str, Array]:
    return {
        "losses": np.array(columns[0], dtype=np.float64),
        "weights": np.array(columns[1], dtype=np.float64),
        "labels": np.array(columns[2], dtype=np.float64),
        "judged": np.array([at for at, _ in columns[3]], dtype=np.intp),
        "gramian": np.array([matrix for _, matrix in columns[3]], dtype=np.float64),
        "iterations": np.array(columns[4], dtype=np.float64),
    }


def _shares(stacked: Mapping[str, Array]) -> Float[Array, "S K"]:
    """Effective shares w·‖g‖/Σ per step; of the weights alone in steps without gradients."""
    size = np.abs(stacked["weights"])
    if len(stacked["gramian"]):
        size[stacked["judged"]] *= np.sqrt(np.diagonal(stacked["gramian"], axis1=1, axis2=2))
    total = size.sum(1, keepdims=True)
    return np.asarray(np.divide(size, total, out=size.copy(), where=total > 0))


def _named(tasks: Sequence[str], values: Array, counts: Array) -> dict[str, float]:
    return {
        task: float(value) for task, value, count in zip(tasks, values.tolist(), counts.tolist(), strict=True) if count
    }
