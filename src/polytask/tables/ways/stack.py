"""Stacking: a second model of each target sees what first models say of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from numpy.typing import NDArray

from polytask.errors import ConfigError
from polytask.tables.design import appended
from polytask.tables.learner import Model, fed, held_out
from polytask.tables.targets import Target
from polytask.tables.ways.way import Job, Way

__all__ = ["Stack"]


@final
class Stack(Way):
    """ŷ_k = g_k(x, f_1(x), …, f_K(x)): first models by themselves, second ones on their predictions of unseen rows.

    References:
        Spyromitros-Xioufis, Tsoumakas, Groves & Vlahavas (2016), Multi-target regression via input space expansion:
        treating targets as inputs, Machine Learning 104 (stacked single-target, corrected: SSTC).
    """

    def __init__(self, targets: tuple[Target, ...], first: Sequence[Model], second: Sequence[Model]) -> None:
        self.targets = tuple(target.blank() for target in targets)
        self.first, self.second = first, second

    @classmethod
    def fit(cls, job: Job) -> Way:
        """Two models per target.

        Raises:
            ConfigError: There are no folds.
        """
        if job.folds is None:
            raise ConfigError("how='stack' fits on predictions of unseen rows and needs folds: cv=5, found None")
        found = [held_out(job.learner, job.X, target, job.folds) for target in job.targets]
        X = _with(job.X, job.targets, [output for _, output in found])
        return cls(job.targets, [model for model, _ in found], [job.learner.fit(X, target) for target in job.targets])

    def outputs(self, X: Any) -> list[NDArray[Any]]:
        """Of the second models."""
        seen = _with(X, self.targets, [model.output(X) for model in self.first])
        return [model.output(seen) for model in self.second]


def _with(X: Any, targets: Sequence[Target], outputs: Sequence[NDArray[Any]]) -> Any:
    columns, names = [], []
    for target, output in zip(targets, outputs, strict=True):
        columns += fed(target, output)
        names += target.headings
    return appended(X, columns, names)
