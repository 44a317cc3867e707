"""One trial: one model made once, in a directory of its own that is either finished or can be gone on with."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from polytask.data import MultiTaskData
from polytask.errors import CheckpointError, DamagedError, TrialError
from polytask.files import write_json
from polytask.folders import make_folder, remove, set_aside, sweep
from polytask.share.stored import drop_model
from polytask.study.limits import limit_of
from polytask.study.outcome.answers import ANSWERS
from polytask.study.outcome.results import TrialResult, read_result
from polytask.study.trial_spec import TrialSpec
from polytask.train import History
from polytask.train import checkpoint as checkpoints

__all__ = ["blank", "read_trial", "record_failure", "run_trial"]

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
    """Make one model, or go on with it, and write its record last of all.

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
        start = time.perf_counter()
        result = spec.contender.run(data, spec.tasks, spec.seed, folder, on_epoch)
        if "seconds" not in result.timing:
            result = dataclasses.replace(result, timing={"seconds": time.perf_counter() - start, **result.timing})
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
    return spec.contender.record(spec.tasks, spec.seed, folder)


def _tidy(folder: Path, *, resume: bool) -> None:
    """Make the directory fit to start or go on: no left-overs, nothing of a failed trial."""
    make_folder(folder)
    sweep(folder)
    if (folder / FAILURE).exists() or not resume:
        checkpoints.discard(folder / "checkpoint")
        for name in (FAILURE, RESULT, ANSWERS):
            remove(folder / name)
        drop_model(folder)
