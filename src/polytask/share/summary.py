"""How many parameters a model has and how many operations it takes, shared and per task."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from polytask.errors import ConfigError
from polytask.share.inference import inference

if TYPE_CHECKING:
    from polytask.share.model import MultiTaskModel

__all__ = ["ModelSummary", "summarise"]


@dataclasses.dataclass(frozen=True)
class ModelSummary:
    """Size and cost of a model.

    Attributes:
        architecture: Name of the class.
        shared: Number of shared parameters.
        per_task: Number of parameters of each task alone.
        frozen: How many of all parameters are not trained.
        flops: Floating-point operations per row of a forward pass (a multiplication and an addition are two; only
            matrix products and convolutions count), or None when no inputs were given: ``""`` for the shared part, then
            by task for what the task adds.
    """

    architecture: str
    shared: int
    per_task: dict[str, int]
    frozen: int = 0
    flops: dict[str, int] | None = None

    @property
    def total(self) -> int:
        """Number of all parameters."""
        return self.shared + sum(self.per_task.values())

    def flops_of(self, tasks: Iterable[str]) -> int:
        """Operations per row of a forward pass for these tasks alone."""
        if self.flops is None:
            raise ConfigError("operations were not counted; call describe() with a batch of inputs")
        return self.flops[""] + sum(self.flops[name] for name in tasks)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        rows = [("part", "parameters", "operations per row"), ("shared", f"{self.shared:,}", self._flops(""))]
        rows += [(name, f"{size:,}", self._flops(name)) for name, size in self.per_task.items()]
        rows.append(("total", f"{self.total:,}", "" if self.flops is None else f"{self.flops_of(self.per_task):,}"))
        columns = 3 if self.flops is not None else 2
        widths = [max(len(row[column]) for row in rows) for column in range(columns)]
        lines = [
            "  ".join([row[0].ljust(widths[0])] + [row[c].rjust(widths[c]) for c in range(1, columns)]) for row in rows
        ]
        if self.frozen:
            lines.append(f"({self.frozen:,} of the parameters are frozen)")
        return "\n".join([self.architecture, *lines])

    def _flops(self, part: str) -> str:
        return "" if self.flops is None else f"{self.flops[part]:,}"


def summarise(model: MultiTaskModel, inputs: Tensor | Mapping[str, Tensor] | None) -> ModelSummary:
    """The summary of a model; see :meth:`MultiTaskModel.describe`."""
    per_task = {name: _size(model.task_parameters(name)) for name in model.tasks}
    return ModelSummary(
        architecture=type(model).__name__,
        shared=_size(model.shared_parameters()),
        per_task=per_task,
        frozen=_size(parameter for parameter in model.parameters() if not parameter.requires_grad),
        flops=None if inputs is None else _count(model, inputs),
    )


def _size(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def _count(model: MultiTaskModel, inputs: Tensor | Mapping[str, Tensor]) -> dict[str, int]:
    first = inputs if isinstance(inputs, Tensor) else next(iter(inputs.values()))
    with inference(model):
        flops = {"": _flops(lambda: model.encode(inputs)) // len(first)}
        features = model.encode(inputs)
        for name in model.tasks:
            flops[name] = _flops(lambda name=name: model.decode(features, (name,))) // len(first)  # type: ignore[misc]
    return flops


def _flops(call: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())
