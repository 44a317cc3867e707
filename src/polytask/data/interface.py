"""What goes into a model and what comes out, in the user's own terms: columns in, labels and units out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from polytask.data.accounting import Remark, check_rows, fit_columns
from polytask.data.encoder import TableEncoder
from polytask.data.formats import from_frame
from polytask.data.multitask import MultiTaskData
from polytask.data.opening import open_table
from polytask.data.source import Inputs
from polytask.data.spec import InputSpec
from polytask.errors import DataError, TaskError
from polytask.tasks import Task, TaskSet

__all__ = ["Interface"]


@runtime_checkable
class Decided(Protocol):
    """What was decided for a task, on rows that its model was not fitted on."""

    def mend(self, decoded: NDArray[Any]) -> NDArray[Any]:
        """Calibrated probabilities in the place of the model's own; other predictions as they are."""

    def columns(self, task: Task, decoded: NDArray[Any], mended: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Columns in the place of the kind's own, or beside them, by what stands after the task's name."""


@final
@dataclasses.dataclass(frozen=True)
class Interface:
    """Everything by which a model's numbers have a meaning, as plain values.

    Attributes:
        name: Name of the data the model learned from.
        tasks: What it predicts: kinds, names of classes, units, shift and scale.
        inputs: What one encoded row is.
        table: The fitted encoding of a table; ``None`` where rows are tensors.
        reading: How its files are read: keyword arguments of :func:`~polytask.data.read_table`.

    Examples:
        >>> from polytask.data import read_table
        >>> rows = pd.DataFrame({"dose": range(50), "sick": ["no", "yes"] * 25})
        >>> interface = Interface.of(read_table(rows, ["sick"]))
        >>> inputs, remarks = interface.encode(pd.DataFrame({"dose": [3.0, None], "name": ["Ann", "Bob"]}))
        >>> [str(remark) for remark in remarks]
        ["ignored 1 column that the model does not use: 'name'", \
"column 'dose': 1 of 2 rows has no value, which no training row lacked; the mean is used"]
        >>> interface.answers({"sick": torch.tensor([[2.0], [-1.0]])})
          sick  sick P(yes)
        0  yes     0.880797
        1   no     0.268941
    """

    name: str
    tasks: TaskSet
    inputs: InputSpec
    table: TableEncoder | None = None
    reading: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, data: MultiTaskData, tasks: Iterable[str] | None = None) -> Interface:
        """The interface of a model that learns some or all tasks of a dataset."""
        wanted = data.tasks if tasks is None else data.tasks.subset(tasks)
        return cls(data.name, wanted, data.inputs, data.table, dict(data.details.get("reading", {})))

    def encode(self, rows: Any, *, fill_missing: bool = False) -> tuple[Inputs, list[Remark]]:
        """Rows as the model wants them, and what their owner should know of them.

        Args:
            rows: Of a table: a DataFrame with its columns, in any order. Otherwise: a tensor or an array (N, …), or a
                DataFrame with one numeric column per entry; custom inputs are passed on as they are.
            fill_missing: Whether a column that is not there counts as one without any value.

        Raises:
            DataError: A column is not there, a value cannot be read, or the shape is another one.
        """
        if self.table is not None:
            return self._encode_table(rows, self.table, fill_missing)
        if self.inputs.kind == "custom":
            return rows, []
        return self._encode_array(rows)

    @property
    def opening(self) -> dict[str, Any]:
        """How a later table is opened: as the training table was, with the texts of categories left as they are."""
        kinds = {} if self.table is None else {column.name: "categorical" for column in self.table.categorical}
        return {"columns": {}, **self.reading, "kinds": kinds}

    def answers(
        self,
        outputs: Mapping[str, Tensor],
        index: pd.Index | None = None,
        decisions: Mapping[str, Decided] | None = None,
    ) -> pd.DataFrame:
        """Outputs of heads as columns with the tasks' own labels, in their own units.

        Args:
            outputs: Task → what its head put out, (N, ``out_features``).
            index: Index of the rows; their numbers by default.
            decisions: Task → what was decided for it, where something was.

        Returns:
            One column with the answer, named like its task (number, class, expected count, median), and columns
            ``"TASK P(CLASS)"`` and ``"TASK qLEVEL"`` beside it. ``attrs["units"]`` has the units.

        Raises:
            TaskError: Two columns would have one name.
        """
        columns: dict[str, NDArray[Any]] = {}
        for name, prediction in outputs.items():
            task = self.tasks[name]
            decoded = task.decode(prediction.detach().cpu().double())
            decided, more = (decisions or {}).get(name), {}
            if decided is not None:
                said = decoded.numpy()
                mended = decided.mend(said)
                more = decided.columns(task, said, mended)
                decoded = torch.from_numpy(mended)
            for suffix, values in {**task.rule.answers(decoded, task.labels), **more}.items():
                heading = f"{name} {suffix}" if suffix else name
                if heading in columns:
                    raise TaskError(f"two tasks predict a column {heading!r}; predict them one by one, with tasks=")
                columns[heading] = values
        frame = pd.DataFrame(columns, index=index)
        units = {name: self.tasks[name].unit for name in outputs if self.tasks[name].unit}
        if units:
            frame.attrs["units"] = units
        return frame

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON. Of a loss or metrics that are code only the name is kept."""
        return {
            "name": self.name,
            "tasks": [task.to_dict(named=True) for task in self.tasks.values()],
            "inputs": self.inputs.to_dict(),
            "table": None if self.table is None else self.table.to_dict(),
            "reading": dict(self.reading),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Interface:
        """What :meth:`to_dict` gave. The loss of a task that had code for it can no longer be computed."""
        table = values["table"]
        return cls(
            values["name"],
            TaskSet([_task(task) for task in values["tasks"]]),
            InputSpec.from_dict(values["inputs"]),
            None if table is None else TableEncoder.from_dict(table),
            values["reading"],
        )

    def _encode_table(
        self, rows: Any, table: TableEncoder, fill_missing: bool
    ) -> tuple[dict[str, Tensor], list[Remark]]:
        if not isinstance(rows, pd.DataFrame):
            raise DataError(f"expected a DataFrame with the columns {_few(table.columns)}, found {type(rows).__name__}")
        given, recorded = from_frame(rows).frame, self.opening["columns"]
        unused = [name for name in given.columns if name not in table.columns]
        if "said" in rows.attrs:  # rows of a file, opened already
            frame, said, converted = given, rows.attrs["said"], list(recorded)
            said = [words for words in said if not words.startswith(tuple(f"column {name!r}:" for name in unused))]
        else:
            used = given.drop(columns=unused)
            frame, said = open_table(used, **self.opening)[:2] if used.size else (given, [])
            converted = [name for name, values in recorded.items() if values["how"] in ("number", "truth")]
        frame, remarks = fit_columns(frame, given, table, self.tasks, converted, fill_missing=fill_missing)
        if (
            "columns" in self.reading or self.reading.get("decimal") is None
        ):  # else the training table's numbers were written that way
            remarks += [Remark("other writing", "", len(frame), len(frame), words) for words in said]
        with np.errstate(over="ignore"):  # what is too large is said by name
            encoded = table.encode(frame)
        return encoded, remarks + check_rows(frame, table, encoded["numeric"].numpy())

    def _encode_array(self, rows: Any) -> tuple[Tensor, list[Remark]]:
        shape, remarks = self.inputs.shape, []
        if isinstance(rows, pd.DataFrame):
            if rows.shape[1] != int(np.prod(shape)):
                raise DataError(
                    f"expected {self.inputs.describe()}, one column per number: {int(np.prod(shape))} columns, found "
                    f"{rows.shape[1]}"
                )
            remarks.append(Remark("order", "", len(rows), len(rows), "columns are taken in their order, not by name"))
            try:
                rows = rows.to_numpy(dtype=np.float64).reshape(len(rows), *shape)
            except (TypeError, ValueError) as error:
                raise DataError(f"expected numbers in every column: {error}") from None
        try:
            values = torch.as_tensor(rows)
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(f"expected a tensor or an array, found {type(rows).__name__}: {error}") from None
        if values.ndim != len(shape) + 1 or tuple(values.shape[1:]) != shape:
            size = ", ".join(map(str, ("N", *shape)))
            raise DataError(f"expected {self.inputs.describe()}, shape ({size}), found {tuple(values.shape)}")
        values = values.to(torch.float32)
        bad = (~torch.isfinite(values.flatten(1))).any(1)
        if bool(bad.any()):
            row = int(bad.nonzero()[0]) + 1
            raise DataError(f"row {row} holds a NaN or an infinity ({int(bad.sum())} rows do); replace or leave out")
        return values, remarks


def _few(names: Iterable[str], most: int = 8) -> str:
    listed = list(names)
    return ", ".join(map(repr, listed[:most])) + (f", … ({len(listed)} in all)" if len(listed) > most else "")


@final
@dataclasses.dataclass(frozen=True)
class _Gone:
    """Stands for a loss that was code: the model predicts without it."""

    task: str
    name: str

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        raise TaskError(
            f"task {self.task!r} was trained with the loss {self.name}, which is code and not kept with the model: it "
            "predicts, but to train or evaluate it, make the task anew with loss="
        )


def _task(values: Mapping[str, Any]) -> Task:
    """The task that ``Task.to_dict(named=True)`` described."""
    plain = {key: value for key, value in values.items() if key != "loss"}
    if "loss" not in values:
        return Task.from_dict(plain)
    return Task(**plain, loss=_Gone(values["name"], values["loss"]))
