"""Where rows come from: the protocol of a source, tensors in memory, and a user's own map-style dataset."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, final, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from polytask.data.arrays import tensor_of
from polytask.data.part import Inputs, Part
from polytask.data.side_by_side import Columns
from polytask.errors import DataError, unknown

__all__ = [
    "ArrayLike",
    "Inputs",
    "MapSource",
    "Part",
    "Source",
    "TensorSource",
    "batches",
    "inputs_of",
    "only",
    "part_of",
    "together",
]

ArrayLike: TypeAlias = Any
"""Numbers: a tensor, an array, a pandas frame or series, a list."""


@runtime_checkable
class Source(Protocol):
    """Rows that can be fetched by number, many at once.

    A source whose labels have weights also has a method ``weights_at(index)`` that gives them by task, (B,) or in the
    shape of the target each.
    """

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def batch(self, index: Int[Tensor, "B"]) -> tuple[Inputs, dict[str, Tensor]]:
        """Inputs and targets of the rows ``index``, in that order. Targets may omit tasks."""
        ...


def inputs_of(given: ArrayLike | Mapping[str, ArrayLike]) -> Inputs:
    """Inputs as tensors, from whatever numbers they are."""
    if isinstance(given, Mapping):
        return {name: tensor_of(f"input {name!r}", value) for name, value in given.items()}
    return tensor_of("inputs", given)


@final
class TensorSource:
    """Rows held in memory as tensors whose first dimension is the row.

    NumPy arrays, pandas frames and series, and lists of numbers are turned into tensors: real numbers in PyTorch's
    default type, whole numbers as 64-bit integers.

    Args:
        inputs: One tensor, or several by name (a table's ``numeric`` and ``categorical``), (N, …) each.
        targets: Task name → labels, (N, …). A missing label is NaN in a float tensor and −100 in an integer tensor,
            unless the task says otherwise.
        weights: Task name → weights of its labels, (N,) or in the shape of the target, from 0 on: 2 counts a label
            twice in losses and metrics, 0 is a missing label. Tasks may be left out.

    Raises:
        DataError: The tensors do not have the same number of rows, there are none, there is something else than numbers
            in them, or a weight is negative, not finite, or of no target.

    Examples:
        >>> import torch
        >>> source = TensorSource(torch.eye(3), {"age": torch.tensor([30.0, float("nan"), 52.0])})
        >>> len(source)
        3
        >>> inputs, targets = source.batch(torch.tensor([2, 0]))
        >>> targets["age"]
        tensor([52., 30.])
    """

    def __init__(
        self,
        inputs: ArrayLike | Mapping[str, ArrayLike],
        targets: Mapping[str, ArrayLike],
        weights: Mapping[str, ArrayLike] | None = None,
    ) -> None:
        if not isinstance(targets, Mapping):
            raise DataError(
                f"targets must be a dictionary from task names to labels, found {type(targets).__name__}; write "
                "TensorSource(inputs, {'name of the task': labels})"
            )
        self.inputs = inputs_of(inputs)
        self.targets: dict[str, Tensor] = {name: tensor_of(f"target {name!r}", y) for name, y in targets.items()}
        self.weights: dict[str, Tensor] = {
            name: tensor_of(f"weight of {name!r}", w) for name, w in (weights or {}).items()
        }
        for name, weight in self.weights.items():
            if name not in self.targets:
                raise DataError(unknown("target with weights", name, self.targets))
            if not bool((torch.isfinite(weight) & (weight >= 0)).all()):
                raise DataError(f"weights of {name!r} must be finite and from 0 on, 0 for a missing label")
        named = {"inputs": self.inputs} if isinstance(self.inputs, Tensor) else self.inputs
        everything = {
            **{f"input {k!r}": v for k, v in named.items()},
            **{f"target {k!r}": v for k, v in self.targets.items()},
            **{f"weight of {k!r}": v for k, v in self.weights.items()},
        }
        if not named:
            raise DataError("a source needs at least one input tensor, found an empty dictionary")
        sizes = {what: value.shape[0] if value.ndim else None for what, value in everything.items()}
        if len(set(sizes.values())) > 1 or None in sizes.values():
            found = ", ".join(f"{what}: {'a scalar' if n is None else f'{n} rows'}" for what, n in sizes.items())
            raise DataError(f"inputs and targets must have the same number of rows, found {found}")
        self._size = next(iter(named.values())).shape[0]
        self._columns = Columns()

    def __getstate__(self) -> dict[str, Any]:
        """Without the copies that batches are taken from."""
        return vars(self) | {"_columns": Columns()}

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"TensorSource({self._size} rows, targets: {', '.join(self.targets) or 'none'})"

    def batch(self, index: Int[Tensor, "B"]) -> tuple[Inputs, dict[str, Tensor]]:
        """Inputs and targets of the rows ``index``, copied."""
        together: dict[str, Tensor] = {}
        for names, matrix in self._columns.of(self.targets):
            together |= zip(names, _rows(matrix, index).unbind(1), strict=True)
        targets = {name: together[name] if name in together else _rows(y, index) for name, y in self.targets.items()}
        return _map(self.inputs, lambda x: _rows(x, index)), targets

    def weights_at(self, index: Int[Tensor, "B"]) -> dict[str, Tensor]:
        """Weights of the labels of the rows ``index``, of tasks that have them."""
        return {name: _rows(w, index) for name, w in self.weights.items()}

    def subset(self, index: Int[Tensor, "B"]) -> TensorSource:
        """A source of the rows ``index``."""
        targets = {name: _rows(y, index) for name, y in self.targets.items()}
        return TensorSource(_map(self.inputs, lambda x: _rows(x, index)), targets, self.weights_at(index))

    def to(self, device: torch.device | str) -> TensorSource:
        """The same rows on another device, so that batches need no transfer."""
        return TensorSource(
            _map(self.inputs, lambda x: x.to(device)),
            {name: y.to(device) for name, y in self.targets.items()},
            {name: w.to(device) for name, w in self.weights.items()},
        )

    def digest(self) -> str:
        """Hash of all values, names and types."""
        named = {"": self.inputs} if isinstance(self.inputs, Tensor) else self.inputs
        value = hashlib.sha256()
        for role, tensors in (("input", named), ("target", self.targets), ("weight", self.weights)):
            for name, tensor in tensors.items():
                value.update(f"{role}|{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
                value.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        return value.hexdigest()


def _rows(tensor: Tensor, index: Tensor) -> Tensor:
    """``tensor[index]``, copied; in the quicker way, which is for places counted from the start, where that is sure."""
    if tensor.is_cpu and index.is_cpu and index.dtype == torch.int64 and index.ndim == 1:
        with contextlib.suppress(IndexError):
            return tensor.index_select(0, index)
    return tensor[index]


@final
class MapSource:
    """Rows of a user's map-style dataset whose items are ``(inputs, {task: target})``.

    Rows may carry different tasks: where some rows of a batch have a task and others do not, the gaps are filled with
    NaN (float targets) or −100 (integer targets); a task that no row of a batch has is left out of it.

    Args:
        dataset: Anything with ``len`` and ``[i]``. Rows are read in this process, one by one; a dataset that is slow to
            read is better turned into tensors once.
        collate: Turns the list of inputs into one tensor or a dictionary of tensors; PyTorch's ``default_collate`` by
            default.

    Raises:
        DataError: An item is not a pair, its targets are no dictionary, or its targets do not stack.

    Examples:
        >>> import torch
        >>> rows = [(torch.zeros(2), {"age": 30.0}), (torch.ones(2), {"sex": 1})]
        >>> _, targets = MapSource(rows).batch(torch.tensor([0, 1]))
        >>> targets
        {'age': tensor([30., nan]), 'sex': tensor([-100,    1])}
    """

    def __init__(self, dataset: Dataset | Sequence[Any], collate: Callable[[list[Any]], Inputs] | None = None) -> None:
        if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
            raise DataError(
                f"a map-style dataset needs len() and [i]; {type(dataset).__name__} lacks one of them. "
                "Read an iterable dataset into a list first"
            )
        self.dataset = dataset
        self.collate: Callable[[list[Any]], Any] = default_collate if collate is None else collate

    def __len__(self) -> int:
        return len(self.dataset)

    def __repr__(self) -> str:
        return f"MapSource({type(self.dataset).__name__}, {len(self)} rows)"

    def batch(self, index: Int[Tensor, "B"]) -> tuple[Inputs, dict[str, Tensor]]:
        """Read the rows ``index`` one by one and stack them."""
        numbers = index.tolist()
        rows = [(i, self._row(i)) for i in numbers]
        names = dict.fromkeys(name for _, (_, y) in rows for name, value in y.items() if value is not None)
        stacked = {name: _stack(name, [(i, targets.get(name)) for i, (_, targets) in rows]) for name in names}
        inputs = self.collate([inputs for _, (inputs, _) in rows])
        return inputs, stacked

    def _row(self, i: int) -> tuple[Any, Mapping[str, Any]]:
        row = self.dataset[i]
        if not (isinstance(row, (tuple, list)) and len(row) == 2 and isinstance(row[1], Mapping)):
            shape = f"a tuple of {len(row)}" if isinstance(row, (tuple, list)) else type(row).__name__
            raise DataError(
                f"row {i} of {type(self.dataset).__name__}: expected (inputs, {{task: target}}), found {shape}"
            )
        return row[0], row[1]

    def digest(self) -> str:
        """Hash of the type and the number of rows; contents are not read, because rows may be random augmentations."""
        return hashlib.sha256(f"{type(self.dataset).__qualname__}|{len(self)}".encode()).hexdigest()


@final
class _Only:
    """A view of a source with some of its targets."""

    def __init__(self, source: Source, tasks: Sequence[str]) -> None:
        self.source = source
        self.tasks = tuple(tasks)

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, index: Int[Tensor, "B"]) -> tuple[Inputs, dict[str, Tensor]]:
        inputs, targets = self.source.batch(index)
        return inputs, {name: targets[name] for name in self.tasks if name in targets}

    def weights_at(self, index: Int[Tensor, "B"]) -> dict[str, Tensor]:
        weights = part_of(self.source, index).weights or {}
        return {name: weights[name] for name in self.tasks if name in weights}


def only(source: Source, tasks: Iterable[str]) -> Source:
    """The rows of ``source`` with the targets of ``tasks`` alone.

    Args:
        source: Any source.
        tasks: Names to keep; those the source has no targets for are skipped, as in any source.

    Returns:
        A view; nothing is copied.
    """
    names = tuple(tasks)
    if isinstance(source, TensorSource):
        kept = [name for name in names if name in source.targets]
        weights = {name: source.weights[name] for name in kept if name in source.weights}
        return TensorSource(source.inputs, {name: source.targets[name] for name in kept}, weights)
    return _Only(source, names)


@final
class _Together:
    """Rows of several sources, one source after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = tuple(sources)
        self.ends = torch.tensor([len(source) for source in sources]).cumsum(0)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def batch(self, index: Int[Tensor, "B"]) -> tuple[Inputs, dict[str, Tensor]]:
        back, parts = self._parts(index)
        first = parts[0].inputs
        inputs: Inputs = (
            torch.cat([part.inputs for part in parts])[back]  # type: ignore[misc]
            if isinstance(first, Tensor)
            else {name: torch.cat([part.inputs[name] for part in parts])[back] for name in first}  # type: ignore[index]
        )
        return inputs, _joined([part.targets for part in parts], back)

    def weights_at(self, index: Int[Tensor, "B"]) -> dict[str, Tensor]:
        back, parts = self._parts(index)
        return _joined([part.weights or {} for part in parts], back)

    def _parts(self, index: Tensor) -> tuple[Tensor, list[Part]]:
        owner = torch.bucketize(index, self.ends, right=True)
        order, parts = [], []
        for number, source in enumerate(self.sources):
            mine = (owner == number).nonzero()[:, 0]
            if len(mine):
                order.append(mine)
                parts.append(part_of(source, index[mine] - (self.ends[number] - len(source))))
        return torch.cat(order).argsort(), parts


def _joined(parts: list[dict[str, Tensor]], back: Tensor) -> dict[str, Tensor]:
    """What all parts have, put back into the order of the rows."""
    return {
        name: torch.cat([part[name] for part in parts])[back]
        for name in parts[0]
        if all(name in part for part in parts)
    }


def together(sources: Iterable[Source]) -> Source:
    """The rows of several sources of one dataset as one source; nothing is copied.

    Args:
        sources: Sources with the same inputs and tasks; empty ones are left out.

    Examples:
        >>> import torch
        >>> rows = TensorSource(torch.eye(2), {"a": torch.arange(2)})
        >>> together([rows, rows]).batch(torch.tensor([3, 0]))[1]
        {'a': tensor([1, 0])}
    """
    return _Together([source for source in sources if len(source)])


def batches(source: Source, batch_size: int = 1024) -> Iterator[Part]:
    """Every row of ``source`` once, in order; for evaluation.

    Args:
        source: Any source.
        batch_size: Rows per part; the last part may be smaller.

    Yields:
        Consecutive rows.

    Examples:
        >>> import torch
        >>> source = TensorSource(torch.eye(5), {"a": torch.arange(5)})
        >>> [part.targets["a"].tolist() for part in batches(source, 2)]
        [[0, 1], [2, 3], [4]]
    """
    for start in range(0, len(source), batch_size):
        yield part_of(source, torch.arange(start, min(start + batch_size, len(source))))


def part_of(source: Source, index: Int[Tensor, "B"]) -> Part:
    """The rows ``index`` with their weights, if the source has any."""
    weigh = getattr(source, "weights_at", None)
    return Part(*source.batch(index), (weigh(index) or None) if weigh is not None else None)


def _map(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    return change(inputs) if isinstance(inputs, Tensor) else {name: change(x) for name, x in inputs.items()}


def _stack(name: str, values: list[tuple[int, Any]]) -> Tensor:
    """Stack the targets of one task; ``None`` is a missing label."""
    try:
        tensors = [(i, None if value is None else torch.as_tensor(value)) for i, value in values]
    except (TypeError, ValueError, RuntimeError) as error:
        sample = next((i, v) for i, v in values if v is not None and not isinstance(v, (Tensor, int, float)))
        raise DataError(
            f"target {name!r} of row {sample[0]} is {sample[1]!r}; expected a number or a tensor"
        ) from error
    present = [(i, t) for i, t in tensors if t is not None]
    first, model = present[0]
    dtype = model.dtype
    for i, tensor in present:
        if tensor.shape != model.shape:
            raise DataError(
                f"target {name!r} has shape {tuple(model.shape)} in row {first} and {tuple(tensor.shape)} in row {i}; "
                "expected one shape"
            )
        dtype = torch.promote_types(dtype, tensor.dtype)
    if dtype == torch.bool or (dtype.itemsize < 8 and not dtype.is_floating_point):
        dtype = torch.long  # small integer types cannot hold −100
    if dtype == torch.float64:
        dtype = torch.get_default_dtype()
    gap = torch.full(model.shape, float("nan") if dtype.is_floating_point else -100, dtype=dtype)
    return torch.stack([gap if t is None else t.to(dtype) for _, t in tensors])
