"""``[decide]`` of the configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from polytask.section import Section

__all__ = ["DecideSection"]

Choice = str | tuple[float, float]


class DecideSection(Section):
    """``[decide]``: what is chosen on validation rows and kept with the model; nothing unless it is asked for.

    Attributes:
        thresholds: From which probability a yes/no task says yes: a metric (``"f1"``, ``"accuracy"``,
            ``"balanced_accuracy"``, ``"mcc"``), the costs of a false alarm and of a miss (``[5.0, 1.0]``), or a table
            with either of them by task; 0.5 when left out.
        calibrate: How probabilities are mended: ``"temperature"`` or ``"isotonic"``.
        coverage: Share of new rows whose truth is promised to lie in the interval or set that is predicted.

    Examples:
        >>> DecideSection(thresholds={"sick": [5.0, 1.0]}, coverage=0.9).asked
        {'thresholds': {'sick': (5.0, 1.0)}, 'coverage': 0.9}
    """

    thresholds: Choice | dict[str, Choice] | None = None
    calibrate: Literal["temperature", "isotonic"] | None = None
    coverage: Annotated[float, Field(gt=0, lt=1)] | None = None

    @property
    def asked(self) -> dict[str, Any]:
        """What was asked for, by name."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in found.items() if value is not None}
