"""Auxiliary tasks end one by one, when they have no more to give."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable, Mapping
from typing import Any, final

from polytask.options import PerTask, Real, TaskName, Whole, option
from polytask.schedule.schedule import Schedule
from polytask.schedule.standing import Standing

__all__ = ["TaskWiseStopping"]


@final
class TaskWiseStopping(Schedule):
    """Task-wise early stopping: a task ends when its training loss has come to rest and its validation loss is behind.

    With E(1), …, E(e) the task's training losses by epoch, V(e) its validation loss now, med and Σ the median and the
    sum over the last k epochs and λ the task's importance, it ends once

        k·med / (Σ − k·med) · (V(e) − min E) / (λ·min E) > ε.

    The first factor is small while the loss falls steeply and large at rest; the second is the gap to validation. The
    ``main`` task never ends. When every task has ended, so does training.

    Args:
        main: The task that the others are to help; None: all tasks may end.
        window: k, at least 2, epochs; no task ends before.
        threshold: ε.
        importance: λ, for all tasks or by task name (1 where not given): a more important task ends later.

    Raises:
        ConfigError: An option is outside its limits.

    Examples:
        >>> schedule = TaskWiseStopping(main="age", window=4, threshold=3.0)
        >>> schedule.begin(["age", "sex"])
        >>> for epoch, loss in enumerate([8.0, 4.0, 2.0, 1.0], start=1):
        ...     both = {"age": loss, "sex": loss}
        ...     schedule.follow(Standing(epoch, train_losses=both, val_losses={"age": 2.0, "sex": 2.0}))
        >>> sorted(schedule.next())  # k·med = 12 and Σ = 15 make 4, times a gap of 1
        ['age']

    Notes:
        Written for losses ≥ 0; an epoch with a negative one is passed over. Σ − k·med is not positive for a loss that
        falls along a straight line, or rises; the first factor is then taken for very large, as at rest. Epochs stand
        in the place of the paper's iterations, λ is fixed where the paper learns it along with the network, and the
        defaults of k and ε are ours: we know of no published ones.

    Reference:
        Zhang et al., "Facial Landmark Detection by Deep Multi-task Learning", ECCV 2014.
    """

    needs_validation = True
    main: str | None = option(None, TaskName(optional=True))
    window: int = option(5, Whole(2))
    threshold: float = option(10.0, Real(0, open_low=True))
    importance: float | Mapping[str, float] = option(1.0, PerTask(Real(0, open_low=True)))

    def fresh(self) -> dict[str, Any]:
        """Training losses of the window, the smallest of all, whether the task has ended."""
        return {"losses": [], "least": None, "ended": False}

    def counts(self, step: int) -> Iterable[str]:
        """All that have not ended."""
        return [name for name, known in self.memory.items() if not known["ended"]]

    def retired(self) -> Collection[str]:
        """Those that have ended."""
        return [name for name, known in self.memory.items() if known["ended"]]

    def follow(self, standing: Standing) -> None:
        """Look at the losses of all tasks that were trained and validated."""
        for name, known in self.memory.items():
            train, val = (losses.get(name, math.nan) for losses in (standing.train_losses, standing.val_losses))
            if known["ended"] or not (math.isfinite(train) and math.isfinite(val) and min(train, val) >= 0):
                continue
            known["losses"] = [*known["losses"], train][-self.window :]
            known["least"] = train if known["least"] is None else min(known["least"], train)
            if len(known["losses"]) == self.window and name != self.main:
                known["ended"] = self._rests(name, known, val)

    def _rests(self, name: str, known: Mapping[str, Any], val: float) -> bool:
        """Whether the criterion exceeds the threshold."""
        weight = self.importance.get(name, 1.0) if isinstance(self.importance, Mapping) else self.importance
        middle = self.window * statistics.median(known["losses"])
        fallen = max(sum(known["losses"]) - middle, 1e-12 * middle)
        # As products: a training loss of zero makes both denominators zero.
        return bool(middle * (val - known["least"]) > self.threshold * fallen * weight * known["least"])
