"""The decisions of a model, by task: chosen on labelled rows, applied to new ones, as plain values and back."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from polytask.decide.calibration import Isotonic, Temperature
from polytask.decide.conformal import AroundValue, BetweenQuantiles, ClassSets
from polytask.decide.thresholds import Threshold, best_threshold
from polytask.errors import DataError
from polytask.study.decisions.wishes import DECIDED, Wishes
from polytask.tasks import Nature, Task, TaskSet
from polytask.tasks.kind import named

__all__ = ["Decision", "Decisions", "choose_decisions"]

Array = NDArray[Any]
Map = Temperature | Isotonic
Span = AroundValue | BetweenQuantiles | ClassSets
_FORMS: dict[str, Any] = {
    "temperature": Temperature,
    "isotonic": Isotonic,
    "around": AroundValue,
    "between": BetweenQuantiles,
    "sets": ClassSets,
}


@final
@dataclasses.dataclass(frozen=True)
class Decision:
    """What was decided for one task.

    Attributes:
        thresholds: One for a yes/no task, one per label for several yes/no labels (``None`` where it could not be
            chosen); empty where 0.5 stands.
        maps: How probabilities are mended, likewise; one for all classes of a task with classes.
        span: Where the truth lies.
        without: What was asked for and could not be chosen, and why.
    """

    thresholds: tuple[Threshold | None, ...] = ()
    maps: tuple[Map | None, ...] = ()
    span: Span | None = None
    without: tuple[str, ...] = ()

    def mend(self, decoded: Array) -> Array:
        """Calibrated probabilities in the shape of what the task decodes to; rows that are not finite stay so."""
        if not any(self.maps):
            return decoded
        if len(self.maps) == 1:
            return _of_finite_rows(self.maps[0].apply, decoded)  # type: ignore[union-attr]
        columns = [
            one if known is None else _of_finite_rows(known.apply, one)
            for one, known in zip(decoded.T, self.maps, strict=True)
        ]
        return np.stack(columns, axis=1)

    def says(self, mended: Array) -> Array | None:
        """Whether it is a yes, in the shape of the mended probabilities; ``None`` where 0.5 stands for all."""
        if not any(self.thresholds):
            return None
        cuts = [0.5 if one is None else one.value for one in self.thresholds]
        if mended.ndim == 1:
            return np.asarray(mended >= cuts[0])
        return np.stack(
            [mended[:, k] > 0.5 if one is None else one.decide(mended[:, k]) for k, one in enumerate(self.thresholds)],
            axis=1,
        )

    def ends(self, task: Task, decoded: Array) -> tuple[Array, Array] | None:
        """Lower and upper ends, for tasks that predict numbers."""
        if isinstance(self.span, AroundValue):
            value = _values(decoded)
            low, high = self.span.apply(value, _scale(task, value))
            return (low.clip(0, None) if task.rule.nature is Nature.COUNT else low), high
        return self.span.apply(decoded[:, 0], decoded[:, -1]) if isinstance(self.span, BetweenQuantiles) else None

    def members(self, decoded: Array) -> NDArray[np.bool_] | None:
        """Which classes are in the set of each row (n, C), by probabilities that are not mended."""
        return self.span.apply(decoded) if isinstance(self.span, ClassSets) else None

    def columns(self, task: Task, decoded: Array, mended: Array) -> dict[str, Array]:
        """Columns beside those of the kind, or in their place, by what stands after the task's name.

        Args:
            task: The task.
            decoded: What the model said, decoded.
            mended: The same with :meth:`mend`.
        """
        found: dict[str, Array] = {}
        if (yes := self.says(mended)) is not None:
            if mended.ndim == 1:
                found[""] = _classes(yes, task.labels, mended)
            else:
                names = range(mended.shape[1]) if task.labels is None else task.labels
                found |= {str(name): _classes(yes[:, k], None, mended[:, k]) for k, name in enumerate(names)}
        if (ends := self.ends(task, decoded)) is not None:
            found |= {"low": ends[0], "high": ends[1]}
        if (members := self.members(decoded)) is not None:
            classes = [str(name) for name in (range(members.shape[1]) if task.labels is None else task.labels)]
            known = np.isfinite(decoded).reshape(len(decoded), -1).all(axis=1)
            texts = [" | ".join(name for name, inside in zip(classes, row, strict=True) if inside) for row in members]
            sets = np.array(texts, dtype=object)
            sets[~known] = None
            found["set"] = sets
        return found

    def plain(self) -> dict[str, Any]:
        """Plain values, for JSON; infinities as texts."""
        return {
            "thresholds": [one and _plain(one) for one in self.thresholds],
            "maps": [one and {"form": _form(one), **_plain(one)} for one in self.maps],
            "span": self.span and {"form": _form(self.span), **_plain(self.span)},
            "without": list(self.without),
        }

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Decision:
        """What :meth:`plain` gave."""
        return cls(
            tuple(one and _read(Threshold, one) for one in values["thresholds"]),
            tuple(one and _read_form(one) for one in values["maps"]),
            values["span"] and _read_form(values["span"]),
            tuple(values["without"]),
        )


@final
@dataclasses.dataclass(frozen=True)
class Decisions(Mapping[str, Decision]):
    """Decisions by task, with what was asked for and what they are worth on rows they were not chosen on.

    Attributes:
        wishes: What was asked for.
        by_task: What was decided, for the tasks of which something was.
        test: What :func:`~polytask.study.decisions.measure_decisions` found on test rows; empty if there were none.
    """

    wishes: Wishes = dataclasses.field(default_factory=Wishes)
    by_task: Mapping[str, Decision] = dataclasses.field(default_factory=dict)
    test: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __getitem__(self, task: str) -> Decision:
        return self.by_task[task]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_task)

    def __len__(self) -> int:
        return len(self.by_task)

    def plain(self) -> dict[str, Any]:
        """Plain values, for JSON; empty where nothing was decided."""
        if not self.wishes:
            return {}
        tasks = {name: one.plain() for name, one in self.items()}
        return {"asked": self.wishes.plain(), "tasks": tasks, "test": dict(self.test)}

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Decisions:
        """What :meth:`plain` gave."""
        if not values:
            return cls()
        tasks = {name: Decision.read(one) for name, one in values["tasks"].items()}
        return cls(Wishes.of(values["asked"]), tasks, values["test"])


def choose_decisions(
    tasks: TaskSet, labels: Mapping[str, Array], decoded: Mapping[str, Array], wishes: Wishes
) -> Decisions:
    """Choose what was asked for, on rows that the model was not fitted on.

    Probabilities are calibrated first, then thresholds are chosen for the calibrated ones. Sets come from the
    probabilities as the model gives them, so that what they promise does not depend on the calibration.

    Args:
        tasks: The tasks.
        labels: Task → labels in natural units (n,), or (n, L) for several yes/no labels; NaN where missing.
        decoded: Task → what :meth:`~polytask.tasks.Task.decode` gives for these rows.
        wishes: What is to be decided.

    Raises:
        ConfigError: A threshold is asked for a task that does not say yes or no.
    """
    wishes.check(tasks)
    found = {}
    for name in labels:
        one = _choose(tasks[name], np.asarray(labels[name], float), np.asarray(decoded[name], float), wishes)
        if one != Decision():
            found[name] = one
    return Decisions(wishes, found)


def _choose(task: Task, labels: Array, decoded: Array, wishes: Wishes) -> Decision:
    nature, without = task.rule.nature, []

    def attempt(what: str, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except DataError as error:
            without.append(f"{what}: {error}")
            return None

    several = nature is Nature.SEVERAL_YES_NO
    pairs = list(zip(labels.T, decoded.T, strict=True)) if several else [(labels, decoded)]
    maps: tuple[Map | None, ...] = ()
    if wishes.calibrate and (nature.classes or several):
        form = _FORMS[wishes.calibrate]
        maps = tuple(attempt("calibration", functools.partial(form.fit, y, p)) for y, p in pairs)
    thresholds: tuple[Threshold | None, ...] = ()
    by = wishes.threshold(task.name)
    if by is not None and nature in DECIDED:
        chosen: dict[str, Any] = {"metric": by} if isinstance(by, str) else {"costs": tuple(by)}
        mended = Decision(maps=maps).mend(decoded)
        columns = zip(labels.T, mended.T, strict=True) if several else [(labels, mended)]
        thresholds = tuple(attempt("threshold", functools.partial(best_threshold, y, p, **chosen)) for y, p in columns)
    span = None
    if wishes.coverage is not None and nature not in (Nature.SEVERAL_YES_NO, Nature.OTHER):
        span = attempt("interval", lambda: _span(task, labels, decoded, wishes.coverage))
    return Decision(thresholds, maps, span, tuple(without))


def _span(task: Task, labels: Array, decoded: Array, coverage: float | None) -> Span:
    promised: dict[str, Any] = {"coverage": coverage}
    if task.rule.nature.classes:
        return ClassSets.fit(labels, decoded, **promised)
    if task.rule.nature is Nature.QUANTILES and decoded.shape[1] > 1:
        return BetweenQuantiles.fit(labels, decoded[:, 0], decoded[:, -1], **promised)
    value = _values(decoded)
    return AroundValue.fit(labels, value, scale=_scale(task, value), **promised)


def _values(decoded: Array) -> Array:
    return decoded if decoded.ndim == 1 else decoded[:, 0]


def _scale(task: Task, value: Array) -> Array | None:
    """Counts spread like √λ where they are Poisson; √(λ + 1) keeps the rarest ones from ruling the interval."""
    return np.sqrt(value + 1) if task.rule.nature is Nature.COUNT else None


def _of_finite_rows(apply: Callable[[Array], Array], values: Array) -> Array:
    good = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    found = np.array(values, dtype=np.float64)
    if good.any():
        found[good] = apply(found[good])
    return found


def _classes(yes: Array, labels: Sequence[str] | None, mended: Array) -> Array:
    """Yes or no as the kinds write it; ``None`` where the probability is not finite."""
    return named(torch.from_numpy(yes.astype(np.int64)), labels, torch.from_numpy(np.isfinite(mended)))


def _form(one: Any) -> str:
    return next(name for name, form in _FORMS.items() if isinstance(one, form))


def _plain(one: Any) -> dict[str, Any]:
    def value(found: Any) -> Any:
        if isinstance(found, tuple):
            return [[float(number) for number in part] for part in found]
        return str(found) if isinstance(found, float) and not math.isfinite(found) else found

    return {field.name: value(getattr(one, field.name)) for field in dataclasses.fields(one)}


def _read(form: Any, values: Mapping[str, Any]) -> Any:
    def value(name: str, found: Any) -> Any:
        if isinstance(found, list):
            return tuple(np.array(part) for part in found)
        return float(found) if isinstance(found, str) and name != "metric" else found

    return form(**{name: value(name, found) for name, found in values.items() if name != "form"})


def _read_form(values: Mapping[str, Any]) -> Any:
    return _read(_FORMS[values["form"]], values)
