"""Which rows a seed of a study learns from, selects by and is judged on."""

from __future__ import annotations

from typing import Any, final

from polytask.data import MultiTaskData
from polytask.errors import ConfigError

__all__ = ["Splits"]


@final
class Splits:
    """The data of each seed: split anew for every one, or one split for all.

    Split s of seed s: a study with more seeds holds the splits of one with fewer, and seed 0 the split that was read.

    Data that were changed after they were read (other rows, another split) are left as they are: splitting the table
    again would undo the change.

    Args:
        data: The data.
        vary: Whether seeds have splits of their own; by default where the data can be split again.

    Attributes:
        data: As given.
        how: What the splits are, in words; empty for one split.

    Raises:
        ConfigError: Splits are to vary, and the data have one, or were changed.
    """

    def __init__(self, data: MultiTaskData, vary: bool | None = None) -> None:
        if vary and not data.resplits:
            raise ConfigError(
                f"{data.name} has fixed test rows, so that seeds cannot have splits of their own; leave out split_seeds"
            )
        first = data.resplit(0) if vary is not False and data.resplits else None
        untouched = first is not None and first.fingerprint == data.fingerprint
        if vary and not untouched:
            raise ConfigError(
                f"the rows of {data.name} are not those that were read, and splitting again would undo the change; "
                "leave out split_seeds, or change the table before it is read"
            )
        self.data = data
        self.how = data.resplits if untouched else ""
        self._last = (0, first) if first is not None and untouched else None

    def of(self, seed: int) -> MultiTaskData:
        """The data of a seed. The last one is kept, as trials come seed by seed."""
        if not self.how:
            return self.data
        if self._last is None or self._last[0] != seed:
            self._last = seed, self.data.resplit(seed)
        return self._last[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}  # another process splits for itself
