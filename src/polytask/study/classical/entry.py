"""What an estimator in a study is: a name with options that fits, what it fits on, and what is left of it."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from polytask.study.classical.folds import Folds
from polytask.tasks import Nature, Task, TaskSet
from polytask.tasks.kinds import kinds_of

if TYPE_CHECKING:
    from polytask.study.classical.links import Links

__all__ = ["Entry", "Fitted", "Training"]

Array = NDArray[Any]


@final
@dataclasses.dataclass(frozen=True)
class Training:
    """What an estimator is fitted on.

    Attributes:
        tasks: The tasks.
        linear: Matrix of the linear models, (n, d), dense or CSR.
        trees: Matrix of the trees.
        is_category: Which of its columns are categories.
        targets: Task → labels (n,) or (n, L), NaN where missing; those of real-valued kinds with mean 0 and standard
            deviation 1 over the present labels.
        folds: Rows to fit and rows to judge hyper-parameters by.
        seed: Seed of the trial.
        grouped: Whether the folds keep groups of rows whole, as leaving out single rows would not.
        weights: Task → weights of its labels (n,), of tasks whose labels do not all count the same.
    """

    tasks: TaskSet
    linear: Any
    trees: Array
    is_category: NDArray[np.bool_]
    targets: dict[str, Array]
    folds: Folds
    seed: int
    grouped: bool = False
    weights: dict[str, Array] = dataclasses.field(default_factory=dict)


class Fitted(ABC):
    """Estimators after fitting.

    Attributes:
        parameters: Fitted numbers by task (coefficients and intercepts, values at the leaves); ``"shared"`` for those
            that belong to all.
        facts: What was fitted and what cross-validation chose, by task or group of tasks; plain values.
    """

    parameters: dict[str, int]
    facts: dict[str, dict[str, Any]]

    @abstractmethod
    def heads(self, linear: Any, trees: Array) -> dict[str, Array]:
        """Predictions as heads put them out: task → (n,) or (n, ``out_features``), in the unit of the fitted targets.

        Args:
            linear: Matrix of the linear models.
            trees: Matrix of the trees.
        """

    @abstractmethod
    def plain(self) -> Links | None:
        """The same models as plain arrays; ``None`` where they have no such form."""


class Entry(ABC):
    """An estimator by name, with its options: knows what it can learn, and fits.

    Args:
        name: As the user writes it.
        options: Keyword arguments.

    Attributes:
        alone: Whether it learns each task by itself.
        natures: What it can learn; it sees labels and gives predictions as :class:`~polytask.tasks.Nature` says.
        storable: Whether what it fits can be kept as plain arrays.
        depends_on_seed: Whether folds or anything random come in.
    """

    alone: ClassVar[bool]
    natures: tuple[Nature, ...]
    storable: ClassVar[bool] = False
    depends_on_seed: bool = True

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self.name, self.options = name, dict(options)
        self.check()

    @property
    def learns(self) -> tuple[str, ...]:
        """Kinds of tasks that it can learn."""
        return kinds_of(self.natures)

    @abstractmethod
    def title(self, tasks: Iterable[Task]) -> str:
        """What is fitted to the tasks, in words."""

    @abstractmethod
    def check(self) -> None:
        """Check names and values of the options.

        Raises:
            ConfigError: One is unknown, or its value is not allowed.
        """

    def described(self) -> dict[str, Any]:
        """The options as plain values by which a trial is known."""
        return dict(self.options)

    def check_tasks(self, tasks: TaskSet) -> None:
        """Check options that name tasks.

        Raises:
            PolytaskError: There is no such task.
        """

    @abstractmethod
    def fit(self, training: Training) -> Fitted:
        """Fit, with hyper-parameters by cross-validation over the folds of ``training``."""

    def shares(self, tasks: Iterable[Task]) -> bool:
        """Whether these tasks can gain from each other."""
        return not self.alone

    def note(self, tasks: Iterable[Task]) -> str:
        """What a reader of the numbers should know besides the title; empty for nothing."""
        return ""
