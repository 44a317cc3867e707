"""Pooling: one model of all targets, which is told whose row it sees."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import _num_samples

from polytask.tables.design import appended, rows_of
from polytask.tables.learner import Model, standard
from polytask.tables.targets import Target
from polytask.tables.ways.way import Job, Way

__all__ = ["Pooled"]

Array = NDArray[Any]


@final
@dataclasses.dataclass(frozen=True)
class _Member:
    """A target within a pool.

    Attributes:
        pool: Number of the pool.
        place: Its place there.
        unit: Mean and standard deviation of its labels; (0, 1) for classes.
        classes: Places of its classes among those of the pool; ``None`` for a number.
    """

    pool: int
    place: int
    unit: tuple[float, float]
    classes: Array | None


@final
class Pooled(Way):
    """ŷ_k = f(x, e_k): one model of the rows of all targets, with e_k the indicator of the target.

    Numbers are pooled after standardisation by each target's own mean and standard deviation; targets that are classes
    are pooled among themselves, and a target's probabilities are those of its own classes, made to sum to one.
    """

    takes_folds = False

    def __init__(self, pools: Sequence[tuple[Model, tuple[Target, ...]]], members: Sequence[_Member]) -> None:
        self.pools, self.members = pools, members

    @classmethod
    def fit(cls, job: Job) -> Way:
        """One model of the numbers and one of the classes."""
        pools: list[tuple[Model, tuple[Target, ...]]] = []
        members: dict[int, _Member] = {}
        for discrete in (False, True):
            places = [place for place, target in enumerate(job.targets) if (target.classes is not None) is discrete]
            if not places:
                continue
            group = tuple(job.targets[place] for place in places)
            joint, own = (_classes if discrete else _numbers)(group, len(pools))
            rows = np.concatenate([np.flatnonzero(target.present) for target in group])
            whose = np.repeat(np.arange(len(group)), [int(target.present.sum()) for target in group])
            X = _told(rows_of(job.X, rows), whose, group)
            pools.append((job.learner.fit(X, joint), tuple(target.blank() for target in group)))
            members |= dict(zip(places, own, strict=True))
        return cls(pools, [members[place] for place in range(len(job.targets))])

    def outputs(self, X: Any) -> list[Array]:
        """Of each target's pool, told that it is this target's turn."""
        found = []
        for member in self.members:
            model, group = self.pools[member.pool]
            output = model.output(_told(X, np.full(_num_samples(X), member.place), group))
            if member.classes is None:
                found.append(output * member.unit[1] + member.unit[0])
                continue
            own = output[:, member.classes]
            total = own.sum(axis=1, keepdims=True)
            found.append(np.where(total > 0, own / np.where(total > 0, total, 1), 1 / len(member.classes)))
        return found


def _told(X: Any, whose: Array, group: Sequence[Target]) -> Any:
    """Inputs with indicators of the targets."""
    return appended(
        X, [(whose == place).astype(float) for place in range(len(group))], [f"is {one.name}" for one in group]
    )


def _numbers(group: Sequence[Target], pool: int) -> tuple[Target, list[_Member]]:
    members, values = [], []
    for place, target in enumerate(group):
        y = target.values[target.present]
        weight = None if target.weight is None else target.weight[target.present]
        unit = standard(y, weight)
        members.append(_Member(pool, place, unit, None))
        values.append((y - unit[0]) / unit[1])
    return _joined(group, np.concatenate(values), None), members


def _classes(group: Sequence[Target], pool: int) -> tuple[Target, list[_Member]]:
    labels = [target.classes for target in group if target.classes is not None]
    known: Mapping[Any, int] = {
        label: code for code, label in enumerate(dict.fromkeys(x for own in labels for x in own.tolist()))
    }
    maps = [np.array([known[label] for label in own.tolist()]) for own in labels]
    values = [codes[target.values[target.present]] for codes, target in zip(maps, group, strict=True)]
    members = [_Member(pool, place, (0.0, 1.0), codes) for place, codes in enumerate(maps)]
    return _joined(group, np.concatenate(values), np.arange(len(known))), members


def _joined(group: Sequence[Target], values: Array, classes: Array | None) -> Target:
    """One target of all rows."""
    weight = None
    if any(target.weight is not None for target in group):
        every = [np.ones(len(one.present)) if one.weight is None else one.weight for one in group]
        weight = np.concatenate([column[one.present] for column, one in zip(every, group, strict=True)])
    known = None
    if group[0].rows is not None:
        known = np.concatenate([one.rows[one.present] for one in group if one.rows is not None])
    return Target("all targets", values, np.ones(len(values), dtype=bool), weight, classes, known)
