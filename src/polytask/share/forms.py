"""What a folder may hold, and how it becomes a model again: networks, estimators, several of them side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from polytask.data.interface import Interface
from polytask.errors import CheckpointError
from polytask.registry import Registry
from polytask.share.stored import Stored, apart

if TYPE_CHECKING:
    from polytask.data import Inputs

__all__ = ["FORMS", "Predictor", "outputs_of", "restore"]


@runtime_checkable
class Predictor(Protocol):
    """What is behind a finished model: a network, or fitted estimators."""

    interface: Interface

    def outputs(self, inputs: Inputs, tasks: Sequence[str]) -> dict[str, Tensor]:
        """What the heads of these tasks put out, (n, ``out_features``) each, on the CPU."""

    def store(self, about: Mapping[str, Any]) -> Stored:
        """Everything, as plain values and arrays."""

    @classmethod
    def restore(cls, stored: Stored, where: str, encoder: Any = None) -> Predictor:
        """What :meth:`store` described.

        Args:
            stored: What was read.
            where: What to call it in messages.
            encoder: The encoder of a network, where it cannot be imported by its name.

        Raises:
            PolytaskError: It cannot be built here, or is damaged.
        """


FORMS: Registry[type[Predictor]] = Registry(
    "form",
    {"network": "share.network:Network", "estimators": "study.classical.saved:Estimators"},
    package="polytask",
    group="polytask.forms",
    fits=lambda thing: isinstance(thing, type) and hasattr(thing, "restore"),
    expected="a class with outputs, store and restore",
)
"""What a folder may hold, by the word that says so in it."""


def restore(stored: Stored, where: str, encoder: Any = None) -> list[Predictor]:
    """The predictors that a folder holds.

    Args:
        stored: What was read.
        where: What to call it in messages.
        encoder: The encoder, where it cannot be imported by its name.

    Raises:
        PolytaskError: It cannot be built here, or is damaged.
    """
    return [_part(one, where, encoder) for one in apart(stored)]


def outputs_of(parts: Sequence[Predictor], inputs: Inputs, tasks: Sequence[str], size: int) -> dict[str, Tensor]:
    """What the heads of several predictors put out for all rows.

    Args:
        parts: Predictors of different tasks.
        inputs: Encoded rows.
        tasks: Which tasks.
        size: Rows at a time.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in tasks}
    for batch in _batches(inputs, size):
        for part in parts:
            own = [name for name in tasks if name in part.interface.tasks]
            for name, output in (part.outputs(batch, own) if own else {}).items():
                found[name].append(output)
    return {name: torch.cat(outputs) for name, outputs in found.items()}


def _part(stored: Stored, where: str, encoder: Any) -> Predictor:
    if stored.form not in FORMS:
        raise CheckpointError(f"{where} holds a model of the form {stored.form!r}, which this version does not know")
    return FORMS[stored.form].restore(stored, where, encoder)


def _batches(inputs: Inputs, size: int) -> Iterator[Inputs]:
    """Consecutive rows; one empty batch where there are none, so that columns are known."""
    rows = len(inputs) if isinstance(inputs, Tensor) else len(next(iter(inputs.values())))
    for start in range(0, max(rows, 1), size):
        part = slice(start, start + size)
        yield inputs[part] if isinstance(inputs, Tensor) else {name: x[part] for name, x in inputs.items()}
