"""Estimators: fitted rather than trained, by scikit-learn or :mod:`polytask.linear`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, final

from polytask.data import MultiTaskData
from polytask.data.interface import Interface
from polytask.errors import ConfigError
from polytask.share.stored import Stored, write_model
from polytask.study.classical import (
    Entry,
    check_estimator,
    entry_names,
    find_entry,
    fit_estimator,
    learn,
    reasons_against,
)
from polytask.study.contenders.contender import Contender, OnEpoch, Setting
from polytask.study.contenders.identity import plain
from polytask.study.contenders.request import Request
from polytask.study.outcome.answers import write_answers
from polytask.study.outcome.results import TrialResult
from polytask.tasks import Task

__all__ = ["EstimatorContender"]

_OTHER_NAMES = {"logistic": "ridge"}


@final
@dataclasses.dataclass(frozen=True)
class EstimatorContender(Contender):
    """An estimator of :mod:`polytask.study.classical`, fitted on the training rows.

    Attributes:
        name: ``"ridge"``, ``"boosting"``, ``"learner"`` for any other of scikit-learn's interface, or a family of
            polytask.linear such as ``"joint_feature"``.
        options: Its options, sorted by name.

    Examples:
        >>> EstimatorContender.read(Request.of("trace_norm:alpha=0.1"), Setting())[0].label
        'trace_norm:alpha=0.1'
        >>> EstimatorContender.read(Request.of("ridge:how=chain"), Setting())[0].alone
        False
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    packages: ClassVar[tuple[str, ...]] = ("numpy", "scikit-learn")

    @classmethod
    def names(cls, registered: str) -> Iterable[str]:
        """All estimators."""
        return entry_names()

    @classmethod
    def read(cls, request: Request, setting: Setting) -> Sequence[EstimatorContender]:
        """The estimator, whatever the study's networks are.

        Raises:
            ConfigError: An option is unknown, or its value is not allowed.
        """
        if "architecture" in dict(request.options):
            raise ConfigError(f"{request.name} is an estimator and has no architecture; name it without one")
        made = cls(request.name, request.options)
        _ = made.estimator
        return [made]

    @property
    def estimator(self) -> Entry:
        """The estimator, with its options checked."""
        return find_entry(self.name, dict(self.options))

    @property
    def label(self) -> str:  # type: ignore[override]
        """Name and options, as text."""
        return " ".join(Request(self.name, self.options).text.split())

    @property
    def alone(self) -> bool:  # type: ignore[override]
        """Whether it learns each task by itself."""
        return self.estimator.alone

    @property
    def depends_on_seed(self) -> bool:  # type: ignore[override]
        """Whether folds or anything random come in."""
        return self.estimator.depends_on_seed

    @property
    def storable(self) -> bool:  # type: ignore[override]
        """Whether what it fits has a form as plain arrays."""
        return self.estimator.storable

    def twin(self, other: Contender) -> str:
        """``logistic`` is another name for ``ridge``."""
        if not isinstance(other, EstimatorContender) or self.name == other.name or self.options != other.options:
            return ""
        same = _OTHER_NAMES.get(self.name, self.name) == _OTHER_NAMES.get(other.name, other.name)
        words = "a linear model with an ℓ2 penalty for each task, ridge for numbers and logistic for classes"
        return words if same else ""

    def title(self, data: MultiTaskData) -> str:
        """What is fitted to the tasks."""
        return self.estimator.title(self._learned(data))

    def shares(self, data: MultiTaskData) -> bool:
        """Whether these tasks can gain from each other."""
        return self.estimator.shares(self._learned(data))

    def cannot(self, data: MultiTaskData) -> Mapping[str, str]:
        """Tasks of kinds that it does not know."""
        against = {name: reasons_against(self.estimator, [task]) for name, task in data.tasks.items()}
        return {name: why for name, why in against.items() if why}

    def _learned(self, data: MultiTaskData) -> list[Task]:
        against = self.cannot(data)
        return [task for name, task in data.tasks.items() if name not in against]

    def check(self, data: MultiTaskData, tasks: tuple[str, ...]) -> None:
        """Kinds of the tasks, and kind of the inputs.

        Raises:
            ConfigError: It cannot learn these tasks from these inputs; with what would work.
        """
        check_estimator(self.estimator, data, data.tasks.subset(tasks))

    def config(self, data: MultiTaskData, tasks: tuple[str, ...], seed: int) -> dict[str, Any]:
        """Name and options; nothing that concerns networks."""
        return plain({"estimator": self.name, "estimator_options": self.estimator.described()})

    def run(
        self, data: MultiTaskData, tasks: tuple[str, ...], seed: int, folder: Path, on_epoch: OnEpoch = None
    ) -> TrialResult:
        """Fit and measure."""
        blank = self.record(tasks, seed, folder)
        result, learned = fit_estimator(self.estimator, data, data.tasks.subset(tasks), seed, blank)
        write_answers(folder, learned.heads, data, tasks)
        kept = learned.plain(Interface.of(data, tasks))
        if kept is not None:
            write_model(folder, kept.store(self.about(data, seed, folder)))
        return result

    def refit(self, data: MultiTaskData, tasks: tuple[str, ...], seed: int, epochs: int) -> Stored | None:
        """Fit on all rows; there are no epochs."""
        learned = learn(self.estimator, data, data.tasks.subset(tasks), seed)
        kept = learned.plain(Interface.of(data, tasks))
        return None if kept is None else kept.store({})

    @classmethod
    def notes(cls, rows: Sequence[EstimatorContender], data: MultiTaskData) -> list[str]:
        """Which rows estimators are fitted on, which of them share nothing, and their own remarks."""
        alone = [row.label for row in rows if not row.shares(data)]
        notes = [
            "fitted on the training rows alone, which also choose hyper-parameters: "
            + ", ".join(row.label for row in rows)
            + (f"; no sharing between tasks: {', '.join(alone)}" if alone else "")
        ]
        said: dict[str, list[str]] = {}
        for row in rows:
            said.setdefault(row.estimator.note(row._learned(data)), []).append(row.label)
        return [*notes, *(f"{', '.join(labels)}: {note}" for note, labels in said.items() if note)]
