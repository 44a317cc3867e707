"""How often do the tasks agree with the common step, and with each other? Counted over recorded steps."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import final

import numpy as np
from jaxtyping import Float
from torch import Tensor

from polytask.balance.contract.record import StepRecord
from polytask.errors import MethodError

__all__ = ["UpdateCompliance", "update_compliance"]

Array = np.ndarray


@final
@dataclasses.dataclass(frozen=True)
class UpdateCompliance:
    """Shares of steps, between 0 and 1.

    Attributes:
        mean: By task, the share of its steps in which its gradient points along the mean gradient of all tasks.
        pairs: By unordered pair, the share of their common steps in which their gradients point along each other.
        steps: By task, the steps that count: those in which it had a gradient that is not zero.
    """

    mean: dict[str, float]
    pairs: dict[tuple[str, str], float]
    steps: dict[str, int]


def update_compliance(steps: Iterable[StepRecord | Float[Tensor, "K K"]]) -> UpdateCompliance:
    """Update compliance ratios: how often ⟨g_i, ḡ⟩ > 0 with the mean gradient ḡ, and ⟨g_i, g_j⟩ > 0 for each pair.

    A task far below 1 is often served against its will: a plain step along the mean gradient raises its loss. Tasks
    that seldom agree are candidates for parts of the network of their own.

    Args:
        steps: Records of a balancer (``balancer.last`` after each step) whose method looked at gradients, or Gramians
            of shape (K, K), whose tasks are then called ``"0"``, ``"1"``, …. A step's rows may also be single samples.

    Returns:
        The shares. Steps in which a task was absent, or had no gradient, do not count for it.

    Raises:
        MethodError: A record has no inner products of gradients.

    Examples:
        >>> import torch
        >>> along, against = torch.tensor([[1.0, 0.5], [0.5, 1.0]]), torch.tensor([[4.0, -1.5], [-1.5, 1.0]])
        >>> found = update_compliance([along, against])
        >>> found.mean, found.pairs
        ({'0': 1.0, '1': 0.5}, {('0', '1'): 0.5})

    Notes:
        The measure is named after that of Zhao et al., who compare gradients of tasks in shared parameters before and
        after their modulation module. Their exact definition (over which samples, layers and averages) could not be
        checked; what is counted here is said above. Gradients are those the balancer judged by: pass the parameters of
        one layer as its ``grads`` to look at that layer.

    References:
        Zhao, Li, Shen, Liang, Wu, "A modulation module for multi-task learning with applications in image retrieval",
        ECCV 2018.
    """
    counts: dict[str, int] = {}
    agreed: dict[str, int] = {}
    met: dict[tuple[str, str], int] = {}
    along: dict[tuple[str, str], int] = {}
    for step in steps:
        names, gramian = _read(step)
        moving = np.flatnonzero(np.diag(gramian) > 0).tolist()
        for i in moving:
            counts[names[i]] = counts.get(names[i], 0) + 1
            agreed[names[i]] = agreed.get(names[i], 0) + int(gramian[i].sum() > 0)
        for i, j in itertools.combinations(moving, 2):
            pair = (names[i], names[j])
            if (names[j], names[i]) in met:  # listed in another order before
                pair = pair[::-1]
            met[pair] = met.get(pair, 0) + 1
            along[pair] = along.get(pair, 0) + int(gramian[i, j] > 0)
    return UpdateCompliance(
        {name: agreed[name] / count for name, count in counts.items()},
        {pair: along[pair] / count for pair, count in met.items()},
        counts,
    )


def _read(step: StepRecord | Tensor) -> tuple[Sequence[str], Float[Array, "K K"]]:
    if isinstance(step, Tensor):
        return [str(i) for i in range(len(step))], step.detach().double().cpu().numpy()
    if step.gramian is None:
        if not step.tasks:  # nobody took part
            return (), np.zeros((0, 0))
        raise MethodError(
            f"the record of step {step.step} has no gradients: its method looks at losses only, or reused weights; "
            "record steps of a method that needs the Gramian, such as pcgrad"
        )
    return step.tasks, step.gramian
