"""The best model of a study, in a folder ready for use; chosen on validation, perhaps trained again on all rows."""

from __future__ import annotations

import dataclasses
import logging
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

from polytask.data import SPLITS, MultiTaskData, together
from polytask.errors import CheckpointError, ConfigError, unknown
from polytask.remedies import setting
from polytask.share.forms import outputs_of, restore
from polytask.share.stored import Stored, drop_model, has_model, joined, read_model, write_model
from polytask.study.decisions import Wishes, decisions_on_test
from polytask.study.judging import BATCH
from polytask.study.outcome.comparison import Comparison
from polytask.study.outcome.results import TrialResult
from polytask.study.outcome.statistics import transfer_gain
from polytask.study.splits import Splits
from polytask.study.trial import run_trial
from polytask.study.trial_spec import TrialSpec
from polytask.tasks import TaskSet

__all__ = ["KEEP", "Best", "check_keep", "choose", "keep_models"]

logger = logging.getLogger("polytask")

KEEP = ("all", "best", "none")
"""Which trained models a study keeps: of every trial, of the best one, none."""
BEST = "best"


@final
@dataclasses.dataclass(frozen=True)
class Best:
    """The choice.

    Attributes:
        method: Label of the method.
        seed: Its seed.
        trials: Its trials: one, or one per task.
        chosen_on: ``"val"``; ``"test"`` where there are no validation values; ``"order"`` where there are none at all.
    """

    method: str
    seed: int
    trials: tuple[TrialResult, ...]
    chosen_on: str


def check_keep(keep: str, *, refit: bool) -> None:
    """Check what is to be kept.

    Raises:
        ConfigError: The word is unknown, or nothing is to be kept of a model that is to be trained again.
    """
    if keep not in KEEP:
        raise ConfigError(unknown("keep", keep, KEEP))
    if refit and keep == "none":
        raise ConfigError(
            f"refit trains the best model on all rows and keeps it; use {setting('keep', 'best')} or "
            f"{setting('keep', 'all')}"
        )


def choose(comparison: Comparison) -> Best | None:
    """The method with the highest mean relative gain on validation, averaged over seeds, and its best seed.

    The gains are those of Δm, with the reference's mean over seeds on validation; tasks without a value everywhere
    are left out. Test rows, which the tables report, play no part: the model is chosen before it is judged.

    Args:
        comparison: A finished comparison.

    Returns:
        The choice; ``None`` where no method learned every task.
    """
    groups: dict[tuple[str, int], list[TrialResult]] = {}
    for trial in comparison.trials:
        groups.setdefault((trial.method, trial.seed), []).append(trial)
    wanted = set(comparison.tasks)
    whole = {
        key: tuple(trials)
        for key, trials in groups.items()
        if not any(trial.failed for trial in trials) and {task for trial in trials for task in trial.tasks} == wanted
    }
    for split in ("val", "test"):
        scores = _scores(comparison, whole, split)
        if scores:
            mean = {
                method: statistics.fmean(score for (name, _), score in scores.items() if name == method)
                for method in {name for name, _ in scores}
            }
            method = max(comparison.methods, key=lambda label: mean.get(label, -math.inf))
            seed = max((seed for name, seed in scores if name == method), key=lambda one: scores[method, one])
            return Best(method, seed, whole[method, seed], split)
    return next((Best(method, seed, trials, "order") for (method, seed), trials in whole.items()), None)


def keep_models(
    comparison: Comparison,
    trials: Sequence[tuple[TrialSpec, Path]],
    splits: Splits,
    folder: Path,
    *,
    keep: str,
    refit: bool,
    wishes: Wishes,
    encoder: Callable[..., Any] | None = None,
) -> None:
    """Leave the models that are to be kept, and the best in a folder of its own.

    Args:
        comparison: The finished comparison.
        trials: What was trained, and where.
        splits: On what, by seed.
        folder: Of the study; the best model goes to its folder ``best``.
        keep: One of :data:`KEEP`.
        refit: Whether the best model is trained again, on all rows that have labels.
        wishes: What is decided on validation rows and kept with the best model.
        encoder: The function that makes the networks' encoder, where one does.

    Raises:
        CheckpointError: The model cannot be written.
    """
    best = None if keep == "none" else choose(comparison)
    if best is None:
        drop_model(folder / BEST)
    else:
        data = splits.of(best.seed)
        about = {**_about(best, data, refit=refit), **({"decide": wishes.plain()} if wishes else {})}
        if not _is_there(folder / BEST, about):
            chosen = _of(best, trials)
            parts = [_part(comparison, best, spec, place, data, refit=refit) for spec, place in chosen]
            _write(folder / BEST, about, parts, lambda whole: _decided(whole, data, wishes, encoder))
    if keep != "all":
        for _, place in trials:
            drop_model(place)


def _about(best: Best, data: MultiTaskData, *, refit: bool) -> dict[str, Any]:
    """How the best model came to be."""
    return {
        "data": data.name,
        "fingerprint": data.fingerprint,
        "method": best.method,
        "seed": best.seed,
        "chosen_on": best.chosen_on,
        "trained_on": "all rows with labels" if refit else "the training rows",
        "trials": [trial.id for trial in best.trials],
    }


def _is_there(folder: Path, about: Mapping[str, Any]) -> bool:
    """Whether the folder holds this very model, whole: a study that is finished is not trained again."""
    try:
        return has_model(folder) and read_model(folder).about == about
    except CheckpointError as error:
        logger.warning("%s; it is written again", error)
        return False


def _of(best: Best, trials: Sequence[tuple[TrialSpec, Path]]) -> list[tuple[TrialSpec, Path]]:
    names = {trial.id for trial in best.trials}
    return [(spec, place) for spec, place in trials if place.name in names]


def _part(
    comparison: Comparison, best: Best, spec: TrialSpec, place: Path, data: MultiTaskData, *, refit: bool
) -> Stored | None:
    """The model of one of the best trials."""
    return _all_rows(spec, data, _epochs(comparison, best)[spec.tasks]) if refit else _kept(spec, place, data)


def _decided(whole: Stored, data: MultiTaskData, wishes: Wishes, encoder: Callable[..., Any] | None) -> Stored:
    """The model with what was asked for chosen on validation rows, and measured on test rows."""
    if not wishes:
        return whole
    parts = restore(whole, "the best model", encoder)
    tasks = TaskSet([task for part in parts for task in part.interface.tasks.values()])
    chosen = decisions_on_test(lambda inputs: outputs_of(parts, inputs, tasks.names, BATCH), data, tasks, wishes)
    return dataclasses.replace(whole, decisions=chosen.plain())


def _write(
    folder: Path, about: dict[str, Any], parts: Sequence[Stored | None], decided: Callable[[Stored], Stored]
) -> None:
    """Write the best model: its trial's, or that of all its tasks' trials together."""
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        logger.warning("%s is best, but has no form as plain arrays: its model is not kept", about["method"])
        drop_model(folder)
    else:
        whole = joined(found, about) if len(found) > 1 else dataclasses.replace(found[0], about=about)
        write_model(folder, decided(whole))


def _scores(
    comparison: Comparison, groups: Mapping[tuple[str, int], Sequence[TrialResult]], split: str
) -> dict[tuple[str, int], float]:
    """Mean gain on a split by method and seed; empty where no task has a value everywhere."""
    tasks = comparison.protocol.tasks
    values: dict[tuple[str, int], dict[str, float]] = {
        key: {
            task: trial.metrics.get(split, {}).get(task, {}).get(tasks[task].primary, math.nan)
            for trial in trials
            for task in trial.tasks
        }
        for key, trials in groups.items()
    }
    reference = [found for (method, _), found in values.items() if method == comparison.reference] or [*values.values()]
    gains: dict[str, dict[tuple[str, int], float]] = {}
    for task, info in tasks.items() if values else ():
        base = statistics.fmean(found[task] for found in reference)
        direction = info.directions.get(info.primary, 1)
        gains[task] = {key: transfer_gain(found[task], base, direction) for key, found in values.items()}
    usable = [task for task, found in gains.items() if all(math.isfinite(gain) for gain in found.values())]
    return {key: statistics.fmean(gains[task][key] for task in usable) for key in values} if usable else {}


def _epochs(comparison: Comparison, best: Best) -> dict[tuple[str, ...], int]:
    """How long to train on all rows, by the trial's tasks: the median over seeds of the epochs that were best."""
    found: dict[tuple[str, ...], list[int]] = {}
    for trial in comparison.trials:
        if trial.method == best.method and not trial.failed:
            found.setdefault(trial.tasks, []).append(trial.best_epoch)
    return {tasks: max(1, round(statistics.median(epochs))) for tasks, epochs in found.items()}


def _kept(spec: TrialSpec, place: Path, data: MultiTaskData) -> Stored | None:
    """The model of a trial; trained once more where it was finished without keeping it, or is damaged."""
    why = "was finished without keeping its model"
    try:
        if has_model(place):
            return read_model(place)
    except CheckpointError as error:
        why = f"has a damaged model ({error})"
    if not spec.contender.storable:
        return None
    logger.warning("trial %s %s: trained again", place.name, why)
    run_trial(spec, data, place, resume=False)
    return read_model(place) if has_model(place) else None


def _all_rows(spec: TrialSpec, data: MultiTaskData, epochs: int) -> Stored | None:
    """The model of a trial, trained on the rows of all splits."""
    groups = data.groups and {**data.groups, "train": np.concatenate([data.groups[split] for split in SPLITS])}
    rows: Any = dataclasses.replace(data, train=together([data.train, data.val, data.test]), groups=groups)
    logger.info("training %s on all %d rows", spec.contender.label, len(rows.train))
    return spec.contender.refit(rows, spec.tasks, spec.seed, epochs)
