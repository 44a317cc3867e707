"""Jointly: one model that knows several targets at once, such as a forest whose trees serve all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from polytask.errors import ConfigError
from polytask.tables.design import rows_of
from polytask.tables.learner import Learner
from polytask.tables.targets import Target
from polytask.tables.ways.way import Job, Way

__all__ = ["Joint"]

Array = NDArray[Any]


@final
class Joint(Way):
    """(ŷ_1, …, ŷ_K) = f(x), by a learner whose ``fit`` takes a matrix of targets.

    scikit-learn's trees, forests, nearest neighbours and perceptrons do, XGBoost with ``multi_output_tree``, CatBoost
    with ``MultiRMSE``. Numbers are standardised, so that no target counts more for its unit; the numbers are one
    problem and the classes another. Such learners need every label of a row: missing ones are filled in with what a
    model of that target alone says of them (its class with the highest probability).
    """

    takes_folds = False

    def __init__(self, groups: Sequence[tuple[Sequence[int], Any]], count: int) -> None:
        self.groups, self.count = groups, count

    @classmethod
    def fit(cls, job: Job) -> Way:
        """One model of the numbers and one of the classes.

        Raises:
            ConfigError: Labels of one row have different weights.
        """
        groups = []
        for discrete in (False, True):
            places = [place for place, target in enumerate(job.targets) if (target.classes is not None) is discrete]
            if places:
                every = [job.targets[place] for place in places]
                rows = np.flatnonzero(np.any([target.present for target in every], axis=0))
                X, group = rows_of(job.X, rows), [target.within(rows) for target in every]
                filled = [_filled(job.learner, X, target) for target in group]
                groups.append((places, job.learner.fit_jointly(X, group, filled, _weight(group))))
        return cls(groups, len(job.targets))

    def outputs(self, X: Any) -> list[Array]:
        """Of each target."""
        found: list[Any] = [None] * self.count
        for places, model in self.groups:
            for place, output in zip(places, model.outputs(X), strict=True):
                found[place] = output
        return found


def _filled(learner: Learner, X: Any, target: Target) -> Array:
    """Labels (n,), with predictions where they are missing."""
    if target.present.all():
        return target.values
    output = learner.fit(X, target).output(X)
    guess = output[:, 0] if target.classes is None else output.argmax(axis=1)
    return np.where(target.present, target.values, guess)


def _weight(group: Sequence[Target]) -> Array | None:
    """One weight per row: that of its labels, of which there is one at least."""
    if all(target.weight is None for target in group):
        return None
    rows = len(group[0].present)
    weights = [np.ones(rows) if target.weight is None else target.weight for target in group]
    known = [np.where(target.present, weight, np.nan) for target, weight in zip(group, weights, strict=True)]
    largest: Array = np.nanmax(known, axis=0)
    if (largest != np.nanmin(known, axis=0)).any():
        raise ConfigError("how='joint' takes one weight for each row, and labels of one row have different ones")
    return largest
