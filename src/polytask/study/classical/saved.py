"""Fitted estimators as a finished model: from encoded rows to what heads put out, in a folder and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polytask.data import Inputs
from polytask.data.interface import Interface
from polytask.share.stored import Stored
from polytask.study.classical.plain import Piece
from polytask.study.classical.rows import Encoding, features_of
from polytask.tasks import Task

__all__ = ["Estimators", "head_of"]

Array = NDArray[Any]


def head_of(task: Task, values: Array, unit: tuple[float, float]) -> Tensor:
    """What the head of a network would put out for the same prediction, (n, ``out_features``).

    Args:
        task: The task.
        values: Predictions in units of the fitted targets.
        unit: Mean and standard deviation of these.
    """
    if task.rule.affine:
        values = (values * unit[1] + unit[0] - task.shift) / task.scale
    # Copied: a constant prediction is one value broadcast over the rows, memory that no tensor may share.
    return torch.tensor(values, dtype=torch.float64).reshape(len(values), task.out_features)


@final
class Estimators:
    """Fitted estimators in plain arrays.

    Args:
        interface: What goes in and what comes out.
        encoding: How encoded rows become matrices.
        pieces: Task → one model, or several whose predictions stand side by side.
        units: Task → mean and standard deviation of the fitted targets.
    """

    def __init__(
        self,
        interface: Interface,
        encoding: Encoding,
        pieces: Mapping[str, Sequence[Piece]],
        units: Mapping[str, tuple[float, float]],
    ) -> None:
        self.interface, self.encoding = interface, encoding
        self.pieces, self.units = dict(pieces), dict(units)

    def outputs(self, inputs: Inputs, tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """What the heads of these tasks would put out, (n, ``out_features``) each."""
        features = features_of(inputs)
        matrices: dict[bool, Any] = {}
        found = {}
        for name in self.interface.tasks if tasks is None else tasks:
            columns = []
            for piece in self.pieces[name]:
                grown = piece.form == "trees"
                if grown not in matrices:
                    matrices[grown] = self.encoding.trees(features) if grown else self.encoding.linear(features)
                columns.append(piece.head(matrices[grown]))
            values = columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
            found[name] = head_of(self.interface.tasks[name], values, self.units[name])
        return found

    def store(self, about: Mapping[str, Any]) -> Stored:
        """Everything, as plain values and arrays."""
        arrays: dict[str, Array] = {
            "encoding.mean": self.encoding.mean,
            "encoding.scale": self.encoding.scale,
            "encoding.kept": self.encoding.kept.astype(np.uint8),
            **{f"encoding.levels.{place}": codes for place, codes in enumerate(self.encoding.levels)},
        }
        for task, pieces in enumerate(self.pieces.values()):
            for place, piece in enumerate(pieces):
                arrays |= {f"{task}.{place}.{key}": value for key, value in piece.arrays.items()}
        values = {
            "interface": self.interface.to_dict(),
            "levels": len(self.encoding.levels),
            "tasks": {
                name: {"pieces": [piece.facts() for piece in pieces], "unit": list(self.units[name])}
                for name, pieces in self.pieces.items()
            },
        }
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
        return Stored("estimators", values, dict(about), tensors)

    @classmethod
    def restore(cls, stored: Stored, where: str, encoder: Any = None) -> Estimators:
        """What :meth:`store` described; ``where`` it was found, and an ``encoder``, play no part."""
        arrays = {name: value.numpy() for name, value in stored.arrays.items()}
        encoding = Encoding(
            arrays["encoding.mean"],
            arrays["encoding.scale"],
            arrays["encoding.kept"].astype(bool),
            tuple(arrays[f"encoding.levels.{place}"] for place in range(stored.values["levels"])),
        )
        pieces = {}
        for task, (name, facts) in enumerate(stored.values["tasks"].items()):
            pieces[name] = [
                Piece(one["form"], one["link"], _below(f"{task}.{place}.", arrays), tuple(one["seen"]), one["classes"])
                for place, one in enumerate(facts["pieces"])
            ]
        units = {name: (facts["unit"][0], facts["unit"][1]) for name, facts in stored.values["tasks"].items()}
        return cls(Interface.from_dict(stored.values["interface"]), encoding, pieces, units)


def _below(head: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(head): value for name, value in arrays.items() if name.startswith(head)}
