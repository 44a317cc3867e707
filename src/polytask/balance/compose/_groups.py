"""Groups of parameters: how they are named, and the copies of a method that learn for each of them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from polytask.balance.contract.evidence import Block
from polytask.balance.contract.method import GramianMethod
from polytask.balance.contract.state import Lesson, MethodState
from polytask.errors import MethodError

__all__ = ["GroupState", "Grouping", "Groups", "grouped", "layers"]

Groups = Literal["parameter", "layer"] | nn.Module | Callable[[Tensor], str]


@dataclasses.dataclass(frozen=True)
class Grouping:
    """A way to name groups of parameters."""

    def allows(self, value: object) -> bool:
        """Whether ``value`` is such a way."""
        return callable(value) or value in ("parameter", "layer")

    def __str__(self) -> str:
        return (
            "'parameter', 'layer', a module (each of its layers is a group) or a function from a parameter to the name "
            "of its group"
        )


def layers(names: Mapping[str, Tensor]) -> dict[int, str]:
    """The module each parameter belongs to, by the parameter's ``id``.

    Args:
        names: Parameters by name, as of ``module.named_parameters()``.

    Examples:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
        >>> list(layers(dict(net.named_parameters())).values())
        ['0', '0', '1', '1']
    """
    return {id(tensor): name.rpartition(".")[0] or "(itself)" for name, tensor in names.items()}


def grouped(groups: Groups, known: Mapping[int, str], block: Block) -> list[tuple[str, slice]]:
    """The group of each parameter of a block, and its columns.

    Args:
        groups: How parameters are grouped.
        known: As of :func:`layers`, for groups by layer.
        block: Whose parameters.

    Raises:
        MethodError: The parameters, or their names, are needed and not known.
    """
    if groups == "parameter":
        return [(f"{block.name}/{index}", part) for index, part in enumerate(block.slices)]
    if not block.tensors:
        raise MethodError(
            "groups= by layer, module or function needs parameters: use PerGroup in a Balancer on grads='params'"
        )
    if groups == "layer" and not any(id(tensor) in known for tensor in block.tensors):
        raise MethodError(
            "groups='layer' needs the parameters' names, which their gradients do not tell: "
            "Balancer(method, shared=model.trunk) with a module, balancer.know(model), or PerGroup(groups=model)"
        )
    if isinstance(groups, (str, nn.Module)):
        names = [known.get(id(tensor), "(elsewhere)") for tensor in block.tensors]
    else:
        names = [groups(tensor) for tensor in block.tensors]
    return list(zip(names, block.slices, strict=True))


class GroupState(MethodState):
    """The states of all groups' methods as one; groups come into being when they are first written or loaded."""

    def __init__(self, method: GramianMethod) -> None:
        super().__init__()
        self.method = method
        self.members: dict[str, GramianMethod] = {}

    def member(self, group: str) -> GramianMethod:
        """The group's own copy of the method."""
        if group not in self.members:
            self.members[group] = copy.deepcopy(self.method)
            self.adopt(group, self.members[group].state)
        return self.members[group]

    def remember(self, tasks: Sequence[str], news: Mapping[str, Any]) -> None:
        """See :class:`MethodState`; the news are lessons by the group's name."""
        for group, lesson in news.items():
            if isinstance(lesson, Lesson):
                self.member(group)
        super().remember(tasks, news)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See :class:`MethodState`."""
        known = sorted(self.method.state.state_dict(), key=len, reverse=True)
        for name in state:
            for quantity in known:
                if name.endswith(f".{quantity}"):
                    self.member(name.removesuffix(f".{quantity}"))
                    break
        self.reset()
        super().load_state_dict({name: {} for name in self.state_dict()} | dict(state))
