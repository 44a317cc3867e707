"""Named state of a method, per task, pair of tasks, or task and coordinate; generic to save, load and reset."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.errors import CheckpointError, MethodError, NonFiniteError

__all__ = ["CoordinateMemory", "MethodState", "Stateful", "check_owner"]

Array = np.ndarray


@runtime_checkable
class Stateful(Protocol):
    """Anything a method learns that is not a number per task, such as networks with their optimizer."""

    def state_dict(self) -> Mapping[str, Any]:
        """Copies of everything, as nested plain values and tensors with names of tasks as names."""

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Restore what :meth:`state_dict` gave."""

    def reset(self) -> None:
        """Forget everything."""


class MethodState:
    """Declared numbers of a method, keyed by task name.

    A task that was never seen reads as the declared default; a task that is not named in a write keeps its value. So
    an absent task's state freezes, and adding a task later needs no migration.

    Examples:
        >>> state = MethodState()
        >>> state.declare("log_variance", 0.0)
        >>> state.write("log_variance", ["a"], np.array([0.5]))
        >>> state.read("log_variance", ["a", "b"])
        array([0.5, 0. ])
    """

    def __init__(self) -> None:
        self._defaults: dict[str, tuple[float, Literal["task", "pair"]]] = {}
        self._values: dict[str, dict[str, float] | dict[str, dict[str, float]]] = {}
        self._objects: dict[str, Stateful] = {}
        self._adopted: list[MethodState] = []
        self._undo: list[tuple[dict[str, Any], dict[str, Any]]] | None = None
        self._owner: object = None

    def declare(self, name: str, default: float, per: Literal["task", "pair"] = "task") -> None:
        """Add a quantity with its starting value for every task or ordered pair of tasks."""
        self._defaults[name] = (default, per)
        self._values[name] = {}

    def attach(self, name: str, learned: Stateful) -> None:
        """Add an object with state of its own, to be saved, loaded and reset with the numbers."""
        self._objects[name] = learned

    @property
    def attached(self) -> tuple[str, ...]:
        """Names of the objects."""
        return tuple(self._objects)

    def adopt(self, prefix: str, other: MethodState) -> None:
        """Make another state's quantities part of this one, as ``prefix.name``; both hold the same numbers.

        Saving, loading or resetting this state then saves, loads or resets the other.
        """
        for name, declared in other._defaults.items():
            self._defaults[f"{prefix}.{name}"] = declared
            self._values[f"{prefix}.{name}"] = other._values[name]
        self._objects |= {f"{prefix}.{name}": learned for name, learned in other._objects.items()}
        self._adopted.append(other)

    def claim(self, owner: object, *, more: bool = False) -> None:
        """Let ``owner`` alone learn here, until :meth:`reset` or :meth:`load_state_dict`.

        Args:
            owner: Who is about to read and write.
            more: Whether something was learned that is kept elsewhere.

        Raises:
            MethodError: There is something that another owner has learned.
        """
        for other in self._adopted:
            other.claim(owner)
        if self._owner not in (None, owner) and (more or self._objects or any(self._values.values())):
            raise MethodError(
                "this method object has learned from the steps of another balancer, which would silently weigh this "
                "one's: give every balancer a method of its own, or call method.reset() where the other one is done"
            )
        self._owner = owner

    def _release(self) -> None:
        self._owner = None
        for other in self._adopted:
            other._release()

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """A block whose writes are taken back if it ends with an exception; attached objects are not."""
        family = list(self._family())
        for state in family:
            state._undo = []
        try:
            yield
        except BaseException:
            for state in family:
                for store, before in reversed(state._undo or []):
                    store.clear()
                    store.update(before)
            raise
        finally:
            for state in family:
                state._undo = None

    def _family(self) -> Iterator[MethodState]:
        """This state, and all whose numbers are part of it."""
        yield self
        for other in self._adopted:
            yield from other._family()

    def read(self, name: str, tasks: Sequence[str]) -> Float[Array, "K"] | Float[Array, "K K"]:
        """Values for ``tasks``, in their order: shape (K,), or (K, K) for a quantity per pair."""
        default, per = self._defaults[name]
        values: Any = self._values[name]
        if per == "task":
            return np.array([values.get(task, default) for task in tasks], dtype=np.float64)
        return np.array([[values.get(a, {}).get(b, default) for b in tasks] for a in tasks], dtype=np.float64)

    def write(self, name: str, tasks: Sequence[str], values: Float[Array, "..."]) -> None:
        """Store values for ``tasks``, in their order; other tasks are left alone.

        Raises:
            NonFiniteError: A value is not finite; nothing is stored.
        """
        _, per = self._defaults[name]
        store: Any = self._values[name]
        numbers = np.asarray(values, dtype=np.float64)
        if not np.isfinite(numbers).all():
            raise NonFiniteError(
                f"what the method remembers as {name!r} would become {np.asarray(values).tolist()} for tasks "
                f"{', '.join(tasks)}; it is as it was. Look for losses or gradients that are too large"
            )
        if self._undo is not None:
            self._undo.append((store, {key: dict(v) for key, v in store.items()} if per == "pair" else dict(store)))
        if per == "task":
            store.update(zip(tasks, numbers.tolist(), strict=True))
            return
        for a, row in zip(tasks, numbers.tolist(), strict=True):
            store.setdefault(a, {}).update(zip(tasks, row, strict=True))

    def add(self, name: str, tasks: Sequence[str], amount: Float[Array, "..."] | float = 1.0) -> None:
        """Add to the values for ``tasks``, in their order; ones count the tasks' own steps."""
        self.write(name, tasks, self.read(name, tasks) + amount)

    def reset(self) -> None:
        """Return every quantity to its default."""
        self._release()
        for store in self._values.values():
            store.clear()
        for learned in self._objects.values():
            learned.reset()

    def state_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries of floats: ``{quantity: {task: value}}``; and the states of attached objects."""
        numbers = {
            name: {key: dict(value) if isinstance(value, dict) else value for key, value in store.items()}
            for name, store in self._values.items()
        }
        return numbers | {name: dict(learned.state_dict()) for name, learned in self._objects.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            CheckpointError: The saved quantities are not the declared ones.
        """
        declared = {*self._defaults, *self._objects}
        if set(state) != declared:
            raise CheckpointError(
                f"method state holds {sorted(state)}, this method declares {sorted(declared)}; "
                "the checkpoint was written by another method or version"
            )
        for name, store in self._values.items():
            loaded: Any = {key: dict(value) if isinstance(value, dict) else value for key, value in state[name].items()}
            store.clear()
            store.update(loaded)
        for name, learned in self._objects.items():
            learned.load_state_dict(state[name])
        self._release()


class CoordinateMemory:
    """What a method remembers per task and coordinate: one vector per quantity, block of parameters and task.

    A task that was never seen reads as zeros, and so does a block whose length has changed. Memory of K·P numbers.

    Examples:
        >>> memory = CoordinateMemory()
        >>> memory.write("mean", "block", ["a"], torch.ones(1, 3))
        >>> memory.read("mean", "block", ["b", "a"], torch.zeros(2, 3))
        tensor([[0., 0., 0.],
                [1., 1., 1.]])
    """

    def __init__(self) -> None:
        self._values: dict[str, dict[str, dict[str, Tensor]]] = {}

    def __bool__(self) -> bool:
        return bool(self._values)

    def read(self, name: str, block: str, tasks: Sequence[str], like: Float[Tensor, "K P"]) -> Float[Tensor, "K P"]:
        """What was written for these tasks, in their order, on the device and in the dtype of ``like``."""
        stored = self._values.get(name, {}).get(block, {})
        rows = [stored.get(task) for task in tasks]
        return torch.stack(
            [torch.zeros_like(like[0]) if row is None or row.shape != like[0].shape else row.to(like) for row in rows]
        )

    def write(self, name: str, block: str, tasks: Sequence[str], values: Float[Tensor, "K P"]) -> None:
        """Store one vector per task; other tasks are left alone."""
        store = self._values.setdefault(name, {}).setdefault(block, {})
        store.update(zip(tasks, values.detach().clone(), strict=True))

    def reset(self) -> None:
        """Forget everything."""
        self._values.clear()

    def state_dict(self) -> dict[str, Any]:
        """Nested dictionaries ``{quantity: {block: {task: vector}}}``."""
        return {name: {block: dict(rows) for block, rows in blocks.items()} for name, blocks in self._values.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._values = {name: {block: dict(rows) for block, rows in blocks.items()} for name, blocks in state.items()}


def check_owner(saved: str, running: str) -> None:
    """Raise :class:`CheckpointError` when state of one method is given to another."""
    if saved != running:
        raise CheckpointError(
            f"the saved balancer state is of {saved}, this balancer runs {running}; build the balancer with the same "
            "method, or start without the saved state"
        )
