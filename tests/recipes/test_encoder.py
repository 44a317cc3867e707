"""The recipe for an encoder: one file with a class, one line in ENCODERS."""

from typing import final

import pytest
import torch
from torch import nn

from polytask.data import InputSpec
from polytask.errors import ConfigError
from polytask.share import ENCODERS, build_encoder


@final
class Fourier(nn.Module):
    """Sines of the numbers at several octaves, and a layer: ``fourier:8;octaves=2``."""

    def __init__(self, in_features: int, width: int, octaves: int = 2) -> None:
        super().__init__()
        self.octaves, self.out_features = octaves, width
        self.layer = nn.Linear(in_features * octaves, width)

    def forward(self, inputs):
        numbers = inputs["numeric"] if isinstance(inputs, dict) else inputs.flatten(1)
        waves = [torch.sin(2**k * numbers) for k in range(self.octaves)]
        return self.layer(torch.cat(waves, 1)).relu()

    @classmethod
    def from_spec(cls, spec, inputs):
        if inputs.kind not in ("vector", "table"):
            raise ConfigError(f"encoder 'fourier' takes numbers, the data is a {inputs.kind}; use cnn:32,64")
        features = inputs.numeric if inputs.kind == "table" else inputs.shape[0]
        return cls(features, spec.widths[-1], **{k: int(v) for k, v in spec.take(octaves=2).items()})


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(ENCODERS, "fourier", Fourier.from_spec)


def test_it_is_built_from_one_line():
    encoder = build_encoder("fourier:5;octaves=3", InputSpec("vector", (4,)), seed=0)
    assert encoder(torch.zeros(2, 4)).shape == (2, encoder.out_features) == (2, 5)
    again = build_encoder("fourier:5;octaves=3", InputSpec("vector", (4,)), seed=0)
    torch.testing.assert_close(again.layer.weight, encoder.layer.weight)


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ConfigError, match="octaves= must be a whole number ≥ 1, found 0"):
        build_encoder("fourier:5;octaves=0", InputSpec("vector", (4,)))
    with pytest.raises(ConfigError, match="'fourier' takes numbers"):
        build_encoder("fourier:5", InputSpec("image", (1, 4, 4)))


def test_the_configuration_takes_it(study):
    page = '[data]\nsource = "people.csv"\n[tasks.income]\n[tasks.age]\n[model]\nencoder = "fourier:6;octaves=3"\n'
    assert study(page, ["stl", "equal"]).protocol.encoder == "fourier:6;octaves=3"
