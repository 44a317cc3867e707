"""A finished model: from rows as a user has them to answers with the tasks' own labels."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import pandas as pd
from torch import Tensor

from polytask.data.accounting import Remark
from polytask.data.interface import Interface
from polytask.deploy.rows import read_rows
from polytask.errors import CheckpointError, ConfigError, PolytaskError
from polytask.share.blueprint import Blueprint
from polytask.share.forms import FORMS, Predictor, outputs_of, restore
from polytask.share.model import MultiTaskModel
from polytask.share.network import Network
from polytask.share.stored import has_model, joined, read_model, write_model
from polytask.study.decisions import Decisions
from polytask.tasks import TaskSet

if TYPE_CHECKING:
    from polytask.data import Inputs, TableEncoder

__all__ = ["FORMS", "FinishedModel", "PredictionWarning", "load"]


class PredictionWarning(UserWarning):
    """The rows to predict are not quite like the rows that a model learned from."""


@final
class FinishedModel:
    """A model and all that its numbers mean: tasks, encoding of a table, names of classes, units, shift and scale.

    :func:`load` makes one from a folder, :meth:`of` from a network that was trained in Python.

    Args:
        parts: One or several predictors of different tasks, learned from the same data.
        about: Facts about how it came to be.
        decisions: What was decided on validation rows; nothing by default.

    Attributes:
        interface: What goes in and what comes out.
        about: Facts about how it came to be: data, method, epoch.
        decisions: What :meth:`tune` or ``[decide]`` chose, by task; :meth:`predict` keeps to it.

    Examples:
        >>> from polytask import Trainer, data
        >>> from polytask.share import Blueprint
        >>> rows = pd.DataFrame({"dose": range(50), "sick": ["no", "yes"] * 25})
        >>> table = data.read_table(rows, ["sick"])
        >>> blueprint = Blueprint.of(table, encoder="tabular:4")
        >>> model = FinishedModel.of(blueprint, blueprint.build())
        >>> model.save("here")
        >>> load("here").predict(rows.head(2)).columns.tolist()
        ['sick', 'sick P(yes)']
    """

    def __init__(
        self,
        parts: Sequence[Predictor],
        about: Mapping[str, Any] | None = None,
        decisions: Decisions | None = None,
    ) -> None:
        if not parts:
            raise ConfigError("a finished model needs at least one part, found none")
        self._parts = tuple(parts)
        self.about = dict(about or {})
        self.decisions = decisions or Decisions()
        first = self._parts[0].interface
        tasks = TaskSet([task for part in self._parts for task in part.interface.tasks.values()])
        self.interface = Interface(first.name, tasks, first.inputs, first.table, first.reading)

    @classmethod
    def of(cls, blueprint: Blueprint, model: MultiTaskModel, about: Mapping[str, Any] | None = None) -> FinishedModel:
        """A trained network with the blueprint it was built from."""
        return cls([Network(blueprint, model)], about)

    @property
    def tasks(self) -> TaskSet:
        """What is predicted."""
        return self.interface.tasks

    @property
    def table(self) -> TableEncoder | None:
        """The fitted encoding of a table; ``None`` where rows are tensors."""
        return self.interface.table

    @property
    def blueprint(self) -> Blueprint | None:
        """What the network was built from; ``None`` for estimators and for one model per task."""
        part = self._parts[0]
        return part.blueprint if len(self._parts) == 1 and isinstance(part, Network) else None

    @property
    def model(self) -> MultiTaskModel | None:
        """The network; ``None`` for estimators and for one model per task."""
        part = self._parts[0]
        return part.model if len(self._parts) == 1 and isinstance(part, Network) else None

    def __repr__(self) -> str:
        return f"FinishedModel({self.interface.name!r}, tasks={list(self.tasks.names)})"

    def predict(
        self,
        rows: Any,
        tasks: str | Iterable[str] | None = None,
        *,
        fill_missing: bool = False,
        batch_size: int = 1024,
    ) -> pd.DataFrame:
        """Predict rows; what is odd about them is told and counted.

        Args:
            rows: A DataFrame with the input columns, in any order; the path of a CSV, Parquet or JSON-lines file; for
                models of vectors and images, an array or a tensor (N, …).
            tasks: Names of the tasks to predict; all by default.
            fill_missing: Whether a column that is not there counts as one without any value.
            batch_size: Rows at a time.

        Returns:
            One row per row, with the index of ``rows``: a column named like the task with the answer (a number in its
            unit, a class by its name, the median class of ordinal tasks, the expected count), and beside it
            ``"TASK P(CLASS)"``, ``"TASK qLEVEL"``; with :attr:`decisions`, ``"TASK low"``, ``"TASK high"`` and
            ``"TASK set"``, too. ``attrs["units"]`` has units, ``attrs["remarks"]`` what was odd.

        Raises:
            DataError: A column is not there, a value cannot be read, or the shape is another one.
            TaskError: One of ``tasks`` is not predicted.

        Warns:
            PredictionWarning: For each thing that is odd: unused columns, unknown categories, gaps, other types,
                numbers far from all training rows.
        """
        wanted = self.tasks.subset(self.tasks.names if tasks is None else tasks).names
        if isinstance(rows, (str, Path)):
            rows = read_rows(rows, self.interface.opening)
        inputs, remarks = self.interface.encode(rows, fill_missing=fill_missing)
        answers = self.interface.answers(
            self._outputs(inputs, wanted, batch_size),
            rows.index if isinstance(rows, pd.DataFrame) else None,
            self.decisions,
        )
        remarks += [
            Remark("not finite", name, bad, len(answers), f"{bad} of {len(answers)} predictions are not finite")
            for name in wanted
            if (bad := _bad(answers, name))
        ]
        for remark in remarks:
            warnings.warn(str(remark), PredictionWarning, stacklevel=2)
        if remarks:
            answers.attrs["remarks"] = [remark.to_dict() for remark in remarks]
        return answers

    def save(self, folder: str | Path) -> None:
        """Write the model into a folder, in place of one that is there: JSON and safetensors.

        Raises:
            CheckpointError: It cannot be written; what was there before is still there.
        """
        folder = Path(folder)
        stored = [part.store(self.about) for part in self._parts]
        whole = stored[0] if len(stored) == 1 else joined(stored, self.about)
        write_model(folder, dataclasses.replace(whole, decisions=self.decisions.plain()))

    def _outputs(self, inputs: Inputs, tasks: Sequence[str], batch_size: int) -> dict[str, Tensor]:
        return outputs_of(self._parts, inputs, tasks, batch_size)


def load(folder: str | Path, *, encoder: Any = None) -> FinishedModel:
    """The finished model of a folder: of ``polytask train``, of a trial of ``compare``, or of a study (its best).

    Args:
        folder: The folder.
        encoder: The encoder, where it was made by a function that cannot be imported by its name.

    Raises:
        ConfigError: There is no model, or the encoder's function cannot be imported.
        CheckpointError: It is damaged, does not answer as it did when it was written, or is of a newer version.
        MissingExtraError: It needs an optional package.
    """
    folder = Path(folder)
    if not has_model(folder) and has_model(folder / "best"):
        folder = folder / "best"
    stored = read_model(folder)
    try:
        return FinishedModel(restore(stored, str(folder), encoder), stored.about, Decisions.read(stored.decisions))
    except PolytaskError:
        raise
    except Exception as error:  # values of valid JSON and of another type or range than was written
        raise CheckpointError(
            f"the model in {folder} is damaged ({type(error).__name__}: {error}); train it again, or restore the "
            "folder from a copy"
        ) from error


def _bad(answers: pd.DataFrame, task: str) -> int:
    """Rows of which some number of a task is not finite."""
    own = answers[[name for name in answers.columns if name == task or name.startswith(f"{task} ")]]
    numbers = own.select_dtypes("number")
    return int((~numbers.apply(lambda column: column.abs() < float("inf"))).any(axis=1).sum())
