"""What costs nothing: predictions that look at no input, as a measure for all that do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polytask.data import MultiTaskData, Source, batches
from polytask.data.batch import weights_of
from polytask.errors import TaskError
from polytask.study.classical.rows import BATCH, labels_of
from polytask.tasks import Nature, Task, TaskSet

__all__ = ["Judged", "judge_trivially"]

_SURE = 1e-6  # the least and, from above, the largest chance that a constant prediction gives a class


class Judged(NamedTuple):
    """What test rows say without any model.

    Attributes:
        values: Task → primary metric of the trivial prediction on the test rows; NaN where it is undefined.
        rarer: Task with two classes → test rows of the rarer one.
    """

    values: dict[str, float]
    rarer: dict[str, int]


def judge_trivially(data: MultiTaskData) -> Judged:
    """Judge the prediction that is the same for every row: mean, shares of classes, or quantiles of training labels.

    It is judged on the test rows by the meter that judges networks. Tasks with a loss of the user's own have none.

    Args:
        data: One split of the data.

    Examples:
        >>> from polytask.data import InputSpec, TensorSource
        >>> def rows(*labels):
        ...     return TensorSource(torch.zeros(len(labels), 1), {"y": torch.tensor(labels)})
        >>> task = TaskSet([Task("y", metrics=["mae"])])
        >>> spec = InputSpec("vector", (1,))
        >>> toy = MultiTaskData("toy", task, rows(1.0, 3.0), rows(0.0), rows(2.0, 5.0), spec, "mlp:4")
        >>> judge_trivially(toy).values
        {'y': 1.5}
    """
    asked = [task for task in data.tasks.values() if task.rule.nature is not Nature.OTHER]
    learned, judged = _labels(data.train, asked), _labels(data.test, asked)
    weights = _weights(data.train)
    known = TaskSet.of(task for task in asked if task.name in learned and task.name in judged)
    heads = {name: _constant(task, learned[name], weights.get(name)) for name, task in known.items()}
    meter = known.meter()
    for part in batches(data.test, BATCH):
        targets = {name: part.targets[name].cpu() for name in heads if name in part.targets}
        meter.update(
            {name: heads[name].expand(len(target), -1) for name, target in targets.items()},
            targets,
            weights=weights_of(part, targets),
        )
    measured = meter.compute()
    return Judged(
        {name: measured.get(name, {}).get(task.primary, math.nan) for name, task in data.tasks.items()},
        {
            name: min(int((judged[name] == value).sum()) for value in (0, 1))
            for name, task in known.items()
            if task.rule.nature is Nature.YES_NO
        },
    )


def _labels(source: Source, tasks: Sequence[Task]) -> dict[str, NDArray[Any]]:
    """Labels of all rows, NaN where missing; tasks without any, or with impossible ones, are left to trials to tell."""
    found: dict[str, list[NDArray[Any]]] = {}
    broken: set[str] = set()
    for part in batches(source, BATCH):
        for task in tasks:
            if task.name in part.targets and task.name not in broken:
                try:
                    labels = labels_of(task, part.targets[task.name], len(part.targets[task.name]))
                    found.setdefault(task.name, []).append(labels)
                except TaskError:
                    broken.add(task.name)
    joined = {name: np.concatenate(parts) for name, parts in found.items() if name not in broken}
    return {name: labels for name, labels in joined.items() if not np.isnan(labels).all()}


def _weights(source: Source) -> dict[str, NDArray[Any]]:
    """Weights of the labels of all rows, of tasks that have them."""
    found: dict[str, list[NDArray[Any]]] = {}
    for part in batches(source, BATCH):
        for name, weight in (part.weights or {}).items():
            found.setdefault(name, []).append(weight.cpu().double().numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _constant(task: Task, labels: NDArray[Any], weight: NDArray[Any] | None) -> Tensor:
    """What a head puts out for every row, (1, ``out_features``)."""
    known = ~np.isnan(labels)
    own = np.ones(len(labels)) if weight is None else weight
    own = np.where(known, own.reshape(own.shape + (1,) * (labels.ndim - own.ndim)), 0.0)
    nature, present, mass = task.rule.nature, labels[known], own[known]

    def mean(values: NDArray[Any]) -> float:
        return float(values.mean() if weight is None else np.average(values, weights=mass))

    if nature is Nature.BOUNDED:  # the middle of what is known; σ, where it is asked for, as on the head's scale
        finite = np.isfinite(labels)
        head: Any = [(float(labels[finite].mean()) - task.shift) / task.scale, *[0.0] * (task.out_features - 1)]
    elif nature is Nature.NUMBER:
        head = [(mean(present) - task.shift) / task.scale]
    elif nature is Nature.QUANTILES:
        levels = task.quantiles or (0.5,)
        found = np.quantile(present, levels) if weight is None else _weighted_quantiles(present, levels, mass)
        head = (found - task.shift) / task.scale
    elif nature is Nature.COUNT:
        head = [math.log(max(mean(present), _SURE))]
    elif nature is Nature.YES_NO:
        head = _logit([mean(present)])
    elif nature is Nature.SEVERAL_YES_NO:
        head = _logit((own * np.where(known, labels, 0)).sum(axis=0) / np.maximum(own.sum(axis=0), _SURE))
    elif nature is Nature.ORDERED:
        head = _logit([mean(present > level) for level in range((task.classes or 2) - 1)])
    else:
        shares = np.bincount(present.astype(int), mass, minlength=task.classes or 2) / mass.sum()
        head = np.log(np.maximum(shares, _SURE))
    return torch.from_numpy(np.asarray(head, dtype=np.float64)).reshape(1, task.out_features)


def _weighted_quantiles(values: NDArray[Any], levels: Sequence[float], weight: NDArray[Any]) -> NDArray[Any]:
    """The least values below or at which lies the level's share of the weights."""
    order = values.argsort()
    shares = weight[order].cumsum() / weight.sum()
    found: NDArray[Any] = values[order][np.searchsorted(shares, levels).clip(max=len(values) - 1)]
    return found


def _logit(share: Any) -> NDArray[np.float64]:
    share = np.clip(np.asarray(share, dtype=np.float64), _SURE, 1 - _SURE)
    found: NDArray[np.float64] = np.log(share / (1 - share))
    return found
