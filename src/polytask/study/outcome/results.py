"""What one trial leaves behind, as plain values with a JSON form that survives NaN."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any, final

import pydantic

from polytask.errors import DamagedError
from polytask.files import fitting, read_json

__all__ = ["SCHEMA", "Number", "TrialResult", "read_result"]

SCHEMA = 1
"""Version of the files ``trial.json`` and ``results.json``; part of every trial's hash."""


def _numbers(value: Any) -> Any:
    """``null`` back to NaN, at any depth."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return math.nan if value is None else value


Number = Annotated[float, pydantic.BeforeValidator(_numbers)]
"""A float of which a file's ``null`` is NaN."""
Values = dict[str, dict[str, Number]]
Records = Annotated[list[dict[str, Any]], pydantic.AfterValidator(_numbers)]
_LATER = {"fitted", "remarks", "versions", "limit"}
"""Fields that records of the first versions do not have."""


@final
@dataclasses.dataclass(frozen=True)
class TrialResult:
    """One model, trained once.

    Attributes:
        id: Name of the trial's folder: readable, with the hash of everything that determines the result.
        method: Label of the method; ``"stl"`` for a single-task baseline.
        seed: Seed of initialisation, order of rows and method.
        tasks: Tasks this model was trained on.
        metrics: Split, then task, then metric, to value; NaN where undefined.
        undefined: Split, then task, then metric, to the reason it has no value.
        curves: Split, then task, then metric (or ``"loss"``), to one value per epoch, the first epoch first.
        balance: One row per epoch: weights, shares, norms, cosines and conflicts, averaged over its steps.
        labels_seen: Labels each task was trained on, over all epochs.
        best_epoch: The epoch whose parameters were judged.
        epochs: Epochs trained.
        steps: Optimizer steps taken.
        parameters: Trainable parameters: ``"shared"`` and one entry per task.
        timing: ``"seconds"`` of training and ``"seconds_per_step"``; the only values that differ between two runs.
        fitted: Of an estimator, by task or by tasks joined with ``+``: its class and what cross-validation chose.
        remarks: What the estimator warned of.
        versions: Versions of the packages that the numbers depend on.
        error: What went wrong, for a failed trial; everything measured is then empty.
        limit: The limit of the machine that ended it (``"out of memory"``), of which the method is innocent; empty for
            other failures.
    """

    __pydantic_config__ = pydantic.ConfigDict(extra="forbid")

    id: str
    method: str
    seed: int
    tasks: tuple[str, ...]
    metrics: dict[str, Values] = dataclasses.field(default_factory=dict)
    undefined: dict[str, dict[str, dict[str, str]]] = dataclasses.field(default_factory=dict)
    curves: dict[str, dict[str, dict[str, list[Number]]]] = dataclasses.field(default_factory=dict)
    balance: Records = dataclasses.field(default_factory=list)
    labels_seen: dict[str, int] = dataclasses.field(default_factory=dict)
    best_epoch: int = 0
    epochs: int = 0
    steps: int = 0
    parameters: dict[str, int] = dataclasses.field(default_factory=dict)
    timing: dict[str, Number] = dataclasses.field(default_factory=dict)
    fitted: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    remarks: list[str] = dataclasses.field(default_factory=list)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    error: str = ""
    limit: str = ""

    @property
    def failed(self) -> bool:
        """Whether the trial ended with an error."""
        return bool(self.error)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, in the order of the fields."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def fitting(cls, values: Any, path: Path) -> TrialResult:
        """What :meth:`to_dict` gave, by way of the file ``path``.

        Raises:
            DamagedError: Fields are missing, unknown or of another type.
        """
        if not isinstance(values, dict):
            raise DamagedError(f"{path} is damaged: it is {type(values).__name__}, not a record")
        odd = {field.name for field in dataclasses.fields(cls)} ^ (set(values) | _LATER)
        if odd:
            raise DamagedError(f"{path} is damaged: it has other fields than expected: {', '.join(sorted(odd))}")
        result: TrialResult = fitting(values, cls, path)
        return result


def read_result(path: Path) -> TrialResult:
    """The record of a trial.

    Raises:
        FileNotFoundError: There is none.
        DamagedError: It is damaged.
        StorageError: It cannot be read.
    """
    return TrialResult.fitting(read_json(path), path)
