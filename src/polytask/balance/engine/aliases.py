"""The shared representation under a name of its own for every task, so that one pass tells the tasks apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

import torch
from torch import Tensor

from polytask.balance.engine.gradients import Step, in_words, stacked
from polytask.balance.engine.graph import reached
from polytask.errors import MethodError

__all__ = ["Aliases", "beside_features", "through_heads"]


@final
class Aliases:
    """Copies of the shared representation, one per task and without memory of their own.

    When every head reads the alias of its task in the place of the representation, the gradients by the aliases of the
    sum of all losses are those of the tasks by the representation: one backward pass through the heads, not K. For
    ``grads="features"`` that is all there is to collect; for ``"params"`` K passes go on through the shared part.

    Args:
        features: The shared representation, (B, …).

    Examples:
        >>> import torch
        >>> from polytask import Balancer
        >>> trunk, heads = torch.nn.Linear(3, 4), {"a": torch.nn.Linear(4, 1), "b": torch.nn.Linear(4, 1)}
        >>> aliases = Aliases(trunk(torch.ones(2, 3)))
        >>> losses = {name: head(aliases.of(name)[0]).square().mean() for name, head in heads.items()}
        >>> Balancer("upgrad", grads="features", announce=None).backward(losses, features=aliases).backward_passes
        2
    """

    def __init__(self, features: Tensor) -> None:
        self.features = features
        self._parts: list[tuple[tuple[str, ...], Tensor]] = []

    def of(self, *tasks: str) -> Tensor:
        """The aliases of these tasks, (K, B, …)."""
        both = self.features.expand(len(tasks), *self.features.shape)
        self._parts.append((tasks, both))
        return both

    def __iter__(self) -> Iterator[Tensor]:
        """The representation itself, for whoever knows nothing of aliases."""
        yield self.features

    @property
    def tensors(self) -> list[Tensor]:
        """What :meth:`of` gave, in the order it was asked."""
        return [both for _, both in self._parts]

    @property
    def tasks(self) -> set[str]:
        """The tasks that have one."""
        return {task for tasks, _ in self._parts for task in tasks}

    def tell_apart(self, gradients: Sequence[Tensor | None]) -> dict[str, Tensor]:
        """Each task's gradient, from the gradients by :attr:`tensors`; none for what no loss reaches."""
        return {
            task: one
            for (tasks, _), both in zip(self._parts, gradients, strict=True)
            if both is not None
            for task, one in zip(tasks, both.unbind(), strict=True)
        }


def through_heads(
    step: Step, aliases: Aliases
) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor | None, ...]]] | None:
    """One pass of the losses' sum through the heads, if that tells all tasks apart.

    Every task must have its alias and parameters that are its own, and none may reach what is shared otherwise; a
    representation that needs no gradient (of a frozen trunk) has none to tell them apart by.

    Returns:
        Every task's gradient by the representation, and by its own parameters (the heads policy decides whether); or
        ``None``, with nothing done.

    Raises:
        MethodError: A loss does not depend on its alias.
    """
    if not aliases.features.requires_grad or not aliases.tasks.issuperset(step.tasks):
        return None
    tensors = aliases.tensors
    own = {task: step.own[task] if step.heads != "none" else () for task in step.tasks}
    every = [tensor for parameters in own.values() for tensor in parameters]
    past = reached(*step.losses.values(), past=tensors)
    if len({id(tensor) for tensor in every}) < len(every) or any(id(tensor) in past for tensor in step.shared):
        return None
    losses = [loss for loss, _ in stacked(step.losses.values())]
    seeds = [torch.full_like(loss, step.loss_scale) for loss in losses]
    with in_words():
        found = torch.autograd.grad(
            losses, [*tensors, *every], seeds, retain_graph=step.retain_graph, allow_unused=True
        )
    rows = aliases.tell_apart(found[: len(tensors)])
    for task in step.tasks:
        if task not in rows:
            raise beside_features(task)
    gradients = iter(found[len(tensors) :])
    return rows, {task: tuple(next(gradients) for _ in parameters) for task, parameters in own.items()}


def beside_features(task: str) -> MethodError:
    """The error for a loss that does not depend on the representation it is judged by."""
    return MethodError(
        f"the loss of task {task!r} does not depend on features=; pass the tensor the heads were applied to, not one "
        "that was computed again"
    )
