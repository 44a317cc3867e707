"""The outcome in words: what to do, who gains, who is hurt, how sure, what next."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from polytask.study.outcome.numbers import Numbers
from polytask.study.outcome.statistics import Interval, seeds_needed
from polytask.study.outcome.text import apart, over, percent, signed_interval, times

__all__ = ["Judgement", "judge", "ranked"]


@dataclasses.dataclass(frozen=True)
class Judgement:
    """A study's outcome in words.

    Attributes:
        headline: The answer in one sentence.
        details: Who gains, who is hurt, how the others did, what it costs; one sentence each.
        next: What to do next; one sentence each.
        best: The joint method with the largest Δm; empty if there is none.
    """

    headline: str
    details: tuple[str, ...] = ()
    next: tuple[str, ...] = ()
    best: str = ""

    def __str__(self) -> str:
        lines = [self.headline, *self.details]
        return "\n".join([*lines, *(f"Next: {step}" for step in self.next)])


def judge(comparison: Numbers) -> Judgement:
    """Put the outcome of a study in words.

    Args:
        comparison: The study.

    Returns:
        The judgement; deterministic, computed from the numbers alone.
    """
    joint = ranked(comparison, comparison.joint)
    alone = ranked(comparison, [m for m in comparison.protocol.alone if m != comparison.reference])
    if not joint and not alone:
        return _nothing(comparison)
    best, interval = (joint or alone)[0]
    subject, rest, beside = best, (joint or alone)[1:], [_each_alone(alone)] if joint and alone else []
    gap = comparison.difference(best, alone[0][0]) if beside else None
    if not joint:
        headline = _only_alone(comparison, best, interval)
    elif gap is not None and gap.verdict == "worse" and alone[0][1].verdict == "better":
        headline = _keep_alone(comparison, best, alone[0], gap)
        subject, rest = alone[0][0], joint
    else:
        headline = _headline(comparison, best, interval)
        beside += [] if gap is None else _against(best, alone[0][0], gap)
    if comparison.protocol.selection == "test":
        headline = f"Selected on the test set, so too good: {headline[0].lower()}{headline[1:]}"
    details = [*_tasks(comparison, subject), *_others(comparison, rest), *beside, *_alike(comparison)]
    details += [*_below_trivial(comparison), *_budget(comparison), *_price(comparison, subject)]
    if comparison.failures:
        details.append(_failed(comparison))
    simple = "" if gap is None or gap.verdict == "better" else alone[0][0]
    return Judgement(headline, tuple(details), tuple(_next(comparison, joint or alone, simple, gap)), best)


def ranked(comparison: Numbers, methods: Sequence[str]) -> list[tuple[str, Interval]]:
    """Methods whose gain is known, the best first.

    A method that is better for sure comes before one with a larger but uncertain mean; one surely worse comes last.
    """
    found = [(method, interval) for method in methods if (interval := comparison.interval(method)) is not None]
    rank = {"better": 0, "worse": 2}
    known = [(method, interval) for method, interval in found if math.isfinite(interval.mean)]
    return sorted(known, key=lambda item: (rank.get(item[1].verdict, 1), -item[1].mean))


def _seeds(comparison: Numbers, interval: Interval) -> str:
    """What the interval is over; with one split, that it is about seeds only."""
    only = "" if comparison.protocol.splits else " (seeds only: all on one split of the rows)"
    return over(comparison, interval.n) + only


def _points(gap: Interval) -> str:
    """A difference between two Δm, without its sign."""
    low, high = sorted((abs(gap.low), abs(gap.high)))
    span = "" if math.isnan(gap.low) else f" [{percent(low)}, {percent(high)}]".replace("+", "")
    return f"{percent(abs(gap.mean)).lstrip('+')}{span} points of Δm"


def _keep_alone(comparison: Numbers, best: str, alone: tuple[str, Interval], gap: Interval) -> str:
    lone, interval = alone
    return (
        f"Learn each task alone, with {lone}: it beats {apart(comparison)} by Δm {signed_interval(interval)}, and the "
        f"best joint method, {best}, by {_points(gap)}, {_seeds(comparison, gap)}."
    )


def _only_alone(comparison: Numbers, best: str, interval: Interval) -> str:
    words = {"better": "beats", "worse": "is worse than"}.get(interval.verdict, "is not separable from")
    if interval.verdict in ("one seed", "no spread"):
        words = "is ahead of" if interval.mean > 0 else "is behind"
    return (
        f"No joint method was compared. Of those that learn each task alone, {best} {words} {apart(comparison)}: "
        f"Δm {signed_interval(interval)}."
    )


def _each_alone(alone: Sequence[tuple[str, Interval]]) -> str:
    return "Each task alone: " + "; ".join(f"{m} {signed_interval(i)} ({i.verdict})" for m, i in alone) + "."


def _against(best: str, lone: str, gap: Interval) -> list[str]:
    """The best joint method beside the best that learns each task alone."""
    first, second = (best, lone) if gap.mean > 0 else (lone, best)
    if gap.verdict in ("better", "worse"):
        return [f"{first} is ahead of {second} by {_points(gap)}."]
    if gap.verdict == "not separable":
        return [f"No difference can be shown between {best} and {lone}."]
    if gap.verdict == "no spread":
        return [f"{first} is ahead of {second} by {_points(gap)}, the same at every seed."]
    return []


def _headline(comparison: Numbers, best: str, interval: Interval) -> str:
    reference = apart(comparison)
    together = _join(comparison.tasks) if len(comparison.tasks) <= 4 else f"the {len(comparison.tasks)} tasks"
    gain = f"Δm {signed_interval(interval)}"
    seeds = _seeds(comparison, interval)
    if interval.verdict == "one seed":
        lean = "ahead of" if interval.mean > 0 else "behind"
        return f"With one seed nothing can be told apart: {best} is {lean} {reference} by {gain}, without an interval."
    if interval.verdict == "no spread":
        lean = "ahead of" if interval.mean > 0 else "behind"
        always = f"At all {interval.n} paired seeds"
        return f"{always}, {best} is {lean} {reference} by {gain}: nothing varies, so there is no interval."
    if interval.verdict == "cannot tell":
        return (
            f"Cannot tell whether training {together} together helps: {interval.lacking}. {best} has {gain}, {seeds}."
        )
    if interval.verdict == "better":
        return f"Training {together} together with {best} beats {reference}: {gain}, {seeds}."
    if interval.verdict == "worse":
        what = f"training {together} together is worse"
        return f"Keep {reference}: {what}, the best joint method being {best}: {gain}, {seeds}."
    return (
        f"No difference can be shown between training {together} together and {reference}: "
        f"the best joint method, {best}, has {gain}, {seeds}."
    )


def _tasks(comparison: Numbers, method: str) -> list[str]:
    """Who gains, who is hurt, and for whom nothing can be said."""
    gains = {task: comparison.interval(method, task) for task in comparison.tasks}
    known = {task: interval for task, interval in gains.items() if interval is not None and interval.n > 1}
    sentences = []
    for verdict, one, many in (("better", "gains", "gain"), ("worse", "is hurt", "are hurt")):
        found = {task: signed_interval(interval) for task, interval in known.items() if interval.verdict == verdict}
        if len(found) == 1:
            sentences += [f"With {method}, {task} {one}: {gain}." for task, gain in found.items()]
        elif found:
            parts = "; ".join(f"{task} {gain}" for task, gain in found.items())
            sentences.append(f"With {method}, {_join(list(found))} {many} ({parts}).")
    short = [f"{task} ({interval.lacking})" for task, interval in known.items() if interval.verdict == "cannot tell"]
    if short:
        sentences.append(f"Cannot tell for {_join(short)}.")
    same = [task for task, interval in known.items() if interval.verdict == "not separable"]
    if same:
        sentences.append(f"With {method}, no difference can be shown for {_join(same)}.")
    return sentences


def _others(comparison: Numbers, rest: Sequence[tuple[str, Interval]]) -> list[str]:
    if not rest:
        return []
    groups: dict[str, list[str]] = {}
    for method, interval in rest:
        groups.setdefault(interval.verdict, []).append(f"{method} {signed_interval(interval)}")
    reference = apart(comparison)
    words = {
        "better": "Better, too",
        "worse": "Worse",
        "not separable": f"Not separable from {reference}",
        "cannot tell": "Too few rows to tell",
        "one seed": "The others",
        "no spread": "The same at every seed",
    }
    return [f"{words[verdict]}: {'; '.join(found)}." for verdict, found in groups.items()]


def _alike(comparison: Numbers) -> list[str]:
    """Methods that are one and the same by their numbers."""
    return [
        f"{_join(group)} gave the same numbers at every seed: here they are one method." for group in comparison.twins
    ]


def _below_trivial(comparison: Numbers) -> list[str]:
    found = [f"{method} for {_join(tasks)}" for method, tasks in comparison.below_trivial.items()]
    return [f"Worse than a prediction that looks at no input: {'; '.join(found)}."] if found else []


def _budget(comparison: Numbers) -> list[str]:
    late = _unfinished(comparison)
    return [f"The budget decides, not the method: {late} were best at their last epoch."] if late else []


def _price(comparison: Numbers, best: str) -> list[str]:
    row, base = comparison.cost(best), comparison.cost(comparison.reference)
    if not base["parameters"] or not math.isfinite(row["seconds_ratio"]):
        return []
    size = row["parameters"] / base["parameters"]
    kind = "networks" if comparison.protocol.estimators else "models"
    stl = comparison.against_singles
    models = f" of all single-task {kind} together" if stl else f" of {comparison.reference}"
    whose = "their" if stl else "its"
    ratio = times(row["seconds_ratio"])
    return [f"{best} trains in {ratio} the time{models} and has {times(size)} {whose} parameters."]


def _failed(comparison: Numbers) -> str:
    of = f"of {len(comparison.trials)} trials"
    guilty = [trial for trial in comparison.failures if not trial.limit]
    parts = []
    if guilty:
        parts.append(f"{len(guilty)} {of} failed ({_join(sorted({trial.method for trial in guilty}))})")
    if comparison.unjudged:
        names = sorted({trial.method for trial in comparison.unjudged})
        why = _join(sorted({trial.limit for trial in comparison.unjudged}))
        parts.append(f"{len(comparison.unjudged)} {of} could not be judged: {why} ({_join(names)})")
    return f"{'; '.join(parts)}; see below."


def _next(comparison: Numbers, ranked: Sequence[tuple[str, Interval]], lone: str, gap: Interval | None) -> list[str]:
    verdict = ranked[0][1].verdict
    if verdict == "one seed":
        return ["run at least 3 seeds, better 5; the finished trials are kept."]
    if verdict == "cannot tell":
        return [f"more rows: {ranked[0][1].lacking}."]
    if verdict == "no spread":
        return ["other splits of the rows ([data] seed) would tell how much is chance; more seeds will not."]
    if gap is not None and gap.verdict == "worse":
        return [f"use {lone}, or give the joint methods more: a larger encoder, longer training."]
    steps = _by_tasks(comparison, *ranked[0])
    if lone and verdict == "better":
        steps.append(f"{lone} is the simpler choice as long as {ranked[0][0]} is not ahead of it for sure.")
    late = _unfinished(comparison)
    if late:
        steps.append(f"train longer: {late} were best at their last epoch.")
    if len(ranked) > 1 and verdict == "better":
        steps += _runner_up(comparison, ranked[0][0], ranked[1][0])
    return steps


def _by_tasks(comparison: Numbers, best: str, interval: Interval) -> list[str]:
    """What the tasks' own gains suggest."""
    steps = []
    table = comparison.negative_transfer
    hurt = table[(table["method"] == best) & table["hurt"]]["task"].tolist()
    if interval.verdict == "not separable":
        steps.append(_more(comparison, interval, f"separate {best} from {comparison.reference}", best))
    if hurt and len(comparison.tasks) > len(hurt) + 1:
        steps.append(f"train {_join(hurt)} apart and the others together, and compare again.")
    elif hurt and interval.verdict == "worse" and best not in comparison.protocol.estimators:
        steps.append("a larger encoder may help if the tasks compete for capacity; otherwise train them apart.")
    elif not hurt and interval.verdict == "better":
        steps.append(f"use {best}; no task is hurt for sure.")
    elif hurt and interval.verdict != "worse":
        steps.append(f"use {best} only if {_join(hurt)} may pay for the others.")
    return steps


def _more(comparison: Numbers, interval: Interval, goal: str, best: str) -> str:
    """How many seeds, or rows, would show a difference of the size that was seen."""
    seeds, rows = seeds_needed(interval), comparison.rows_needed(interval)
    if seeds:
        return f"about {seeds} seeds in all would {goal}, if mean and spread stay as they are."
    if rows:
        return f"cannot tell from so few rows: about {rows:,} would {goal}, if there is a gain as large as this one."
    return f"more seeds will not help soon: the gain of {best} is tiny beside its spread. Decide by cost."


def _runner_up(comparison: Numbers, best: str, second: str) -> list[str]:
    gap = comparison.difference(best, second)
    if gap is None or gap.verdict != "not separable" or any({best, second} <= {*group} for group in comparison.twins):
        return []
    needed = seeds_needed(gap)
    more = f"about {needed} seeds in all would separate them" if needed else "and more seeds will hardly do it"
    return [f"{best} and {second} are not separable from each other; {more}."]


def _unfinished(comparison: Numbers) -> str:
    """How many trials were still improving when they ended; empty if less than half."""
    done = [trial for trial in comparison.trials if not trial.failed and trial.epochs > 1]
    late = sum(trial.best_epoch == trial.epochs for trial in done)
    if comparison.protocol.selection == "last" or not done or late < len(done) / 2:
        return ""
    return f"{late} of {len(done)} trials"


def _nothing(comparison: Numbers) -> Judgement:
    failed = [_failed(comparison)] if comparison.failures else []
    if any(comparison.verdict_of(method) == "undefined" for method in comparison.methods):
        why = tuple(f"{task}: {reason}." for task, reason in comparison.excluded.items())
        return Judgement("No verdict: Δm is undefined, because no task can be compared.", (*why, *failed))
    if [method for method in comparison.methods if method != comparison.reference] and comparison.failures:
        return Judgement("No verdict: no seed has both a finished method and a finished reference.", tuple(failed))
    return Judgement("Nothing to compare: the study holds one method only.", tuple(failed), ("add a second method.",))


def _join(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
