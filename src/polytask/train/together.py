"""Heads and losses that are alike, evaluated at once: one product for linear heads, one matrix of losses per kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from polytask.share import HardSharing, Inputs, linear_heads, side_by_side
from polytask.tasks import Task, TaskSet
from polytask.tasks.together import Columns, alike, columns

__all__ = ["Together"]


@final
class Together:
    """Which tasks of a batch can be evaluated at once, and their outputs.

    Tasks are alike when their kinds and the kinds' options are; their labels must have the same type and shape. Heads
    that are plain linear layers on the same representation become one product; others are called one by one.

    Args:
        model: The model.
        tasks: The tasks to learn.
    """

    def __init__(self, model: nn.Module, tasks: TaskSet) -> None:
        self._model = model
        self._tasks = tasks
        self._seen: list[tuple[str, torch.dtype, int]] = []
        self._groups: list[list[Task]] = []

    def columns(self, targets: Mapping[str, Tensor]) -> tuple[list[Columns], dict[str, int], list[str]]:
        """Labels by groups of tasks that are alike.

        Args:
            targets: Labels of tasks to learn.

        Returns:
            The groups; the labels present of every task in them, or that has none at all; and the other tasks.
        """
        found: list[Columns] = []
        counts: dict[str, int] = {}
        others: list[str] = []
        for group in self._grouped(targets):
            made = columns(group, targets) if len(group) > 1 else None
            if made is None:
                others += [task.name for task in group]
            else:
                found.append(made)
                counts |= made.counts
        return found, counts, others

    def _grouped(self, targets: Mapping[str, Tensor]) -> list[list[Task]]:
        """The tasks in groups, the same from batch to batch."""
        seen = [(name, target.dtype, target.ndim) for name, target in targets.items()]
        if seen != self._seen:
            groups: dict[Any, list[Task]] = {}
            for name, *form in seen:
                task = self._tasks[name]
                kind = alike(task)
                groups.setdefault(name if kind is None else (kind, *form), []).append(task)
            self._seen, self._groups = seen, list(groups.values())
        return self._groups

    def predict(
        self,
        inputs: Inputs,
        found: Sequence[Columns],
        others: Sequence[str],
        call: Callable[[Sequence[str]], Mapping[str, Tensor]],
    ) -> tuple[list[Tensor | None], dict[str, Tensor]]:
        """Outputs of each group side by side, and of the other tasks by name.

        Args:
            inputs: A batch, as the model wants it.
            found: The groups.
            others: The other tasks.
            call: The model's outputs for some tasks, for heads that make no product.

        Returns:
            A tensor (B, K·out) for each group, or ``None``: its tasks are then among the others, because their outputs
            do not fit together.
        """
        parts = [[task.name for task in group.tasks] for group in found] + [[name] for name in others]
        heads = linear_heads(self._model, [name for names in parts for name in names])
        inside = [heads.keys() >= set(names) for names in parts]
        linear = [[heads[name] for name in names] for names, fits in zip(parts, inside, strict=True) if fits]
        rest = [name for names, fits in zip(parts, inside, strict=True) if not fits for name in names]
        product = None
        if sum(map(len, linear)) > 1:
            assert isinstance(self._model, HardSharing)
            features = self._model.encode(inputs)
            product = side_by_side(linear, features)
            single = dict(self._model.decode(features, rest)) if rest else {}
        else:
            inside, single = [False] * len(parts), dict(call([*rest, *heads]))
        pieces = iter(product or ())
        together = [next(pieces) if fits else None for fits in inside]
        matrices = [
            _beside([single[task.name] for task in group.tasks]) if piece is None else piece
            for group, piece in zip(found, together, strict=False)
        ]
        single |= {
            name: piece
            for (name,), piece in zip(parts[len(found) :], together[len(found) :], strict=True)
            if piece is not None
        }
        return matrices, single


def _beside(outputs: Sequence[Tensor]) -> Tensor | None:
    """Outputs (B, out) or (B,) of several heads side by side."""
    full = [output if output.ndim > 1 else output[:, None] for output in outputs if output.ndim]
    kinds = {(output.ndim, *output.shape, output.dtype, output.device) for output in full}
    return torch.cat(full, 1) if len(kinds) == 1 and len(full) == len(outputs) else None
