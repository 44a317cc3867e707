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
from polytask.study.classical.links import Links
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
        links: The models, and which of them see what others say.
        units: Task → mean and standard deviation of the fitted targets.
    """

    def __init__(
        self,
        interface: Interface,
        encoding: Encoding,
        links: Links,
        units: Mapping[str, tuple[float, float]],
    ) -> None:
        self.interface, self.encoding = interface, encoding
        self.links, self.units = links, dict(units)

    def outputs(self, inputs: Inputs, tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """What the heads of these tasks would put out, (n, ``out_features``) each."""
        features = features_of(inputs)
        wanted = list(self.interface.tasks) if tasks is None else list(tasks)
        linear = self.encoding.linear(features) if self.links.uses(wanted, trees=False) else None
        trees = self.encoding.trees(features) if self.links.uses(wanted, trees=True) else None
        found = self.links.heads(linear, trees, wanted)
        return {name: head_of(self.interface.tasks[name], found[name], self.units[name]) for name in wanted}

    def store(self, about: Mapping[str, Any]) -> Stored:
        """Everything, as plain values and arrays."""
        arrays: dict[str, Array] = {
            "encoding.mean": self.encoding.mean,
            "encoding.scale": self.encoding.scale,
            "encoding.kept": self.encoding.kept.astype(np.uint8),
            **{f"encoding.levels.{place}": codes for place, codes in enumerate(self.encoding.levels)},
        }
        arrays |= self.links.arrays()
        values = {
            "interface": self.interface.to_dict(),
            "levels": len(self.encoding.levels),
            "links": self.links.facts(),
            "tasks": {
                name: {"links": list(self.links.ends[name]), "unit": list(self.units[name])}
                for name in self.interface.tasks
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
        links = Links.restore(stored.values, arrays)
        units = {name: (facts["unit"][0], facts["unit"][1]) for name, facts in stored.values["tasks"].items()}
        return cls(Interface.from_dict(stored.values["interface"]), encoding, links, units)
