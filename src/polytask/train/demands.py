"""What a balancing method asks of validation."""

from __future__ import annotations

import math

from polytask.balance import Balancer, Method
from polytask.errors import ConfigError
from polytask.remedies import setting
from polytask.tasks import TaskSet
from polytask.train.evaluation import Evaluation

__all__ = ["check_evidence", "check_metrics", "skills"]

UNIT = ("accuracy", "auroc", "average_precision", "balanced_accuracy", "f1")
"""Metrics in [0, 1] of which higher is better."""


def check_metrics(method: Method, tasks: TaskSet) -> None:
    """Refuse a method that asks for numbers which validation does not give.

    Args:
        method: What balances the tasks.
        tasks: Their primary metrics are what the method would get.

    Raises:
        ConfigError: It wants numbers that only the caller can measure, or a task's primary metric is not in [0, 1]
            with 1 the best.

    Examples:
        >>> from polytask.balance import get_method
        >>> from polytask.tasks import Task
        >>> check_metrics(get_method("dtp"), TaskSet([Task("age")]))
        Traceback (most recent call last):
            ...
        polytask.errors.ConfigError: DTP weighs tasks by their validation metrics, ...
    """
    if not method.needs_metrics:
        return
    name = type(method).__name__
    if not method.takes_skill:
        raise ConfigError(
            f"{name} needs {method.metrics_wanted}, which the trainer does not measure; write a loop of your own and "
            "call balancer.observe_metrics({task: value}) in it (the method's documentation says how to measure), or "
            "train with a method that looks at losses (dwa, uw)"
        )
    unfit = {task.name: task.primary for task in tasks.values() if task.primary not in UNIT}
    if unfit:
        found = ", ".join(
            f"{task!r} is {metric!r}" if metric else f"{task!r} is none" for task, metric in unfit.items()
        )
        raise ConfigError(
            f"{name} weighs tasks by their validation metrics, which must lie in [0, 1] with 1 the best; the primary "
            f"metric of {found}. Put one of {', '.join(UNIT)} first in its metrics=, use a method that looks at losses "
            f"(dwa, uw), or hand over rescaled values in a loop of your own: "
            f"balancer.observe_metrics({{{next(iter(unfit))!r}: value}})"
        )


def check_evidence(balancer: Balancer) -> None:
    """Refuse gradient evidence that takes a forward pass of its own.

    Raises:
        ConfigError: The balancer judges by part of the batch.
    """
    if balancer.needs_judge:
        raise ConfigError(
            f"{setting('grads', 'sub_batch')} judges by the losses of part of the batch, from a forward pass that "
            f"the trainer does not make; use {setting('grads', 'features')} for cheap gradients, or a loop of your own "
            "with balancer.backward(losses, judge=…)"
        )


def skills(found: Evaluation, tasks: TaskSet) -> dict[str, float]:
    """Validation value of each task's primary metric; tasks for which it is undefined are left out."""
    values = {name: found.metrics.get(name, {}).get(task.primary, math.nan) for name, task in tasks.items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}
