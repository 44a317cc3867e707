"""What a row of a study is: something by name that learns tasks from data and is judged by the same metrics."""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

from polytask.data import MultiTaskData
from polytask.share.stored import Stored
from polytask.study.contenders.request import Request
from polytask.study.outcome.results import TrialResult
from polytask.study.versions import versions
from polytask.train import History, TrainOptions

if TYPE_CHECKING:
    from polytask.balance import Method
    from polytask.share.blueprint import Blueprint

__all__ = ["Contender", "Setting", "Step"]

OnEpoch = Callable[[History], None] | None


@final
@dataclasses.dataclass(frozen=True)
class Setting:
    """What the rows of a study have in common, where it concerns them.

    Attributes:
        selection: ``"val"``, ``"last"`` or ``"test"``: which epoch is judged.
        encoder: Specification of the shared part, a function making it from an ``InputSpec``, or ``None`` for the
            data's own.
        architectures: How tasks share it, once or several times: names, or tables with a name and options.
        train: Training options.
        balancer: Options of the balancing engine, sorted by name.
        schedule: Name and options of the schedule of networks that learn several tasks; ``None`` for none.
    """

    selection: str = "val"
    encoder: Any = None
    architectures: tuple[str | Mapping[str, Any], ...] = ("hard",)
    train: TrainOptions = dataclasses.field(default_factory=TrainOptions)
    balancer: tuple[tuple[str, Any], ...] = ()
    schedule: Mapping[str, Any] | None = None


@final
@dataclasses.dataclass(frozen=True)
class Step:
    """What a dry run needs to take a training step as a row would.

    Attributes:
        blueprint: What the model is built from.
        build: Makes the balancing method.
        engine: Options of the balancer.
        plain: Whether it is the plain sum, by which the cost of the others is measured.
        sees_gradients: Whether the method looks at more than losses, so that the way to collect gradients matters.
    """

    blueprint: Blueprint
    build: Callable[[], Method]
    engine: Mapping[str, Any]
    plain: bool
    sees_gradients: bool


class Contender(ABC):
    """One row of a study. A subclass says what it learns from and how; everything else works for every row.

    An object is plain values, which can be pickled, and keeps nothing of the data it has seen: rows and split may be
    others at every seed.

    Attributes:
        name: The name it was asked for by.
        label: What tables and figures call it; no two rows of a study share a label.
        packages: Packages that its numbers depend on.
        by_epochs: Whether it trains by epochs, of which the study's selection chooses one, on validation rows if it is
            ``"val"``; and whether the study's encoder and training options concern it.
        is_reference: Whether it is one network per task, which gains are measured against unless told otherwise.
        alone: Whether each task is learned by itself, in a trial of its own.
        depends_on_seed: Whether the seed changes anything, besides what it changes in the data.
        storable: Whether what it learns can be kept, for :func:`polytask.load`.
        sharing: How tasks share a network, in words; empty where there is none.
    """

    name: str
    label: str
    packages: ClassVar[tuple[str, ...]] = ("numpy",)
    by_epochs: ClassVar[bool] = False
    is_reference: bool = False
    alone: bool = False
    depends_on_seed: bool = True
    storable: bool = False
    sharing: str = ""

    @property
    def entry(self) -> str:
        """What it is called whatever rows are beside it: the names of its trials begin with it."""
        return self.label

    @classmethod
    def names(cls, registered: str) -> Iterable[str]:
        """The names by which rows of this kind are asked for.

        Args:
            registered: The kind's own name in the registry, which is the only one by default.
        """
        return (registered,)

    @classmethod
    def idea(cls, name: str) -> str:
        """One line on the rows of this name; by default the first of the documentation of the class."""
        return (inspect.getdoc(cls) or "").partition("\n")[0]

    @classmethod
    @abstractmethod
    def read(cls, request: Request, setting: Setting) -> Sequence[Contender]:
        """The rows that a request stands for: one, or one per architecture.

        Raises:
            PolytaskError: An option is unknown or its value is not allowed.
        """

    def beside(self, rows: Sequence[Contender]) -> Contender:
        """The same row, with a label that tells it from the other rows of the study."""
        return self

    def twin(self, other: Contender) -> str:
        """Why another row is the same as this one under another name; empty if it is not."""
        return ""

    @abstractmethod
    def title(self, data: MultiTaskData) -> str:
        """What it fits, in words, for the report; empty for networks, which the study's own lines describe."""

    def shares(self, data: MultiTaskData) -> bool:
        """Whether a task can gain from another."""
        return not self.alone

    def groups(self, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        """The tasks of each trial. Every task is measured by one trial."""
        return [(task,) for task in tasks] if self.alone else [tasks]

    def cannot(self, data: MultiTaskData) -> Mapping[str, str]:
        """Tasks that it cannot learn, each with the reason; it then learns the others, and has no Δm."""
        return {}

    @abstractmethod
    def check(self, data: MultiTaskData, tasks: tuple[str, ...]) -> None:
        """Find out what would stop a trial of these tasks before any is run.

        Raises:
            PolytaskError: It cannot learn these tasks from these inputs; with what would work.
        """

    @abstractmethod
    def config(self, data: MultiTaskData, tasks: tuple[str, ...], seed: int) -> dict[str, Any]:
        """What determines its result besides data, tasks and seed, as values that JSON holds; it is hashed."""

    @abstractmethod
    def run(
        self, data: MultiTaskData, tasks: tuple[str, ...], seed: int, folder: Path, on_epoch: OnEpoch = None
    ) -> TrialResult:
        """Learn the tasks from the training rows, and measure on the others.

        What is in the folder of an earlier, interrupted run may be gone on with. A model that is to be kept is written
        there (:func:`polytask.share.stored.write_model`, with :meth:`about`).

        Args:
            data: The rows and their split.
            tasks: Tasks to learn.
            seed: Seed of everything random.
            folder: The trial's own.
            on_epoch: Called after every epoch, where there are epochs.

        Returns:
            The record, best made by :meth:`record`.

        Raises:
            Exception: Whatever went wrong; it is recorded, and the other trials go on.
        """

    def refit(self, data: MultiTaskData, tasks: tuple[str, ...], seed: int, epochs: int) -> Stored | None:
        """The model, learned from all rows of ``data.train``, which cannot be judged; ``None`` if it cannot be kept.

        Args:
            data: The rows.
            tasks: Tasks to learn.
            seed: Seed of everything random.
            epochs: How long to train, where there are epochs.
        """
        return None

    def step(self, data: MultiTaskData) -> Step | None:
        """What a training step is, for a dry run; ``None`` where nothing is trained by steps."""
        return None

    @classmethod
    def notes(cls, rows: Sequence[Any], data: MultiTaskData) -> list[str]:
        """What a reader of a table with these rows, all of this class, should know of them; one sentence each."""
        return []

    @final
    def record(self, tasks: tuple[str, ...], seed: int, folder: Path, **measured: Any) -> TrialResult:
        """The record of a trial.

        Args:
            tasks: Its tasks.
            seed: Its seed.
            folder: Its folder.
            **measured: Further fields of :class:`~polytask.study.outcome.results.TrialResult`.
        """
        return TrialResult(
            id=folder.name, method=self.label, seed=seed, tasks=tasks, versions=versions(self.packages), **measured
        )

    @final
    def about(self, data: MultiTaskData, seed: int, folder: Path) -> dict[str, Any]:
        """How a trial's model came to be, to be stored with it."""
        return {
            "data": data.name,
            "fingerprint": data.fingerprint,
            "method": self.label,
            "trial": folder.name,
            "seed": seed,
        }
