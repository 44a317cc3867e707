"""``compare``: single-task baselines, methods and estimators, on the same rows over paired seeds."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from polytask.balance.section import ENGINE_OPTIONS
from polytask.data import MultiTaskData, load
from polytask.errors import ConfigError, TrialError, unknown
from polytask.folders import locked
from polytask.remedies import elsewhere, worded
from polytask.schedule import read_schedule
from polytask.share.blueprint import encoder_name
from polytask.study.best import check_keep, keep_models
from polytask.study.contenders import Contender, Setting, read_contenders
from polytask.study.contenders.network import read_architectures, sharing_in_words
from polytask.study.contenders.registry import Asked
from polytask.study.decisions import Wishes
from polytask.study.learnable import learned_by, left_out_of
from polytask.study.outcome.comparison import Comparison
from polytask.study.outcome.protocol import Protocol, TaskInfo
from polytask.study.outcome.results import TrialResult
from polytask.study.pool import Job, run_jobs
from polytask.study.progress import Bar
from polytask.study.section import SELECTIONS
from polytask.study.splits import Splits
from polytask.study.trial import read_trial
from polytask.study.trial_spec import TrialSpec
from polytask.study.trivial import Judged, judge_trivially
from polytask.study.versions import mixed_versions, versions
from polytask.train import TrainOptions

__all__ = ["compare"]

logger = logging.getLogger("polytask")


def compare(
    data: MultiTaskData | str,
    *,
    methods: Sequence[Asked] = ("stl", "equal", "uw"),
    seeds: int | Sequence[int] = 3,
    encoder: str | Callable[..., Any] | None = None,
    architecture: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] = "hard",
    schedule: str | Mapping[str, Any] | None = None,
    train: TrainOptions | Mapping[str, Any] | None = None,
    balancer: Mapping[str, Any] | None = None,
    selection: str = "val",
    baseline: str | None = None,
    split_seeds: bool | None = None,
    out: str | Path | None = None,
    workers: int = 1,
    progress: bool = True,
    resume: bool = True,
    keep: str = "all",
    refit: bool = False,
    decide: Mapping[str, Any] | None = None,
) -> Comparison:
    """Train methods side by side and measure each against one model per task.

    All trials share data, loop and budget; a seed fixes the split of a table's rows, initialisation, order of rows and
    the method's own randomness, and is used by every method, so that differences are paired. Intervals then are about
    other rows as well; on data with fixed test rows, as benchmarks have, they are about seeds only. The epoch that is
    judged is chosen on validation; the numbers compared come from the test rows. Finished trials are never trained
    twice; an interrupted one goes on from its last checkpoint and ends as if nothing had happened.

    Estimators stand in the same table: ``"ridge"`` (or ``"logistic"``) and ``"boosting"`` of scikit-learn, which learn
    each task by itself, and the families of :mod:`polytask.linear` by the names of their modules
    (``"joint_feature"``, ``"mean_regularized"``, …). ``"ridge:how=chain"`` (or ``stack``, ``ensemble_chains``,
    ``pooled``) lets the models of a baseline see predictions of other tasks, and ``{"name": "learner", "estimator":
    "lightgbm:LGBMRegressor"}`` is any learner of scikit-learn's interface.
    They are fitted on the training rows, with hyper-parameters chosen by cross-validation among them (a family at a
    fixed α when ``alpha`` is given, any other learner as it is), and judged like networks.

    Given several architectures, every balancing method is trained with each of them, and labels say which:
    ``"uw @ hard"``. The single-task networks have the first one. ``"uw @ NAME"``, or the key ``architecture`` of a
    method's table, gives one method, or the single-task networks, an architecture of its own.

    Args:
        data: The data, or the name of a built-in dataset.
        methods: ``"stl"`` for the single-task networks, registry names, names of estimators, ``"name:option=value"``,
            tables with a ``name``, or contenders. Three by default: baselines, plain sum, uncertainty weighting.
        seeds: Number of paired seeds (0, 1, …), or the seeds. 3 by default: the fewest worth an interval.
        encoder: Specification of the shared part, or a function making it from an ``InputSpec``; the data's own by
            default.
        architecture: How tasks share it: a name, ``"name:option=value"``, or a table with ``name`` and options; or
            several of these.
        schedule: Which tasks count in which step, for all networks that learn several: a name, or a table with
            ``name`` and options. All tasks in all steps by default.
        train: Training options; its ``seed`` is replaced by each trial's.
        balancer: Options of the engine for all methods: :data:`~polytask.balance.section.ENGINE_OPTIONS`.
        selection: ``"val"``; ``"last"`` judges the last epoch; ``"test"`` chooses on test and marks every table.
        baseline: Which of ``methods`` gains are measured against; ``"stl"`` by default, or the first method when
            ``"stl"`` is not among them.
        split_seeds: Whether every seed has a split of its own: seed s that of ``data.resplit(s)``. By default where the
            data can be split again; ``False`` keeps the split that was read.
        out: Folder of the study; ``runs/<name of the data>`` by default.
        workers: Trials side by side, in processes with one thread each; the results do not depend on it.
        progress: Whether to show a progress bar on a terminal.
        resume: ``False`` trains everything anew.
        keep: Which trained models are kept for :func:`polytask.load`: of ``"all"`` trials, of the ``"best"``, or
            ``"none"``. The best one, chosen on validation, is also left in ``out/best``, unless none is kept.
        refit: Whether the best model is trained again, on all rows that have labels, for ``out/best``; it cannot be
            judged any more.
        decide: What is chosen on validation rows and kept with the model in ``out/best``, and measured on test rows:
            ``thresholds``, ``calibrate`` and ``coverage`` as for :meth:`polytask.deploy.FinishedModel.tune`. Nothing by
            default. The comparison itself is not touched by it.

    Returns:
        The comparison, also written to ``out/results.json``.

    Raises:
        ConfigError: An argument is wrong; nothing has been trained.
        MethodError: A method is unknown.
        TrialError: Every trial failed, or the folder cannot be written.
        KeyboardInterrupt: Ctrl-C, with a message how to go on; the folder can be resumed.

    Examples:
        >>> from tempfile import mkdtemp
        >>> from polytask import data
        >>> pairs = data.load("multidigits", n=120)
        >>> result = compare(pairs, methods=["stl", "equal"], seeds=2, train={"epochs": 1}, out=mkdtemp())
        >>> result.summary.loc["stl", "verdict"], len(result.frame["seed"].unique())
        ('reference', 2)
    """
    data = load(data) if isinstance(data, str) else data
    if not isinstance(data, MultiTaskData):
        raise ConfigError(
            f"data must be a MultiTaskData or the name of a dataset, found {type(data).__name__}; "
            "polytask.data.read_table makes one of a table"
        )
    architectures = read_architectures(architecture)
    check_keep(keep, refit=refit)
    wishes = Wishes.of(decide)
    wishes.check_kept(keep=keep, refit=refit)
    wishes.check(data.tasks)
    numbers = _seeds(seeds)
    if selection not in SELECTIONS:
        raise ConfigError(unknown("selection", selection, SELECTIONS))
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, found {workers}")
    options = train if isinstance(train, TrainOptions) else TrainOptions(**dict(train or {}))
    _check_names(options, data)
    setting = Setting(selection, encoder, architectures, options, _engine(balancer or {}), read_schedule(schedule))
    rows = read_contenders(methods, setting)
    _check_splits(data, selection if any(row.by_epochs for row in rows) else "last", wishes)
    against = _baseline(baseline, rows)
    splits = Splits(data, split_seeds)
    left_out = left_out_of(rows, data, against)
    folder = Path(out) if out is not None else Path("runs") / data.name
    parts = [(row, tasks) for row in rows for tasks in row.groups(learned_by(row, data, left_out))]
    for row, tasks in parts:  # wrong options show now, not after the baselines are trained
        row.check(data, tasks)
    trials = [TrialSpec(row, tasks, seed) for seed in numbers for row, tasks in parts]
    with locked(folder):
        places: list[Job] = []
        judged: list[Judged] = []
        for seed in numbers:  # all that is asked of a split before its trials run, as making it anew costs
            split = splits.of(seed)
            places += [(trial, folder / "trials" / trial.id(split)) for trial in trials if trial.seed == seed]
            judged.append(judge_trivially(split) if splits.how or not judged else judged[0])
        results = _run(places, splits, folder, epochs=options.epochs, workers=workers, progress=progress, resume=resume)
        if all(result.failed for result in results):
            first = results[0]
            verb = "were not judged" if all(result.limit for result in results) else "failed"
            raise TrialError(f"all {len(results)} trials {verb}, the first ({first.id}) with: {first.error}")
        mixed = mixed_versions(result.versions for result in results)
        if mixed:
            logger.warning(
                "%s; %s, or %s, to train all of them with the present ones",
                mixed,
                elsewhere(),
                worded("start afresh (resume=False)", "start afresh (--fresh)"),
            )
        notes = (*_notes(data, rows, left_out), *([mixed] if mixed else []))
        protocol = _protocol(splits, judged, rows, numbers, setting, against, notes, left_out)
        comparison = Comparison(protocol, results, out=folder)
        comparison.to_json(folder)
        keep_models(
            comparison,
            places,
            splits,
            folder,
            keep=keep,
            refit=refit,
            wishes=wishes,
            encoder=encoder if callable(encoder) else None,
        )
    return comparison


def _run(
    trials: Sequence[Job], splits: Splits, folder: Path, *, epochs: int, workers: int, progress: bool, resume: bool
) -> list[TrialResult]:
    """Results in the order of ``trials``: those finished before, and the rest trained now."""
    results: dict[str, TrialResult] = {}
    jobs: list[Job] = []
    for trial, place in trials:
        found = read_trial(place) if resume else None
        if found is None:
            jobs.append((trial, place))
        else:
            results[place.name] = dataclasses.replace(found, method=trial.contender.label)
    if results:
        logger.info("%d of %d trials in %s are finished already", len(results), len(trials), folder)
    with Bar(progress, len(trials), len(results), epochs) as bar:

        def done(result: TrialResult) -> None:
            results[result.id] = result
            bar.finished(result.id, failed=result.limit or "failed" if result.failed else "")

        try:
            run_jobs(jobs, splits, workers=workers, resume=resume, done=done, epoch=bar.epoch)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"stopped with {len(results)} of {len(trials)} trials finished in {folder}"
                + worded(f"; the same call with out={str(folder)!r} goes on from there", "")
            ) from None
    return [results[place.name] for _, place in trials]


def _check_names(options: TrainOptions, data: MultiTaskData) -> None:
    """Tasks named in training options exist; single-task models, which have one task, cannot check it."""
    for name in options.task_lr:
        if name not in data.tasks:
            raise ConfigError(unknown("task in task_lr", name, data.tasks.names))
    rules = ("mean_delta", "all", "any", *data.tasks.names)
    if options.stop is not None and options.stop not in rules:
        raise ConfigError(unknown("stop", options.stop, rules))


def _check_splits(data: MultiTaskData, selection: str, wishes: Wishes) -> None:
    """There are rows to choose the epoch by, and rows to judge by."""
    if len(data.test) == 0:
        raise ConfigError(f"{data.name} has no test rows to judge methods by; split it with test above 0")
    if selection == "val" and len(data.val) == 0:
        raise ConfigError(
            f"{data.name} has no validation rows to choose epochs by; split it with val above 0, "
            'or judge the last epoch: selection="last"'
        )
    if wishes and len(data.val) == 0:
        raise ConfigError(
            f"{data.name} has no validation rows to choose thresholds, calibration and intervals on; split it with val "
            "above 0"
        )


def _seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    numbers = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    whole = all(isinstance(seed, int) for seed in numbers)
    if not numbers or not whole or len(set(numbers)) != len(numbers) or min(numbers) < 0:
        raise ConfigError(f"seeds must be a positive number, or different numbers from 0 on, found {seeds!r}")
    return numbers


def _engine(options: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    for name in options:
        if name not in ENGINE_OPTIONS:
            raise ConfigError(unknown("engine option", name, ENGINE_OPTIONS))
    grads = options.get("grads", "params")
    if grads not in ("params", "features"):
        raise ConfigError(
            f"grads must be 'params' or 'features' in a comparison, found {grads!r}: every trial has a model of its "
            "own, and its trainer makes one forward pass per batch"
        )
    return tuple(sorted(options.items()))


def _baseline(given: str | None, rows: Sequence[Contender]) -> str:
    """The label of the row that gains are measured against; empty for the default."""
    if given is None:
        return ""
    known = [row.label for row in rows]
    found = [given] if given in known else [row.label for row in rows if given in (row.entry, row.name)]
    if len(found) != 1:
        words = unknown("baseline", given, known) if not found else f"baseline {given!r} could be {' or '.join(found)}"
        raise ConfigError(f"{words}; it must be one of methods")
    return found[0]


def _notes(data: MultiTaskData, rows: Sequence[Contender], left_out: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What a reader of the table should know of the rows in it."""
    kinds = dict.fromkeys(type(row) for row in rows)
    notes = [note for kind in kinds for note in kind.notes([row for row in rows if type(row) is kind], data)]
    return notes + [f"no Δm of {label}: {why}" for label, tasks in left_out.items() for why in tasks.values()]


def _protocol(
    splits: Splits,
    judged: Sequence[Judged],
    rows: Sequence[Contender],
    seeds: tuple[int, ...],
    setting: Setting,
    baseline: str,
    notes: Sequence[str],
    left_out: dict[str, dict[str, str]],
) -> Protocol:
    data = splits.data
    counts: dict[Any, Any] = data.counts().to_dict(orient="index")
    tasks = {
        name: TaskInfo(
            task.kind,
            task.primary,
            dict(task.directions),
            task.unit,
            {split: int(counts[name][split]) for split in data.splits},
            min((one.rarer[name] for one in judged if name in one.rarer), default=None),
            tuple(metric for metric, score in task.scores.items() if score.skill),
        )
        for name, task in data.tasks.items()
    }
    trained = any(row.by_epochs for row in rows)
    shared = dict.fromkeys(row.sharing for row in rows if row.sharing)
    train = {key: value for key, value in setting.train.to_dict().items() if key not in ("seed", "restore", "threads")}
    titles = {row.label: row.title(data) for row in rows}
    return Protocol(
        name=data.name,
        tasks=tasks,
        methods=tuple(row.label for row in rows),
        seeds=seeds,
        selection=setting.selection,
        rows={split: len(source) for split, source in data.splits.items()},
        fingerprint=data.fingerprint,
        encoder=encoder_name(data.encoder if setting.encoder is None else setting.encoder) if trained else "",
        architecture=" and ".join(shared or map(sharing_in_words, setting.architectures)),
        train=train if trained else {},
        balancer={key: value if isinstance(value, (str, int)) else repr(value) for key, value in setting.balancer},
        versions=versions(dict.fromkeys(package for row in rows for package in row.packages)),
        notes=tuple(notes),
        about=data.notes,
        baseline=baseline,
        alone=tuple(row.label for row in rows if not row.shares(data)),
        singles=tuple(row.label for row in rows if row.is_reference),
        splits=splits.how,
        left_out=left_out,
        trivial={name: tuple(one.values[name] for one in judged) for name in data.tasks},
        estimators={label: title for label, title in titles.items() if title},
    )
