"""Named state of a method, per task, pair of tasks, or task and coordinate; generic to save, load and reset."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.errors import CheckpointError, MethodError, NonFiniteError

__all__ = ["CoordinateMemory", "Learner", "Lesson", "MethodState", "Quantity", "Reduction", "Stateful", "check_owner"]

Array = np.ndarray
Reduction = Literal["same", "mean", "sum"]
"""How processes that have each learned from their own part of every batch make one value of theirs.

``"mean"`` and ``"sum"`` are for what is linear in the losses or gradients: running means; totals and counts. All
else is ``"same"``: it has to be learned from evidence that was reduced first, and then it is the same everywhere.
"""


@dataclasses.dataclass(frozen=True)
class Quantity:
    """What is declared of a quantity that a method remembers.

    Attributes:
        default: What a task that was never seen reads as.
        per: Whether there is a number per task, per ordered pair of tasks, or a vector per task with an entry per
            parameter tensor or per coordinate.
        reduce: See :data:`Reduction`; ``None`` where the method does not say, and then processes cannot be merged.
    """

    default: float
    per: Literal["task", "pair", "tensor", "coordinate"]
    reduce: Reduction | None = None


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What one step taught: new values by the quantity's name, for ``tasks`` in their order."""

    tasks: tuple[str, ...]
    news: Mapping[str, Any]


@runtime_checkable
class Stateful(Protocol):
    """Anything a method learns that is not a number per task, such as networks with their optimizer."""

    def state_dict(self) -> Mapping[str, Any]:
        """Copies of everything, as nested plain values and tensors with names of tasks as names."""

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Restore what :meth:`state_dict` gave."""

    def reset(self) -> None:
        """Forget everything."""


@runtime_checkable
class Learner(Stateful, Protocol):
    """A :class:`Stateful` that learns from what ``solve`` remembers under its name."""

    def take(self, news: Any, /) -> None:
        """Learn from a step that has succeeded."""


class MethodState:
    """Declared numbers of a method, keyed by task name.

    A task that was never seen reads as the declared default; a task that is not named in a write keeps its value. So
    an absent task's state freezes, and adding a task later needs no migration.

    Examples:
        >>> state = MethodState()
        >>> state.declare("log_variance", 0.0, reduce="same")
        >>> state.remember(["a"], {"log_variance": np.array([0.5])})
        >>> state.read("log_variance", ["a", "b"])
        array([0.5, 0. ])
    """

    def __init__(self) -> None:
        self.declared: dict[str, Quantity] = {}
        self._values: dict[str, dict[str, float] | dict[str, dict[str, float]]] = {}
        self._objects: dict[str, Stateful] = {}
        self._adopted: dict[str, MethodState] = {}
        self._undo: list[tuple[dict[str, Any], dict[str, Any]]] | None = None
        self._owner: object = None

    def declare(
        self, name: str, default: float, per: Literal["task", "pair"] = "task", *, reduce: Reduction | None = None
    ) -> None:
        """Add a quantity with its starting value for every task or ordered pair of tasks; see :class:`Quantity`."""
        self.declared[name] = Quantity(default, per, reduce)
        self._values[name] = {}

    def attach(self, name: str, learned: Stateful) -> None:
        """Add an object with state of its own, to be saved, loaded and reset with the numbers.

        A :class:`Learner` learns from what ``solve`` remembers under its name. All processes need the same of it.
        """
        self._objects[name] = learned

    @property
    def attached(self) -> tuple[str, ...]:
        """Names of the objects."""
        return tuple(self._objects)

    def adopt(self, prefix: str, other: MethodState) -> None:
        """Make another state's quantities part of this one, as ``prefix.name``; both hold the same numbers.

        Saving, loading or resetting this state then saves, loads or resets the other.
        """
        for name, declared in other.declared.items():
            self.declared[f"{prefix}.{name}"] = declared
            self._values[f"{prefix}.{name}"] = other._values[name]
        self._objects |= {f"{prefix}.{name}": learned for name, learned in other._objects.items()}
        self._adopted[prefix] = other

    def claim(self, owner: object, *, more: bool = False) -> None:
        """Let ``owner`` alone learn here, until :meth:`reset` or :meth:`load_state_dict`.

        Args:
            owner: Who is about to read and write.
            more: Whether something was learned that is kept elsewhere.

        Raises:
            MethodError: There is something that another owner has learned.
        """
        for other in self._adopted.values():
            other.claim(owner)
        if self._owner not in (None, owner) and (more or self._objects or any(self._values.values())):
            raise MethodError(
                "this method object has learned from the steps of another balancer, which would silently weigh this "
                "one's: give every balancer a method of its own, or call method.reset() where the other one is done"
            )
        self._owner = owner

    def _release(self) -> None:
        self._owner = None
        for other in self._adopted.values():
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
        for other in self._adopted.values():
            yield from other._family()

    def read(self, name: str, tasks: Sequence[str]) -> Float[Array, "K"] | Float[Array, "K K"]:
        """Values for ``tasks``, in their order: shape (K,), or (K, K) for a quantity per pair."""
        default = self.declared[name].default
        values: Any = self._values[name]
        if self.declared[name].per == "task":
            return np.array([values.get(task, default) for task in tasks], dtype=np.float64)
        return np.array([[values.get(a, {}).get(b, default) for b in tasks] for a in tasks], dtype=np.float64)

    def write(self, name: str, tasks: Sequence[str], values: Float[Array, "..."]) -> None:
        """Store values for ``tasks``, in their order; other tasks are left alone.

        Raises:
            MethodError: There is not one value per task (or pair); nothing is stored.
            NonFiniteError: A value is not finite; nothing is stored.
        """
        per = self.declared[name].per
        store: Any = self._values[name]
        numbers = np.asarray(values, dtype=np.float64)
        if numbers.shape != (len(tasks),) * (1 if per == "task" else 2):
            raise MethodError(
                f"what the method remembers as {name!r} needs one number per {per} of the {len(tasks)} tasks "
                f"{', '.join(tasks)}, found shape {numbers.shape}"
            )
        if np.count_nonzero(np.isfinite(numbers)) < numbers.size:  # quicker than all() for a few numbers
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

    def remember(self, tasks: Sequence[str], news: Mapping[str, Any]) -> None:
        """Store what a step taught, for exactly these tasks.

        Args:
            tasks: Whom the news are about.
            news: New values by the quantity's name, in the order of ``tasks``; by an attached object's name, what it
                is to take; by the prefix of a state that was adopted, a :class:`Lesson` for it. Objects come last.

        Raises:
            MethodError: A name was not declared.
            NonFiniteError: A value is not finite.
        """
        for learner, its_news in list(self._written(tasks, news)):
            learner.take(its_news)

    def _written(self, tasks: Sequence[str], news: Mapping[str, Any]) -> Iterator[tuple[Learner, Any]]:
        """Write all numbers; what is left to the objects."""
        for name, value in news.items():
            if isinstance(value, Lesson) and name in self._adopted:
                yield from self._adopted[name]._written(value.tasks, value.news)
            elif name in self.declared:
                self.write(name, tasks, value)
            elif isinstance(learner := self._objects.get(name), Learner):
                yield learner, value
            else:
                raise MethodError(
                    f"solve wants {name!r} remembered, which the method has not declared: "
                    f"self.state.declare({name!r}, start, reduce=…) in its __init__. Declared: "
                    f"{', '.join([*self.declared, *self._objects]) or 'nothing'}"
                )

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
        declared = {*self.declared, *self._objects}
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
        >>> memory.declare("mean", reduce="mean")
        >>> memory.write("mean", "block", ["a"], torch.ones(1, 3))
        >>> memory.read("mean", "block", ["b", "a"], torch.zeros(2, 3))
        tensor([[0., 0., 0.],
                [1., 1., 1.]])
    """

    def __init__(self) -> None:
        self.declared: dict[str, Quantity] = {}
        self._values: dict[str, dict[str, dict[str, Tensor]]] = {}

    def declare(
        self, name: str, per: Literal["tensor", "coordinate"] = "coordinate", *, reduce: Reduction | None = None
    ) -> None:
        """Add a quantity, zero at first; see :class:`Quantity`."""
        self.declared[name] = Quantity(0.0, per, reduce)

    def __bool__(self) -> bool:
        return bool(self._values)

    def check(self, names: Iterable[str]) -> None:
        """Raise :class:`MethodError` for a quantity that was not declared."""
        for name in names:
            if name not in self.declared:
                raise MethodError(
                    f"combine wants {name!r} remembered, which the method has not declared: "
                    f"self.memory.declare({name!r}, reduce=…) in its __init__"
                )

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
