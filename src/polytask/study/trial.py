"""One trial: one model made once, in a directory of its own that is either finished or can be gone on with."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

from polytask.balance import Balancer
from polytask.data import MultiTaskData
from polytask.data.interface import Interface
from polytask.errors import CheckpointError, TrialError
from polytask.share.blueprint import Blueprint, encoder_name
from polytask.share.network import Network
from polytask.share.stored import Stored, drop_model, write_model
from polytask.study.classical import check_estimator, fit_estimator, learn
from polytask.study.methods import MethodSpec
from polytask.study.results import SCHEMA, TrialResult, encode, write_atomically
from polytask.study.versions import versions
from polytask.tasks import Task
from polytask.train import History, Trainer, TrainOptions, check_metrics
from polytask.train import checkpoint as checkpoints
from polytask.train.surroundings import threads

__all__ = ["TrialSpec", "balancer_of", "blueprint_of", "read_trial", "rehearse", "run_trial", "train_fully"]

logger = logging.getLogger("polytask")

RESULT, FAILURE, CONFIG = "trial.json", "failure.json", "config.json"
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
    """

    method: MethodSpec
    tasks: tuple[str, ...]
    seed: int
    selection: str
    encoder: Any
    architecture: str | Mapping[str, Any]
    train: TrainOptions
    balancer: tuple[tuple[str, Any], ...] = ()

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

    def config(self, data: MultiTaskData) -> dict[str, Any]:
        """What is hashed: plain values that determine the result; of an estimator, nothing that concerns networks."""
        same = {
            "schema": SCHEMA,
            "data": data.name,
            "fingerprint": data.fingerprint,
            "tasks": [_identity(data.tasks[name]) for name in self.tasks],
        }
        if self.method.is_estimator:
            return {
                **same,
                "estimator": self.method.name,
                "estimator_options": _plain(dict(self.method.options)),
                "seed": self.seed,
            }
        options = {key: value for key, value in self.options.to_dict().items() if key not in _HARMLESS}
        return {
            **same,
            "encoder": encoder_name(data.encoder if self.encoder is None else self.encoder),
            "architecture": _plain(self.architecture),
            "method": self.method.name,
            "method_options": dict(self.method.options),
            "balancer": {key: _plain(value) for key, value in self.balancer},
            "train": options,
            "selection": self.selection,
            "seed": self.seed,
        }

    def id(self, data: MultiTaskData) -> str:
        """Name of the trial's directory: method, task of a single-task model, seed, hash."""
        text = json.dumps(self.config(data), sort_keys=True, default=_plain)
        single = f"-{_slug(self.tasks[0])}" if self.method.alone else ""
        return f"{_slug(self.method.label)}{single}-s{self.seed}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def run_trial(
    spec: TrialSpec,
    data: MultiTaskData,
    folder: Path,
    *,
    resume: bool = True,
    on_epoch: Callable[[History], None] | None = None,
) -> TrialResult:
    """Train one model, or go on with it, or fit an estimator, and write its record last of all.

    ``trial.json`` appears when everything else is done, so that its presence means finished. A failure is recorded in
    ``failure.json``; such a trial starts afresh the next time.

    Args:
        spec: What to train.
        data: On what.
        folder: The trial's directory.
        resume: Whether to go on from a checkpoint found there.
        on_epoch: Called after every epoch.

    Returns:
        The result; of a failed trial, with its ``error`` set.

    Raises:
        TrialError: The directory cannot be written.
    """
    used = versions(spec.method)
    result = TrialResult(id=folder.name, method=spec.method.label, seed=spec.seed, tasks=spec.tasks, versions=used)
    try:
        _tidy(folder, resume=resume)
        write_atomically(folder / CONFIG, encode(_jsonable(spec.config(data))))
        if spec.method.is_estimator:
            tasks = data.tasks.subset(spec.tasks)
            result, kept = fit_estimator(spec.method.estimator, data, tasks, spec.seed, result)
            if kept is not None:
                write_model(folder, kept.store(_about(spec, data, folder.name)))
        else:
            result = _train(spec, data, folder, result, on_epoch)
    except (CheckpointError, OSError, TrialError) as error:
        raise TrialError(f"trial {folder.name}: {error}") from error
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in one trial must not take the others along
        logger.warning("trial %s failed: %s", folder.name, error)
        result = dataclasses.replace(result, error=f"{type(error).__name__}: {error}")
        write_atomically(folder / FAILURE, encode(result.to_dict()))
        return result
    write_atomically(folder / RESULT, encode(result.to_dict()))
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    return result


def read_trial(folder: Path) -> TrialResult | None:
    """The result of a finished trial; ``None`` if it is not finished.

    A ``trial.json`` that cannot be read, or belongs to another trial, is moved aside as ``trial.json.unreadable``, and
    the trial counts as not finished.
    """
    path = folder / RESULT
    try:
        result = TrialResult.from_dict(json.loads(path.read_text(encoding="utf-8")))
        if result.id != folder.name:
            raise TrialError(f"it is the record of trial {result.id!r}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, TrialError) as error:
        logger.warning("%s is no record of this trial (%s): moved aside, trained again", path, error)
        path.replace(path.with_name(f"{RESULT}.unreadable"))
        return None
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)  # left by a kill between record and clean-up
    return result


def _train(
    spec: TrialSpec,
    data: MultiTaskData,
    folder: Path,
    result: TrialResult,
    on_epoch: Callable[[History], None] | None,
) -> TrialResult:
    blueprint = blueprint_of(spec, data)
    model, balancer = blueprint.build(), balancer_of(spec, data)
    trainer = Trainer(
        model,
        data.tasks.subset(spec.tasks),
        balancer,
        options=spec.options,
        out=folder,
        progress=False,
        on_epoch=on_epoch,
    )
    with threads(1):  # sums over rows depend on the number of threads; one trial is one thread everywhere
        history = trainer.fit(data.train, data.test if spec.selection == "test" else data.val, resume="auto")
        judged = {split: trainer.evaluate(source) for split, source in data.splits.items() if split != "train"}
    write_model(folder, Network(blueprint, model).store(_about(spec, data, result.id)))
    return dataclasses.replace(
        result,
        metrics={split: found.metrics for split, found in judged.items()},
        undefined={split: found.undefined for split, found in judged.items() if found.undefined},
        curves=_curves(history, "test" if spec.selection == "test" else "val"),
        balance=_balance(history),
        labels_seen=dict(history.labels_seen),
        best_epoch=(history.epochs if spec.selection == "last" else history.best_epoch) or history.epochs,
        epochs=history.epochs,
        steps=history.steps,
        parameters={
            "shared": sum(p.numel() for p in model.shared_parameters()),
            **{name: sum(p.numel() for p in model.task_parameters(name)) for name in spec.tasks},
        },
        timing={
            "seconds": history.seconds,
            "seconds_per_step": sum(history.epoch_seconds) / history.steps if history.steps else math.nan,
        },
    )


def _about(spec: TrialSpec, data: MultiTaskData, name: str) -> dict[str, Any]:
    """How a trial's model came to be."""
    about = {"data": data.name, "fingerprint": data.fingerprint, "method": spec.method.label}
    return {**about, "trial": name, "seed": spec.seed}


def train_fully(spec: TrialSpec, data: MultiTaskData, epochs: int) -> Stored | None:
    """The model of a trial, trained on ``data.train`` for a fixed number of epochs.

    Returns:
        The model, or ``None`` if it has no form as plain arrays.
    """
    tasks = data.tasks.subset(spec.tasks)
    if spec.method.is_estimator:
        kept = learn(spec.method.estimator, data, tasks, spec.seed).plain(Interface.of(data, spec.tasks))
        return None if kept is None else kept.store({})
    blueprint = blueprint_of(spec, data)
    options = spec.options.replace(epochs=epochs, patience=None, stop=None, restore="last")
    model, balancer = blueprint.build(), balancer_of(spec, data)
    trainer = Trainer(model, tasks, balancer, options=options, progress=False)
    with threads(1):
        trainer.fit(data.train, data.val if balancer.method.needs_metrics else None)
    return Network(blueprint, model).store({})


def rehearse(spec: TrialSpec, data: MultiTaskData) -> None:
    """Find out what would stop a trial before any is run.

    Raises:
        PolytaskError: Options do not fit, or the estimator cannot learn these tasks.
    """
    if spec.method.is_estimator:
        check_estimator(spec.method.estimator, data, data.tasks.subset(spec.tasks))
    else:
        blueprint_of(spec, data).build()
        balancer_of(spec, data)


def balancer_of(spec: TrialSpec, data: MultiTaskData) -> Balancer:
    """The balancer of a trial, fresh.

    Raises:
        PolytaskError: Method or engine options do not fit.
    """
    tasks = data.tasks.subset(spec.tasks)
    engine = {} if spec.method.is_stl else dict(spec.balancer)
    balancer = Balancer(spec.method.build(), tasks=tasks, seed=spec.seed, announce=None, **engine)
    check_metrics(balancer.method, tasks)
    return balancer


def blueprint_of(spec: TrialSpec, data: MultiTaskData) -> Blueprint:
    """What a trial's model is built from."""
    return Blueprint.of(data, encoder=spec.encoder, architecture=spec.architecture, tasks=spec.tasks, seed=spec.seed)


def _tidy(folder: Path, *, resume: bool) -> None:
    """Make the directory fit to start or go on: no left-overs, no damaged checkpoint, none of a failed trial."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".*.tmp"):
        left.unlink(missing_ok=True)
    shutil.rmtree(folder / "checkpoint.writing", ignore_errors=True)
    place = folder / "checkpoint"
    failed = (folder / FAILURE).exists()
    if checkpoints.find(place) is not None and resume and not failed:
        try:
            checkpoints.read(place)
        except CheckpointError as error:
            logger.warning("trial %s starts afresh: %s", folder.name, error)
            resume = False
    if failed or not resume:
        for name in ("checkpoint", "checkpoint.previous"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in (FAILURE, RESULT):
            (folder / name).unlink(missing_ok=True)
        drop_model(folder)


def _curves(history: History, split: str) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Validation values by task and metric, and training losses, one value per epoch."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for row in history.rows:
        task, quantity = row["task"], row["quantity"]
        wanted = quantity == "loss" if row["split"] == "train" else quantity not in ("gain", "labels", "score")
        if task is not None and wanted:
            name = "train" if row["split"] == "train" else split
            values = found.setdefault(name, {}).setdefault(task, {}).setdefault(quantity, [])
            values.extend([math.nan] * (row["epoch"] - 1 - len(values)))  # epochs without this task
            values.append(row["value"])
    return found


def _balance(history: History) -> list[dict[str, Any]]:
    """One record per epoch of what the balancer did."""
    names = {"weight": "weights", "share": "shares", "norm": "norms"}
    found: list[dict[str, Any]] = [{} for _ in range(history.epochs)]
    for row in history.rows:
        record, quantity = found[row["epoch"] - 1], row["quantity"]
        if row["split"] != "train":
            continue
        if quantity in names:
            record.setdefault(names[quantity], {})[row["task"]] = row["value"]
        elif quantity == "cosine":
            record.setdefault("cosines", {})[f"{row['task']}|{row['other']}"] = row["value"]
        elif quantity in ("conflicts", "iterations"):
            record[quantity] = row["value"]
    return found


def _identity(task: Task) -> dict[str, Any]:
    """A task as plain values; functions by name, as their content cannot be compared."""
    try:
        values = dict(task.to_dict())
    except ValueError:
        loss = getattr(task, "loss_function", None)
        values = {"name": task.name, "kind": task.kind, "loss": encoder_name(loss), "weight": task.weight}
    return {**values, "primary": task.primary}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return repr(value)


def _jsonable(config: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(config, default=_plain))


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.=]+", "-", text).strip("-.")[:40] or "x"
