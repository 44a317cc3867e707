"""A dry run: one batch through reading, encoding, the model, the losses and every method, with what a step costs."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

from torch import Tensor

from polytask.balance import Balancer
from polytask.cli.cost import Bench
from polytask.data import MultiTaskData, MultiTaskLoader
from polytask.data.tally import tally, too_few
from polytask.data.weighing import balanced_tasks
from polytask.share import MultiTaskModel
from polytask.share.blueprint import Blueprint
from polytask.study.contenders import read_contenders
from polytask.study.contenders.network import sharing_in_words
from polytask.study.learnable import learned_by, left_out_of
from polytask.study.outcome.power import lacking
from polytask.study.trivial import judge_trivially
from polytask.tasks import TaskSet

if TYPE_CHECKING:
    from polytask.study import Config

__all__ = ["dry_run"]


def dry_run(
    settings: Config, say: Callable[[str], None] = print, *, evidence: bool = True, seconds: float = 30.0
) -> dict[str, Any]:
    """Send one batch through everything that a configuration describes; nothing is written.

    Args:
        settings: The configuration.
        say: Called with each stage before it begins.
        evidence: Also take steps with every way to collect gradients, for methods that look at them.
        seconds: How long to go on trying such ways; those that were not begun by then are named under ``not_timed``.

    Returns:
        ``data`` (rows, labels and missing shares per split), ``model`` (partition, unreached parameters; under
        ``models`` those of every architecture that is compared), ``batch`` (losses and labels) and ``methods``
        (time, memory and backward passes of one step, and under ``evidence`` the
        same for each way to collect gradients; an estimator, which has no steps, is only checked to fit), as plain
        values.

    Raises:
        PolytaskError: Whatever would have stopped training.
    """
    say("reading the data")
    data = settings.build_data()
    setting = settings.setting()
    rows = read_contenders(settings.compare_options()["methods"], setting)
    say("building the model")
    loader = MultiTaskLoader(data.train, batch_size=setting.train.batch_size, seed=setting.train.seed)
    benches = _Benches(data, *next(iter(loader)).parts[0])
    blueprint = Blueprint.of(
        data, encoder=setting.encoder, architecture=setting.architectures[0], seed=setting.train.seed
    )
    say("sending one batch through the model")
    losses = benches.of(blueprint).losses
    methods: dict[str, dict[str, Any]] = {}
    not_timed: dict[str, list[str]] = {}
    deadline = time.perf_counter() + seconds
    left_out = left_out_of(rows, data, settings.protocol.baseline or "")
    for row in rows:
        for tasks in row.groups(learned_by(row, data, left_out)):
            row.check(data, tasks)
        step = row.step(data)
        if step is None:
            methods[row.label] = {"milliseconds": None, "megabytes": None, "backward_passes": 0}
            continue
        say(f"timing a step of {row.label}")
        trial = benches.of(step.blueprint)
        if row.alone:
            methods[row.label] = trial.bench.single()
        elif step.plain:
            methods[row.label] = dict(trial.plain)
        else:
            start = functools.partial(trial.bench.start, step.build, step.engine)
            methods[row.label] = trial.bench.cost(start, step.engine.get("every", 1))
        if evidence and step.sees_gradients:
            say(f"timing the ways to collect gradients for {row.label}")
            methods[row.label]["evidence"], left = trial.bench.evidence(step.build, step.engine, deadline)
            not_timed |= {row.label: left} if left else {}
    plain = benches.of(blueprint).plain
    for cost in [one for method in methods.values() for one in (method, *method.get("evidence", {}).values())]:
        _relate(cost, plain)
    models = {words: _model(trial.bench.model, trial.probe, data) for words, trial in benches.known.items()}
    return {
        "data": _data(data, [why for tasks in left_out.values() for why in tasks.values()]),
        "model": next(iter(models.values())),
        "models": models,
        "batch": {
            "rows": setting.train.batch_size,
            "losses": {task: float(loss.detach()) for task, loss in losses.items()},
            "labels": data.tasks.counts(benches.targets),
        },
        "methods": methods,
        "not_timed": not_timed,
        "steps_per_epoch": len(loader),
    }


@final
class _Trial:
    """A model that rows train, tried on one batch.

    Args:
        blueprint: What it is built from.
        tasks: The tasks.
        inputs: The batch's inputs.
        targets: The batch's targets.
    """

    def __init__(self, blueprint: Blueprint, tasks: TaskSet, inputs: Any, targets: Mapping[str, Tensor]) -> None:
        model = blueprint.build()
        self.losses = tasks.losses(model(inputs), targets)
        self.probe = Balancer("equal", tasks=tasks, announce=None)
        self.probe.backward(self.losses)
        self.bench = Bench(model, tasks, inputs, targets)
        self.plain = self.bench.plain()


@final
class _Benches:
    """One bench for each model that rows train, by its architecture in words; rows with the same model share it.

    Args:
        data: The data.
        inputs: One batch's inputs.
        targets: The batch's targets.
    """

    def __init__(self, data: MultiTaskData, inputs: Any, targets: Mapping[str, Tensor]) -> None:
        self.tasks, self.inputs, self.targets = balanced_tasks(data.tasks, [data.train]), inputs, targets
        self.known: dict[str, _Trial] = {}

    def of(self, blueprint: Blueprint) -> _Trial:
        """The bench of a model, made when it is first asked for."""
        words = sharing_in_words({"name": blueprint.architecture, **blueprint.options})
        if words not in self.known:
            self.known[words] = _Trial(blueprint, self.tasks, self.inputs, self.targets)
        return self.known[words]


def _relate(cost: dict[str, Any], plain: Mapping[str, Any]) -> None:
    """Add what a step costs beyond one of the plain sum."""
    steps = cost["milliseconds"] is not None
    cost["ratio_to_equal"] = cost["milliseconds"] / plain["milliseconds"] if steps else None
    cost["extra_megabytes"] = max(cost["megabytes"] - plain["megabytes"], 0.0) if steps else None


def _data(data: MultiTaskData, left_out: Sequence[str]) -> dict[str, Any]:
    counts: dict[Any, Any] = data.counts().astype(int).to_dict(orient="index")
    rows = {split: len(source) for split, source in data.splits.items()}
    rarer, total = judge_trivially(data).rarer, sum(rows.values())
    short = {task: lacking(int(counts[task]["test"]), rarer.get(task), total) for task in data.tasks}
    few = [f"no verdict on {task}: {why}" for task, why in short.items() if why]
    classes = tally(data)
    return {
        "name": data.name,
        "inputs": data.inputs.describe(),
        "rows": rows,
        "tasks": {
            task: {
                "kind": data.tasks[task].kind,
                "labels": {split: int(counts[task][split]) for split in rows},
                "missing": {split: 1 - counts[task][split] / max(rows[split], 1) for split in rows},
                "classes": classes.get(task, {}),
            }
            for task in data.tasks
        },
        "notes": data.notes,
        "warnings": [*data.details.get("surprises", ()), *left_out, *too_few(classes), *few],
    }


def _model(model: MultiTaskModel, probe: Balancer, data: MultiTaskData) -> dict[str, Any]:
    return {
        "partition": str(probe.partition),
        "shared": sum(tensor.numel() for tensor in probe.partition.shared),
        "per_task": {task: sum(t.numel() for t in own) for task, own in probe.partition.owned.items()},
        "unreached": probe.partition.out_of_reach(model),
        "not_in_batch": [task for task in data.tasks if task not in probe.partition.reach],
    }
