"""A small convolutional network."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.errors import ConfigError
from polytask.share.encoders.init import he_
from polytask.share.encoders.spec import Spec

if TYPE_CHECKING:
    from polytask.data import InputSpec

__all__ = ["CNN"]


@final
class CNN(nn.Module):
    """Blocks of 3×3 convolution, 2×2 max-pooling and ReLU, then a fully connected layer: ``cnn:32,64;width=128``.

    Pooling comes before ReLU, with which it commutes, and activations are stored channels last: half the time per step
    on a CPU.

    Args:
        shape: Channels, height and width of an image.
        channels: Channels of each block.
        width: Width of the representation; 128 by default.
        dropout: Share of the representation dropped in training; 0 by default.

    Raises:
        ConfigError: The image is too small for so many blocks.

    Examples:
        >>> import torch
        >>> CNN((1, 14, 14), (8, 16), width=32)(torch.zeros(2, 1, 14, 14)).shape
        torch.Size([2, 32])
    """

    def __init__(
        self, shape: tuple[int, int, int], channels: tuple[int, ...], width: int = 128, dropout: float = 0.0
    ) -> None:
        super().__init__()
        before, high, wide = shape
        blocks: list[nn.Module] = []
        for after in channels:
            blocks += [nn.Conv2d(before, after, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()]
            before, high, wide = after, high // 2, wide // 2
        if high < 1 or wide < 1:
            raise ConfigError(
                f"encoder 'cnn' halves the image {len(channels)} times, too often for {shape[1]}×{shape[2]}; "
                "use fewer channels"
            )
        self.blocks = nn.Sequential(*blocks)
        self.project = nn.Sequential(nn.Flatten(), nn.Linear(before * high * wide, width), nn.ReLU())
        if dropout:
            self.project.append(nn.Dropout(dropout))
        self.out_features = width
        he_(self)
        for block in self.blocks:
            if isinstance(block, nn.Conv2d):
                block.weight.data = block.weight.data.contiguous(memory_format=torch.channels_last)

    def forward(self, inputs: Float[Tensor, "B C H W"]) -> Float[Tensor, "B width"]:
        """The representation."""
        features: Tensor = self.project(self.blocks(inputs.contiguous(memory_format=torch.channels_last)))
        return features

    @classmethod
    def from_spec(cls, spec: Spec, inputs: InputSpec) -> CNN:
        """For images of a fixed size."""
        if inputs.kind != "image" or len(inputs.shape) != 3:
            raise ConfigError(
                f"encoder 'cnn' takes images of shape (C, H, W), the data is a {inputs.kind} of shape {inputs.shape}; "
                f"use {'tabular' if inputs.kind == 'table' else 'mlp'}:128,128"
            )
        options = spec.take(width=128, dropout=0.0)
        channels, high, wide = inputs.shape
        return cls((channels, high, wide), spec.widths, int(options["width"]), options["dropout"])
