"""A parameter partition as plain values, and how its parameters are found again in another process."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, final

from torch import Tensor

from polytask.balance.engine.weak import WeakTensors

__all__ = ["SavedPartition"]

Leaves = dict[int, Tensor]
"""Parameters by ``id``, in an order that matters: it is that of the columns of the tasks' Jacobian."""


@final
@dataclasses.dataclass
class SavedPartition:
    """Which parameters tasks reach, saved by name or, where names are not known, by place in a task's walk.

    Attributes:
        leaves: Name (or ``None``) and shape of every parameter.
        tasks: For every task, the positions in ``leaves`` of what it reaches, in the order its walk met them.
        found: The parameters recognised so far, by position.
    """

    leaves: list[tuple[str | None, list[int]]] = dataclasses.field(default_factory=list)
    tasks: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    found: WeakTensors[int] = dataclasses.field(default_factory=WeakTensors)

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> SavedPartition:
        """What :meth:`state_dict` gave."""
        leaves = [(name, list(shape)) for name, shape in state.get("leaves", ())]
        return cls(leaves, {task: list(places) for task, places in state.get("tasks", {}).items()})

    def state_dict(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return {"leaves": [list(leaf) for leaf in self.leaves], "tasks": self.tasks}

    def merged(self, leaves: Leaves, reach: Mapping[str, Leaves], names: Mapping[int, str]) -> SavedPartition:
        """A running partition, and what was saved before and has not been seen again since."""
        found = self.found.alive()
        places = {id(tensor): place for place, tensor in found.items()}
        all_leaves = list(self.leaves)
        for key, tensor in leaves.items():
            place = places.setdefault(key, len(all_leaves))
            all_leaves[place:] = [(names.get(key), list(tensor.shape)), *all_leaves[place + 1 :]]
            found[place] = tensor
        tasks = {task: list(saved) for task, saved in self.tasks.items()}
        for task, reached in reach.items():
            known = [*tasks.get(task, ()), *(places[key] for key in reached)]
            tasks[task] = list(dict.fromkeys(known))
        return SavedPartition(all_leaves, tasks, WeakTensors(found))

    def recognise_names(self, names: Mapping[str, Tensor]) -> None:
        """Find parameters by their names."""
        for place, (name, shape) in enumerate(self.leaves):
            if name is not None and name in names and list(names[name].shape) == shape:
                self.found.update({place: names[name]})

    def recognise_walk(self, task: str, walk: Sequence[Tensor], *, strict: bool = True) -> None:
        """Find parameters by their places in a task's walk, which has to be the saved one; warn if it is not."""
        places = self.tasks.get(task, [])
        found = self.found.alive()
        if all(place in found for place in places):
            return
        if [list(tensor.shape) for tensor in walk] == [self.leaves[place][1] for place in places]:
            self.found.update(dict(zip(places, walk, strict=True)))
            return
        if not strict:
            return
        warnings.warn(
            f"the loss of task {task!r} reaches {len(walk)} parameters, not the {len(places)} of the saved run in "
            "their order, so what the tasks share is found out anew, task by task; to go on exactly, tell the "
            "parameters' names in both runs: balancer.know(model)",
            stacklevel=2,
        )
        self.tasks.pop(task)

    def recall(self, leaves: Leaves, reach: Mapping[str, Leaves]) -> tuple[Leaves, dict[str, Leaves]]:
        """The running partition and what was found of the saved one, in the saved order."""
        found = self.found.alive()
        ordered = {id(found[place]): found[place] for place in sorted(found)}
        both = {}
        for task, places in self.tasks.items():
            known = [found[place] for place in places if place in found]
            if known:
                both[task] = {id(tensor): tensor for tensor in known}
        for task, reached in reach.items():
            both[task] = both.get(task, {}) | reached
        return ordered | leaves, both
