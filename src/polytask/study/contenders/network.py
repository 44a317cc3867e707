"""Networks: an architecture × a balancing method × the engine's options × training; or one network per task."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

from polytask.balance import METHODS, Balancer, LossMethod, get_method
from polytask.balance.contract.asks import VALIDATION_METRICS
from polytask.data import MultiTaskData
from polytask.errors import CheckpointError, ConfigError, StorageError
from polytask.share.architectures import read_architecture
from polytask.share.blueprint import Blueprint, encoder_name
from polytask.share.network import Network
from polytask.share.stored import Stored, write_model
from polytask.study.contenders.contender import Contender, OnEpoch, Setting, Step
from polytask.study.contenders.identity import plain, surroundings
from polytask.study.contenders.request import Request
from polytask.study.contenders.timing import check_schedule, schedule_in_words
from polytask.study.outcome.answers import write_answers
from polytask.study.outcome.results import TrialResult
from polytask.train import History, Trainer, TrainOptions, check_metrics
from polytask.train import checkpoint as checkpoints
from polytask.train.surroundings import threads

if TYPE_CHECKING:
    from polytask.balance import Method

__all__ = ["STL", "NetworkContender", "read_architectures", "sharing_in_words"]

logger = logging.getLogger("polytask")

STL = "stl"
"""Name of the single-task networks: one model per task, trained by the same loop."""

Architecture = str | Mapping[str, Any]

_HARMLESS = ("threads", "trackers", "checkpoint_every", "eval_batch_size")
"""Training options that change no number."""


@final
@dataclasses.dataclass(frozen=True)
class NetworkContender(Contender):
    """A network trained by the house's loop with a balancing method; ``"stl"`` is one network per task.

    Attributes:
        name: ``"stl"``, or the registry name of a balancing method.
        options: Keyword arguments of the method, sorted by name.
        architecture: How tasks share the network: a name, or a table with a name and options.
        setting: The study's.
        label: As of every contender; names the architecture where rows of a study differ in it.

    Examples:
        >>> rows = NetworkContender.read(Request.of("cagrad:c=0.4"), Setting())
        >>> [(row.label, row.sharing) for row in rows]
        [('cagrad:c=0.4', 'hard')]
    """

    name: str
    options: tuple[tuple[str, Any], ...]
    architecture: Architecture
    setting: Setting
    label: str

    packages: ClassVar[tuple[str, ...]] = ("torch", "numpy")
    by_epochs: ClassVar[bool] = True
    storable = True

    @classmethod
    def names(cls, registered: str) -> Iterable[str]:
        """The single-task networks and all balancing methods."""
        return (STL, *METHODS)

    @classmethod
    def idea(cls, name: str) -> str:
        """What the method does."""
        single = "One network per task, each trained alone: the baseline that gains are measured against."
        return single if name == STL else METHODS[name].card.idea

    @classmethod
    def read(cls, request: Request, setting: Setting) -> Sequence[NetworkContender]:
        """A method with each of the study's architectures, or with its own; single-task networks with the first.

        Raises:
            ConfigError: The architecture is unknown, or options do not fit.
            MethodError: The options do not fit the method.
        """
        options = dict(request.options)
        first = setting.architectures[:1]
        own = read_architectures(options.pop("architecture")) if "architecture" in options else ()
        named = Request(request.name, tuple(sorted(options.items())))
        if request.name == STL and options:
            raise ConfigError(f"the single-task baselines take no options, found {options!r}")
        found = own or (first if request.name == STL else setting.architectures)
        rows = [cls(named.name, named.options, architecture, setting, named.text) for architecture in found]
        try:
            rows[0].method()
        except TypeError as error:
            raise ConfigError(f"method {named.name!r} does not take the options {options!r}: {error}") from error
        return rows

    @property
    def alone(self) -> bool:  # type: ignore[override]
        """Whether this is the single-task networks."""
        return self.name == STL

    @property
    def schedule(self) -> Mapping[str, Any] | None:
        """Name and options of the schedule; none for a task alone."""
        return None if self.alone else self.setting.schedule

    @property
    def is_reference(self) -> bool:  # type: ignore[override]
        """Whether this is the single-task networks."""
        return self.alone

    @property
    def entry(self) -> str:
        """The method with its options, as text; an architecture shows in the hash of a trial only."""
        return Request(self.name, self.options).text

    @property
    def sharing(self) -> str:  # type: ignore[override]
        """The architecture with its options, in words."""
        return sharing_in_words(self.architecture)

    def beside(self, rows: Sequence[Contender]) -> NetworkContender:
        """Labelled with its architecture if rows differ in it; not so single-task networks with the study's first."""
        several = len({_text(row.architecture) for row in rows if isinstance(row, NetworkContender)}) > 1
        mine = _text(self.architecture)
        if not several or (self.alone and mine == _text(self.setting.architectures[0])):
            return self
        return dataclasses.replace(self, label=f"{self.entry} @ {mine}")

    @classmethod
    def notes(cls, rows: Sequence[NetworkContender], data: MultiTaskData) -> list[str]:
        """The schedule, where there is one."""
        return list(dict.fromkeys(schedule_in_words(row.schedule) for row in rows if row.schedule is not None))

    def title(self, data: MultiTaskData) -> str:
        """Nothing: the study's lines on model and training describe networks."""
        return ""

    def method(self) -> Method:
        """A fresh balancing method; the plain sum for the single-task networks.

        Raises:
            MethodError: The options do not fit the method.
        """
        return get_method("equal") if self.alone else get_method(self.name, **dict(self.options))

    def balancer(self, data: MultiTaskData, tasks: tuple[str, ...], seed: int) -> Balancer:
        """A fresh balancer.

        Raises:
            PolytaskError: Method or engine options do not fit.
        """
        engine = {} if self.alone else dict(self.setting.balancer)
        chosen = data.tasks.subset(tasks)
        balancer = Balancer(self.method(), tasks=chosen, seed=seed, announce=None, **engine)
        check_metrics(balancer.method, chosen)
        return balancer

    def blueprint(self, data: MultiTaskData, tasks: tuple[str, ...], seed: int | None) -> Blueprint:
        """What the model is built from."""
        return Blueprint.of(data, encoder=self.setting.encoder, architecture=self.architecture, tasks=tasks, seed=seed)

    def training(self, tasks: tuple[str, ...], seed: int) -> TrainOptions:
        """The training options of a trial: its seed, its tasks' rates, the epoch that the selection asks for."""
        train = self.setting.train
        changes: dict[str, Any] = {
            "seed": seed,
            "restore": "last" if self.setting.selection == "last" else "best",
            "threads": 1,
        }
        if train.task_lr:
            changes["task_lr"] = {task: rate for task, rate in train.task_lr.items() if task in tasks}
        if train.stop is not None and train.stop not in ("mean_delta", "all", "any", *tasks):
            changes["stop"] = "mean_delta"  # the rule names a task that this single-task model does not have
        return train.replace(**changes)

    def check(self, data: MultiTaskData, tasks: tuple[str, ...]) -> None:
        """Build model and balancer.

        Raises:
            PolytaskError: Options do not fit.
        """
        model = self.blueprint(data, tasks, 0).build()
        if self.balancer(data, tasks, 0).needs_features:
            model.representation.check(type(model).__name__)
        check_schedule(self.schedule, tasks, data)

    def config(self, data: MultiTaskData, tasks: tuple[str, ...], seed: int) -> dict[str, Any]:
        """Encoder, architecture, method, engine, selection and training."""
        train = self.training(tasks, seed).to_dict()
        options = {key: value for key, value in train.items() if key not in _HARMLESS}
        return plain({**self._built(data), "train": options})

    def identity(self, data: MultiTaskData, tasks: tuple[str, ...], seed: int) -> dict[str, Any]:
        """What a checkpoint belongs to, besides the training options, which it keeps itself."""
        return {**surroundings(data, tasks, seed), **plain(self._built(data))}

    def _built(self, data: MultiTaskData) -> dict[str, Any]:
        return {
            "encoder": encoder_name(data.encoder if self.setting.encoder is None else self.setting.encoder),
            "architecture": self.architecture,
            "method": self.name,
            "method_options": dict(self.options),
            "balancer": dict(self.setting.balancer),
            "selection": self.setting.selection,
            **({} if self.schedule is None else {"schedule": dict(self.schedule)}),
        }

    def run(
        self, data: MultiTaskData, tasks: tuple[str, ...], seed: int, folder: Path, on_epoch: OnEpoch = None
    ) -> TrialResult:
        """Train, or go on from the checkpoint in the folder; one that does not fit is moved aside."""
        try:
            return self._fit(data, tasks, seed, folder, on_epoch)
        except StorageError:
            raise
        except CheckpointError as error:  # whole, but of an earlier version that kept less, or altered by somebody
            place = checkpoints.discard(folder / "checkpoint", aside=True)
            logger.warning("trial %s starts afresh, %s moved aside: %s", folder.name, place, error)
            return self._fit(data, tasks, seed, folder, on_epoch)

    def refit(self, data: MultiTaskData, tasks: tuple[str, ...], seed: int, epochs: int) -> Stored:
        """Train for a fixed number of epochs."""
        blueprint = self.blueprint(data, tasks, seed)
        options = self.training(tasks, seed).replace(epochs=epochs, patience=None, stop=None, restore="last")
        model, balancer = blueprint.build(), self.balancer(data, tasks, seed)
        chosen = data.tasks.subset(tasks)
        trainer = Trainer(model, chosen, balancer, options=options, schedule=self.schedule, progress=False)
        waits = trainer.schedule is not None and trainer.schedule.needs_validation
        with threads(1):
            trainer.fit(data.train, data.val if waits or VALIDATION_METRICS in balancer.asks else None)
        return Network(blueprint, model).store({})

    def step(self, data: MultiTaskData) -> Step:
        """A step of all tasks."""
        check_metrics(self.method(), data.tasks)
        return Step(
            self.blueprint(data, data.tasks.names, self.setting.train.seed),
            self.method,
            {} if self.alone else dict(self.setting.balancer),
            plain=self.name == "equal" and not self.options and not self.setting.balancer,
            sees_gradients=not self.alone and not issubclass(METHODS[self.name], LossMethod),
        )

    def _fit(
        self, data: MultiTaskData, tasks: tuple[str, ...], seed: int, folder: Path, on_epoch: OnEpoch
    ) -> TrialResult:
        blueprint, balancer = self.blueprint(data, tasks, seed), self.balancer(data, tasks, seed)
        model = blueprint.build()
        selection = self.setting.selection
        trainer = Trainer(
            model,
            data.tasks.subset(tasks),
            balancer,
            options=self.training(tasks, seed),
            out=folder,
            identity=self.identity(data, tasks, seed),
            schedule=self.schedule,
            progress=False,
            on_epoch=on_epoch,
        )
        with threads(1):  # sums over rows depend on the number of threads; one trial is one thread everywhere
            history = trainer.fit(data.train, data.test if selection == "test" else data.val, resume="auto")
            judged = {split: trainer.evaluate(source) for split, source in data.splits.items() if split != "train"}
            network = Network(blueprint, model)
            write_answers(folder, network.outputs, data, tasks)
        write_model(folder, network.store(self.about(data, seed, folder)))
        return self.record(
            tasks,
            seed,
            folder,
            metrics={split: found.metrics for split, found in judged.items()},
            undefined={split: found.undefined for split, found in judged.items() if found.undefined},
            curves=_curves(history, "test" if selection == "test" else "val"),
            balance=_balance(history),
            labels_seen=dict(history.labels_seen),
            best_epoch=(history.epochs if selection == "last" else history.best_epoch) or history.epochs,
            epochs=history.epochs,
            steps=history.steps,
            parameters={
                "shared": sum(p.numel() for p in model.shared_parameters()),
                **{name: sum(p.numel() for p in model.task_parameters(name)) for name in tasks},
            },
            timing={
                "seconds": history.seconds,
                "seconds_per_step": sum(history.epoch_seconds) / history.steps if history.steps else math.nan,
            },
        )


def read_architectures(given: Architecture | Sequence[Architecture]) -> tuple[Architecture, ...]:
    """One architecture or several: names, texts ``"name:option=value"``, or tables with a name and options.

    Raises:
        ConfigError: One is unknown or given twice, its options do not fit, or there is none.

    Examples:
        >>> read_architectures(["hard", "hard:head_hidden=[8]"])
        ('hard', {'name': 'hard', 'head_hidden': [8]})
    """
    found: list[Architecture] = []
    for one in [given] if isinstance(given, (str, Mapping)) or not isinstance(given, Sequence) else given:
        if isinstance(one, str) and ":" in one:
            named = Request.of(one, "architecture")
            found.append({"name": named.name, **dict(named.options)})
        else:
            found.append(one)
    texts = [_text(one) for one in found]
    if not found:
        raise ConfigError("expected at least one architecture, found none")
    for text in texts:
        if texts.count(text) > 1:
            raise ConfigError(f"architecture {text!r} is given twice")
    return tuple(found)


def sharing_in_words(architecture: Architecture) -> str:
    """An architecture with its options, for the report."""
    name, options = read_architecture(architecture)
    return name + (f" ({', '.join(f'{key}={value}' for key, value in options.items())})" if options else "")


def _text(architecture: Architecture) -> str:
    """The text that reads as an architecture, the same for all ways to write it."""
    name, options = read_architecture(architecture)
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
    return Request(name, tuple(sorted(values.items()))).text


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
