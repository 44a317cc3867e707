"""A fixed study, made of formulas instead of training: what the statistics, the tables and the report are tested on."""

import numpy as np
import pytest

from polytask.study.outcome.answers import Answers
from polytask.study.outcome.comparison import Comparison, Protocol, TaskInfo
from polytask.study.outcome.results import TrialResult
from polytask.tasks import Nature

EPOCHS = 8
TASKS = {
    "age": TaskInfo("regression", "mae", {"mae": -1, "rmse": -1}, "years", {"train": 800, "val": 200, "test": 200}),
    "sex": TaskInfo("binary", "auroc", {"auroc": 1, "accuracy": 1}, "", {"train": 560, "val": 141, "test": 139}),
    "bmi": TaskInfo("regression", "mae", {"mae": -1, "rmse": -1}, "kg/m²", {"train": 800, "val": 200, "test": 200}),
}
GAINS = {"equal": (-2.0, 1.0, -1.0), "uw": (0.2, -0.2, 0.05), "fairgrad": (1.5, 2.0, 3.0)}
BASE = {"age": {"mae": 6.4, "rmse": 8.0}, "sex": {"auroc": 0.90, "accuracy": 0.83}, "bmi": {"mae": 2.1, "rmse": 2.9}}


def make_trial(method, seed, tasks, gains, rng, epochs=EPOCHS):
    """A trial whose metrics are the base values, improved by ``gains`` per cent and shifted by the seed."""
    shift = {task: 0.4 * np.sin(1.7 * seed + index) for index, task in enumerate(TASKS)}
    metrics, curves = {"test": {}, "val": {}}, {"val": {}, "train": {}}
    for task, gain in zip(tasks, gains, strict=True):
        info = TASKS[task]
        noise = float(rng.normal(0, 0.25))
        final = {
            name: value * (1 + info.directions[name] * (gain + shift[task] + noise) / 100)
            for name, value in BASE[task].items()
        }
        for split in metrics:
            metrics[split][task] = {name: float(value) for name, value in final.items()}
        start = 1.6 if info.directions[info.primary] < 0 else 0.6
        progress = np.exp(-np.arange(epochs) / 1.5)
        curves["val"][task] = {
            info.primary: [float(final[info.primary] * (1 + (start - 1) * p)) for p in progress],
            "loss": [float(0.3 + p) for p in progress],
        }
        curves["train"][task] = {"loss": [float(0.2 + p) for p in progress]}
    return TrialResult(
        id=f"{method}-{'-'.join(tasks)}-s{seed}",
        method=method,
        seed=seed,
        tasks=tuple(tasks),
        metrics=metrics,
        curves=curves,
        balance=make_balance(method, tasks, epochs),
        labels_seen={task: TASKS[task].labels["train"] * epochs for task in tasks},
        best_epoch=epochs - 1,
        epochs=epochs,
        steps=12 * epochs,
        parameters={"shared": 10_000, **dict.fromkeys(tasks, 100)},
        timing={"seconds": 1.0 + 0.2 * len(tasks), "seconds_per_step": 0.01},
    )


def make_balance(method, tasks, epochs):
    if len(tasks) == 1:
        return [{"weights": {tasks[0]: 1.0}, "shares": {tasks[0]: 1.0}} for _ in range(epochs)]
    records = []
    for epoch in range(epochs):
        raw = {task: 1.0 if method == "equal" else 1 + 0.1 * epoch * index for index, task in enumerate(tasks)}
        total = sum(raw.values())
        record = {"weights": raw, "shares": {task: weight / total for task, weight in raw.items()}}
        if method == "fairgrad":
            record["norms"] = {task: 1.0 + index for index, task in enumerate(tasks)}
            record["cosines"] = {"age|sex": -0.2 + 0.01 * epoch, "age|bmi": 0.4, "sex|bmi": 0.1 - 0.05 * epoch}
            record["conflicts"] = 0.35
        records.append(record)
    return records


def make_comparison(methods=("stl", "equal", "uw", "fairgrad"), seeds=(0, 1, 2, 3, 4), selection="val", tasks=None):
    tasks = list(TASKS) if tasks is None else tasks
    rng = np.random.default_rng(7)
    trials = []
    for seed in seeds:
        for method in methods:
            if method == "stl":
                trials += [make_trial("stl", seed, (task,), (0.0,), rng) for task in tasks]
            else:
                gains = [gain for task, gain in zip(TASKS, GAINS[method], strict=True) if task in tasks]
                trials.append(make_trial(method, seed, tuple(tasks), gains, rng))
    protocol = Protocol(
        name="people",
        tasks={task: TASKS[task] for task in tasks},
        methods=tuple(methods),
        seeds=tuple(seeds),
        selection=selection,
        rows={"train": 800, "val": 200, "test": 200},
        fingerprint="8f3a5c0d12ab34ef",
        encoder="mlp:128,128",
        train={"epochs": EPOCHS, "lr": 1e-3},
        versions={"polytask": "0.1.0", "torch": "2.13"},
        about="Made up for tests.",
    )
    return Comparison(protocol, trials)


@pytest.fixture
def comparison():
    return make_comparison()


@pytest.fixture
def make():
    return make_comparison


def make_answers(comparison, rows=60, width=3):
    """Answers that are made up for every task, method and seed of a study: labels and noise from one generator.

    Returns them as the report takes them, with the labels by task and seed.
    """
    rng = np.random.default_rng(3)
    kept, truth = {}, {}
    natures = {"binary": Nature.YES_NO, "multiclass": Nature.CLASSES}
    for seed in comparison.protocol.seeds:
        for task, info in comparison.protocol.tasks.items():
            nature = natures.get(info.kind, Nature.NUMBER)
            numbers = 20 + 5 * rng.normal(size=rows)
            target = {Nature.NUMBER: numbers, Nature.YES_NO: rng.integers(0, 2, rows).astype(float)}.get(
                nature, rng.integers(0, width, rows).astype(float)
            )
            target[::9] = np.nan
            truth[task, seed] = target
            for place, method in enumerate(comparison.methods):
                noise = rng.normal(size=rows) * (3 - 0.4 * place)
                if nature is Nature.NUMBER:
                    decoded = np.nan_to_num(target, nan=20.0) + noise
                elif nature is Nature.YES_NO:
                    decoded = 1 / (1 + np.exp(-(3 * np.nan_to_num(target) - 1.5 + noise)))
                else:
                    logits = np.eye(width)[np.nan_to_num(target).astype(int)] * 2 + rng.normal(size=(rows, width))
                    decoded = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
                names = ("no", "yes") if nature is Nature.YES_NO else tuple("abc"[:width])
                labels = () if nature is Nature.NUMBER else names
                kept[task, method, seed] = Answers(
                    nature, labels, np.arange(rows), target.astype(np.float32), decoded.astype(np.float32)
                )
    return kept, truth


@pytest.fixture
def answered():
    return make_answers
