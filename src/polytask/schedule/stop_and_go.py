"""A task that has stalled is trained in few steps only, until it falls back."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, final

from polytask.options import Real, Whole, option
from polytask.schedule.schedule import Schedule
from polytask.schedule.standing import Standing, gain

__all__ = ["StopAndGo"]


@final
class StopAndGo(Schedule):
    """Dynamic stop-and-go: a stalled task counts in every ``every``-th step only, and in all again once it falls back.

    With m the task's primary metric after an epoch, m* its best so far and g = s·(m − m*)/|m*| (s the metric's
    direction): the epoch is good if g > ``improvement``, and then m* = m. After more than ``patience`` epochs in a row
    that are not, the task stops. A stopped task goes on once g < −``fall``.

    Args:
        improvement: Smallest relative gain over the best value that counts; 0.001 as published.
        patience: Epochs without one that a task may have in a row; 1 as published: the second stops it.
        fall: Relative loss against the best value at which a stopped task goes on; 0.005 as published.
        every: A stopped task counts in every step whose number is a multiple of it; 4 as published. 0: in none.

    Raises:
        ConfigError: An option is outside its limits.

    Examples:
        >>> schedule = StopAndGo()
        >>> schedule.begin(["a", "b"])
        >>> for epoch, value in enumerate([0.5, 0.5, 0.5], start=1):
        ...     schedule.follow(Standing(epoch, values={"a": (value, +1), "b": (0.1 * epoch, +1)}))
        >>> [sorted(schedule.next()) for _ in range(5)]
        [['a', 'b'], ['b'], ['b'], ['b'], ['a', 'b']]

    Notes:
        The gain is signed and relative to |m*|, so that the rule holds for metrics of which lower is better and for
        negative ones; the released code compares m with multiples of m*. Its pause of one epoch after a stop, and its
        fresh start when the learning rate falls, are left out. It trains tasks in turn, and so a stopped one takes
        every fourth of its turns; in joint steps that is every fourth step.

    Reference:
        Lu et al., "12-in-1: Multi-Task Vision and Language Representation Learning", CVPR 2020.
    """

    needs_validation = True
    improvement: float = option(0.001, Real(0))
    patience: int = option(1, Whole(0))
    fall: float = option(0.005, Real(0))
    every: int = option(4, Whole(0))

    def fresh(self) -> dict[str, Any]:
        """Best value, epochs without a good one, whether the task is stopped."""
        return {"best": None, "stalled": 0, "stopped": False}

    def counts(self, step: int) -> Iterable[str]:
        """All that are not stopped, and in every ``every``-th step the others."""
        turn = self.every > 0 and step % self.every == 0
        return [name for name, known in self.memory.items() if turn or not known["stopped"]]

    def follow(self, standing: Standing) -> None:
        """Compare every task's primary metric with its best value."""
        for name, (value, direction) in standing.values.items():
            known = self.memory.get(name)
            if known is None or not math.isfinite(value):
                continue
            change = math.inf if known["best"] is None else gain(value, known["best"], direction)
            if change > self.improvement:
                known |= {"best": value, "stalled": 0}
            elif not known["stopped"]:
                known["stalled"] += 1
            if known["stopped"] and change < -self.fall:
                known |= {"stopped": False, "stalled": 0}
            elif known["stalled"] > self.patience:
                known["stopped"] = True
