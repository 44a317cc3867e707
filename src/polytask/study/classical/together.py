"""The tuned single-task baselines in chains, stacked and pooled, by the ways of :mod:`polytask.tables`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from polytask.errors import ConfigError, TaskError, unknown
from polytask.study.classical.entry import Entry, Fitted, Training
from polytask.study.classical.links import Link, Links, headed, shown
from polytask.study.classical.one_by_one import Model, OneByOne, agreed
from polytask.tables.learner import Folds, Models
from polytask.tables.targets import Target
from polytask.tables.ways import WAYS, Chain, Job, Stack, Way
from polytask.tasks import Nature, Task, TaskSet

__all__ = ["OURS", "SCALES", "WORDS", "Together", "orders_of", "own_options", "together"]

Array = NDArray[Any]
OURS = ("how", "order", "n_chains")
HOWS = ("independent", "chain", "ensemble_chains", "stack", "pooled")
WORDS = {
    "chain": "in a chain, where each task sees predictions of the ones before it",
    "ensemble_chains": "in chains of random orders, of which the mean is taken",
    "stack": "stacked: second models see first predictions of all tasks",
    "pooled": "pooled: one model of the rows of all numbers and one of all yes/no tasks, told whose row it sees",
    "joint": "jointly: one model of all numbers and one of all classes",
}
SCALES = {
    Nature.YES_NO: "odds",
    Nature.SEVERAL_YES_NO: "odds",
    Nature.ORDERED: "odds",
    Nature.CLASSES: "logs",
}
"""What the heads of a nature put out; ``"value"`` for the others."""


def own_options(name: str, options: Mapping[str, Any], hows: Iterable[str]) -> dict[str, Any]:
    """``how``, ``order`` and ``n_chains`` among the options of an entry, checked.

    Raises:
        ConfigError: There is no such way, or an option does not belong to it.
    """
    how = options.get("how", "independent")
    if how not in hows:
        raise ConfigError(unknown(f"how of {name!r}:", str(how), hows))
    if "order" in options and how != "chain":
        raise ConfigError(f"{name}: order belongs to how='chain', found how={how!r}; leave it out")
    order = options.get("order")
    if order is not None and (isinstance(order, str) or not isinstance(order, Sequence)):
        raise ConfigError(f"{name}: order is a list of task names such as order=['a','b'], found {order!r}")
    count = options.get("n_chains", 10)
    if "n_chains" in options and how != "ensemble_chains":
        raise ConfigError(f"{name}: n_chains belongs to how='ensemble_chains', found how={how!r}; leave it out")
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ConfigError(f"{name}: n_chains must be an integer ≥ 1, found {count!r}")
    return {"how": how, "order": order, "n_chains": count}


def orders_of(own: Mapping[str, Any], names: Sequence[str], seed: int) -> Array:
    """Positions of the tasks in every chain.

    Raises:
        TaskError: The order names other tasks than there are.
    """
    if own["how"] == "ensemble_chains":
        random = np.random.default_rng(seed)
        return np.stack([random.permutation(len(names)) for _ in range(own["n_chains"])])
    if own["order"] is None:
        return np.arange(len(names))[None]
    places = {name: place for place, name in enumerate(names)}
    for name in own["order"]:
        if name not in places:
            raise TaskError(unknown("task in order:", str(name), names))
    if sorted(own["order"]) != sorted(names):
        raise TaskError(f"order must name each of the {len(names)} tasks once, found {list(own['order'])}")
    return np.array([[places[name] for name in own["order"]]])


def together(name: str, options: Mapping[str, Any], base: type[Entry]) -> Entry:
    """A baseline, by itself or in the way that its options say; an entry that knows ways of its own as it is.

    Raises:
        ConfigError: An option is unknown or has a value that is not allowed.
    """
    if not issubclass(base, OneByOne) or not options.keys() & {*OURS}:
        return base(name, options)
    if options.get("how") == "independent" and own_options(name, options, HOWS):
        return base(name, {key: value for key, value in options.items() if key != "how"})
    return Together(name, options, base)


@final
class Together(Entry):
    """A single-task baseline that is told of other tasks.

    Models that see other tasks see predictions of rows that had been left out of the folds of the study, which keep
    groups whole. What is chosen by cross-validation (α, the number of trees) is chosen for the model of all rows, and
    taken over by the models of the folds. Of classes probabilities are seen and averaged, of counts log rates.

    Args:
        how: ``"chain"``, ``"ensemble_chains"``, ``"stack"`` or ``"pooled"``, of numbers and yes/no tasks.
        order: Names of the tasks from first to last, for ``"chain"``; by default the order of the study.
        n_chains: Number of chains of ``"ensemble_chains"``.
        **options: Options of the baseline.

    Examples:
        >>> from polytask.study.classical.ridge import Ridge
        >>> Together("ridge", {"how": "chain", "alpha": 0.1}, Ridge).title([])
        "scikit-learn's ridge, logistic or Poisson regression, by kind, in a chain, where each task sees predictions \
of the ones before it"
    """

    alone = False
    storable = True

    def __init__(self, name: str, options: Mapping[str, Any], base: type[OneByOne]) -> None:
        if options.get("how") == "joint":
            raise ConfigError(
                f"{name} has no how='joint': scikit-learn's {name} has no model of several tasks that is another than "
                "one for each; take how='chain' or 'stack', a family of polytask.linear, or a learner that has one: "
                'estimator="sklearn.ensemble:RandomForestRegressor"'
            )
        self.own = own_options(name, options, HOWS)
        self.how = self.own["how"]
        self.base = base(name, {key: value for key, value in options.items() if key not in OURS})
        self.natures = (Nature.NUMBER, Nature.YES_NO) if self.how == "pooled" else self.base.natures
        super().__init__(f"{name}:how={self.how}", options)

    def title(self, tasks: Iterable[Task]) -> str:
        """For the report."""
        return f"{self.base.title(tasks).removesuffix(' for each task alone').rstrip(',')}, {WORDS[self.how]}"

    def check(self) -> None:
        """Nothing more: the baseline has checked its options."""

    def check_tasks(self, tasks: TaskSet) -> None:
        """The order."""
        orders_of(self.own, tasks.names, 0)

    def shares(self, tasks: Iterable[Task]) -> bool:
        """Whether two tasks are there, of one nature for a pool."""
        natures = [task.rule.nature for task in tasks]
        return len(natures) > (len(set(natures)) if self.how == "pooled" else 1)

    def fit(self, training: Training) -> Fitted:
        """Fit the way."""
        names = training.tasks.names
        targets = tuple(
            _target(training.tasks[name], training.targets[name], training.weights.get(name)) for name in names
        )
        X = training.trees if self.base.on_trees else training.linear
        # a pool is no task of the study, even if it is called like one
        learner = _Tuned(self.base, training, {} if self.how == "pooled" else training.tasks)
        way = WAYS[self.how].fit(Job(X, targets, learner, training.folds, orders_of(self.own, names, training.seed)))
        return _Fitted(way, training.tasks, self.base.on_trees)


def _target(task: Task, labels: Array, weight: Array | None) -> Target:
    """A task as a target: yes/no and classes as such, every other nature as numbers of any width."""
    rows = np.arange(len(labels))
    known: Any = ~np.isnan(labels)
    if task.rule.nature in (Nature.YES_NO, Nature.CLASSES):
        classes = np.arange(2 if task.rule.nature is Nature.YES_NO else task.out_features)
        return Target(task.name, np.where(known, labels, 0).astype(np.int64), known, weight, classes, rows)
    return Target(task.name, labels, known.reshape(len(labels), -1).any(axis=1), weight, None, rows)


@final
@dataclasses.dataclass(frozen=True)
class _Said:
    """Fitted models of one task, or of a pool.

    Attributes:
        models: They.
        nature: Of the task.
    """

    models: list[Model]
    nature: Nature

    @property
    def scale(self) -> str:
        return SCALES.get(self.nature, "value")

    def output(self, X: Any) -> Array:
        """What others see, (n, width); both probabilities of a yes/no task."""
        values = shown(self.scale, np.column_stack([model.head(X) for model in self.models]))
        return np.hstack([1 - values, values]) if self.nature is Nature.YES_NO else values

    def link(self, seen: Sequence[int] = (), told: Sequence[float] = ()) -> Link:
        return Link(tuple(model.plain for model in self.models), self.scale, tuple(seen), tuple(told))


@final
@dataclasses.dataclass(frozen=True)
class _Tuned:
    """A baseline as a learner of one target.

    Attributes:
        base: The baseline.
        training: All rows, with their folds.
        tasks: The tasks by name; other targets are numbers or yes/no.
    """

    base: OneByOne
    training: Training
    tasks: Mapping[str, Task]

    def fit(self, X: Any, target: Target, like: Any = None) -> _Said:
        """Fit, with folds of the same rows as in the study, or with what was chosen before."""
        task = self.tasks.get(target.name)
        if task is None:
            task = Task(target.name, "regression" if target.classes is None else "binary")
        labels = target.values.astype(float)
        labels[~target.present] = np.nan
        width = len(self.training.is_category)
        part = dataclasses.replace(
            self.training,
            linear=X,
            trees=X,
            is_category=np.concatenate([self.training.is_category, np.zeros(max(0, X.shape[1] - width), dtype=bool)]),
            targets={task.name: labels},
            weights={} if target.weight is None else {task.name: target.weight},
            folds=[] if like is not None or target.rows is None else list(_folds(self.training.folds, target.rows)),
        )
        return _Said(self.base.models(task, part, like.models if like is not None else ()), task.rule.nature)

    def fit_jointly(self, X: Any, targets: Sequence[Target], labels: Sequence[Array], weight: Array | None) -> Models:
        """No baseline has a model of several targets."""
        raise NotImplementedError


def _folds(folds: Folds, rows: Array) -> Iterator[tuple[Array, Array]]:
    """The folds among these rows, of which one may occur several times."""
    fold = np.empty(1 + max(int(test.max()) for _, test in folds), dtype=np.intp)
    for number, (_, test) in enumerate(folds):
        fold[test] = number
    mine = fold[rows]
    for number in range(len(folds)):
        train, test = np.flatnonzero(mine != number), np.flatnonzero(mine == number)
        if len(train) and len(test):
            yield train, test


@final
class _Fitted(Fitted):
    """A way, fitted."""

    def __init__(self, way: Way, tasks: TaskSet, on_trees: bool) -> None:
        self.way, self.tasks, self.on_trees = way, tasks, on_trees
        places: dict[str, list[_Said]] = {}
        for owner, said in _owned(way, tasks.names):
            places.setdefault(owner, []).append(said)
        models = {owner: [model for said in found for model in said.models] for owner, found in places.items()}
        self.parameters = {owner: sum(model.size for model in found) for owner, found in models.items()}
        self.facts = {owner: agreed([model.facts for model in found]) for owner, found in models.items()}

    def heads(self, linear: Any, trees: Array) -> dict[str, Array]:
        outputs = self.way.outputs(trees if self.on_trees else linear)
        found = {}
        for (name, task), output in zip(self.tasks.items(), outputs, strict=True):
            yes = output[:, 1:] if task.rule.nature is Nature.YES_NO else output
            found[name] = headed(SCALES.get(task.rule.nature, "value"), yes)
        return found

    def plain(self) -> Links:
        return _links(self.way, self.tasks.names)


def _owned(way: Any, names: Sequence[str]) -> Iterator[tuple[str, _Said]]:
    """Fitted models, each with its task; ``"shared"`` for a pool."""
    if isinstance(way, Chain):
        for order, chain in zip(way.orders, way.chains, strict=True):
            yield from ((names[place], said) for place, said in zip(order, chain, strict=True))  # type: ignore[misc]
    elif isinstance(way, Stack):
        yield from zip([*names, *names], [*way.first, *way.second], strict=True)
    else:
        yield from (("shared", said) for said, _ in way.pools)


def _links(way: Any, names: Sequence[str]) -> Links:
    links: list[Link] = []
    ends: dict[str, tuple[int, ...]] = dict.fromkeys(names, ())
    if isinstance(way, Chain):
        for order, chain in zip(way.orders, way.chains, strict=True):
            first = len(links)
            for place, said in zip(order, chain, strict=True):
                ends[names[place]] += (len(links),)
                links.append(said.link(range(first, len(links))))  # type: ignore[attr-defined]
    elif isinstance(way, Stack):
        links = [said.link() for said in way.first]  # type: ignore[attr-defined]
        links += [said.link(range(len(names))) for said in way.second]  # type: ignore[attr-defined]
        ends = {name: (len(names) + place,) for place, name in enumerate(names)}
    else:
        for name, member in zip(names, way.members, strict=True):
            said, group = way.pools[member.pool]
            ends[name] = (len(links),)
            links.append(said.link(told=np.eye(len(group))[member.place].tolist()))
    return Links(tuple(links), ends)
