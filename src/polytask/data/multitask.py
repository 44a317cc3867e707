"""A dataset ready for training: tasks, three splits, and what one sample looks like."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from polytask.data.source import Source, TensorSource, batches, only
from polytask.data.spec import InputSpec
from polytask.errors import DataError, unknown
from polytask.tasks import TaskSet

if TYPE_CHECKING:
    import pandas as pd

    from polytask.data.encoder import TableEncoder

__all__ = ["SPLITS", "MultiTaskData", "Splitter"]

SPLITS = ("train", "val", "test")


@runtime_checkable
class Splitter(Protocol):
    """Rows that can be split again and again."""

    @property
    def how(self) -> str:
        """What the splits are, in words (``"hold-outs"``, ``"5 folds"``); empty if all have the same test rows."""
        ...

    def split(self, number: int) -> MultiTaskData:
        """The data in split ``number``, encoded by what its own training rows say."""
        ...


@final
@dataclasses.dataclass(frozen=True)
class MultiTaskData:
    """Tasks and the data to learn, select and judge them by.

    Attributes:
        name: Name of the dataset.
        tasks: What is to be learned.
        train: Rows to learn from.
        val: Rows to select by.
        test: Rows to judge by.
        inputs: What one sample is.
        encoder: A good built-in encoder for it (``"cnn:32,64"``).
        notes: Where the data comes from, how it was made and split, what was left out and why; in words.
        details: Facts a program may want: counts of dropped rows, warnings, column roles.
        table: The fitted encoder of a table, to encode new rows at prediction time.
        splitter: What splits the rows again; ``None`` where there is one split, as in a benchmark with an official one.
        groups: What the rows of each split belong to (a patient, a school), as numbers, where that must not be
            parted: what is chosen by folds of the training rows keeps groups whole.

    Examples:
        >>> import torch
        >>> from polytask.data import InputSpec, TensorSource
        >>> rows = TensorSource(torch.eye(2), {"age": torch.tensor([31.0, float("nan")])})
        >>> from polytask.tasks import Task
        >>> data = MultiTaskData("toy", TaskSet.of([Task("age")]), rows, rows, rows, InputSpec("vector", (2,)), "mlp:8")
        >>> data.counts().loc["age"].tolist()
        [1, 1, 1]
    """

    name: str
    tasks: TaskSet
    train: Source
    val: Source
    test: Source
    inputs: InputSpec
    encoder: str
    notes: str = ""
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    table: TableEncoder | None = None
    groups: dict[str, NDArray[np.int64]] | None = None
    splitter: Splitter | None = None

    @property
    def resplits(self) -> str:
        """What :meth:`resplit` gives, in words (``"hold-outs"``, ``"5 folds"``); empty if test rows are fixed."""
        return "" if self.splitter is None else self.splitter.how

    def resplit(self, number: int) -> MultiTaskData:
        """The same data with other training, validation and test rows.

        What was learned from the training rows (means, scales, levels, which columns are used, the scale of targets) is
        learned anew from the new ones. Tasks keep their weights, metrics and options.

        Args:
            number: Which split, from 0 on; 0 is the one that was read.

        Returns:
            The data; the table itself is shared, not copied.

        Raises:
            DataError: The split is fixed.

        Examples:
            >>> import pandas as pd
            >>> from polytask.data import read_table
            >>> rows = pd.DataFrame({"dose": range(50), "pain": [0.5, 2.0, None, 1.0, 0.1] * 10})
            >>> data = read_table(rows, ["pain"])
            >>> data.resplits, data.resplit(0).fingerprint == data.fingerprint
            ('hold-outs', True)
        """
        if self.splitter is None or not self.splitter.how:
            raise DataError(
                f"{self.name} has fixed test rows and no other split; read it with polytask.data.read_table, without "
                "time, split_column or test_table, to have others"
            )
        made = self.splitter.split(number)
        names = self.tasks.names
        return dataclasses.replace(
            self,
            tasks=TaskSet.of(
                dataclasses.replace(task, shift=made.tasks[task.name].shift, scale=made.tasks[task.name].scale)
                for task in self.tasks.values()
            ),
            train=only(made.train, names),
            val=only(made.val, names),
            test=only(made.test, names),
            inputs=made.inputs,
            notes=made.notes,
            details=made.details,
            table=made.table,
            groups=made.groups,
        )

    @property
    def splits(self) -> dict[str, Source]:
        """The three sources by name."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def counts(self) -> pd.DataFrame:
        """Labels present: one row per task, one column per split."""
        return self._counts.copy()

    @functools.cached_property
    def _counts(self) -> pd.DataFrame:
        import pandas as pd

        columns = {}
        for split, source in self.splits.items():
            present: Counter[str] = Counter()
            for part in batches(source, 65536):
                present.update(self.tasks.counts(part.targets))
            columns[split] = [present[name] for name in self.tasks.names]
        return pd.DataFrame(columns, index=pd.Index(self.tasks.names, name="task"))

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of tasks, inputs and the contents of all splits: 16 hexadecimal digits.

        Sources without a ``digest`` method are read once; contents of a :class:`~polytask.data.MapSource` are not part
        of it, because its rows may be random.
        """
        value = hashlib.sha256(f"{self.name}|{self.inputs}|{self.tasks.names}".encode())
        for task in self.tasks.values():
            value.update(f"{task.name}|{task.kind}|{task.classes}|{task.shift!r}|{task.scale!r}|{task.labels}".encode())
        for source in self.splits.values():
            value.update(_digest(source).encode())
        for split, numbers in (self.groups or {}).items():
            value.update(split.encode() + np.ascontiguousarray(numbers, dtype="<i8").tobytes())
        return value.hexdigest()[:16]

    def only(self, tasks: Iterable[str]) -> MultiTaskData:
        """The same rows and splits with some of the tasks; rows without any of their labels are kept.

        Args:
            tasks: Names to keep, in any order.

        Raises:
            DataError: A name is unknown, or there is none.
        """
        names = list(tasks)
        for name in names:
            if name not in self.tasks:
                raise DataError(unknown("task", name, self.tasks.names))
        if not names:
            raise DataError(f"at least one task must be kept; tasks of {self.name!r} are {', '.join(self.tasks.names)}")
        return dataclasses.replace(
            self,
            tasks=self.tasks.subset(names),
            train=only(self.train, names),
            val=only(self.val, names),
            test=only(self.test, names),
        )

    def describe(self) -> str:
        """Splits, tasks with their labels, and the notes; in words."""
        rows = {split: len(source) for split, source in self.splits.items()}
        total = sum(rows.values())
        lines = [
            f"{self.name}: {total:,} rows ({', '.join(f'{n:,} {split}' for split, n in rows.items())}), "
            f"{self.inputs.describe()}"
        ]
        counts = self.counts().sum(axis=1).to_dict()
        for task in self.tasks.values():
            labels = int(counts[task.name])
            missing = 1 - labels / total
            classes = f", {task.classes} classes" if task.classes else ""
            shown = f"{missing:.1%} missing" if missing else "none missing"
            lines.append(f"  {task.name}: {task.kind}{classes}, {labels:,} labels, {shown}")
        return "\n".join([*lines, *([self.notes] if self.notes else [])])


def _digest(source: Source) -> str:
    if hasattr(source, "digest"):
        return str(source.digest())
    parts = (TensorSource(part.inputs, part.targets, part.weights).digest() for part in batches(source, 8192))
    return hashlib.sha256("|".join([str(len(source)), *parts]).encode()).hexdigest()
