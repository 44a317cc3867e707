"""What one sample is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, final

__all__ = ["InputSpec"]


@final
@dataclasses.dataclass(frozen=True)
class InputSpec:
    """What one sample's inputs are; built-in encoders are made from it.

    Attributes:
        kind: ``"vector"`` (a tensor of features), ``"image"`` (channels, height, width), ``"table"`` (a dictionary
            of ``numeric``, (B, n) float, and ``categorical``, (B, m) integer), or ``"custom"`` (anything else).
        shape: Shape of one sample, without the batch dimension; empty for tables.
        numeric: Number n of numeric features of a table.
        cardinalities: Number of codes of each of the m categorical features of a table; code 0 is "missing or unseen".

    Examples:
        >>> InputSpec("image", (1, 14, 14)).describe()
        'images of 1×14×14'
        >>> InputSpec("table", numeric=3, cardinalities=(5, 2)).describe()
        'a table of 3 numeric and 2 categorical features'
    """

    kind: Literal["vector", "image", "table", "custom"]
    shape: tuple[int, ...] = ()
    numeric: int = 0
    cardinalities: tuple[int, ...] = ()

    def describe(self) -> str:
        """One sample, in words."""
        size = "×".join(map(str, self.shape))
        return {
            "vector": f"vectors of {size}",
            "image": f"images of {size}",
            "table": f"a table of {self.numeric} numeric and {len(self.cardinalities)} categorical features",
            "custom": "custom inputs",
        }[self.kind]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for configuration and checkpoints."""
        return {
            "kind": self.kind,
            "shape": list(self.shape),
            "numeric": self.numeric,
            "cardinalities": list(self.cardinalities),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> InputSpec:
        """What :meth:`to_dict` gave."""
        return cls(values["kind"], tuple(values["shape"]), values["numeric"], tuple(values["cardinalities"]))
