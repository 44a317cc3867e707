"""One trial: one model made once, in a directory of its own that is either finished or can be gone on with."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from polytask.balance import Balancer
from polytask.balance.asks import VALIDATION_METRICS
from polytask.data import MultiTaskData
from polytask.data.interface import Interface
from polytask.errors import CheckpointError, DamagedError, StorageError, TrialError
from polytask.files import write_json
from polytask.folders import make_folder, remove, set_aside, sweep
from polytask.share.blueprint import Blueprint
from polytask.share.network import Network
from polytask.share.stored import Stored, drop_model, write_model
from polytask.study.classical import check_estimator, fit_estimator, learn
from polytask.study.limits import limit_of
from polytask.study.results import TrialResult, read_result
from polytask.study.trial_spec import TrialSpec
from polytask.study.versions import versions
from polytask.train import History, Trainer, check_metrics
from polytask.train import checkpoint as checkpoints
from polytask.train.surroundings import threads

__all__ = [
    "balancer_of",
    "blank",
    "blueprint_of",
    "read_trial",
    "record_failure",
    "rehearse",
    "run_trial",
    "train_fully",
]

logger = logging.getLogger("polytask")

RESULT, FAILURE, CONFIG = "trial.json", "failure.json", "config.json"


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
        TrialError: The directory cannot be written, or another process works in it.
    """
    result = blank(spec, folder)
    try:
        _tidy(folder, resume=resume)
        write_json(folder / CONFIG, spec.config(data))
        if spec.method.is_estimator:
            tasks = data.tasks.subset(spec.tasks)
            result, kept = fit_estimator(spec.method.estimator, data, tasks, spec.seed, result)
            if kept is not None:
                write_model(folder, kept.store(_about(spec, data, folder.name)))
        else:
            result = _train(spec, data, folder, result, on_epoch)
    except (CheckpointError, OSError, TrialError) as error:
        if limit_of(error):
            return record_failure(folder, result, f"{type(error).__name__}: {error}", limit_of(error))
        raise TrialError(f"trial {folder.name}: {error}") from error
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in one trial must not take the others along
        return record_failure(folder, result, f"{type(error).__name__}: {error}", limit_of(error))
    write_json(folder / RESULT, result.to_dict(), sealed=True)
    checkpoints.discard(folder / "checkpoint")
    return result


def record_failure(folder: Path, result: TrialResult, error: str, limit: str = "") -> TrialResult:
    """Keep that a trial ended with an error, and return its record.

    Raises:
        TrialError: The directory cannot be written.
    """
    logger.warning("trial %s %s: %s", folder.name, f"was not judged, {limit}" if limit else "failed", error)
    result = dataclasses.replace(result, error=error, limit=limit)
    write_json(folder / FAILURE, result.to_dict(), sealed=True)
    return result


def read_trial(folder: Path) -> TrialResult | None:
    """The result of a finished trial; ``None`` if it is not finished.

    A ``trial.json`` that cannot be read, or belongs to another trial, is moved aside as ``trial.json.unreadable``, and
    the trial counts as not finished.
    """
    path = folder / RESULT
    if os.path.lexists(folder) and not folder.is_dir():
        logger.warning("%s is no folder of a trial: moved aside as %s, trained again", folder, set_aside(folder))
        return None
    try:
        result = read_result(path)
        if result.id != folder.name or result.failed:
            raise DamagedError(f"it is the record of {'a failure' if result.failed else f'trial {result.id!r}'}")
    except FileNotFoundError:
        return None
    except DamagedError as error:
        logger.warning("%s is no record of this trial (%s): moved aside, trained again", path, error)
        set_aside(path)
        return None
    checkpoints.discard(folder / "checkpoint")  # left by a kill between record and clean-up
    return result


def blank(spec: TrialSpec, folder: Path) -> TrialResult:
    """The record of a trial before anything is measured."""
    used = versions(spec.method)
    return TrialResult(id=folder.name, method=spec.method.label, seed=spec.seed, tasks=spec.tasks, versions=used)


def _train(
    spec: TrialSpec,
    data: MultiTaskData,
    folder: Path,
    result: TrialResult,
    on_epoch: Callable[[History], None] | None,
) -> TrialResult:
    try:
        return _fit(spec, data, folder, result, on_epoch)
    except StorageError:
        raise
    except CheckpointError as error:  # whole, but of an earlier version that kept less, or altered by somebody
        place = checkpoints.discard(folder / "checkpoint", aside=True)
        logger.warning("trial %s starts afresh, %s moved aside: %s", folder.name, place, error)
        return _fit(spec, data, folder, result, on_epoch)


def _fit(
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
        identity=spec.identity(data),
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
        trainer.fit(data.train, data.val if VALIDATION_METRICS in balancer.asks else None)
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
    """Make the directory fit to start or go on: no left-overs, nothing of a failed trial."""
    make_folder(folder)
    sweep(folder)
    if (folder / FAILURE).exists() or not resume:
        checkpoints.discard(folder / "checkpoint")
        for name in (FAILURE, RESULT):
            remove(folder / name)
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
