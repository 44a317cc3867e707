"""Heads made from a task's kind."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import nn

from polytask.errors import ConfigError
from polytask.share.seeding import local_seed
from polytask.tasks import Task

__all__ = ["build_head"]


def build_head(task: Task, width: int, hidden: Sequence[int] = (), *, seed: int | None = None) -> nn.Module:
    """A head from the shared representation to the outputs of a task: hidden layers with ReLU, then the kind's layer.

    Args:
        task: Its kind says how many outputs there are and what the last layer is.
        width: Number of features of the shared representation.
        hidden: Widths of hidden layers; none by default.
        seed: The parameters depend on it and on the task's name alone; None draws from the global generator.

    Returns:
        A module from (B, ``width``) to (B, ``task.out_features``).

    Raises:
        ConfigError: A width is not positive.

    Examples:
        >>> build_head(Task("colour", "multiclass", classes=5), 8)
        Linear(in_features=8, out_features=5, bias=True)
    """
    widths = [width, *hidden]
    if min(widths) < 1:
        raise ConfigError(f"head of task {task.name!r}: expected positive widths, found {widths}")
    with local_seed(seed, "head", task.name):
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        last = task.rule.layer(widths[-1], task.out_features)
        return nn.Sequential(*layers, last) if layers else last
