"""Initial parameters of the built-in encoders."""

from __future__ import annotations

from torch import nn

__all__ = ["he_"]


def he_(module: nn.Module) -> None:
    """Draw every weight of linear and convolutional layers from N(0, 2 / fan-in), in place; biases become 0.

    Activations then keep their size from layer to layer of ReLU networks. PyTorch's default shrinks them, which cost
    whole epochs at the start of training, and with some seeds the task, in trials on small images.

    Args:
        module: Its layers are all followed by ReLU.

    Reference:
        He, Zhang, Ren, Sun, Delving deep into rectifiers, ICCV 2015.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer.weight.numel():
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
