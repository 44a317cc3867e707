"""A trained network in a folder, and back."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from polytask.errors import CheckpointError
from polytask.share.blueprint import Blueprint
from polytask.share.inference import inference
from polytask.share.model import Inputs, MultiTaskModel
from polytask.share.stored import Stored

if TYPE_CHECKING:
    from polytask.data import InputSpec

__all__ = ["Network"]

logger = logging.getLogger("polytask")

_MODEL, _PROBE = "model.", "probe."
_CLOSE = 1e-2
"""How far outputs may differ between machines, relative to their largest."""


@final
class Network:
    """A trained network with its blueprint.

    Args:
        blueprint: What the model was built from.
        model: With its parameters.
    """

    def __init__(self, blueprint: Blueprint, model: MultiTaskModel) -> None:
        self.blueprint, self.model = blueprint, model
        self.interface = blueprint.interface

    def outputs(self, inputs: Inputs, tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """What the heads of these tasks put out in evaluation mode, (n, ``out_features``) each, on the CPU."""
        device = next((parameter.device for parameter in self.model.parameters()), torch.device("cpu"))
        there = inputs.to(device) if isinstance(inputs, Tensor) else {name: x.to(device) for name, x in inputs.items()}
        with inference(self.model):
            return {name: output.cpu() for name, output in self.model(there, tasks).items()}

    def store(self, about: Mapping[str, Any]) -> Stored:
        """Blueprint, parameters and buffers, and what the network answers to made-up inputs.

        Args:
            about: Facts about how it came to be.
        """
        arrays = {f"{_MODEL}{name}": value for name, value in _state(self.model).items()}
        probe = _probe(self.interface.inputs)
        if probe is not None:
            try:
                arrays |= {f"{_PROBE}{name}": value for name, value in self.outputs(probe).items()}
            except Exception as error:  # noqa: BLE001 - an encoder of the user's own need not take made-up inputs
                logger.debug("the model cannot be probed: %s", error)
        return Stored("network", self.blueprint.to_dict(), dict(about), arrays)

    @classmethod
    def restore(cls, stored: Stored, where: str, encoder: Any = None) -> Network:
        """The network that :meth:`store` described.

        Args:
            stored: What was read.
            where: What to call it in messages.
            encoder: The encoder, where it is a function that cannot be imported by its name.

        Raises:
            ConfigError: The encoder's function cannot be imported.
            CheckpointError: The parameters do not fit the blueprint, or the network answers otherwise than it did.
        """
        blueprint = Blueprint.from_dict(stored.values, encoder=encoder)
        model = blueprint.build()
        learned = {name.removeprefix(_MODEL): value for name, value in stored.arrays.items() if name.startswith(_MODEL)}
        own = _state(model)
        odd = sorted(set(own) ^ set(learned)) or [name for name in own if own[name].shape != learned[name].shape]
        if odd:
            raise CheckpointError(
                f"{where}: the parameters do not fit the model that the blueprint describes ({', '.join(odd[:3])}"
                f"{', …' if len(odd) > 3 else ''}). Has the function that makes the encoder changed? Load it with the "
                "code it was trained with"
            )
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(learned[name])
        model.eval()
        found = cls(blueprint, model)
        found._check(stored, where)
        return found

    def _check(self, stored: Stored, where: str) -> None:
        """The network answers as it did when it was written, whatever its encoder's code has become since."""
        known = {name.removeprefix(_PROBE): value for name, value in stored.arrays.items() if name.startswith(_PROBE)}
        probe = _probe(self.interface.inputs)
        if not known or probe is None:
            return
        for name, value in self.outputs(probe).items():
            far = _CLOSE * float(known[name].nan_to_num().abs().max()) + 1e-6
            if not torch.allclose(value, known[name], rtol=0, atol=far, equal_nan=True):
                raise CheckpointError(
                    f"{where}: the network predicts task {name!r} otherwise than when it was written, with the same "
                    "parameters. Has the code of its encoder changed? Load it with the code it was trained with"
                )


def _state(model: MultiTaskModel) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}


def _probe(inputs: InputSpec, rows: int = 3) -> Inputs | None:
    """Made-up inputs, by formula: the same on every machine and in every version."""
    if inputs.kind == "custom":
        return None
    if inputs.kind == "table":
        wave = torch.arange(rows * inputs.numeric, dtype=torch.float64).sin().float()
        codes = [torch.arange(rows) % size for size in inputs.cardinalities]
        return {
            "numeric": wave.reshape(rows, inputs.numeric),
            "categorical": torch.stack(codes, 1) if codes else torch.zeros(rows, 0, dtype=torch.long),
        }
    size = torch.Size(inputs.shape).numel()
    return torch.arange(rows * size, dtype=torch.float64).sin().float().reshape(rows, *inputs.shape)
