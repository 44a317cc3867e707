"""Built-in encoders: one file each, and one line in :data:`ENCODERS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import nn

from polytask.errors import ConfigError, unknown
from polytask.registry import Registry
from polytask.share.encoders.cnn import CNN
from polytask.share.encoders.mlp import MLP
from polytask.share.encoders.spec import GRAMMAR, Spec, parse
from polytask.share.encoders.tabular import Tabular
from polytask.share.seeding import local_seed

if TYPE_CHECKING:
    from polytask.data import InputSpec

__all__ = ["CNN", "ENCODERS", "MLP", "Spec", "Tabular", "build_encoder"]

ENCODERS: Registry[Callable[[Spec, "InputSpec"], nn.Module]] = Registry(
    "encoder",
    {"cnn": "cnn:CNN.from_spec", "mlp": "mlp:MLP.from_spec", "tabular": "tabular:Tabular.from_spec"},
    package="polytask.share.encoders",
    group="polytask.encoders",
    expected="a function of a parsed specification and an InputSpec",
)


def build_encoder(spec: str, inputs: InputSpec, *, seed: int | None = None) -> nn.Module:
    """An encoder from one line of text.

    Args:
        spec: Name, widths and options: ``"mlp:128,128"``, ``"cnn:32,64;width=128"``, ``"tabular:128,128;dropout=0.1"``.
        inputs: What one row looks like.
        seed: The parameters depend on it alone; None draws from the global generator.

    Returns:
        A module with the attribute ``out_features``, the width of the representation it returns.

    Raises:
        ConfigError: The line cannot be read, or the encoder does not fit the inputs.

    Examples:
        >>> from polytask.data import InputSpec
        >>> build_encoder("mlp:128,32", InputSpec("vector", (5,))).out_features
        32
    """
    parsed = parse(spec)
    if parsed.name not in ENCODERS:
        raise ConfigError(f"{unknown('encoder', parsed.name, ENCODERS)}; {GRAMMAR}")
    with local_seed(seed, "encoder"):
        return ENCODERS[parsed.name](parsed, inputs)
