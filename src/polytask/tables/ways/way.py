"""What a way of learning several targets by learners of one is given, and what it is asked for."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar, final

from numpy.typing import NDArray

from polytask.tables.learner import Folds, Learner
from polytask.tables.targets import Target

__all__ = ["Job", "Way"]

Array = NDArray[Any]


@final
@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be fitted.

    Attributes:
        X: Inputs (n, d).
        targets: The targets.
        learner: What fits one target.
        folds: Rows to fit and rows to predict, for outputs of unseen rows; ``None`` to go without these.
        orders: Positions of the targets from first to last, one array (T,) per chain.
    """

    X: Any
    targets: tuple[Target, ...]
    learner: Learner
    folds: Folds | None
    orders: Array


class Way(ABC):
    """A way, fitted.

    Attributes:
        takes_folds: Whether its models see outputs of others.
    """

    takes_folds: ClassVar[bool] = True

    @classmethod
    @abstractmethod
    def fit(cls, job: Job) -> Way:
        """Fit."""

    @abstractmethod
    def outputs(self, X: Any) -> list[Array]:
        """Outputs of the targets, (n, width) each."""
