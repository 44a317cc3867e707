"""Chains: each target's model sees the targets before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from polytask.tables.design import appended
from polytask.tables.learner import Model, fed, held_out
from polytask.tables.targets import Target
from polytask.tables.ways.way import Job, Way

__all__ = ["Chain"]

Array = NDArray[Any]


@final
class Chain(Way):
    """ŷ_{σ(k)} = f_k(x, ŷ_{σ(1)}, …, ŷ_{σ(k−1)}) for an order σ, averaged over several orders where there are several.

    Later models are fitted on predictions of unseen rows, which are what they will be given of new rows; without folds
    on labels where there are labels, and on predictions elsewhere.

    References:
        Read, Pfahringer, Holmes & Frank (2011), Classifier chains for multi-label classification, Machine Learning 85.
        Spyromitros-Xioufis, Tsoumakas, Groves & Vlahavas (2016), Multi-target regression via input space expansion:
        treating targets as inputs, Machine Learning 104 (the corrected chains, ERCC).
    """

    def __init__(self, targets: tuple[Target, ...], orders: Array, chains: Sequence[Sequence[Model]]) -> None:
        self.targets = tuple(target.blank() for target in targets)
        self.orders, self.chains = orders, chains

    @classmethod
    def fit(cls, job: Job) -> Way:
        """Every link of every chain."""
        return cls(job.targets, job.orders, [_links(job, order) for order in job.orders])

    def outputs(self, X: Any) -> list[Array]:
        """Means over the chains."""
        totals: list[Any] = [0.0] * len(self.targets)
        for order, links in zip(self.orders, self.chains, strict=True):
            seen = X
            for place, link in zip(order, links, strict=True):
                output = link.output(seen)
                totals[place] = totals[place] + output / len(self.orders)
                seen = appended(seen, fed(self.targets[place], output), self.targets[place].headings)
        return totals


def _links(job: Job, order: Array) -> list[Model]:
    links: list[Model] = []
    X = job.X
    for number, place in enumerate(order, start=1):
        target = job.targets[place]
        if number == len(order):
            links.append(job.learner.fit(X, target))
        elif job.folds is None:
            links.append(job.learner.fit(X, target))
            seen = np.where(target.present[:, None], target.codes(), links[-1].output(X))
            X = appended(X, fed(target, seen), target.headings)
        else:
            link, output = held_out(job.learner, X, target, job.folds)
            links.append(link)
            X = appended(X, fed(target, output), target.headings)
    return links
