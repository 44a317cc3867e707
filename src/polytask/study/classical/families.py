"""The families of polytask.linear as entries: one estimator for the tasks of each nature."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polytask.errors import ConfigError, unknown
from polytask.linear.base import LinearMultiTask
from polytask.study.classical.entry import Entry, Fitted, Training
from polytask.study.classical.folds import Folds, within
from polytask.study.classical.links import Links
from polytask.study.classical.losses import log_odds, log_shares
from polytask.study.classical.plain import Piece
from polytask.study.classical.plain import linear as plain_linear
from polytask.tasks import Nature, Task

__all__ = ["Family", "estimator_class"]

Array = NDArray[Any]
ROLES: dict[Nature, tuple[str, dict[str, Any]]] = {
    Nature.NUMBER: ("Regressor", {}),
    Nature.YES_NO: ("Classifier", {}),
    Nature.COUNT: ("Regressor", {"loss": "poisson"}),
}
"""What is learned, each with the estimator that learns it and what this is told."""
WORDS = {
    Nature.NUMBER: "one regressor for",
    Nature.YES_NO: "one classifier for",
    Nature.COUNT: "one Poisson regressor for",
}
_FACTS = (("alpha", "alpha"), ("alpha", "alpha_"), ("ridge", "ridge_"), ("dual_gap", "dual_gap_"))
NO_COUNTS: dict[str, str] = {"calibrated": "it takes roots of squared losses"}
"""Families whose regressor takes the Poisson loss but cannot be fitted with it, and why."""
SEVERAL_MODELS = ("chains", "powerset")
"""Families of several models per task, which have no form as one linear predictor each."""
OURS = ("task_col", "unseen", "warm_start")
"""Parameters that have no meaning where every task is a column."""


def estimator_class(family: str, role: str, *, fixed: bool) -> Any:
    """The estimator of a family, or ``None`` if it has none.

    Args:
        family: Module of polytask.linear.
        role: ``"Regressor"`` or ``"Classifier"``.
        fixed: At a given α, rather than cross-validated.

    Examples:
        >>> estimator_class("trace_norm", "Classifier", fixed=False).__name__
        'TraceNormClassifierCV'
        >>> estimator_class("calibrated", "Classifier", fixed=True) is None
        True
    """
    from sklearn.base import ClassifierMixin, RegressorMixin

    from polytask.linear.registry import ESTIMATORS, FAMILIES

    mixin = {"Regressor": RegressorMixin, "Classifier": ClassifierMixin}[role]
    found = [ESTIMATORS[name] for name in FAMILIES[family]]
    found = [made for made in found if issubclass(made, mixin)]
    exact = [made for made in found if made.__name__.endswith("CV") != fixed]
    return next(iter(exact or found), None)


@final
class Family(Entry):
    """A family of polytask.linear; cross-validated unless ``alpha`` is given.

    The options are those of its estimators, and go to all of them. Counts are learned by the regressor with the Poisson
    loss, where it has it and the options name no other ``loss``.
    """

    alone = False

    @property
    def storable(self) -> bool:  # type: ignore[override]
        """Whether it ends in one linear predictor per task."""
        return self.name not in SEVERAL_MODELS

    @property
    def natures(self) -> tuple[Nature, ...]:  # type: ignore[override]
        """Numbers and counts, if it has a regressor for them; yes/no tasks, if it has a classifier."""
        return tuple(nature for nature in ROLES if self._class(nature) is not None)

    def title(self, tasks: Iterable[Task]) -> str:
        """The estimators for these tasks."""
        wanted = {task.rule.nature for task in tasks}
        names = dict.fromkeys(self._class(nature).__name__ for nature in self.natures if nature in wanted)
        return f"polytask.linear's {' and '.join(names)}"

    def check(self) -> None:
        """Parameters of all its estimators, with values they allow."""
        for nature in self.natures:
            made = self._class(nature)
            known = [key for key in inspect.signature(made).parameters if key not in OURS]
            for key in self.options:
                if key not in known:
                    raise ConfigError(unknown(f"option of {self.name!r}:", key, known))
            try:
                made(**self.options)._validate_params()
            except ValueError as error:
                raise ConfigError(f"{self.name}: {error}") from error

    def fit(self, training: Training) -> Fitted:
        """One estimator for numbers, one for yes/no tasks, one for counts."""
        found = {}
        for nature in self.natures:
            tasks = [name for name, task in training.tasks.items() if task.rule.nature is nature]
            if tasks:
                found[nature] = (tasks, self._fit(nature, tasks, training))
        return _Joint(found)

    def shares(self, tasks: Iterable[Task]) -> bool:
        """Whether two tasks are learned by one estimator."""
        natures = [task.rule.nature for task in tasks]
        return len(set(natures)) < len(natures)

    def note(self, tasks: Iterable[Task]) -> str:
        """That numbers and yes/no tasks share nothing."""
        names: dict[Nature, list[str]] = {}
        for task in tasks:
            names.setdefault(task.rule.nature, []).append(task.name)
        parts = [f"{WORDS[nature]} {', '.join(found)}" for nature, found in names.items()]
        return f"{' and '.join(parts)}, which share nothing" if len(parts) > 1 else ""

    def _class(self, nature: Nature) -> Any:
        """The estimator that learns such tasks, or ``None``."""
        role, told = ROLES[nature]
        made = estimator_class(self.name, role, fixed="alpha" in self.options)
        if made is not None and told:
            able = issubclass(made, LinearMultiTask) and told["loss"] in made._losses and self.name not in NO_COUNTS
            return made if able and "loss" not in self.options else None
        return made

    def _fit(self, nature: Nature, tasks: list[str], training: Training) -> Any:
        targets = pd.DataFrame({name: training.targets[name] for name in tasks})
        keep = targets.notna().any(axis=1).to_numpy()
        targets = targets[keep].reset_index(drop=True)
        known: Any = targets
        if self.options.get("shape") is not None:  # a shape counts the tasks, in their order
            known = known.to_numpy()
        made = self._class(nature)
        accepted = inspect.signature(made).parameters
        ours: dict[str, Any] = {"random_state": training.seed, **ROLES[nature][1]}
        if issubclass(made, LinearMultiTask):  # others may leave out rows, of which our folds would know nothing
            folds = list(within(training.folds, keep))
            ours["cv"] = folds if nature is Nature.NUMBER else _bounded(folds, targets.to_numpy())
        options = {key: value for key, value in ours.items() if key in accepted} | self.options
        weight = self._weights(tasks, training)
        told = {} if weight is None else {"sample_weight": weight[keep]}
        if told and "sample_weight" not in inspect.signature(made.fit).parameters:
            raise ConfigError(f"{self.name} takes no weights of rows or classes; leave it out, or the weights")
        return made(**options).fit(training.linear[keep], known, **told)

    def _weights(self, tasks: list[str], training: Training) -> Array | None:
        """Weights of the rows, where all tasks that have a label there agree."""
        if not training.weights:
            return None
        rows = len(training.targets[tasks[0]])
        own = np.stack([training.weights.get(name, np.ones(rows)) for name in tasks], axis=1)
        known = ~np.isnan(np.stack([training.targets[name] for name in tasks], axis=1))
        weight: Array = np.where(known, own, 0.0).max(axis=1)
        if (known & (own != weight[:, None])).any():
            raise ConfigError(
                f"{self.name} learns its tasks together and takes one weight per row, but the weights of "
                f"{', '.join(tasks)} differ in a row; give all of them the same weights and no class_weight, or leave "
                "it out"
            )
        return weight


def _bounded(folds: Folds, targets: Array) -> Folds:
    """Leave out folds in whose training part the likelihood of a task has no maximiser.

    These hold one class, or one count, of a task that has several. All folds stay where none would be left.
    """

    def varies(values: Array) -> NDArray[np.bool_]:
        known = ~np.isnan(values)
        low, high = np.where(known, values, np.inf).min(axis=0), np.where(known, values, -np.inf).max(axis=0)
        return np.asarray(low < high)

    several = varies(targets)
    return [fold for fold in folds if varies(targets[fold[0]])[several].all()] or folds


@final
class _Joint(Fitted):
    """At most one estimator for tasks of each nature."""

    def __init__(self, found: Mapping[Nature, tuple[list[str], Any]]) -> None:
        self.found = found
        self.parameters, self.facts = {}, {}
        for tasks, model in found.values():
            self.facts["+".join(tasks)] = {
                "estimator": type(model).__name__,
                **{key: float(getattr(model, name)) for key, name in _FACTS if hasattr(model, name)},
            }
            if hasattr(model, "coef_"):
                width = np.atleast_2d(model.coef_).shape[1] + 1
                self.parameters |= dict.fromkeys(tasks, width)
            else:
                self.parameters["shared"] = self.parameters.get("shared", 0) + _size(model)

    def plain(self) -> Links | None:
        """Of families that end in one linear predictor per task."""
        found: dict[str, list[Piece]] = {}
        for nature, (tasks, model) in self.found.items():
            if not hasattr(model, "coef_"):
                return None
            coef, intercept = np.atleast_2d(model.coef_), np.broadcast_to(model.intercept_, len(tasks))
            link = "rate" if nature is Nature.COUNT else "value"
            found |= {name: [plain_linear(coef[t], intercept[t], link)] for t, name in enumerate(tasks)}
        return Links.alone(found)

    def heads(self, linear: Any, trees: Array) -> dict[str, Array]:
        """Standardised values, logits and log rates."""
        found: dict[str, Array] = {}
        for nature, (tasks, model) in self.found.items():
            if nature is Nature.NUMBER:
                columns = model.predict(linear)
            elif nature is Nature.COUNT:
                columns = log_shares(model.predict(linear))
            elif hasattr(model, "decision_function"):
                columns = model.decision_function(linear)
            else:
                columns = log_odds(model.predict_proba(linear))
            columns = np.asarray(columns).reshape(linear.shape[0], len(tasks))
            found |= {name: columns[:, place] for place, name in enumerate(tasks)}
        return found


def _size(model: Any) -> int:
    """Coefficients and intercepts of an estimator made of others."""
    if isinstance(model, list | tuple):
        return sum(map(_size, model))
    if hasattr(model, "coef_"):
        return int(np.size(model.coef_) + np.size(model.intercept_))
    inside = ("best_estimator_", "estimator_", "estimators_")
    return next((_size(getattr(model, key)) for key in inside if hasattr(model, key)), 0)
