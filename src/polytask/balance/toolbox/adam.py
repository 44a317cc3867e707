"""Adam for the few numbers a method learns: one per task, with moments that freeze while their task is absent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
from jaxtyping import Float

from polytask.balance.contract.state import MethodState

__all__ = ["TaskAdam"]

Array = np.ndarray


@final
class TaskAdam:
    """One scalar per task, moved by Adam; value, moments and step count live in the method's state under task names.

    m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², x ← x − lr·m̂/(√v̂ + ε), with m̂ and v̂ corrected for each task's own
    number of steps, so that a task which joins late starts like any other.

    Args:
        state: Where the numbers are kept.
        name: Name of the learned quantity.
        start: Its first value.
        lr: Learning rate.
        weight_decay: L2 coefficient added to the gradient, γx.

    Examples:
        >>> state = MethodState()
        >>> adam = TaskAdam(state, "x", start=0.0, lr=0.1)
        >>> state.remember(["a"], adam.step(["a"], np.array([5.0])))
        >>> state.read("x", ["a", "b"]).round(6).tolist()
        [-0.1, 0.0]

    References:
        Kingma, Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    """

    beta1, beta2, epsilon = 0.9, 0.999, 1e-8

    def __init__(self, state: MethodState, name: str, *, start: float, lr: float, weight_decay: float = 0.0) -> None:
        self._state, self._name, self._lr, self._decay = state, name, lr, weight_decay
        state.declare(name, start, reduce="same")
        for moment in ("mean", "square", "count"):
            state.declare(f"{name}_{moment}", 0.0, reduce="same")

    def step(
        self,
        tasks: Sequence[str],
        gradient: Float[Array, "K"],
        low: float = -np.inf,
        high: float = np.inf,
        *,
        start: Float[Array, "K"] | None = None,
    ) -> dict[str, Float[Array, "K"]]:
        """What is to be remembered of one step for ``tasks``, which ends within [low, high].

        Args:
            tasks: Whose numbers move.
            gradient: g, (K,).
            low: Lower bound.
            high: Upper bound.
            start: x, (K,), where it is not the one that is remembered.
        """
        name, state = self._name, self._state
        x = state.read(name, tasks) if start is None else start
        g = gradient + self._decay * x
        count = state.read(f"{name}_count", tasks) + 1
        mean = self.beta1 * state.read(f"{name}_mean", tasks) + (1 - self.beta1) * g
        square = self.beta2 * state.read(f"{name}_square", tasks) + (1 - self.beta2) * g * g
        step = mean / (1 - self.beta1**count) / (np.sqrt(square / (1 - self.beta2**count)) + self.epsilon)
        moved = np.clip(x - self._lr * step, low, high)
        return {f"{name}_count": count, f"{name}_mean": mean, f"{name}_square": square, name: moved}
