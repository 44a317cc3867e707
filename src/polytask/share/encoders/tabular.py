"""Tables: an embedding for every categorical column, numbers as they are, then fully connected layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor, nn

from polytask.errors import ConfigError
from polytask.share.encoders.init import he_
from polytask.share.encoders.mlp import layers
from polytask.share.encoders.spec import Spec

if TYPE_CHECKING:
    from polytask.data import InputSpec

__all__ = ["Tabular"]


@final
class Tabular(nn.Module):
    """Embeddings of categorical columns next to numeric columns, then fully connected layers: ``tabular:128,128``.

    The inputs are ``{"numeric": (B, n) float, "categorical": (B, m) int}``; either may be left out when the table has
    no such column. Code 0 of a categorical column means "missing or never seen in training".

    Args:
        numeric: n, the number of numeric columns.
        cardinalities: Number of codes of each of the m categorical columns, code 0 included.
        hidden: Widths; the last one is the width of the representation.
        dropout: Share of activations dropped after each layer in training; 0 by default.
        embedding: Width of an embedding; 0, the default, takes min(32, ⌈1.6·c^0.56⌉) for c codes.

    Raises:
        ConfigError: The table has no column.

    Examples:
        >>> encoder = Tabular(2, (5,), (8,))
        >>> encoder({"numeric": torch.zeros(3, 2), "categorical": torch.zeros(3, 1, dtype=torch.long)}).shape
        torch.Size([3, 8])
    """

    def __init__(
        self,
        numeric: int,
        cardinalities: tuple[int, ...],
        hidden: tuple[int, ...],
        dropout: float = 0.0,
        embedding: int = 0,
    ) -> None:
        super().__init__()
        if not numeric and not cardinalities:
            raise ConfigError("encoder 'tabular' needs at least one input column, found none")
        widths = [embedding or min(32, -(-16 * round(codes**0.56 * 1000) // 10000)) for codes in cardinalities]
        self.embeddings = nn.ModuleList(
            nn.Embedding(codes, width) for codes, width in zip(cardinalities, widths, strict=True)
        )
        self.numeric = numeric
        self.layers = layers(numeric + sum(widths), hidden, dropout)
        self.out_features = hidden[-1]
        he_(self)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The representation, (B, width)."""
        parts = [inputs["numeric"]] if self.numeric else []
        parts += [embed(inputs["categorical"][:, column]) for column, embed in enumerate(self.embeddings)]
        features: Tensor = self.layers(torch.cat(parts, dim=1))
        return features

    @classmethod
    def from_spec(cls, spec: Spec, inputs: InputSpec) -> Tabular:
        """For a table."""
        if inputs.kind != "table":
            raise ConfigError(f"encoder 'tabular' takes a table, the data is a {inputs.kind}; use mlp:128,128")
        options = spec.take(dropout=0.0, embedding=0)
        return cls(
            inputs.numeric, tuple(inputs.cardinalities), spec.widths, options["dropout"], int(options["embedding"])
        )
