"""A finished model: from rows as a user has them to answers with the tasks' own labels."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import pandas as pd
from torch import Tensor

from polytask.data import MultiTaskData
from polytask.data.accounting import Remark
from polytask.data.interface import Interface
from polytask.deploy import explain
from polytask.deploy.labelled import labels_of_rows, without_labels
from polytask.deploy.rows import read_rows
from polytask.errors import CheckpointError, ConfigError, PolytaskError
from polytask.share.blueprint import Blueprint
from polytask.share.forms import FORMS, Predictor, outputs_of, restore
from polytask.share.model import MultiTaskModel
from polytask.share.network import Network
from polytask.share.stored import has_model, joined, read_model, write_model
from polytask.study.decisions import (
    Decisions,
    Wishes,
    check_unseen,
    choose_decisions,
    decisions_on_test,
    measure_decisions,
)
from polytask.tasks import TaskSet

if TYPE_CHECKING:
    from polytask.data import Inputs, TableEncoder

__all__ = ["FORMS", "FinishedModel", "PredictionWarning", "load"]

BATCH = 1024
"""Rows that are predicted at a time."""


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
        batch_size: int = BATCH,
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
        rows = self.read_rows(rows)
        inputs, remarks = self.interface.encode(rows, fill_missing=fill_missing)
        answers = self.interface.answers(
            self._outputs(inputs, wanted, batch_size),
            rows.index if isinstance(rows, pd.DataFrame) else None,
            self.decisions,
        )
        remarks += [
            Remark("not finite", name, bad, len(answers), f"{bad} of {len(answers)} predictions are not finite")
            for name in wanted
            if (bad := _bad(answers, name, self.decisions))
        ]
        for remark in remarks:
            warnings.warn(str(remark), PredictionWarning, stacklevel=2)
        if remarks:
            answers.attrs["remarks"] = [remark.to_dict() for remark in remarks]
        return answers

    def outputs(self, rows: Any, tasks: Iterable[str] | None = None, *, batch_size: int = BATCH) -> dict[str, Tensor]:
        """What the heads of tasks put out for rows, (n, ``out_features``) each, on the CPU; decisions play no part.

        Args:
            rows: As for :meth:`predict`; labels among them are left out. Nothing is said of what is odd about them.
            tasks: Names of the tasks; all by default.
            batch_size: Rows at a time.
        """
        wanted = self.tasks.subset(self.tasks.names if tasks is None else tasks).names
        if isinstance(rows, pd.DataFrame):
            rows = without_labels(rows, self.interface)
        return self._outputs(self.interface.encode(rows)[0], wanted, batch_size)

    def tune(
        self,
        rows: Any,
        *,
        thresholds: Any = None,
        calibrate: str | None = None,
        coverage: float | None = None,
    ) -> Decisions:
        """Choose thresholds, calibration and intervals on labelled rows; :meth:`predict` and :meth:`save` keep them.

        What was chosen before is replaced as a whole; without arguments, nothing is decided any more.

        Args:
            rows: Rows that the model was not fitted on, and that its result is not reported on: a
                :class:`~polytask.data.MultiTaskData`, of which the validation rows choose and the test rows only
                measure, or a DataFrame or file with a column of labels beside the inputs for each task.
            thresholds: Of yes/no tasks, by calibrated probabilities: ``"f1"``, ``"accuracy"``,
                ``"balanced_accuracy"``, ``"mcc"``, or the costs ``(false alarm, miss)``; or either of them by task.
            calibrate: ``"temperature"`` or ``"isotonic"``, for all tasks with probabilities.
            coverage: Share of new rows whose truth shall lie in the interval or set that is predicted.

        Returns:
            The decisions, which are :attr:`decisions` from now on. What could not be chosen for lack of labels is
            said in ``without``, task by task.

        Raises:
            ConfigError: A value is not allowed; or a dataset is not the one that the model learned from, in that very
                split, or was used up in fitting.
            DataError: No column has labels, or a label is none of its task's.

        Examples:
            >>> from polytask import data
            >>> from polytask.share import Blueprint
            >>> frame = pd.DataFrame({"dose": range(80), "pain": [0.5, 2.0, 0.1, 1.0] * 20})
            >>> table = data.read_table(frame, ["pain"])
            >>> blueprint = Blueprint.of(table, encoder="tabular:4")
            >>> model = FinishedModel.of(blueprint, blueprint.build())
            >>> decisions = model.tune(table, coverage=0.8)
            >>> model.predict(frame[["dose"]].head(1)).columns.tolist()
            ['pain', 'pain low', 'pain high']
        """
        wishes = Wishes(thresholds, calibrate, coverage)
        if isinstance(rows, MultiTaskData):
            check_unseen(self.about, rows)
            part = self.tasks
            self.decisions = decisions_on_test(lambda x: self._outputs(x, part.names, BATCH), rows, part, wishes)
        else:
            labels, decoded = self._labelled(rows)
            self.decisions = choose_decisions(self.tasks, labels, decoded, wishes)
        return self.decisions

    def test_decisions(self, rows: Any) -> dict[str, Any]:
        """What the decisions are worth on labelled rows that they were not chosen on.

        Args:
            rows: A DataFrame or file with a column of labels for each task.

        Returns:
            As for :func:`~polytask.study.decisions.measure_decisions`.
        """
        return measure_decisions(self.tasks, self.decisions, *self._labelled(rows))

    def importance(
        self,
        rows: Any,
        *,
        columns: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        repeats: int = 5,
        seed: int = 0,
    ) -> pd.DataFrame:
        """How much worse each task's primary metric becomes when a column is shuffled among the rows.

        Args:
            rows: A DataFrame or file with labels, of rows that the model was not fitted on.
            columns: Which, or named groups of them; all that the model uses by default.
            repeats: Shuffles of each.
            seed: Of the shuffles.

        Returns:
            As for :func:`polytask.decide.permutation_importance`; ``attrs["metrics"]`` names the metric of each task.
            Tasks with several labels per row, or without a metric, are left out.
        """
        return explain.importance(self, self.read_rows(rows), columns=columns, repeats=repeats, seed=seed)

    def partial_dependence(
        self, rows: Any, column: str, *, values: Sequence[Any] | None = None, points: int = 20
    ) -> pd.DataFrame:
        """Mean prediction of every task when a column is set to one value in all rows.

        Args:
            rows: A DataFrame or file; labels play no part.
            column: Whose effect is asked for.
            values: Values to set; by default all levels, or quantiles of numbers.
            points: Number of quantiles.

        Returns:
            A row per value, a column per number that :meth:`predict` gives.
        """
        return explain.partial_dependence(self, self.read_rows(rows), column, values=values, points=points)

    def by_group(self, rows: Any, column: str, *, least: int = 20, draws: int = 200, seed: int = 0) -> pd.DataFrame:
        """The primary metric of every task in each group of rows, with its difference to the other rows.

        Args:
            rows: A DataFrame or file with labels, of rows that the model was not fitted on.
            column: What the rows are grouped by; the model need not use it.
            least: Labels below which a group is not judged.
            draws: Bootstrap samples for the intervals.
            seed: Of the samples.

        Returns:
            As for :func:`polytask.decide.by_group`, indexed by task and group, with the name of the metric.
        """
        return explain.by_group(self, self.read_rows(rows), column, least=least, draws=draws, seed=seed)

    def save(self, folder: str | Path) -> None:
        """Write the model into a folder, in place of one that is there: JSON and safetensors.

        Raises:
            CheckpointError: It cannot be written; what was there before is still there.
        """
        folder = Path(folder)
        stored = [part.store(self.about) for part in self._parts]
        whole = stored[0] if len(stored) == 1 else joined(stored, self.about)
        write_model(folder, dataclasses.replace(whole, decisions=self.decisions.plain()))

    def read_rows(self, rows: Any) -> Any:
        """Rows of a file, opened as the training table was; other rows as they are.

        Raises:
            DataError: The file cannot be read.
        """
        return read_rows(rows, self.interface.opening) if isinstance(rows, (str, Path)) else rows

    def _labelled(self, rows: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Labels and decoded predictions by task, of rows that have both."""
        rows = self.read_rows(rows)
        labels = labels_of_rows(rows, self.interface)
        said = self.outputs(rows, list(labels))
        return labels, {name: self.tasks[name].decode(output.double()).numpy() for name, output in said.items()}

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


def _bad(answers: pd.DataFrame, task: str, decisions: Decisions) -> int:
    """Rows of which some number of a task is not finite; ends of intervals may be, where few rows promise little."""
    ends = (f"{task} low", f"{task} high") if task in decisions else ()
    mine = [name for name in answers.columns if name == task or name.startswith(f"{task} ")]
    own = answers[[name for name in mine if name not in ends]]
    numbers = own.select_dtypes("number")
    return int((~numbers.apply(lambda column: column.abs() < float("inf"))).any(axis=1).sum())
