"""A trial of an estimator: read, encode, fit on the training rows, judge by the meter that judges networks."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from polytask.data import Inputs, MultiTaskData
from polytask.data.interface import Interface
from polytask.errors import ConfigError, TaskError
from polytask.study.classical.entries import reasons_against
from polytask.study.classical.entry import Entry, Fitted, Training
from polytask.study.classical.folds import row_folds
from polytask.study.classical.rows import Encoding, Features, features_of, read_rows
from polytask.study.classical.saved import Estimators, head_of
from polytask.study.judging import judge
from polytask.study.outcome.results import TrialResult
from polytask.tasks import Task, TaskSet

__all__ = ["Learned", "check_estimator", "fit_estimator", "learn"]

logger = logging.getLogger("polytask")

Array = NDArray[Any]
MOST_REMARKS = 3
SAMPLE = 512
"""Training rows on which plain arrays have to predict what the estimators do."""


def check_estimator(entry: Entry, data: MultiTaskData, tasks: TaskSet) -> None:
    """Check before anything is fitted that an estimator can learn the tasks from these inputs.

    Raises:
        ConfigError: It cannot; the message names the tasks and what would work.
    """
    if data.inputs.kind == "custom":
        raise ConfigError(
            f"{entry.name} reads tables, vectors and images, and the inputs of {data.name} are custom; leave it out, "
            'or make them vectors: InputSpec("vector", ...)'
        )
    against = reasons_against(entry, tasks.values())
    if against:
        raise ConfigError(against)
    entry.check_tasks(tasks)


def fit_estimator(
    entry: Entry, data: MultiTaskData, tasks: TaskSet, seed: int, result: TrialResult
) -> tuple[TrialResult, Learned]:
    """Fit on the training rows and measure on the others.

    Args:
        entry: What to fit.
        data: On what.
        tasks: The tasks to learn.
        seed: Seed of the folds, and of what is random in the estimator.
        result: The trial's record, to be filled in.

    Returns:
        The record with metrics, what was chosen, number of parameters and seconds; and the estimators.

    Raises:
        TaskError: A task has no training label, or a label is not possible.
    """
    learned = learn(entry, data, tasks, seed)
    for words in learned.told:
        logger.warning("trial %s: %s", result.id, words)
    found = dataclasses.replace(
        result,
        **judge(learned.heads, data, tasks),
        labels_seen=learned.counts,
        parameters=learned.fitted.parameters,
        fitted=learned.fitted.facts,
        remarks=learned.told,
        timing={"seconds": learned.seconds, "seconds_per_step": math.nan},
    )
    return found, learned


@final
@dataclasses.dataclass(frozen=True)
class Learned:
    """Estimators after fitting, with all that their predictions need.

    Attributes:
        tasks: The tasks.
        fitted: The estimators.
        encoding: How rows become matrices.
        units: Task → mean and standard deviation of the fitted targets.
        counts: Labels learned from, by task.
        told: What was warned of.
        seconds: Time of fitting.
        sample: Some of the training rows.
    """

    tasks: TaskSet
    fitted: Fitted
    encoding: Encoding
    units: dict[str, tuple[float, float]]
    counts: dict[str, int]
    told: list[str]
    seconds: float
    sample: Features

    def heads(self, inputs: Inputs) -> dict[str, Tensor]:
        """What the heads of a network would put out for the same predictions."""
        features = features_of(inputs)
        found = self.fitted.heads(self.encoding.linear(features), self.encoding.trees(features))
        return {name: head_of(self.tasks[name], values, self.units[name]) for name, values in found.items()}

    def plain(self, interface: Interface) -> Estimators | None:
        """The same as plain arrays, if these predict the same; else ``None``."""
        links = self.fitted.plain()
        if links is None:
            return None
        linear, trees = self.encoding.linear(self.sample), self.encoding.trees(self.sample)
        again = links.heads(linear, trees, interface.tasks.names)
        for name, values in self.fitted.heads(linear, trees).items():
            if not np.allclose(again[name].reshape(values.shape), values, rtol=1e-6, atol=1e-8, equal_nan=True):
                return None
        return Estimators(interface, self.encoding, links, self.units)


def learn(entry: Entry, data: MultiTaskData, tasks: TaskSet, seed: int) -> Learned:
    """Fit on the training rows; see :func:`fit_estimator`."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    rows = read_rows(data.train, tasks)
    counts = {name: int((~np.isnan(values)).sum()) for name, values in rows.targets.items()}
    for name, count in counts.items():
        if count == 0:
            raise TaskError(f"task {name!r} has no training label: {entry.name} cannot learn it; leave it out")
    encoding = Encoding.learn(rows.features, data.inputs)
    units = {name: _unit(task, rows.targets[name], rows.weights.get(name)) for name, task in tasks.items()}
    training = Training(
        tasks,
        encoding.linear(rows.features),
        encoding.trees(rows.features),
        encoding.is_category,
        {name: (values - units[name][0]) / units[name][1] for name, values in rows.targets.items()},
        row_folds(tasks, rows.targets, seed, groups=None if data.groups is None else data.groups["train"]),
        seed,
        data.groups is not None,
        rows.weights,
    )
    start = time.perf_counter()
    # one thread, as for networks: sums depend on the number of threads
    with threadpool_limits(1), _told() as told:
        fitted = entry.fit(training)
    seconds = time.perf_counter() - start
    sample = Features(rows.features.numeric[:SAMPLE], rows.features.categorical[:SAMPLE])
    return Learned(tasks, fitted, encoding, units, counts, told, seconds, sample)


def _unit(task: Task, values: Array, weight: Array | None) -> tuple[float, float]:
    """Weighted mean and standard deviation that standardise the targets of a task; (0, 1) for classes and counts."""
    if not task.rule.affine:
        return 0.0, 1.0
    known = ~np.isnan(values)
    present = values[known]
    mean, spread = float(present.mean()), float(present.std())
    if weight is not None:
        mean = float(np.average(present, weights=weight[known]))
        spread = float(np.sqrt(np.average((present - mean) ** 2, weights=weight[known])))
    return mean, spread if spread > 1e-12 * max(abs(mean), 1e-300) else 1.0


@contextmanager
def _told() -> Iterator[list[str]]:
    """Collect what scikit-learn and the solvers warn of, each sentence once."""
    told: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield told
    words = list(dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught))
    told.extend(words[:MOST_REMARKS])
    if len(words) > MOST_REMARKS:
        told.append(f"and {len(words) - MOST_REMARKS} more such warnings")
