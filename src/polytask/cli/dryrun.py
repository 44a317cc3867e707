"""A dry run: one batch through reading, encoding, the model, the losses and every method, with what a step costs."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from polytask.balance import METHODS, Balancer, LossMethod
from polytask.cli.cost import Bench
from polytask.data import MultiTaskData, MultiTaskLoader
from polytask.data.tally import tally, too_few
from polytask.share import MultiTaskModel, build_model
from polytask.study.classical import check_estimator
from polytask.study.methods import MethodSpec
from polytask.train import TrainOptions, check_metrics

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
        ``data`` (rows, labels and missing shares per split), ``model`` (partition, unreached parameters), ``batch``
        (losses and labels) and ``methods`` (time, memory and backward passes of one step, and under ``evidence`` the
        same for each way to collect gradients; an estimator, which has no steps, is only checked to fit), as plain
        values.

    Raises:
        PolytaskError: Whatever would have stopped training.
    """
    say("reading the data")
    data = settings.build_data()
    options = TrainOptions(**settings.train_options())
    asked = settings.compare_options()
    say("building the model")
    model = build_model(data, encoder=asked["encoder"], architecture=asked["architecture"], seed=options.seed)
    say("sending one batch through the model")
    loader = MultiTaskLoader(data.train, batch_size=options.batch_size, seed=options.seed)
    inputs, targets = next(iter(loader)).parts[0]
    losses = data.tasks.losses(model(inputs), targets)
    methods: dict[str, dict[str, Any]] = {}
    engine = asked["balancer"]
    probe = Balancer("equal", tasks=data.tasks, announce=None)
    probe.backward(losses)
    bench = Bench(model, data.tasks, inputs, targets)
    plain = bench.plain()
    not_timed: dict[str, list[str]] = {}
    deadline = time.perf_counter() + seconds
    for entry in asked["methods"]:
        spec = MethodSpec.of(entry)
        label = spec.label
        if spec.is_estimator:
            check_estimator(spec.estimator, data, data.tasks)
            methods[label] = {"milliseconds": None, "megabytes": None, "backward_passes": 0}
            continue
        say(f"timing a step of {label}")
        if spec.is_stl:
            methods[label] = bench.single()
        elif label == "equal" and not engine:
            methods[label] = dict(plain)
        else:
            check_metrics(spec.build(), data.tasks)
            start = functools.partial(bench.start, spec.build, engine)
            methods[label] = bench.cost(start, engine.get("every", 1))
            if evidence and not issubclass(METHODS[spec.name], LossMethod):
                say(f"timing the ways to collect gradients for {label}")
                methods[label]["evidence"], left = bench.evidence(spec.build, engine, deadline)
                not_timed |= {label: left} if left else {}
    for cost in [one for method in methods.values() for one in (method, *method.get("evidence", {}).values())]:
        _relate(cost, plain)
    return {
        "data": _data(data),
        "model": _model(model, probe, data),
        "batch": {
            "rows": options.batch_size,
            "losses": {task: float(loss.detach()) for task, loss in losses.items()},
            "labels": data.tasks.counts(targets),
        },
        "methods": methods,
        "not_timed": not_timed,
        "steps_per_epoch": len(loader),
    }


def _relate(cost: dict[str, Any], plain: Mapping[str, Any]) -> None:
    """Add what a step costs beyond one of the plain sum."""
    steps = cost["milliseconds"] is not None
    cost["ratio_to_equal"] = cost["milliseconds"] / plain["milliseconds"] if steps else None
    cost["extra_megabytes"] = max(cost["megabytes"] - plain["megabytes"], 0.0) if steps else None


def _data(data: MultiTaskData) -> dict[str, Any]:
    counts: dict[Any, Any] = data.counts().astype(int).to_dict(orient="index")
    rows = {split: len(source) for split, source in data.splits.items()}
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
        "warnings": [*data.details.get("surprises", ()), *too_few(classes)],
    }


def _model(model: MultiTaskModel, probe: Balancer, data: MultiTaskData) -> dict[str, Any]:
    return {
        "partition": str(probe.partition),
        "shared": sum(tensor.numel() for tensor in probe.partition.shared),
        "per_task": {task: sum(t.numel() for t in own) for task, own in probe.partition.owned.items()},
        "unreached": probe.partition.out_of_reach(model),
        "not_in_batch": [task for task in data.tasks if task not in probe.partition.reach],
    }
