"""Each target by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from numpy.typing import NDArray

from polytask.tables.learner import Model
from polytask.tables.ways.way import Job, Way

__all__ = ["Independent"]


@final
class Independent(Way):
    """ŷ_k = f_k(x), fitted on the rows that have a label of target k: the baseline of every other way."""

    takes_folds = False

    def __init__(self, models: Sequence[Model]) -> None:
        self.models = models

    @classmethod
    def fit(cls, job: Job) -> Way:
        """One model per target."""
        return cls([job.learner.fit(job.X, target) for target in job.targets])

    def outputs(self, X: Any) -> list[NDArray[Any]]:
        """Of each model."""
        return [model.output(X) for model in self.models]
