"""Does a balancing method help? Δm and time per step of every registered method on three problems, five paired seeds.

    python benchmarks/methods.py [--quick] [--only METHOD,...] [--seeds N] [--workers N] [--out DIR] [--table FILE]

``MultiDigits`` and ``STAR`` are trained by ``polytask.study.compare`` with its defaults: the epoch is chosen on
validation, the test rows are judged, every trial has a directory of its own and is never trained twice. So the script
can be stopped and started again, and writes its table (Markdown) after each seed. ``Tug of war`` has a known answer:
K linear regressions that share all their coefficients and want different ones (see :class:`Tug`).

Budgets are small, so that all methods take 15 to 20 minutes on two quiet cores: this is a map, not a championship.
Nothing is tuned: each method has its default options and the learning rate that all share.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import dataclasses
import inspect
import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polytask.balance import METHODS, Balancer, get_method
from polytask.balance.contract.asks import TWIN_BATCH
from polytask.data import MultiTaskData, load
from polytask.errors import PolytaskError
from polytask.files import write_atomically
from polytask.solvers.simplex import min_norm
from polytask.study import Comparison, compare
from polytask.study.contenders import Request, Setting
from polytask.study.contenders.network import NetworkContender
from polytask.study.outcome.comparison import Protocol, TaskInfo
from polytask.study.outcome.statistics import Interval, paired_interval
from polytask.study.trial import read_trial
from polytask.study.trial_spec import TrialSpec
from polytask.train import TrainOptions

SETTINGS: dict[str, dict[str, Any]] = {
    "chain": {"stages": "log", "inner": "mgda"},
    "cr_mogm": {"inner": "mgda", "alpha": 0.9},
    "subset": {"inner": "cagrad", "count": 2},
    "per_group": {"inner": "pcgrad", "groups": "parameter"},
}
"""Options of methods made of others. All others have their defaults; who serves one task serves the first."""

NEEDS = {
    "losses": "Losses only: one backward pass",
    "gramian": "Inner products of the gradients: K passes through the shared part",
    "jacobian": "Coordinates of the gradients: K passes through the shared part",
    "features": "Gradients at the shared representation",
    "graph": "Gradients that are differentiated again: K passes, and a longer one through all of them",
}


@dataclasses.dataclass(frozen=True)
class Study:
    """A dataset and the budget of one model."""

    title: str
    data: dict[str, Any]
    encoder: str
    train: dict[str, Any]

    def load(self) -> MultiTaskData:
        """The data."""
        return load(**self.data)


FULL = {
    "multidigits": Study(
        "MultiDigits", {"name": "multidigits", "n": 6000}, "cnn:16,32", {"epochs": 8, "batch_size": 64, "lr": 3e-3}
    ),
    "star": Study("STAR", {"name": "star"}, "tabular:32", {"epochs": 5, "batch_size": 256, "lr": 3e-3}),
}
QUICK = {
    "multidigits": Study(
        "MultiDigits", {"name": "multidigits", "n": 300}, "cnn:4,8", {"epochs": 1, "batch_size": 64, "lr": 3e-3}
    ),
    "star": Study("STAR", {"name": "star"}, "tabular:8", {"epochs": 1, "batch_size": 1024, "lr": 3e-3}),
}


# ------------------------------------------------------------------------------------------------ the known answer


class Tug:
    """K linear regressions pulling at one coefficient vector θ: y_k = s_k·(xᵀa_k + ε), x ~ N(0, A), ε ~ N(0, σ²).

    Prediction k is s_k·xᵀθ, so task k's expected squared error is L_k(θ) = s_k²·(‖θ − a_k‖²_A + σ²). Known of it:

    * the Pareto set is the convex hull of the a_k: a point of it moves away from one of them only towards another;
    * alone, a task reaches s_k²·σ², so Δm(θ) = −(100/K)·Σ_k ‖θ − a_k‖²_A/σ²;
    * the best Δm is at the mean of the a_k; the least sum of losses at Σ s_k²a_k / Σ s_k².

    One task has a scale s of 3, so its loss is about nine times as large: the sum of the losses answers to it.
    """

    tasks = ("loud", "two", "three", "four")
    scales = np.array([3.0, 1.0, 1.0, 1.0])
    sigma = 1.0

    def __init__(self, dimension: int = 10, seed: int = 7) -> None:
        rng = np.random.default_rng(seed)
        self.root = np.sqrt(np.geomspace(0.2, 2.0, dimension))  # A is diagonal; this is its root
        self.wanted = rng.normal(size=(len(self.tasks), dimension)) / math.sqrt(dimension)

    def excess(self, theta: np.ndarray) -> np.ndarray:
        """‖θ − a_k‖²_A, (K,)."""
        return np.square((theta - self.wanted) * self.root).sum(axis=1)

    def delta_m(self, theta: np.ndarray) -> float:
        """Δm in per cent, 0 or less."""
        return -100 * float(self.excess(theta).mean()) / self.sigma**2

    def total(self, theta: np.ndarray) -> float:
        """Sum of the expected losses."""
        return float(self.scales**2 @ (self.excess(theta) + self.sigma**2))

    @property
    def best_mean(self) -> np.ndarray:
        """θ of the best Δm."""
        return np.asarray(self.wanted.mean(axis=0))

    @property
    def best_sum(self) -> np.ndarray:
        """θ of the least sum of losses."""
        return np.asarray(self.scales**2 @ self.wanted / (self.scales**2).sum())

    def off_front(self, theta: np.ndarray) -> float:
        """Distance to the Pareto set in per cent of its diameter, both in the norm of A."""
        rows = (theta - self.wanted) * self.root
        weights, _ = min_norm(rows @ rows.T)
        sides = self.wanted[:, None] - self.wanted[None]
        return 100 * float(np.linalg.norm(weights @ rows) / np.linalg.norm(sides * self.root, axis=2).max())

    def run(self, name: str, options: Mapping[str, Any], seed: int, steps: int, batch: int = 64) -> dict[str, Any]:
        """Where Adam ends; its rate falls from 0.05 to 0 along a cosine."""
        generator = torch.Generator().manual_seed(seed)
        wanted, scales = torch.tensor(self.wanted).float(), torch.tensor(self.scales).float()
        root, places = torch.tensor(self.root).float(), range(len(self.tasks))
        theta = torch.nn.Parameter(2 * torch.randn(len(root), generator=generator))
        method = get_method(name, **options)
        features = method.needs == "features"
        balancer = Balancer(
            method,
            tasks=self.tasks,
            shared=[theta],
            grads="features" if features else "params",
            seed=seed,
            announce=None,
        )
        adam = torch.optim.Adam([theta], lr=0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
        for step in range(steps):
            x = torch.randn(batch, len(root), generator=generator) * root
            y = (x @ wanted.T + self.sigma * torch.randn(batch, len(places), generator=generator)) * scales
            if any(ask.hook == "observe_metrics" for ask in method.asks):
                self._tell(balancer, x, y, theta.detach())
            shared = x @ theta
            losses = {task: (shared * scales[k] - y[:, k]).square().mean() for k, task in enumerate(self.tasks)}
            adam.zero_grad()
            if TWIN_BATCH in method.asks:  # the same number of rows, in two independent halves
                first, second = (
                    {task: error.mean() for task, error in zip(self.tasks, half, strict=True)}
                    for half in zip(
                        *((shared * s - v).square().chunk(2) for s, v in zip(scales, y.T, strict=True)), strict=True
                    )
                )
                balancer.backward(first, twin=second)
            else:
                balancer.backward(losses, features=shared if features else None)
            adam.step()
            if balancer.needs_after_step:
                with torch.no_grad():
                    z = x @ theta
                    balancer.after_step(
                        {t: (z * scales[k] - y[:, k]).square().mean() for k, t in enumerate(self.tasks)}
                    )
            schedule.step()
            if (step + 1) % (steps // 10) == 0:
                balancer.end_epoch()
        end = theta.detach().double().numpy()
        return {
            "delta_m": self.delta_m(end),
            "off_front": self.off_front(end),
            "excess_of_sum": 100 * (self.total(end) / self.total(self.best_sum) - 1),
        }

    def _tell(self, balancer: Balancer, x: torch.Tensor, y: torch.Tensor, theta: torch.Tensor) -> None:
        """What methods ask their caller for; the batch has not been trained on yet, so it stands for validation.

        R² for task priorities, exact traces of tangent kernels, losses, and what tasks lose against their own best.
        """
        scales = torch.tensor(self.scales).float()
        losses = (y - torch.outer(x @ theta, scales)).square().mean(0)
        asked = {
            "NTK": scales.square() * x.square().sum(),
            "CoBa": losses,
            "PIVRG": 100 * (losses / (scales * self.sigma).square() - 1),
        }
        values = asked.get(type(balancer.method).__name__, (1 - losses / y.var(0)).clamp(0, 1))
        balancer.observe_metrics(dict(zip(self.tasks, values.tolist(), strict=True)))


# ---------------------------------------------------------------------------------------------------- the running


def options_of(name: str, tasks: Sequence[str]) -> dict[str, Any]:
    """The options a method is run with: its defaults, and the first task wherever it asks for one."""
    parameters = inspect.signature(METHODS[name]).parameters.values()
    asked = {p.name: tasks[0] for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
    return asked | SETTINGS.get(name, {})


def own_loop(name: str) -> str | None:
    """Why the trainer cannot run a method; ``None`` if it can."""
    if any(ask.hook == "observe_metrics" and "trainer" not in ask.by for ask in METHODS[name].asks):
        return "asks its caller for a number per task (`balancer.observe_metrics`)."
    return None


def row(study: Study, entry: str | dict[str, Any], **engine: Any) -> NetworkContender:
    """A row of a study."""
    setting = Setting(encoder=study.encoder, train=TrainOptions(**study.train), balancer=tuple(sorted(engine.items())))
    return NetworkContender.read(Request.of(entry), setting)[0]


def run_study(
    study: Study, names: Sequence[str], seeds: int, out: Path, workers: int, *, train: bool = True
) -> tuple[Comparison, dict[str, str]]:
    """All methods that the trainer can run, and why the others cannot; without ``train``, what is finished of it."""
    data = study.load()
    left_out: dict[str, str] = {}
    by_engine: dict[str, list[dict[str, Any]]] = {"params": [], "features": []}
    for name in names:
        reason = own_loop(name)
        if reason is None:
            try:
                engine = "features" if METHODS[name].needs == "features" else "params"
                entry = {"name": name, **options_of(name, data.tasks.names)}
                row(study, entry, grads=engine).check(data, data.tasks.names)
                by_engine[engine].append(entry)
            except (PolytaskError, TypeError) as error:
                reason = f"is refused: {str(error).split('. ')[0].rstrip('.')}."
        if reason is not None:
            left_out[name] = reason
    if not train:
        return finished(study, data, by_engine, seeds, out), left_out
    common = {"seeds": seeds, "encoder": study.encoder, "train": study.train, "out": out, "workers": workers}
    found = compare(data, methods=["stl", *by_engine["params"]], **common)
    if by_engine["features"]:
        more = compare(data, methods=by_engine["features"], balancer={"grads": "features"}, **common)
        protocol = dataclasses.replace(found.protocol, methods=found.methods + more.methods)
        found = Comparison(protocol, found.trials + more.trials)
    return found, left_out


def finished(
    study: Study, data: MultiTaskData, by_engine: Mapping[str, Sequence[dict[str, Any]]], seeds: int, out: Path
) -> Comparison:
    """The trials that an earlier run left in ``out``, nothing trained."""
    trials, rows = [], [row(study, "stl")]
    for engine, entries in by_engine.items():
        rows += [row(study, entry, **({"grads": engine} if engine == "features" else {})) for entry in entries]
    for one in rows:
        for tasks in one.groups(data.tasks.names):
            for seed in range(seeds):
                result = read_trial(out / "trials" / TrialSpec(one, tasks, seed).id(data))
                trials += [result] if result is not None else []
    tasks = {name: TaskInfo(task.kind, task.primary, dict(task.directions)) for name, task in data.tasks.items()}
    labels = tuple(dict.fromkeys(one.label for one in rows))
    return Comparison(Protocol(data.name, tasks, labels, tuple(range(seeds))), trials)


def _tug_trial(job: tuple[str, int, int, str]) -> str | None:
    """Run and store one trial unless it is stored already; what went wrong, if anything did."""
    name, seed, steps, path = job
    if Path(path).exists():
        return None
    torch.set_num_threads(1)
    try:
        result = Tug().run(name, options_of(name, Tug.tasks), seed, steps)
    except PolytaskError as error:
        return f"{name}: {error}"
    write_atomically(Path(path), json.dumps(result))
    return None


def run_tug(
    names: Sequence[str], seeds: int, steps: int, out: Path, workers: int, *, train: bool = True
) -> tuple[dict[str, list[dict[str, float]]], list[str]]:
    """Results by method, one entry per seed, and the failures."""
    out.mkdir(parents=True, exist_ok=True)
    jobs = [(name, seed, steps, str(out / f"{name}-s{seed}-{steps}.json")) for seed in range(seeds) for name in names]
    if not train:
        failures: list[str | None] = []
    elif workers == 1:
        failures = [_tug_trial(job) for job in jobs]
    else:
        with ProcessPoolExecutor(workers) as pool:
            failures = list(pool.map(_tug_trial, jobs))
    results: dict[str, list[dict[str, float]]] = {}
    for name, _, _, path in jobs:
        if Path(path).exists():
            results.setdefault(name, []).append(json.loads(Path(path).read_text(encoding="utf-8")))
    return results, [failure for failure in failures if failure]


def step_seconds(study: Study, names: Sequence[str], steps: int) -> dict[str, float]:
    """Processor time of one step of each method on one batch, as a ratio to the plain sum; median over ``steps``.

    Processor time of a single thread, because a busy machine makes the clock on the wall say anything.
    """
    data = study.load()
    inputs, targets = data.train.batch(torch.arange(study.train["batch_size"]))
    half = len(next(iter(targets.values()))) // 2
    before = torch.get_num_threads()
    torch.set_num_threads(1)

    def losses(model: Any, rows: slice, z: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        x = {k: v[rows] for k, v in inputs.items()} if isinstance(inputs, dict) else inputs[rows]
        found = model(x) if z is None else model.decode(z)
        return dict(data.tasks.losses(found, {task: y[rows] for task, y in targets.items()}))

    def run(name: str) -> float:
        grads = "features" if METHODS[name].needs == "features" else "params"
        one = row(study, {"name": name, **options_of(name, data.tasks.names)}, grads=grads)
        asked = (data, data.tasks.names, 0)
        model, balancer = one.blueprint(*asked).build(), one.balancer(*asked)
        adam, seconds = torch.optim.AdamW(model.parameters(), lr=1e-3), []
        for _ in range(steps + 2):
            start = time.process_time()
            adam.zero_grad()
            if balancer.needs_twin:
                balancer.backward(losses(model, slice(half)), twin=losses(model, slice(half, None)))
            elif grads == "features":
                z = model.encode(inputs)
                balancer.backward(losses(model, slice(None), z), features=z)
            else:
                balancer.backward(losses(model, slice(None)))
            adam.step()
            if balancer.needs_after_step:
                with torch.no_grad():
                    balancer.after_step(losses(model, slice(None)))
            seconds.append(time.process_time() - start)
        return statistics.median(seconds[2:])

    found = {}
    for name in names:
        if own_loop(name) is None:
            try:
                found[name] = run(name) / run("equal")
            except PolytaskError:
                continue
    torch.set_num_threads(before)
    return found


# ------------------------------------------------------------------------------------------------------ the table


def cell(interval: Interval | None, against: Interval | None) -> str:
    """Mean and bounds, and whether the difference to the plain sum is separable."""
    if interval is None or not math.isfinite(interval.mean):
        return "failed"
    bounds = f" [{interval.low:+.1f}, {interval.high:+.1f}]" if math.isfinite(interval.low) else ""
    mark = {"better": " ▲", "worse": " ▼"}.get(against.verdict, "") if against is not None else ""
    return f"{interval.mean:+.1f}{bounds}{mark}"


class Column:
    """What the table says of one study."""

    def __init__(self, found: Comparison, ratios: Mapping[str, float]) -> None:
        self.found, self.ratios = found, ratios
        self.labels = {label.partition(":")[0]: label for label in found.methods}

    def cells(self, name: str, tasks: Sequence[str] = ()) -> list[str]:
        """Δm, the primary metric of some tasks, and the time per step as a ratio to the plain sum."""
        if name not in self.labels:
            return ["own loop", *("" for _ in tasks), ""]
        if not any(trial.method == self.labels[name] for trial in self.found.trials):
            return ["not run yet", *("" for _ in tasks), ""]
        label, sum_ = self.labels[name], self.labels.get("equal")
        against = self.found.difference(label, sum_) if sum_ and name not in ("equal", "stl") else None
        interval = None if self.found.verdict_of(label) == "failed" else self.found.interval(label)
        values = [f"{self.found.values(label, task).mean():.3f}" for task in tasks]
        return [
            "0" if name == "stl" else cell(interval, against),
            *values,
            f"{self.ratios[name]:.1f}" if name in self.ratios else "",
        ]


def tug_cells(name: str, results: Mapping[str, list[dict[str, float]]]) -> list[str]:
    if name not in results:
        return ["not run yet", ""]
    mine, base = results[name], results.get("equal", [])
    values = [trial["delta_m"] for trial in mine]
    paired = [a["delta_m"] - b["delta_m"] for a, b in zip(mine, base, strict=False)]
    against = paired_interval(paired) if paired and name != "equal" else None
    return [
        cell(paired_interval(values), against),
        f"{statistics.fmean(trial['off_front'] for trial in mine):.1f}",
    ]


def table(names: Sequence[str], columns: Mapping[str, Column], tug: Mapping[str, Any]) -> str:
    """The Markdown table, one block of rows per kind of evidence."""
    problem = Tug()
    digits, star = columns["multidigits"], columns["star"]
    lines = [
        "| method | MultiDigits Δm | parity | time | STAR Δm | time | tug of war Δm | off front, % |",
        "|---|---|---|---|---|---|---|---|",
        f"| *single-task models, or the known answer* | 0 | {digits.cells('stl', ['parity'])[1]} | | 0 | "
        f"| best {problem.delta_m(problem.best_mean):+.1f} | 0 |",
    ]
    for needs, heading in NEEDS.items():
        rows = [name for name in names if METHODS[name].needs == needs]
        if rows:
            lines.append(f"| **{heading}** | | | | | | | |")
        for name in rows:
            cells = [*digits.cells(name, ["parity"]), *star.cells(name), *tug_cells(name, tug)]
            lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    counts = {column.found.protocol.name: len({t.seed for t in column.found.trials}) for column in columns.values()}
    counts["tug of war"] = max((len(trials) for trials in tug.values()), default=0)
    said = ", ".join(f"{name} {count}" for name, count in counts.items())
    lonely = " With one seed there is no interval and no mark." if 1 in counts.values() else ""
    return "\n".join(lines) + f"\n\nPaired seeds: {said}.{lonely}\n"


def notes(columns: Mapping[str, Column], left_out: Mapping[tuple[str, str], list[str]], failures: Sequence[str]) -> str:
    lines = [
        f"`{name}` needs a loop of its own on {' and '.join(titles)}: it {reason}"
        for (name, reason), titles in left_out.items()
    ]
    lines += [
        f"Failed on {column.found.protocol.name}: `{trial.method}`, seed {trial.seed}: {trial.error}."
        for column in columns.values()
        for trial in column.found.failures
    ]
    lines += [f"Failed in the tug of war: {failure}" for failure in failures]
    return "\n".join(f"- {line}" for line in lines) + "\n" if lines else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seeds of tiny runs: does everything work?")
    parser.add_argument("--only", default="", help="names of methods, separated by commas")
    parser.add_argument("--seeds", type=int, help="number of paired seeds (5)")
    parser.add_argument("--workers", type=int, default=1, help="trials side by side")
    parser.add_argument("--finished", action="store_true", help="train nothing: a table of what is finished so far")
    parser.add_argument("--out", type=Path, help="folder of the trials (runs/methods, or runs/methods_quick)")
    parser.add_argument("--table", type=Path, help="write the table to this file too")
    arguments = parser.parse_args()
    studies, steps = (QUICK, 100) if arguments.quick else (FULL, 800)
    out = arguments.out or Path("runs/methods_quick" if arguments.quick else "runs/methods")
    names = [name.strip() for name in arguments.only.split(",") if name.strip()] or list(METHODS)
    names = list(dict.fromkeys(["equal", *names]))  # what all are compared with
    last = arguments.seeds or (2 if arguments.quick else 5)
    ratios = {key: step_seconds(study, names, 3 if arguments.quick else 15) for key, study in studies.items()}
    for seeds in [last] if arguments.finished else range(1, last + 1):
        start = time.perf_counter()
        tug, failures = run_tug(names, seeds, steps, out / "tug", arguments.workers, train=not arguments.finished)
        columns: dict[str, Column] = {}
        left_out: dict[tuple[str, str], list[str]] = {}
        for key, study in studies.items():
            found, missing = run_study(study, names, seeds, out / key, arguments.workers, train=not arguments.finished)
            columns[key] = Column(found, ratios[key])
            for name, reason in missing.items():
                left_out.setdefault((name, reason), []).append(study.title)
        text = table(names, columns, tug) + "\n" + notes(columns, left_out, failures)
        for path in [out / "methods.md", *([arguments.table] if arguments.table else [])]:
            write_atomically(path, text)
        print(f"seed {seeds - 1}: {time.perf_counter() - start:.0f} s", flush=True)
    print(text)


if __name__ == "__main__":
    main()
