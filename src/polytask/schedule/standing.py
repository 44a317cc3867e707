"""Where every task stands after a validation: what schedules learn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import final

__all__ = ["Standing", "gain"]


@final
@dataclasses.dataclass(frozen=True)
class Standing:
    """What an epoch of training and its validation gave, by task; a task that has no such number is left out.

    Attributes:
        epoch: The number of the epoch, from 1.
        train_losses: Mean training loss of the epoch, of the tasks that were trained in it.
        val_losses: Mean loss on the validation rows.
        values: Primary metric on the validation rows, and its direction: +1 higher is better, −1 lower is.
    """

    epoch: int
    train_losses: Mapping[str, float] = dataclasses.field(default_factory=dict)
    val_losses: Mapping[str, float] = dataclasses.field(default_factory=dict)
    values: Mapping[str, tuple[float, int]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:  # plain numbers, which is what a schedule may keep
        for field in ("train_losses", "val_losses"):
            object.__setattr__(self, field, {name: float(loss) for name, loss in getattr(self, field).items()})
        values = {name: (float(value), int(direction)) for name, (value, direction) in self.values.items()}
        object.__setattr__(self, "values", values)


def gain(value: float, reference: float, direction: int) -> float:
    """Signed relative improvement s·(M − M₁)/|M₁| of a metric M over its reference M₁.

    Args:
        value: M, the metric now.
        reference: M₁, the metric it is held against.
        direction: s, +1 when higher is better and −1 when lower is.

    Returns:
        The gain, positive when better; NaN when either value is. A reference of zero counts as one, so that the
        gain is then the plain difference.

    Examples:
        >>> gain(0.6, 0.5, +1), gain(3.0, 4.0, -1)
        (0.19999999999999996, 0.25)
    """
    return direction * (value - reference) / (abs(reference) or 1.0)
