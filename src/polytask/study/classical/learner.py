"""Any estimator of scikit-learn's interface in a study, for each task alone or in a way of :mod:`polytask.tables`."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier

from polytask.errors import ConfigError, MissingExtraError, unknown
from polytask.study.classical.entry import Entry, Fitted, Training
from polytask.study.classical.losses import log_odds, log_shares
from polytask.study.classical.together import OURS, WORDS, orders_of, own_options
from polytask.tables.learner import Clones
from polytask.tables.targets import Target
from polytask.tables.ways import WAYS, Job, Way
from polytask.tasks import Nature, Task, TaskSet

__all__ = ["Learner"]

Array = NDArray[Any]
FORESTS = "sklearn.ensemble:RandomForestRegressor"
PACKAGES = {"sklearn": "scikit-learn"}
"""What the package index calls a package, where that is another name."""


@final
class Learner(Entry):
    """Any learner with scikit-learn's ``fit`` and ``predict``, by import path, or from Python as an object.

    Numbers and counts are learned by a regressor (numbers standardised, counts as they are), yes/no tasks, classes,
    several labels and ordered classes by a classifier, whose probabilities become logits and log probabilities. Nothing
    is chosen by cross-validation: the options are those that are given. Models are not kept, as their form is known to
    their own package only.

    Args:
        estimator: ``"package.module:Class"``, or an estimator; random forests by default.
        classifier: The same for classes, beside a regressor; ``None`` for the ``…Classifier`` beside a
            ``…Regressor``, if there is one.
        options: Arguments of the estimator, and of the classifier unless it has its own.
        classifier_options: Arguments of the classifier.
        inputs: ``"linear"``, standardised numbers beside columns of 0 and 1, or ``"trees"``, numbers beside ranks of
            categories, NaN where a level is missing or rare.
        how: A way of :class:`~polytask.tables.MultiTask`.
        order: Names of the tasks from first to last, for ``"chain"``.
        n_chains: Number of chains of ``"ensemble_chains"``.

    Examples:
        >>> Learner("learner", {"estimator": "sklearn.neighbors:KNeighborsRegressor", "how": "joint"}).title([])
        'KNeighborsRegressor and KNeighborsClassifier, jointly: one model of all numbers and one of all classes'
    """

    def check(self) -> None:
        """Import the learners, and check the names of their options."""
        known = ("estimator", "classifier", "options", "classifier_options", "inputs", *OURS)
        for key in self.options:
            if key not in known:
                raise ConfigError(unknown(f"option of {self.name!r}:", key, known))
        self.own = own_options(self.name, self.options, WAYS)
        if self.options.get("inputs", "linear") not in ("linear", "trees"):
            raise ConfigError(f"{self.name}: inputs must be 'linear' or 'trees', found {self.options['inputs']!r}")
        options = self._table("options", {})
        found = _made(self.options.get("estimator", FORESTS), options)
        other = self.options.get("classifier")
        if is_classifier(found):
            if other is not None:
                raise ConfigError(f"{self.name}: estimator is a classifier; give a regressor there, or no classifier=")
            self.learners = Clones(None, found)
        else:
            more = self._table("classifier_options", {} if other is None else options)
            other = _beside(found) if other is None else other
            self.learners = Clones(found, None if other is None else _made(other, more))

    def _table(self, key: str, otherwise: Mapping[str, Any]) -> Mapping[str, Any]:
        given = self.options.get(key, otherwise)
        if not isinstance(given, Mapping):
            raise ConfigError(f"{self.name}: {key} must be a table of arguments, found {given!r}")
        return given

    def described(self) -> dict[str, Any]:
        """The options, with all arguments of objects."""
        return {key: _described(value) for key, value in self.options.items()}

    @property
    def alone(self) -> bool:  # type: ignore[override]
        """Whether each task has a model of its own."""
        return bool(self.own["how"] == "independent")

    @property
    def natures(self) -> tuple[Nature, ...]:  # type: ignore[override]
        """What the regressor and the classifier learn."""
        numbers = (Nature.NUMBER, Nature.COUNT) if self.learners.regressor is not None else ()
        classes = (Nature.YES_NO, Nature.CLASSES, Nature.SEVERAL_YES_NO, Nature.ORDERED)
        return (*numbers, *(classes if self.learners.classifier is not None else ()))

    def title(self, tasks: Iterable[Task]) -> str:
        """The learners."""
        both = [type(one).__name__ for one in (self.learners.regressor, self.learners.classifier) if one is not None]
        return f"{' and '.join(both)}{', ' + WORDS[self.own['how']] if not self.alone else ' for each task alone'}"

    def note(self, tasks: Iterable[Task]) -> str:
        """That nothing is chosen, and nothing kept."""
        return "options as they were given, none chosen by cross-validation; models of other packages are not kept"

    def check_tasks(self, tasks: TaskSet) -> None:
        """The order."""
        orders_of(self.own, tasks.names, 0)

    def shares(self, tasks: Iterable[Task]) -> bool:
        """Whether two tasks are learned together; in pools and jointly, numbers apart from classes."""
        discrete = [task.rule.nature not in (Nature.NUMBER, Nature.COUNT) for task in tasks]
        apart = self.own["how"] in ("pooled", "joint")
        return not self.alone and len(discrete) > (len(set(discrete)) if apart else 1)

    def fit(self, training: Training) -> Fitted:
        """Fit copies."""
        names = training.tasks.names
        X = training.trees if self.options.get("inputs") == "trees" else training.linear
        targets = [_targets(training.tasks[name], training.targets[name], training.weights.get(name)) for name in names]
        start = np.cumsum([0, *map(len, targets)])
        orders = [
            np.concatenate([np.arange(start[place], start[place + 1]) for place in order])
            for order in orders_of(self.own, names, training.seed)
        ]
        learners = Clones(*(_seeded(one, training.seed) for one in (self.learners.regressor, self.learners.classifier)))
        every = tuple(target for group in targets for target in group)
        with_folds = training.folds if WAYS[self.own["how"]].takes_folds else None
        way = WAYS[self.own["how"]].fit(Job(X, every, learners, with_folds, np.array(orders)))
        return _Fitted(way, training.tasks, start, self.title([]), self.options.get("inputs") == "trees")


@final
class _Fitted(Fitted):
    """A way, fitted; ``start`` says where the targets of each task begin."""

    def __init__(self, way: Way, tasks: TaskSet, start: Array, title: str, on_trees: bool) -> None:
        self.way, self.tasks, self.start, self.on_trees = way, tasks, start, on_trees
        self.parameters = {}
        self.facts = {"+".join(tasks): {"estimator": title}}

    def heads(self, linear: Any, trees: Array) -> dict[str, Array]:
        outputs = self.way.outputs(trees if self.on_trees else linear)
        return {
            name: _head(task, outputs[self.start[place] : self.start[place + 1]])
            for place, (name, task) in enumerate(self.tasks.items())
        }

    def plain(self) -> None:
        return None


def _targets(task: Task, labels: Array, weight: Array | None) -> list[Target]:
    """A task as targets: several labels are as many."""
    if labels.ndim > 1:
        return [_discrete(f"{task.name} {place}", column, 2, weight) for place, column in enumerate(labels.T)]
    if task.rule.nature in (Nature.NUMBER, Nature.COUNT):
        return [Target(task.name, labels, ~np.isnan(labels), weight, None)]
    thresholds = task.rule.nature in (Nature.ORDERED, Nature.YES_NO)
    return [_discrete(task.name, labels, task.out_features + thresholds, weight)]


def _discrete(name: str, labels: Array, count: int, weight: Array | None) -> Target:
    present = ~np.isnan(labels)
    return Target(name, np.where(present, labels, 0).astype(np.int64), present, weight, np.arange(count))


def _head(task: Task, outputs: list[Array]) -> Array:
    """Numbers and probabilities as a network's head would put them out."""
    nature = task.rule.nature
    if nature is Nature.NUMBER:
        return outputs[0][:, 0]
    if nature is Nature.COUNT:
        return log_shares(outputs[0][:, 0])
    if nature is Nature.CLASSES:
        return log_shares(outputs[0])
    if nature is Nature.ORDERED:  # P(y > k), from the last class downwards
        return log_odds(outputs[0][:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:])
    columns = [log_odds(output[:, 1]) for output in outputs]
    return columns[0] if nature is Nature.YES_NO else np.stack(columns, axis=1)


def _described(value: Any) -> Any:
    if not hasattr(value, "get_params") or isinstance(value, type):
        return value
    arguments = {key: _described(one) for key, one in sorted(value.get_params(deep=False).items())}
    return {"class": f"{type(value).__module__}:{type(value).__qualname__}", "arguments": arguments}


def _made(given: Any, options: Mapping[str, Any]) -> Any:
    """An estimator from its import path, or a copy of the object, with options.

    Raises:
        ConfigError: It is no estimator, or an option is not its own.
        MissingExtraError: Its package is not installed.
    """
    what = _imported(given)() if isinstance(given, str) else given
    if isinstance(what, type) or not all(hasattr(what, name) for name in ("fit", "predict", "get_params")):
        raise ConfigError(f"a learner needs fit, predict and get_params, as scikit-learn's have; found {given!r}")
    try:
        return clone(what).set_params(**options)
    except ValueError as error:
        bad = next((key for key in options if key.partition("__")[0] not in what.get_params()), "")
        raise ConfigError(unknown(f"option of {type(what).__name__}:", bad, what.get_params())) from error


def _imported(path: str) -> Any:
    module, colon, name = path.partition(":")
    if not colon or not name.isidentifier():
        raise ConfigError(f'a learner is named "package.module:Class", found {path!r}')
    package = module.partition(".")[0]
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package or _installed(package):
            raise ConfigError(f"{path!r} cannot be imported: {error}") from error
        raise MissingExtraError(
            f"{path!r} needs {package}, which is not installed: pip install {PACKAGES.get(package, package)}"
        ) from error
    if not hasattr(found, name):
        raise ConfigError(unknown(f"class in {module}:", name, [one for one in dir(found) if one[0].isupper()]))
    return getattr(found, name)


def _installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


def _beside(regressor: Any) -> Any:
    """The classifier that goes with a regressor: ``XClassifier`` beside ``XRegressor``, with what was changed of it."""
    kind = type(regressor)
    if not kind.__name__.endswith("Regressor"):
        return None
    name, module = kind.__name__.removesuffix("Regressor") + "Classifier", kind.__module__
    while module:
        twin = getattr(importlib.import_module(module), name, None)
        if twin is not None:
            usual, made = kind().get_params(deep=False), twin()
            known = made.get_params(deep=False)
            given = regressor.get_params(deep=False).items()
            return made.set_params(
                **{key: value for key, value in given if key in known and repr(value) != repr(usual.get(key))}
            )
        module = module.rpartition(".")[0]
    return None


def _seeded(learner: Any, seed: int) -> Any:
    """A copy with the seed of the trial, where it takes one and has none of its own."""
    if learner is None or learner.get_params().get("random_state", seed) is not None:
        return learner
    return clone(learner).set_params(random_state=seed)
