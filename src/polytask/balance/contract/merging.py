"""One state of a method from those that several processes have learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from polytask.balance.contract.method import Method
from polytask.balance.contract.state import Reduction
from polytask.errors import MethodError

__all__ = ["merged_states"]


def merged_states(method: Method, states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a method would have learned from all processes' parts of every batch, as far as that can be told afterwards.

    Every quantity says in its declaration how: running means of losses are averaged, totals and counts added up. What
    is not linear in losses and gradients has to be learned from evidence that was reduced before, and be the same.

    Args:
        method: Whose declarations count; its own state does not.
        states: What ``method.state_dict()`` gave in each process. A task that a process never saw has no say there.

    Returns:
        A state for ``load_state_dict``.

    Raises:
        MethodError: Something that has to be the same is not, or its declaration does not say how it is reduced.

    Examples:
        >>> from polytask.balance import get_method
        >>> method = get_method("go4align")
        >>> merged_states(method, [{"total": {"a": 2.0}}, {"total": {"a": 4.0, "b": 1.0}}])
        {'total': {'a': 3.0, 'b': 1.0}}
        >>> merged_states(get_method("uw"), [{"log_variance": {"a": 0.1}}, {"log_variance": {"a": 0.2}}])
        Traceback (most recent call last):
            ...
        polytask.errors.MethodError: processes have learned different values of log_variance of a (0.1, 0.2), ...
    """
    numbers = {name: quantity.reduce for name, quantity in method.state.declared.items()}
    ways: dict[str, Any] = numbers | dict.fromkeys(method.state.attached, "same")
    ways["memory"] = {name: quantity.reduce for name, quantity in method.memory.declared.items()}
    return _by_name(states, ways)


def _by_name(states: Sequence[Mapping[str, Any]], ways: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for name in dict.fromkeys(name for state in states for name in state):
        found, way = [state[name] for state in states if name in state], ways.get(name)
        if isinstance(way, Mapping):
            merged[name] = _by_name(found, way)
        elif way is None:
            raise MethodError(
                f"{name!r} does not say how processes reduce it: declare it with reduce='same', for example"
            )
        else:
            merged[name] = _merged(found, way, (name,))
    return merged


def _merged(found: Sequence[Any], way: Reduction, where: tuple[str, ...]) -> Any:
    """Values of all processes as one; mappings by key."""
    if isinstance(found[0], Mapping):
        keys = dict.fromkeys(key for values in found for key in values)
        return {key: _merged([v[key] for v in found if key in v], way, (*where, str(key))) for key in keys}
    if way == "same":
        if not all(_equal(found[0], other) for other in found[1:]):
            raise MethodError(
                f"processes have learned different values of {' of '.join(where)} ({', '.join(map(str, found))}), "
                "which must be the same: reduce losses and gradients across processes before the method sees them"
            )
        return found[0]
    total = sum(found[1:], start=found[0])
    return total if way == "sum" else total / len(found)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    return torch.equal(one, other) if torch.is_tensor(one) else bool(one == other)
