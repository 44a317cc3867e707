"""Has the losses' graph changed since it was last walked? A look at its ends, where a walk goes through all of it."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping
from typing import final

from torch import Tensor
from torch.utils.weak import TensorWeakRef

__all__ = ["Steady"]

_TRUSTED = 4
"""Walks of graphs that look alike, without anything new, before such a graph is taken as known."""
_EVERY = 16
"""A graph that is taken as known is walked all the same this often."""
_FORMS = 64
"""Forms of graphs that are remembered."""


@final
class Steady:
    """Remembers the leaves of graphs, for steps that differentiate one sum and need to know where gradients may go.

    A graph's form is: the tasks, the kind of the last node of each, and how many nodes were made from one to the next
    and since the graph before. Of a form that was walked several times, nothing new is expected: every leaf that any
    walk has met, and every parameter that is known by name, is then taken as reached. So what goes unnoticed, until the
    next walk at the latest, is a leaf that is reached for the first time by a graph of exactly the size of those
    before, through a model that nobody has shown; its gradient is right, but it is not looked at.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Trust nothing."""
        self._walks: collections.Counter[object] = collections.Counter()
        self._leaves: list[TensorWeakRef] = []
        self._form: object = None
        self._before = 0
        self._since = 0

    def leaves(self, losses: Mapping[str, Tensor]) -> list[Tensor] | None:
        """All that these losses may reach; ``None`` where their graph has to be walked (and :meth:`walked` told)."""
        ends = list(dict.fromkeys(loss.grad_fn for loss in losses.values()))
        if ends[0] is None or None in ends:
            self._form = None
            return None
        first = ends[0]._sequence_nr()
        nodes = [(type(end), end._sequence_nr() - first) for end in ends if end is not None]
        self._form = (tuple(losses), first - self._before, *nodes)
        self._before = first
        if self._since >= _EVERY or self._walks[self._form] < _TRUSTED:
            return None
        found = [reference() for reference in self._leaves]
        if any(leaf is None for leaf in found):
            return None
        self._since += 1
        return found

    def walked(self, leaves: Iterable[Tensor], *, plain: bool) -> None:
        """Take note of a walk of the graph that was asked about.

        Args:
            leaves: All that any graph has reached, or may reach.
            plain: Whether the walk met nothing that was new and nothing that changes from graph to graph.
        """
        self._since = 0
        if not plain or self._form is None or len(self._walks) > _FORMS:
            self._walks.clear()
            return
        known = list(leaves)
        if len(known) != len(self._leaves) or any(
            r.ref() is not leaf for r, leaf in zip(self._leaves, known, strict=True)
        ):
            self._leaves = list(map(TensorWeakRef, known))
        self._walks[self._form] += 1
