"""What several loss-based methods share: checks of signs, values per task, softmax, running means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
from jaxtyping import Float

from polytask.balance.contract.method import Evidence, Method
from polytask.balance.contract.state import MethodState, Reduction
from polytask.errors import MethodError

__all__ = ["EpochMean", "RunningMean", "per_task", "positive", "softmax"]

Array = np.ndarray


def positive(method: Method, evidence: Evidence, what: str = "loss", values: Float[Array, "K"] | None = None) -> None:
    """Refuse losses (or ``values``) that are not above zero, naming their tasks.

    Raises:
        MethodError: A value is zero or negative.
    """
    values = evidence.losses if values is None else values
    bad = [f"{task} = {value:g}" for task, value in zip(evidence.tasks, values, strict=True) if not value > 0]
    if bad:
        raise MethodError(
            f"{type(method).__name__} needs every {what} above zero, found {', '.join(bad)} at step {evidence.step}; "
            "add a constant to that loss, leave the task out of this step, or choose a method that takes any sign"
        )


def per_task(value: float | Mapping[str, float], tasks: Sequence[str], default: float) -> Float[Array, "K"]:
    """An option given as one number or by task name, in the order of ``tasks``."""
    if isinstance(value, Mapping):
        return np.array([value.get(task, default) for task in tasks], dtype=np.float64)
    return np.full(len(tasks), float(value))


def softmax(logits: Float[Array, "K"]) -> Float[Array, "K"]:
    """e^x/Σe^x without overflow."""
    pull = np.exp(logits - logits.max())
    return np.asarray(pull / pull.sum())


@final
class RunningMean:
    """Exponential mean of a quantity per task, free of the bias towards its start.

    m ← (1−β)m + βx and c ← (1−β)c + β from zero; the mean is m/c. After one value it is that value.

    Args:
        state: Where the numbers are kept.
        name: Name of the quantity.
        rate: β, the weight of a new value, in (0, 1].
        reduce: ``"mean"`` where the quantity is linear in the losses or gradients; see ``MethodState``.

    Examples:
        >>> state = MethodState()
        >>> mean = RunningMean(state, "loss", 0.1, reduce="mean")
        >>> state.remember(["a"], mean.take(["a"], np.array([2.0]))[1])
        >>> mean.take(["a"], np.array([4.0]))[0].round(4).tolist()
        [3.0526]
    """

    def __init__(self, state: MethodState, name: str, rate: float, *, reduce: Reduction) -> None:
        self._state, self._name, self._rate = state, name, rate
        for part in ("sum", "mass"):
            state.declare(f"{name}_{part}", 0.0, reduce=reduce)

    def read(self, tasks: Sequence[str], default: float) -> Float[Array, "K"]:
        """The means so far; ``default`` for a task never seen."""
        total, mass = (self._state.read(f"{self._name}_{part}", tasks) for part in ("sum", "mass"))
        return np.asarray(np.divide(total, mass, out=np.full(len(tasks), default), where=mass > 0))

    def take(
        self, tasks: Sequence[str], values: Float[Array, "K"]
    ) -> tuple[Float[Array, "K"], dict[str, Float[Array, "K"]]]:
        """The means once ``values`` are in them, and what is to be remembered for that."""
        total, mass = (self._state.read(f"{self._name}_{part}", tasks) for part in ("sum", "mass"))
        total, mass = (1 - self._rate) * total + self._rate * values, (1 - self._rate) * mass + self._rate
        return np.asarray(total / mass), {f"{self._name}_sum": total, f"{self._name}_mass": mass}


@final
class EpochMean:
    """Mean loss per task over one chosen epoch: the yardstick of methods that measure losses against an early one.

    A task that was absent from the whole epoch is measured against the first loss it shows later.

    Args:
        state: Where the numbers are kept.
        name: Name of the quantity.
        epoch: The epoch, counted from 0.
    """

    def __init__(self, state: MethodState, name: str, epoch: int) -> None:
        self._state, self._name, self._epoch = state, name, epoch
        for part in ("total", "count"):
            state.declare(f"{name}_{part}", 0.0, reduce="sum")

    def known(self, evidence: Evidence) -> bool:
        """Whether the chosen epoch is over."""
        return evidence.epoch > self._epoch

    def read(self, evidence: Evidence) -> Float[Array, "K"]:
        """The means; a task's present loss where there is none yet."""
        total, count = (self._state.read(f"{self._name}_{part}", evidence.tasks) for part in ("total", "count"))
        return np.asarray(np.divide(total, count, out=evidence.losses.copy(), where=count > 0))

    def take(self, evidence: Evidence) -> dict[str, Float[Array, "K"]]:
        """What is to be remembered: the losses of the chosen epoch, and later those of tasks without a mean."""
        if evidence.epoch < self._epoch:
            return {}
        total, count = (self._state.read(f"{self._name}_{part}", evidence.tasks) for part in ("total", "count"))
        taken = (evidence.epoch == self._epoch) | (count == 0)
        return {
            f"{self._name}_total": np.where(taken, total + evidence.losses, total),
            f"{self._name}_count": np.where(taken, count + 1, count),
        }
