"""The last values of some quantities, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np
from jaxtyping import Float

__all__ = ["Trail"]

Array = np.ndarray


@final
class Trail:
    """What was seen of each name, oldest first, at most ``length`` values of each.

    Args:
        length: How many values are kept; ``None`` keeps all.

    Examples:
        >>> trail = Trail(2)
        >>> for value in (1.0, 2.0, 3.0):
        ...     trail.add("a", value)
        >>> trail.read("a"), trail.read("b")
        (array([2., 3.]), array([], dtype=float64))
    """

    def __init__(self, length: int | None = None) -> None:
        self._length = length
        self._values: dict[str, list[float]] = {}

    def add(self, name: str, value: float) -> None:
        """One more value of ``name``."""
        held = self._values.setdefault(name, [])
        held.append(float(value))
        if self._length is not None:
            del held[: -self._length]

    def read(self, name: str) -> Float[Array, "N"]:
        """The values kept of ``name``; none for a name never seen."""
        return np.array(self._values.get(name, ()), dtype=np.float64)

    def state_dict(self) -> dict[str, Any]:
        """``{name: [values]}``."""
        return {name: list(values) for name, values in self._values.items()}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._values = {name: list(values) for name, values in state.items()}

    def reset(self) -> None:
        """Forget everything."""
        self._values.clear()
