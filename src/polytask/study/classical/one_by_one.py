"""What the single-task baselines share: each task by itself, by kind, from models that know numbers and classes."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from polytask.study.classical.entry import Entry, Fitted, Training
from polytask.study.classical.folds import Folds, within
from polytask.study.classical.links import Links
from polytask.study.classical.losses import log_shares
from polytask.study.classical.plain import Piece, constant
from polytask.tasks import Nature, Task

__all__ = ["Model", "OneByOne", "Part", "agreed", "log_of"]

Array = NDArray[Any]
Head = Callable[[Any], Array]


@final
@dataclasses.dataclass(frozen=True)
class Part:
    """The rows that have a label of one task.

    Attributes:
        X: Matrix (n, d).
        y: Labels (n,).
        folds: Rows to fit and rows to choose by.
        is_category: Which columns of a matrix for trees are categories.
        seed: Seed of the trial.
        grouped: Whether the folds keep groups of rows whole.
        weight: Weights of the rows (n,); None: all 1.
        settled: What was chosen for a model of more rows, as its facts; then nothing is chosen.
    """

    X: Any
    y: Array
    folds: Folds
    is_category: NDArray[np.bool_]
    seed: int
    grouped: bool = False
    weight: Array | None = None
    settled: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def size(self) -> float:
        """Rows, each as often as its weight says."""
        return len(self.y) if self.weight is None else float(self.weight.sum())

    def rows(self, index: Array) -> Part:
        """Some of the rows, without folds."""
        weight = None if self.weight is None else self.weight[index]
        return dataclasses.replace(self, X=self.X[index], y=self.y[index], folds=[], weight=weight)

    def fitted(self, model: Any) -> Any:
        """A model of scikit-learn, fitted on the rows."""
        return model.fit(self.X, self.y, **({} if self.weight is None else {"sample_weight": self.weight}))

    def total(self, losses: Array) -> float:
        """The sum of losses of the rows, each as often as its weight says."""
        return float(losses.sum() if self.weight is None else (losses * self.weight).sum())


@final
@dataclasses.dataclass(frozen=True)
class Model:
    """One fitted model.

    Attributes:
        head: From a matrix to predictions, as a head puts them out.
        size: Fitted numbers.
        facts: What was fitted and what was chosen.
        plain: The same as plain arrays.
    """

    head: Head
    size: int
    facts: dict[str, Any]
    plain: Piece


class OneByOne(Entry):
    """Fits the tasks one by one. A subclass fits numbers, yes/no labels, classes and counts."""

    alone = True
    on_trees: ClassVar[bool]
    storable = True

    @abstractmethod
    def _number(self, part: Part) -> Model:
        """A number."""

    @abstractmethod
    def _binary(self, part: Part) -> Model:
        """A logit; both labels occur."""

    @abstractmethod
    def _multiclass(self, part: Part) -> Model:
        """Probabilities of the sorted labels; at least two occur."""

    @abstractmethod
    def _rate(self, part: Part) -> Model:
        """A log rate; some count is positive."""

    def _quantile(self, part: Part, level: float) -> Model:
        """A quantile, for those that list it in ``natures``."""
        raise NotImplementedError

    def fit(self, training: Training) -> Fitted:
        """One task after the other."""
        return _Heads({name: self.models(task, training) for name, task in training.tasks.items()}, self.on_trees)

    def models(self, task: Task, training: Training, like: Sequence[Model] = ()) -> list[Model]:
        """One model of a task, or several whose predictions stand side by side.

        Args:
            task: The task.
            training: The rows.
            like: Models of the same task on more rows, whose hyper-parameters are taken over.
        """
        fits = self._fits(task, training)
        settled = [model.facts for model in like] or [{} for _ in fits]
        return [fit(dataclasses.replace(part, settled=facts)) for (fit, part), facts in zip(fits, settled, strict=True)]

    def _fits(self, task: Task, training: Training) -> list[tuple[Callable[[Part], Model], Part]]:
        """What is fitted to which labels."""
        y, nature = training.targets[task.name], task.rule.nature
        if nature is Nature.SEVERAL_YES_NO:
            return [(self._yes_no, self._part(training, y[:, j], task.name)) for j in range(y.shape[1])]
        part = self._part(training, y, task.name)
        if nature is Nature.ORDERED:  # what each logit of a head answers: is the class above k?
            above = [(part.y > k).astype(float) for k in range(task.out_features)]
            return [(self._yes_no, dataclasses.replace(part, y=labels)) for labels in above]
        if nature is Nature.QUANTILES:
            return [(partial(self._quantile, level=level), part) for level in task.quantiles or ()]
        if nature is Nature.CLASSES:
            return [(partial(self._classes, count=task.out_features), part)]
        single = {Nature.NUMBER: self._number, Nature.YES_NO: self._yes_no, Nature.COUNT: self._count}
        return [(single[nature], part)]

    def _part(self, training: Training, y: Array, task: str) -> Part:
        keep = ~np.isnan(y)
        X = training.trees if self.on_trees else training.linear
        folds = list(within(training.folds, keep))
        weight = training.weights[task][keep] if task in training.weights else None
        return Part(X[keep], y[keep], folds, training.is_category, training.seed, training.grouped, weight)

    def _yes_no(self, part: Part) -> Model:
        """A logit; where training rows hold one class only, the odds with half an observation of each class."""
        if part.y.size and part.y.min() < part.y.max():
            return self._binary(part)
        odds = float(np.log((part.y.sum() + 0.5) / ((1 - part.y).sum() + 0.5)))
        return _constant(odds, "a constant: one class only")

    def _classes(self, part: Part, count: int) -> Model:
        """Log probabilities of ``count`` classes; training rows may lack some."""
        seen = np.unique(part.y).astype(int)
        if len(seen) == 1:
            return _constant(log_shares(np.arange(count) == seen[0]), "a constant: one class only")
        model = self._multiclass(part)
        plain = dataclasses.replace(model.plain, seen=tuple(seen.tolist()), classes=count)
        return dataclasses.replace(model, head=partial(_spread, model.head, seen, count), plain=plain)

    def _count(self, part: Part) -> Model:
        """A log rate; where there was no event at all, that of half an event."""
        if part.y.any():
            return self._rate(part)
        return _constant(float(np.log(0.5 / len(part.y))), "a constant: no event")


def log_of(predict: Head, X: Any) -> Array:
    """Logarithm of what ``predict`` gives, finite."""
    return log_shares(predict(X))


@final
class _Heads(Fitted):
    """One or several models per task."""

    def __init__(self, models: Mapping[str, Sequence[Model]], trees: bool) -> None:
        self.models, self.trees = models, trees
        self.parameters = {name: sum(model.size for model in found) for name, found in models.items()}
        self.facts = {name: agreed([model.facts for model in found]) for name, found in models.items()}

    def plain(self) -> Links:
        return Links.alone({name: [model.plain for model in found] for name, found in self.models.items()})

    def heads(self, linear: Any, trees: Array) -> dict[str, Array]:
        X = trees if self.trees else linear
        columns = {name: [model.head(X) for model in found] for name, found in self.models.items()}
        return {name: found[0] if len(found) == 1 else np.stack(found, axis=1) for name, found in columns.items()}


def agreed(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One value where all models agree, or a list with one per model."""
    keys = list(dict.fromkeys(key for one in facts for key in one))
    values = {key: [one[key] for one in facts if key in one] for key in keys}
    return {key: found[0] if len(set(found)) == 1 else found for key, found in values.items()}


def _constant(value: Any, why: str) -> Model:
    return Model(partial(_same, np.asarray(value)), int(np.size(value)), {"estimator": why}, constant(value))


def _same(value: Array, X: Any) -> Array:
    """The same prediction for every row."""
    return np.broadcast_to(value, (X.shape[0], *value.shape))


def _spread(head: Head, seen: Array, count: int, X: Any) -> Array:
    """Log probabilities of the classes seen, in their places among all."""
    shares = np.zeros((X.shape[0], count))
    shares[:, seen] = head(X)
    return log_shares(shares)
