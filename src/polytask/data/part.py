"""Rows of one source in a batch: inputs, targets and the weights of labels."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias, final

from torch import Tensor

__all__ = ["Inputs", "Part"]

Inputs: TypeAlias = Tensor | dict[str, Tensor]


class _Pair(NamedTuple):
    inputs: Inputs
    targets: dict[str, Tensor]


@final
class Part(_Pair):
    """Rows of one source: ``inputs, targets = part``, by task name; tasks without targets are left out.

    Attributes:
        inputs: What the model sees.
        targets: Labels by task.
        weights: Weights of the labels by task, for tasks that have them; None: no task has.
    """

    weights: dict[str, Tensor] | None

    def __new__(cls, inputs: Inputs, targets: dict[str, Tensor], weights: dict[str, Tensor] | None = None) -> Part:
        """The rows; a pair, so that it can be taken apart."""
        made = super().__new__(cls, inputs, targets)
        made.weights = weights
        return made

    def with_targets(self, targets: dict[str, Tensor]) -> Part:
        """The same rows with other targets."""
        return Part(self.inputs, targets, self.weights)
