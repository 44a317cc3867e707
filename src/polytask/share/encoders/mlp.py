"""Fully connected layers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, final

from jaxtyping import Float
from torch import Tensor, nn

from polytask.errors import ConfigError
from polytask.share.encoders.init import he_
from polytask.share.encoders.spec import Spec

if TYPE_CHECKING:
    from polytask.data import InputSpec

__all__ = ["MLP", "layers"]


def layers(width: int, hidden: tuple[int, ...], dropout: float) -> nn.Sequential:
    """Linear, ReLU and dropout for each hidden width, starting from ``width`` features."""
    modules: list[nn.Module] = []
    for after in hidden:
        modules += [nn.Linear(width, after), nn.ReLU()]
        if dropout:
            modules.append(nn.Dropout(dropout))
        width = after
    return nn.Sequential(*modules)


@final
class MLP(nn.Module):
    """Fully connected layers with ReLU: ``mlp:128,128;dropout=0.1``.

    Args:
        in_features: Numbers per row; inputs of any shape (B, …) are flattened.
        hidden: Widths; the last one is the width of the representation.
        dropout: Share of activations dropped after each layer in training; 0 by default.

    Examples:
        >>> import torch
        >>> MLP(6, (4, 3))(torch.zeros(2, 2, 3)).shape
        torch.Size([2, 3])
    """

    def __init__(self, in_features: int, hidden: tuple[int, ...], dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = layers(in_features, hidden, dropout)
        self.out_features = hidden[-1]
        he_(self)

    def forward(self, inputs: Float[Tensor, "B *shape"]) -> Float[Tensor, "B width"]:
        """The representation."""
        features: Tensor = self.layers(inputs.flatten(1))
        return features

    @classmethod
    def from_spec(cls, spec: Spec, inputs: InputSpec) -> MLP:
        """For inputs of a fixed shape."""
        if inputs.kind == "table":
            raise ConfigError(f"encoder 'mlp' takes one tensor, the data is a table; use tabular:{_join(spec.widths)}")
        return cls(math.prod(inputs.shape), spec.widths, **spec.take(dropout=0.0))


def _join(widths: tuple[int, ...]) -> str:
    return ",".join(map(str, widths))
