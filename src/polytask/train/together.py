"""Heads and losses that are alike, evaluated at once: one product for linear heads, one matrix of losses per kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, final

import torch
from torch import Tensor, nn

from polytask.balance import Aliases, Balancer
from polytask.share import HardSharing, Inputs, each_on_its_own, linear_heads, side_by_side
from polytask.tasks import Task, TaskSet
from polytask.tasks.together import Columns, alike, columns
from polytask.train.options import TrainOptions

__all__ = ["Outputs", "Together", "way_of"]


def way_of(balancer: Balancer, options: TrainOptions) -> Literal["sum", "aliases"] | None:
    """How the tasks' losses may be evaluated together: for their sum, for gradients of each, or not at all."""
    if options.accumulate > 1 and options.accumulation == "exact":
        return None
    return "sum" if balancer.sums else "aliases" if balancer.takes_aliases else None


class Outputs(NamedTuple):
    """What the heads put out.

    Attributes:
        matrices: For each group its tasks' outputs side by side, (B, K·out), or ``None``: they do not fit together, and
            its tasks are among the others.
        single: Outputs of the other tasks by name.
        aliases: What the heads have read, where every task had a representation of its own.
    """

    matrices: list[Tensor | None]
    single: dict[str, Tensor]
    aliases: Aliases | None


@final
class Together:
    """Which tasks of a batch can be evaluated at once, and their outputs.

    Tasks are alike when their kinds and the kinds' options are; their labels must have the same type and shape. Heads
    that are plain linear layers on the same representation become one product; others are called one by one.

    Args:
        model: The model.
        tasks: The tasks to learn.
        aliases: Whether every task's gradient by the representation will be asked for. Only tasks with linear heads are
            then evaluated at once.
    """

    def __init__(self, model: nn.Module, tasks: TaskSet, *, aliases: bool = False) -> None:
        self._model = model
        self._tasks = tasks
        self._aliases = aliases
        self._trained: dict[str, list[bool]] = {}
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
                for task in group:
                    # the head of a task without labels stays out of products: it gets no gradient, not one of zeros
                    if task.present(targets[task.name]).any():
                        others.append(task.name)
                    else:
                        counts[task.name] = 0
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
    ) -> Outputs:
        """Outputs of the tasks.

        Args:
            inputs: A batch, as the model wants it.
            found: The groups.
            others: The other tasks.
            call: The model's outputs for some tasks, for heads that make no product.
        """
        parts = [[task.name for task in group.tasks] for group in found] + [[name] for name in others]
        heads = linear_heads(self._model, [name for names in parts for name in names])
        fits = [heads.keys() >= set(names) for names in parts]
        inside = [names for names, fit in zip(parts, fits, strict=True) if fit]
        rest = [name for names, fit in zip(parts, fits, strict=True) if not fit for name in names]
        news = self._news(heads)
        if news or sum(map(len, inside)) < 2 or (self._aliases and rest):
            single = dict(call([name for names in parts for name in names]))
            apart = news or self._aliases
            matrices = [None if apart else _beside([single[task.name] for task in group.tasks]) for group in found]
            return Outputs(matrices, single, None)
        assert isinstance(self._model, HardSharing)
        features = self._model.encode(inputs)
        if self._aliases and features.ndim != 2:
            names = [name for names in inside for name in names]
            return Outputs([None] * len(found), dict(self._model.decode(features, names)), Aliases(features))
        aliases = Aliases(features) if self._aliases else None
        linear = [[heads[name] for name in names] for names in inside]
        if aliases is None:
            pieces = side_by_side(linear, features)
        else:
            own = [aliases.of(*names) for names in inside]
            pieces = tuple(each_on_its_own(group, z) for group, z in zip(linear, own, strict=True))
        product = {names[0]: piece for names, piece in zip(inside, pieces, strict=True)}
        single = dict(self._model.decode(features, rest)) if rest else {}
        single |= {name: product[name] for name in others if name in product}
        matrices = [
            product[group.tasks[0].name]
            if group.tasks[0].name in product
            else _beside([single[task.name] for task in group.tasks])
            for group in found
        ]
        return Outputs(matrices, single, aliases)

    def _news(self, heads: Mapping[str, nn.Linear]) -> bool:
        """Whether one of the heads was frozen and is not now, or so: its task's graph has to be seen by itself."""
        now = {
            name: [p.requires_grad for p in head._parameters.values() if p is not None] for name, head in heads.items()
        }
        news = any(self._trained.get(name, trained) != trained for name, trained in now.items())
        self._trained |= now
        return news


def _beside(outputs: Sequence[Tensor]) -> Tensor | None:
    """Outputs (B, out) or (B,) of several heads side by side."""
    full = [output if output.ndim > 1 else output[:, None] for output in outputs if output.ndim]
    kinds = {(output.ndim, *output.shape, output.dtype, output.device) for output in full}
    return torch.cat(full, 1) if len(kinds) == 1 and len(full) == len(outputs) else None
