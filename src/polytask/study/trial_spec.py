"""What a trial is asked to do, and the name of its folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, final

from polytask.data import MultiTaskData
from polytask.share.blueprint import encoder_name
from polytask.study.methods import MethodSpec
from polytask.study.results import SCHEMA
from polytask.tasks import Task
from polytask.train import TrainOptions

__all__ = ["TrialSpec"]

_HARMLESS = ("threads", "trackers", "checkpoint_every", "eval_batch_size")
"""Training options that change no number."""


@final
@dataclasses.dataclass(frozen=True)
class TrialSpec:
    """Everything that determines a trial's result, apart from the data.

    Attributes:
        method: The balancing method, the single-task networks, or an estimator.
        tasks: Tasks to learn.
        seed: Seed of initialisation, order of rows and method.
        selection: ``"val"``, ``"last"`` or ``"test"``.
        encoder: Specification of the shared part, a function making it from an ``InputSpec``, or ``None``.
        architecture: How tasks share it: a name, or a table with a name and options.
        train: Training options.
        balancer: Options of the balancing engine.
        schedule: Name and options of the schedule, where there is one.
    """

    method: MethodSpec
    tasks: tuple[str, ...]
    seed: int
    selection: str
    encoder: Any
    architecture: str | Mapping[str, Any]
    train: TrainOptions
    balancer: tuple[tuple[str, Any], ...] = ()
    schedule: Mapping[str, Any] | None = None

    @property
    def options(self) -> TrainOptions:
        """The training options of this trial: its seed, its tasks' rates, the epoch that selection asks for."""
        train = self.train
        changes: dict[str, Any] = {
            "seed": self.seed,
            "restore": "last" if self.selection == "last" else "best",
            "threads": 1,
        }
        if train.task_lr:
            changes["task_lr"] = {task: rate for task, rate in train.task_lr.items() if task in self.tasks}
        if train.stop is not None and train.stop not in ("mean_delta", "all", "any", *self.tasks):
            changes["stop"] = "mean_delta"  # the rule names a task that this single-task model does not have
        return train.replace(**changes)

    @property
    def storable(self) -> bool:
        """Whether what it trains can be kept as plain arrays."""
        return not self.method.is_estimator or self.method.estimator.storable

    def identity(self, data: MultiTaskData) -> dict[str, Any]:
        """What determines the result besides the training options; of an estimator, nothing that concerns networks."""
        same = {
            "schema": SCHEMA,
            "data": data.name,
            "fingerprint": data.fingerprint,
            "tasks": [_identity(data.tasks[name]) for name in self.tasks],
        }
        if self.method.is_estimator:
            found = {
                "estimator": self.method.name,
                "estimator_options": dict(self.method.options),
            }
        else:
            found = {
                "encoder": encoder_name(data.encoder if self.encoder is None else self.encoder),
                "architecture": self.architecture,
                "method": self.method.name,
                "method_options": dict(self.method.options),
                "balancer": dict(self.balancer),
                "selection": self.selection,
                **({} if self.schedule is None else {"schedule": dict(self.schedule)}),
            }
        return {key: _plain(value) for key, value in {**same, **found, "seed": self.seed}.items()}

    def config(self, data: MultiTaskData) -> dict[str, Any]:
        """What is hashed: plain values that determine the result."""
        if self.method.is_estimator:
            return self.identity(data)
        options = {key: value for key, value in self.options.to_dict().items() if key not in _HARMLESS}
        return {**self.identity(data), "train": _plain(options)}

    def id(self, data: MultiTaskData) -> str:
        """Name of the trial's directory: method, task of a single-task model, seed, hash."""
        text = json.dumps(self.config(data), sort_keys=True)
        single = f"-{_slug(self.tasks[0])}" if self.method.alone else ""
        return f"{_slug(self.method.label)}{single}-s{self.seed}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _identity(task: Task) -> dict[str, Any]:
    """A task as plain values; functions by name, as their content cannot be compared."""
    try:
        values = dict(task.to_dict())
    except ValueError:
        loss = getattr(task, "loss_function", None)
        values = {"name": task.name, "kind": task.kind, "loss": encoder_name(loss), "weight": task.weight}
    return {**values, "primary": task.primary}


def _plain(value: Any) -> Any:
    """What JSON can hold, as it comes back from a file."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return repr(value)


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.=]+", "-", text).strip("-.")[:40] or "x"
