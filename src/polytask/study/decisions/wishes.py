"""What is to be decided: thresholds, calibration, coverage."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, final

from polytask.decide.thresholds import METRICS, check_costs
from polytask.errors import ConfigError, unknown
from polytask.remedies import setting
from polytask.tasks import Nature, TaskSet

__all__ = ["CALIBRATIONS", "Wishes"]

CALIBRATIONS = ("temperature", "isotonic")
DECIDED = (Nature.YES_NO, Nature.SEVERAL_YES_NO)
"""What a threshold is for."""


@final
@dataclasses.dataclass(frozen=True)
class Wishes:
    """What is to be decided on validation rows.

    Args:
        thresholds: Of yes/no tasks: a metric's name, the costs of a false alarm and a miss, or either of them by task.
        calibrate: One of :data:`CALIBRATIONS`, for all tasks with probabilities.
        coverage: Share of rows whose truth shall lie in the interval or set, in (0, 1).

    Raises:
        ConfigError: A value is not allowed.

    Examples:
        >>> bool(Wishes()), bool(Wishes(coverage=0.9))
        (False, True)
    """

    thresholds: Any = None
    calibrate: str | None = None
    coverage: float | None = None

    def __post_init__(self) -> None:
        by_task = isinstance(self.thresholds, Mapping)
        for one in self.thresholds.values() if by_task else [self.thresholds]:
            if isinstance(one, str) and one not in METRICS:
                raise ConfigError(unknown("metric for a threshold", one, METRICS))
            if one is not None and not isinstance(one, str):
                check_costs(one)
        if self.calibrate is not None and self.calibrate not in CALIBRATIONS:
            raise ConfigError(unknown("calibration", str(self.calibrate), CALIBRATIONS))
        if self.coverage is not None and not (isinstance(self.coverage, (int, float)) and 0 < self.coverage < 1):
            raise ConfigError(f"coverage must be a share in (0, 1), found {self.coverage!r}")

    def __bool__(self) -> bool:
        return bool(self.thresholds) or self.calibrate is not None or self.coverage is not None

    @classmethod
    def of(cls, asked: Mapping[str, Any] | Wishes | None) -> Wishes:
        """From a table, such as ``{"thresholds": "f1", "coverage": 0.9}``.

        Raises:
            ConfigError: A key is unknown, or a value is not allowed.
        """
        if isinstance(asked, cls):
            return asked
        known = [field.name for field in dataclasses.fields(cls)]
        for key in asked or {}:
            if key not in known:
                raise ConfigError(unknown("key of decide", str(key), known))
        return cls(**dict(asked or {}))

    def check(self, tasks: TaskSet) -> None:
        """Thresholds by task name tasks that say yes or no.

        Raises:
            ConfigError: One does not.
        """
        for name in self.thresholds if isinstance(self.thresholds, Mapping) else ():
            if name not in tasks:
                raise ConfigError(unknown("task with a threshold", name, tasks.names))
            if tasks[name].rule.nature not in DECIDED:
                raise ConfigError(
                    f"a threshold is for tasks that say yes or no, and {name!r} is of kind {tasks[name].kind!r}; leave "
                    "it out of thresholds"
                )

    def check_kept(self, *, keep: str, refit: bool) -> None:
        """There is a model to keep decisions with, and there are rows that it is not fitted on.

        Args:
            keep: Which models a study keeps.
            refit: Whether the best is trained again on all rows.

        Raises:
            ConfigError: There is none, or there are none.
        """
        if self and refit:
            raise ConfigError(
                "thresholds, calibration and intervals are chosen on rows that the model is not fitted on, and refit "
                "leaves none; use one or the other"
            )
        if self and keep == "none":
            raise ConfigError(
                f"what is decided is kept with the best model, and none is; use {setting('keep', 'best')} or "
                f"{setting('keep', 'all')}"
            )

    def threshold(self, task: str) -> Any:
        """What the threshold of a task is chosen by; ``None`` for none."""
        return self.thresholds.get(task) if isinstance(self.thresholds, Mapping) else self.thresholds

    def plain(self) -> dict[str, Any]:
        """Plain values, for JSON."""

        def one(value: Any) -> Any:
            return value if isinstance(value, str) or value is None else [float(cost) for cost in value]

        given = self.thresholds
        thresholds = {name: one(v) for name, v in given.items()} if isinstance(given, Mapping) else one(given)
        values = {"thresholds": thresholds, "calibrate": self.calibrate, "coverage": self.coverage}
        return {name: value for name, value in values.items() if value is not None}
