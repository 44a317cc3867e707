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


class EpochSummary:
    """Means over the steps of one epoch.

    Attributes:
        losses: Mean loss per label, by task.
        weights: Mean weight of each task's shared gradient, over the steps it took part in.
        shares: Mean effective share in the shared step, likewise.
        norms: Mean norm of the shared gradient, by task; empty when the method looks at losses only.
        cosines: Mean cosine between the shared gradients of a pair of tasks (a before b in the order of tasks).
        conflicts: Share of pairs and steps with a negative cosine; ``None`` without gradients.
        iterations: Mean iterations of the method's solver per step.
        labels: Labels seen, by task; tasks without any count 0.
        steps: Calls of the balancer.
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
        self.skipped: dict[str, int] = {}


class EpochMeter:
    """Collects step records; everything is computed when the epoch is over.

    A step costs a few list appends. Records are kept per set of present tasks, so that they stack into arrays.

    Args:
        tasks: Names of all tasks, in order.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks = tuple(tasks)
        self.reset()

    def reset(self) -> None:
        """Start a new epoch."""
        self._labels: dict[str, int] = {}
        self._skipped: dict[str, int] = {}
        # one list per column: losses, weights, labels, gramian, iterations
        self._columns: dict[tuple[str, ...], tuple[list[Any], ...]] = {}

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
        columns = self._columns.get(record.tasks)
        if columns is None:
            columns = self._columns[record.tasks] = ([], [], [], [], [])
        columns[0].append(record.raw_losses)
        columns[1].append(record.raw_weights)
        columns[2].append([counts.get(task, 0) for task in record.tasks])
        columns[4].append(record.iterations)
        if record.gramian is not None:
            columns[3].append((len(columns[1]) - 1, record.gramian))

    def summary(self) -> EpochSummary:
        """The epoch so far."""
        size = len(self.tasks)
        place = {task: i for i, task in enumerate(self.tasks)}
        losses, labels, weights, shares, seen = (np.zeros(size) for _ in range(5))
        norms, judged = np.zeros(size), np.zeros(size)
        cosines, pairs, apart = (np.zeros((size, size)) for _ in range(3))
        result = EpochSummary(self.tasks, self._labels)
        for present, columns in self._columns.items():
            at = np.array([place[task] for task in present])
            stacked = _stack(columns)
            result.steps += len(stacked["weights"])
            result.iterations += float(stacked["iterations"].sum())
            losses[at] += (stacked["losses"] * stacked["labels"]).sum(0)
            labels[at] += stacked["labels"].sum(0)
            weights[at] += stacked["weights"].sum(0)
            seen[at] += len(stacked["weights"])
            shares[at] += _shares(stacked).sum(0)
            if not len(stacked["gramian"]):
                continue
            lengths = np.sqrt(np.diagonal(stacked["gramian"], axis1=1, axis2=2))
            norms[at] += lengths.sum(0)
            judged[at] += len(lengths)
            products = lengths[:, :, None] * lengths[:, None, :]
            cosine = np.divide(stacked["gramian"], products, out=np.full_like(products, np.nan), where=products > 0)
            cosines[np.ix_(at, at)] += np.nansum(np.clip(cosine, -1, 1), axis=0)
            pairs[np.ix_(at, at)] += np.isfinite(cosine).sum(0)
            apart[np.ix_(at, at)] += (cosine < 0).sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            result.losses = _named(self.tasks, losses / labels, labels)
            result.weights = _named(self.tasks, weights / seen, seen)
            result.shares = _named(self.tasks, shares / seen, seen)
            result.norms = _named(self.tasks, norms / judged, judged)
        for i, a in enumerate(self.tasks):
            for j, b in enumerate(self.tasks[i + 1 :], start=i + 1):
                if pairs[i, j]:
                    result.cosines[a, b] = float(cosines[i, j] / pairs[i, j])
        upper = np.triu_indices(size, k=1)
        if pairs[upper].sum():
            result.conflicts = float(apart[upper].sum() / pairs[upper].sum())
        result.iterations /= max(1, result.steps)
        result.skipped = dict(self._skipped)
        return result

    def state_dict(self) -> dict[str, Any]:
        """The unfinished epoch, as tensors and plain values."""
        columns = [
            {
                "tasks": list(present),
                "losses": torch.as_tensor(np.array(columns[0])),
                "weights": torch.as_tensor(np.array(columns[1])),
                "labels": [list(row) for row in columns[2]],
                "at": [at for at, _ in columns[3]],
                "gramian": torch.as_tensor(np.array([matrix for _, matrix in columns[3]])),
                "iterations": [int(number) for number in columns[4]],
            }
            for present, columns in self._columns.items()
        ]
        return {"labels": dict(self._labels), "skipped": dict(self._skipped), "columns": columns}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._labels, self._skipped = dict(state["labels"]), dict(state["skipped"])
        self._columns = {
            tuple(saved["tasks"]): (
                list(saved["losses"].numpy()),
                list(saved["weights"].numpy()),
                [list(row) for row in saved["labels"]],
                list(zip(saved["at"], saved["gramian"].numpy(), strict=True)),
                list(saved["iterations"]),
            )
            for saved in state["columns"]
        }


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
