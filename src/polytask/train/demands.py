"""What a balancing method, a schedule and losses with parameters ask of training."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import nn

from polytask.balance import Ask, Balancer, Method
from polytask.balance.contract.asks import VALIDATION_METRICS
from polytask.errors import ConfigError
from polytask.remedies import setting
from polytask.tasks import TaskSet
from polytask.train.evaluation import Evaluation

if TYPE_CHECKING:
    from polytask.schedule import Schedule
    from polytask.train.options import TrainOptions

__all__ = ["check_evidence", "check_losses", "check_metrics", "check_validation", "skills"]

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


def check_losses(model: nn.Module, tasks: TaskSet) -> None:
    """Refuse losses whose parameters would not train.

    Raises:
        ConfigError: A loss has parameters that are no parameters of the model.
    """
    own = {id(p) for p in model.parameters()}
    for name, task in tasks.items():
        if isinstance(task.loss_function, nn.Module):
            left = [p for p in task.loss_function.parameters() if p.requires_grad and id(p) not in own]
            if left:
                raise ConfigError(
                    f"the loss of task {name!r} has {len(left)} parameters that would not train; make the module a "
                    "part of the model, or freeze them with requires_grad_(False)"
                )


def check_validation(balancer: Balancer, options: TrainOptions, schedule: Schedule | None) -> None:
    """Refuse what waits for validations in a run without any.

    Raises:
        ConfigError: Method, early stopping or schedule need them.
    """
    if VALIDATION_METRICS in balancer.asks:
        name = type(balancer.method).__name__
        raise ConfigError(f"{name} weighs tasks by their validation metrics: pass val= to fit()")
    if options.patience is not None and options.stop is not None:
        raise ConfigError("patience= needs validation data: pass val=, or leave patience out")
    if schedule is not None and schedule.needs_validation:
        raise ConfigError(f"{type(schedule).__name__} decides after every validation: pass val= to fit()")


def skills(found: Evaluation, tasks: TaskSet) -> dict[str, float]:
    """Validation value of each task's primary metric; tasks for which it is undefined are left out."""
    values = {name: found.metrics.get(name, {}).get(task.primary, math.nan) for name, task in tasks.items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}
