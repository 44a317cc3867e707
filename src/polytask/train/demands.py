"""What a balancing method asks of the trainer."""

from __future__ import annotations

import math
from collections.abc import Iterable

from polytask.balance import Ask, Balancer, Method
from polytask.balance.asks import VALIDATION_METRICS
from polytask.errors import ConfigError
from polytask.remedies import setting
from polytask.tasks import TaskSet
from polytask.train.evaluation import Evaluation

__all__ = ["check_evidence", "check_metrics", "skills"]

UNIT = ("accuracy", "auroc", "average_precision", "balanced_accuracy", "f1")
"""Metrics in [0, 1] of which higher is better."""


def check_metrics(method: Method, tasks: TaskSet) -> None:
    """Refuse a method that asks for what training does not give.

    Args:
        method: What balances the tasks.
        tasks: Their primary metrics are what a method that asks for validation metrics would get.

    Raises:
        ConfigError: It asks for what only the caller of a balancer can give, or for validation metrics where a task's
            primary metric is not in [0, 1] with 1 the best.

    Examples:
        >>> from polytask.balance import get_method
        >>> from polytask.tasks import Task
        >>> check_metrics(get_method("dtp"), TaskSet([Task("age")]))
        Traceback (most recent call last):
            ...
        polytask.errors.ConfigError: DTP weighs tasks by their validation metrics, ...
    """
    name = type(method).__name__
    _refuse(method.asks, name)
    if VALIDATION_METRICS not in method.asks:
        return
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
    _refuse(balancer.asks - balancer.method.asks, setting("grads", "sub_batch"))


def _refuse(asks: Iterable[Ask], who: str) -> None:
    for ask in asks:
        if "trainer" not in ask.by:
            raise ConfigError(ask.refusal(who, "training does not give"))


def skills(found: Evaluation, tasks: TaskSet) -> dict[str, float]:
    """Validation value of each task's primary metric; tasks for which it is undefined are left out."""
    values = {name: found.metrics.get(name, {}).get(task.primary, math.nan) for name, task in tasks.items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}
