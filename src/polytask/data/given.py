"""Rows as people hold them: tensors, arrays, frames, lists, datasets and PyTorch's own loaders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, final

from jaxtyping import Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, SequentialSampler, default_collate

from polytask.data.arrays import tensor_of
from polytask.data.source import Inputs, MapSource, Source, TensorSource
from polytask.errors import DataError

__all__ = ["Given", "are_inputs", "given_rows"]


class Given(NamedTuple):
    """Rows as sources, and what a ``DataLoader`` said about batches.

    Attributes:
        sources: A source, or sources by name.
        batching: Keyword arguments for a :class:`~polytask.data.MultiTaskLoader`; empty unless a loader was given.
    """

    sources: Source | dict[str, Source]
    batching: dict[str, Any]


def given_rows(given: Any, tasks: Sequence[str]) -> Given:
    """Sources from whatever holds rows.

    Args:
        given: A source, sources by name, ``(inputs, {task: targets})``, a map-style dataset or a list of rows
            ``(inputs, {task: target})``, or a ``DataLoader`` over one. With a single task, targets without a name are
            its own.
        tasks: Names of the tasks to learn.

    Raises:
        DataError: It is none of these, or its rows are only known to PyTorch's loader (an iterable dataset, a sampler).

    Examples:
        >>> given_rows(([[1.0], [2.0], [3.0]], {"age": [30.0, None, 52.0]}), ["age"]).sources
        TensorSource(3 rows, targets: age)
    """
    if isinstance(given, DataLoader):
        return _of_loader(given, tasks)
    if isinstance(given, Source):
        return Given(given, {})
    if isinstance(given, Mapping) and given and all(isinstance(source, Source) for source in given.values()):
        return Given(dict(given), {})
    if isinstance(given, tuple) and len(given) == 2 and (are_inputs(given[0]) or isinstance(given[1], Mapping)):
        inputs, targets = given
        return Given(TensorSource(inputs, targets if isinstance(targets, Mapping) else {_only(tasks): targets}), {})
    if not isinstance(given, Mapping) and hasattr(given, "__getitem__") and hasattr(given, "__len__") and len(given):
        return Given(_of_rows(given, tasks), {})
    if isinstance(given, IterableDataset):
        raise DataError(
            "an iterable dataset has no row numbers, so that its rows can be neither shuffled nor resumed; read it "
            "into a list of (inputs, {task: target}) first"
        )
    raise DataError(
        "expected a source, (inputs, {task: targets}), a dataset or list of rows (inputs, {task: target}), or a "
        f"DataLoader over one, found {type(given).__name__}; TensorSource(inputs, {{task: targets}}) holds tensors"
    )


def are_inputs(given: Any) -> bool:
    """Whether these are many rows' inputs: an array, a frame, or several of them by name."""
    if isinstance(given, Mapping):
        return bool(given) and all(are_inputs(value) for value in given.values())
    return len(getattr(given, "shape", ())) > 0


def _only(tasks: Sequence[str]) -> str:
    if len(tasks) == 1:
        return tasks[0]
    raise DataError(
        f"the targets have no names, and there are {len(tasks)} tasks ({', '.join(list(tasks)[:5])}); give them as "
        "{task: targets}"
    )


def _of_rows(dataset: Dataset | Sequence[Any], tasks: Sequence[str]) -> Source:
    row: Any = dataset[0]
    if not isinstance(row, (tuple, list)) or len(row) != 2:
        found = f"{len(row)} things" if isinstance(row, (tuple, list)) else type(row).__name__
        raise DataError(
            f"a row of {type(dataset).__name__} must be (inputs, {{task: target}}), found {found}; name the targets, "
            "as in TensorSource(inputs, {task: targets})"
        )
    if isinstance(row[1], Mapping):
        return MapSource(dataset)
    return MapSource(_Named(dataset, _only(tasks)))


def _of_loader(loader: DataLoader[Any], tasks: Sequence[str]) -> Given:
    if isinstance(loader.dataset, IterableDataset) or loader.batch_size is None:
        raise DataError(
            "a DataLoader over an iterable dataset, or one that makes batches itself, has no row numbers, so that its "
            "rows can be neither shuffled nor resumed; read them into a list of (inputs, {task: target}) first"
        )
    if type(loader.sampler) not in (RandomSampler, SequentialSampler) or getattr(loader.sampler, "replacement", False):
        raise DataError(
            f"the DataLoader draws rows with a {type(loader.sampler).__name__}, which training cannot resume; pass its "
            "dataset, and give rows that should count more often several times, or weigh the tasks"
        )
    batching = {
        "batch_size": loader.batch_size,
        "shuffle": isinstance(loader.sampler, RandomSampler),
        "drop_last": loader.drop_last,
    }
    if loader.collate_fn is default_collate:
        return Given(_of_rows(loader.dataset, tasks), batching)
    return Given(_Collated(loader, tasks), batching)


@final
class _Named(Dataset[Any]):
    """Rows whose bare target belongs to the only task."""

    def __init__(self, dataset: Any, task: str) -> None:
        self.dataset = dataset
        self.task = task

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int) -> tuple[Any, dict[str, Any]]:
        inputs, target = self.dataset[i]
        return inputs, {self.task: target}


@final
class _Collated:
    """Rows that a loader's own ``collate_fn`` puts together."""

    def __init__(self, loader: DataLoader[Any], tasks: Sequence[str]) -> None:
        self.dataset: Any = loader.dataset
        self.collate = loader.collate_fn
        self.tasks = tuple(tasks)

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, index: Int[Tensor, "B"]) -> tuple[Inputs, dict[str, Tensor]]:
        found = self.collate([self.dataset[i] for i in index.tolist()])
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise DataError(
                f"collate_fn must return (inputs, {{task: targets}}), found {type(found).__name__}; return two things"
            )
        inputs, targets = found
        named = targets if isinstance(targets, Mapping) else {_only(self.tasks): targets}
        return inputs, {name: tensor_of(f"target {name!r}", value) for name, value in named.items()}
