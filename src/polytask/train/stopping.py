"""When to stop and which epoch was best: a small state machine over validation metrics."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from polytask.errors import ConfigError, unknown
from polytask.schedule import gain

__all__ = ["EarlyStopping", "Verdict", "gain"]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What one epoch's validation says.

    Attributes:
        score: The monitored number: the mean gain, or one task's gain; NaN when no task's metric was defined.
        gains: Each task's gain over its first validation value; tasks with an undefined metric are missing.
        best: Whether this epoch is the best so far.
        stop: Whether to stop now.
        reason: Why, in words; empty unless stopping.
    """

    score: float
    gains: dict[str, float]
    best: bool
    stop: bool
    reason: str


class EarlyStopping:
    """Follows each task's gain over its own first validation, and says when to stop and which epoch was best.

    The score in words: for every task take its primary metric, and compute by which fraction it is better (positive)
    or worse (negative) than at the first epoch of this run. The mean of these gains over the tasks is the score
    (``mean_delta``); with a task's name as rule, that task's gain is the score. The best epoch has the highest score;
    of equal ones, the earliest. A task stalls when it has not gained more than ``min_delta`` for ``patience`` epochs.

    Args:
        tasks: Names of the tasks.
        rule: ``mean_delta``, ``all``, ``any`` or a task's name; ``None`` means ``mean_delta`` without stopping.
        patience: Epochs without progress before stopping; ``None``: never stop.
        min_delta: Smallest gain that counts as progress.

    Raises:
        ConfigError: ``rule`` is none of the known ones.

    Examples:
        >>> stopper = EarlyStopping(["a"], "mean_delta", patience=1)
        >>> [stopper.update(epoch, {"a": (value, +1)}).stop for epoch, value in enumerate([0.5, 0.7, 0.7], start=1)]
        [False, False, True]
        >>> stopper.best_epoch
        2
    """

    def __init__(
        self,
        tasks: Sequence[str],
        rule: str | None = "mean_delta",
        *,
        patience: int | None = None,
        min_delta: float = 0.0,
    ) -> None:
        rules: tuple[str, ...] = ("mean_delta", "all", "any")
        if rule is not None and rule not in rules and rule not in tasks:
            raise ConfigError(unknown("stopping rule", rule, (*rules, *tasks)))
        self.tasks = tuple(tasks)
        self.rule = rule
        self.patience = None if rule is None else patience
        self.min_delta = min_delta
        self.reset()

    def reset(self) -> None:
        """Forget every epoch seen."""
        self.reference: dict[str, float] = {}
        self.best_epoch: int | None = None
        self.best_score = -math.inf
        self.best_epochs: dict[str, int] = {}
        self.stopped: str = ""
        self._best: dict[str, float] = {}
        self._anchor: dict[str, float] = {}
        self._stalled: dict[str, int] = {}

    def update(self, epoch: int, values: Mapping[str, tuple[float, int]]) -> Verdict:
        """Take in one epoch.

        Args:
            epoch: Its number, from 1.
            values: Each task's primary metric and its direction (+1 higher is better, −1 lower is).

        Returns:
            The verdict on this epoch.
        """
        gains = {}
        for task, (value, direction) in values.items():
            if math.isfinite(value):
                gains[task] = gain(value, self.reference.setdefault(task, value), direction)
        for task, value in gains.items():
            if value > self._best.get(task, -math.inf):
                self._best[task] = value
                self.best_epochs[task] = epoch
        score = self._score(gains)
        best = score > self.best_score
        if best:
            self.best_score, self.best_epoch = score, epoch
        watched = {task: gains.get(task, math.nan) for task in self._watched()}
        if self.rule == "mean_delta":
            watched = {"mean_delta": score}
        for name, value in watched.items():
            if value > self._anchor.get(name, -math.inf) + self.min_delta or name not in self._anchor:
                self._anchor[name] = value if math.isfinite(value) else -math.inf
                self._stalled[name] = 0
            else:
                self._stalled[name] += 1
        self.stopped = self._reason(watched)
        return Verdict(score, gains, best, bool(self.stopped), self.stopped)

    def _score(self, gains: Mapping[str, float]) -> float:
        if self.rule in self.tasks:
            return gains.get(str(self.rule), math.nan)
        return sum(gains.values()) / len(gains) if gains else math.nan

    def _watched(self) -> tuple[str, ...]:
        if self.rule in self.tasks:
            return (str(self.rule),)
        # a task whose metric was never defined can neither hold training up nor end it
        return tuple(task for task in self.tasks if task in self.reference) if self.rule in ("all", "any") else ()

    def _reason(self, watched: Mapping[str, float]) -> str:
        if self.patience is None or not watched:
            return ""
        stalled = [name for name in watched if self._stalled[name] >= self.patience]
        if not stalled or (self.rule == "all" and len(stalled) < len(watched)):
            return ""
        who = {"mean_delta": "the mean gain over tasks", "all": "every task"}.get(str(self.rule), ", ".join(stalled))
        return f"{who} made no progress of more than {self.min_delta:g} for {self.patience} epochs"

    def state_dict(self) -> dict[str, Any]:
        """Everything seen so far, as plain values."""
        return {
            name: dict(value) if isinstance(value, dict) else value
            for name, value in vars(self).items()
            if name not in ("tasks", "rule", "patience", "min_delta")
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        for name, value in state.items():
            setattr(self, name, dict(value) if isinstance(value, dict) else value)
