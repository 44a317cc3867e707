"""What was measured in a study: every number in one tidy frame, and what follows from it."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from polytask.study.outcome.power import lacking, lacking_of, rows_needed
from polytask.study.outcome.protocol import Protocol
from polytask.study.outcome.results import TrialResult
from polytask.study.outcome.statistics import Interval, paired_interval, transfer_gain

__all__ = ["Numbers"]

NEGLIGIBLE = 0.01
"""Share of the trivial prediction's error below which errors are not told apart: the least denominator of a gain."""


class Numbers:
    """The numbers of a comparison, which tables, verdicts, figures and reports read.

    Every gain is relative to the reference of the same seed: the ``baseline`` that was asked for, else the single-task
    networks (``stl``), else the first method.

    Args:
        protocol: How the numbers came about.
        trials: One result per model trained.

    Attributes:
        protocol: As given.
        trials: As given, failed ones included.
    """

    def __init__(self, protocol: Protocol, trials: Sequence[TrialResult]) -> None:
        self.protocol = protocol
        self.trials = tuple(trials)

    @property
    def methods(self) -> tuple[str, ...]:
        """Labels of the methods, in the order asked for."""
        return self.protocol.methods

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(self.protocol.tasks)

    @property
    def reference(self) -> str:
        """The method that gains are measured against."""
        singles = [method for method in self.methods if method in self.protocol.singles]
        return self.protocol.baseline or (*singles, *self.methods)[0]

    @property
    def against_singles(self) -> bool:
        """Whether the reference is one network per task."""
        return self.reference in self.protocol.singles

    @property
    def joint(self) -> tuple[str, ...]:
        """Methods that learn the tasks together, the reference left out."""
        return tuple(m for m in self.methods if m != self.reference and m not in self.protocol.alone)

    @functools.cached_property
    def constant(self) -> tuple[str, ...]:
        """Methods with the same numbers at every one of several seeds."""
        repeated = [method for method in self.methods if self._seeds(method) > 1]
        return tuple(method for method in repeated if len(self.primary.loc[method].drop_duplicates()) == 1)

    @functools.cached_property
    def twins(self) -> tuple[tuple[str, ...], ...]:
        """Methods with the same numbers as another at every seed: they took the same steps under several names."""
        groups: dict[Any, list[str]] = {}
        for method in self.methods:
            if self._seeds(method):
                table = self.primary.loc[method]
                key = (*table.index, *(f"{value:.9g}" for value in table.to_numpy().ravel()))
                groups.setdefault(key, []).append(method)
        return tuple(tuple(group) for group in groups.values() if len(group) > 1)

    @functools.cached_property
    def below_trivial(self) -> dict[str, list[str]]:
        """Method → tasks on which it is worse, in the mean over seeds, than a prediction that looks at no input."""
        found: dict[str, list[str]] = {}
        for method in self.methods:
            for task, info in self.protocol.tasks.items():
                values, seeds = self.values(method, task), self.protocol.seeds
                trivial = dict(zip(seeds, self.protocol.trivial.get(task, ()), strict=False))
                gaps = [
                    info.directions[info.primary] * (value - trivial[s]) for s, value in values.items() if s in trivial
                ]
                if gaps and math.fsum(gaps) < 0:
                    found.setdefault(method, []).append(task)
        return found

    @property
    def failures(self) -> tuple[TrialResult, ...]:
        """Trials that ended with an error."""
        return tuple(trial for trial in self.trials if trial.failed)

    @property
    def unjudged(self) -> tuple[TrialResult, ...]:
        """Those of the failures that say nothing of their method: a limit of the machine ended them."""
        return tuple(trial for trial in self.failures if trial.limit)

    @functools.cached_property
    def frame(self) -> pd.DataFrame:
        """One row per method, seed, task, metric and split; values in natural units, NaN where undefined."""
        rows = [
            (trial.method, trial.seed, task, metric, split, value)
            for trial in self.trials
            for split, tasks in trial.metrics.items()
            for task, metrics in tasks.items()
            for metric, value in metrics.items()
        ]
        return pd.DataFrame(rows, columns=["method", "seed", "task", "metric", "split", "value"])

    @functools.cached_property
    def primary(self) -> pd.DataFrame:
        """Primary test metrics: one row per method and seed that has all its trials, one column per task."""
        wanted = {task: info.primary for task, info in self.protocol.tasks.items()}
        frame = self.frame[(self.frame["split"] == "test") & (self.frame["metric"] == self.frame["task"].map(wanted))]
        wide = frame.pivot(index=["method", "seed"], columns="task", values="value")
        wide = wide.reindex(columns=list(self.tasks))
        broken = {(trial.method, trial.seed) for trial in self.failures}
        order = [(m, s) for m in self.methods for s in self.protocol.seeds if (m, s) in wide.index]
        return wide.loc[[pair for pair in order if pair not in broken]]

    @functools.cached_property
    def gains(self) -> pd.DataFrame:
        """Transfer gain in per cent: one row per method and seed with a reference, one column per task.

        A task whose gain is undefined somewhere (metric undefined, or a reference of 0) is left out everywhere and
        named in :attr:`excluded`, so that Δm is the mean over the same tasks for all methods.
        """
        return self._all_gains.drop(columns=list(self.excluded))

    @functools.cached_property
    def excluded(self) -> dict[str, str]:
        """Tasks left out of every Δm, and why."""
        table = self._all_gains
        lost = table.isna()
        for method, tasks in self.protocol.left_out.items():
            lost.loc[lost.index.get_level_values("method") == method, list(tasks)] = False  # told with their reason
        return {
            task: f"{self.protocol.tasks[task].primary} is undefined or its reference is 0 in "
            f"{int(lost[task].sum())} of {len(table)} runs"
            for task in table.columns
            if lost[task].any()
        }

    @functools.cached_property
    def _all_gains(self) -> pd.DataFrame:
        table = self.primary
        rows: dict[tuple[str, int], dict[str, float]] = {}
        for method, seed in table.index:
            if (self.reference, seed) in table.index:
                value, reference = table.loc[(method, seed)], table.loc[(self.reference, seed)]
                rows[method, seed] = {
                    task: transfer_gain(
                        float(value[task]),
                        float(reference[task]),
                        info.directions[info.primary],
                        self.least(task, seed),
                    )
                    for task, info in self.protocol.tasks.items()
                }
        index = pd.MultiIndex.from_tuples(list(rows), names=["method", "seed"])
        return pd.DataFrame(list(rows.values()), index=index, columns=list(self.tasks), dtype=float)

    def least(self, task: str, seed: int) -> float:
        """The least denominator of a task's gains.

        1 for metrics whose 0 is chance (R², κ): their gains are differences in points of 0.01. For errors, 1 % of the
        trivial prediction's: below that a task is solved, and the ratio of two rests is noise. 0 for all others.
        """
        info = self.protocol.tasks[task]
        if info.primary in info.skill:
            return 1.0
        trivial = dict(zip(self.protocol.seeds, self.protocol.trivial.get(task, ()), strict=False)).get(seed, math.nan)
        return NEGLIGIBLE * abs(trivial) if info.directions[info.primary] < 0 and math.isfinite(trivial) else 0.0

    @functools.cached_property
    def deltas(self) -> pd.Series:
        """Δm in per cent by method and seed."""
        return self.gains.mean(axis=1, skipna=False).rename("delta_m")

    def interval(self, method: str, task: str | None = None) -> Interval | None:
        """Gain of a method over the reference: Δm, or one task's transfer gain.

        Args:
            method: Label of the method.
            task: Name of the task; ``None`` for Δm.

        Returns:
            The interval over paired seeds, and over their splits if each has its own; ``None`` when no seed has both
            the method and the reference.
        """
        series = self.deltas if task is None else self._all_gains[task]
        if method not in series.index.get_level_values("method"):
            return None
        return self._interval(series[method].tolist(), task)

    def difference(self, method: str, other: str) -> Interval | None:
        """Δm of one method minus Δm of another, paired by seed; ``None`` without common seeds."""
        if self.interval(method) is None or self.interval(other) is None:
            return None
        values = (self.deltas[method] - self.deltas[other]).dropna()
        return self._interval(values.tolist()) if len(values) else None

    def rows_needed(self, interval: Interval) -> int | None:
        """How many rows would show the difference that was seen; ``None`` where splits did not vary."""
        return rows_needed(interval, sum(self.protocol.rows.values())) if interval.overlap else None

    def _interval(self, differences: Sequence[float], task: str | None = None) -> Interval:
        """The interval of differences by seed, by the test that fits how rows were split."""
        splits, tasks, n = self.protocol.splits, self.protocol.tasks, len(differences)
        rows = sum(self.protocol.rows.values())
        why = {
            name: lacking(info.labels.get("test", self.protocol.rows.get("test", rows)), info.rarer, rows)
            for name, info in tasks.items()
            if rows
        }
        short = lacking_of(why) if task is None else why.get(task, "")
        if not splits:
            how = f"Student-t over {n} seeds on one split of the rows: seeds only, not other rows"
            return paired_interval(differences, how=how, lacking=short)
        counts = self.protocol.rows if task is None else {**self.protocol.rows, **tasks[task].labels}
        overlap = counts["test"] / max(counts["train"] + counts.get("val", 0), 1)
        test = "corrected resampled t (Nadeau-Bengio)" if splits == "hold-outs" else "corrected repeated k-fold t"
        how = (
            f"{test} over {n} splits ({splits}): variance of a split times 1/{n} + {overlap:.3g}, as splits share rows"
        )
        return paired_interval(differences, overlap=overlap, how=how, lacking=short)

    @functools.cached_property
    def summary(self) -> pd.DataFrame:
        """One row per method: ``TASK`` and ``TASK:sd`` (primary test metric), Δm with interval and verdict, cost."""
        rows = []
        for method in self.methods:
            row: dict[str, Any] = {"seeds": self._seeds(method)}
            for task in self.tasks:
                values = self.values(method, task)
                row[task] = values.mean() if len(values) else math.nan
                row[f"{task}:sd"] = values.std(ddof=1) if len(values) > 1 else math.nan
            interval = self.interval(method)
            row["delta_m"], row["ci_low"], row["ci_high"] = (
                (math.nan,) * 3 if interval is None else (interval.mean, interval.low, interval.high)
            )
            row["verdict"] = self.verdict_of(method)
            row |= self.cost(method)
            rows.append(row)
        return pd.DataFrame(rows, index=pd.Index(self.methods, name="method"))

    @functools.cached_property
    def negative_transfer(self) -> pd.DataFrame:
        """One row per method and task: gain in per cent, its interval, and whether the task is hurt or helped for sure.

        ``hurt`` is set when the whole interval is below 0, ``helped`` when it is above. With one seed neither ever is,
        nor with too few rows.
        """
        rows = []
        for method in self.methods:
            for task in self.tasks:
                interval = self.interval(method, task)
                if method != self.reference and interval is not None:
                    hurt, helped = interval.verdict == "worse", interval.verdict == "better"
                    rows.append((method, task, interval.mean, interval.low, interval.high, interval.n, hurt, helped))
        columns = ["method", "task", "gain", "ci_low", "ci_high", "seeds", "hurt", "helped"]
        return pd.DataFrame(rows, columns=columns)

    def values(self, method: str, task: str) -> pd.Series:
        """Primary test metric of one task, by seed."""
        if self._seeds(method) == 0:
            return pd.Series(dtype=float)
        return self.primary.loc[method][task].dropna()

    def verdict_of(self, method: str) -> str:
        """``"better"``, ``"worse"``, ``"not separable"``, ``"reference"``, or why not.

        See ``Interval.verdict``; ``"failed"``, or ``"not judged: out of memory"`` where the machine is to blame.
        """
        interval = self.interval(method)
        if self._seeds(method) == 0 or interval is None:
            limits = {trial.limit for trial in self.failures if trial.method == method}
            limits = limits or {trial.limit for trial in self.failures if trial.method == self.reference}
            return f"not judged: {limits.pop()}" if len(limits) == 1 and "" not in limits else "failed"
        if method in self.protocol.left_out and interval.verdict == "undefined":
            return f"learns {len(self.tasks) - len(self.protocol.left_out[method])} of {len(self.tasks)} tasks"
        return "reference" if method == self.reference else interval.verdict

    def cost(self, method: str) -> dict[str, float]:
        """Seconds of training per seed (all models of the method), per step, ratio to the reference, parameters."""
        mine, base = self._seconds(method), self._seconds(self.reference)
        done = [trial for trial in self.trials if trial.method == method and not trial.failed]
        steps = sum(trial.steps for trial in done)
        seeds = {trial.seed for trial in done}
        parameters = sum(sum(trial.parameters.values()) for trial in done)
        return {
            "seconds": mine,
            "seconds_ratio": mine / base if base else math.nan,
            "seconds_per_step": sum(trial.timing.get("seconds", 0.0) for trial in done) / steps if steps else math.nan,
            "parameters": parameters // len(seeds) if seeds else 0,
        }

    def _seeds(self, method: str) -> int:
        return int((self.primary.index.get_level_values("method") == method).sum())

    def _seconds(self, method: str) -> float:
        """Mean over seeds of the seconds that all models of a method took."""
        done = [trial for trial in self.trials if trial.method == method and not trial.failed]
        seeds = {trial.seed for trial in done}
        total = sum(trial.timing.get("seconds", math.nan) for trial in done)
        return total / len(seeds) if seeds else math.nan
