"""Decisions of a model on a dataset: chosen on its validation rows, and what they are worth on its test rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from polytask.data import Inputs, MultiTaskData, Source, batches
from polytask.decide.calibration import brier, expected_calibration_error
from polytask.decide.thresholds import METRICS, Threshold
from polytask.errors import ConfigError
from polytask.study.classical.rows import BATCH, labels_of
from polytask.study.decisions.choice import Decision, Decisions, choose_decisions
from polytask.study.decisions.wishes import Wishes
from polytask.tasks import Nature, Task, TaskSet

__all__ = ["binomial_interval", "check_unseen", "decisions_on_test", "measure_decisions"]

Array = NDArray[Any]
Outputs = Callable[[Inputs], Mapping[str, Tensor]]


def check_unseen(about: Mapping[str, Any], data: MultiTaskData) -> None:
    """The validation rows of a dataset are none that a model was fitted on.

    Args:
        about: Facts about how the model came to be.
        data: The dataset.

    Raises:
        ConfigError: The model was fitted on all rows, or the dataset is another one, or split otherwise.
    """
    if about.get("trained_on", "").startswith("all rows"):
        raise ConfigError(
            "the model was trained again on all rows (refit), so that there are none left to choose thresholds, "
            "calibration and intervals on; tune a model without refit, or give new rows with labels"
        )
    if about.get("fingerprint", data.fingerprint) != data.fingerprint:
        raise ConfigError(
            f"the model learned from {about.get('data')!r} with fingerprint {about['fingerprint']}, found "
            f"{data.name!r} with {data.fingerprint}: other rows, or another split, whose validation rows may be among "
            f"those it was fitted on; give data.resplit({about.get('seed', 0)}), or new rows with labels"
        )


def decisions_on_test(outputs: Outputs, data: MultiTaskData, tasks: TaskSet, wishes: Wishes) -> Decisions:
    """Choose on the validation rows, then measure on the test rows.

    Labels of test rows are not read before everything is chosen.

    Args:
        outputs: From encoded inputs to what the tasks' heads put out, of a model fitted on the training rows.
        data: The data.
        tasks: The tasks that the model answers.
        wishes: What is to be decided.

    Raises:
        ConfigError: There are no validation rows, or a threshold is asked for a task that does not say yes or no.
    """
    if not len(data.val):
        raise ConfigError(
            f"{data.name} has no validation rows, on which thresholds, calibration and intervals are chosen; split it "
            "with val above 0, or leave [decide] out"
        )
    chosen = choose_decisions(tasks, *_read(outputs, data.val, tasks), wishes)
    measured = measure_decisions(tasks, chosen, *_read(outputs, data.test, tasks)) if len(data.test) else {}
    return Decisions(chosen.wishes, chosen.by_task, measured)


def measure_decisions(
    tasks: TaskSet, decisions: Decisions, labels: Mapping[str, Array], decoded: Mapping[str, Array]
) -> dict[str, Any]:
    """What decisions are worth on rows that they were not chosen on.

    Args:
        tasks: The tasks.
        decisions: What was decided.
        labels: As for :func:`choose_decisions`, of other rows.
        decoded: Likewise.

    Returns:
        By task, where there are labels: ``labels``, their number; ``threshold`` with ``value``, ``metric`` (or
        ``"cost"``, per row), and its value at 0.5 (``before``) and at the threshold (``after``); ``calibration`` with
        ``brier`` and ``ece`` as [before, after]; ``interval`` with ``promised``, ``covered`` (the share of labels
        inside), ``low`` and ``high`` of it (95 % Clopper–Pearson over these rows), ``expected`` (where 95 % of models
        whose promise holds would be, over rows of both splits), and the mean ``width``, or ``size`` of the sets. Of
        several yes/no labels per row: a list with one entry per label for threshold and calibration.
    """
    return {
        name: _measure(tasks[name], one, np.asarray(labels[name], float), np.asarray(decoded[name], float), decisions)
        for name, one in decisions.items()
        if name in labels and np.isfinite(labels[name]).any()
    }


def binomial_interval(hits: int, rows: int) -> tuple[float, float]:
    """95 % interval of a share, exact: Clopper & Pearson (1934), Biometrika 26.

    Examples:
        >>> low, high = binomial_interval(9, 10)
        >>> round(low, 3), round(high, 3)
        (0.555, 0.997)
    """
    from scipy import stats

    low = 0.0 if hits == 0 else float(stats.beta.ppf(0.025, hits, rows - hits + 1))
    high = 1.0 if hits == rows else float(stats.beta.ppf(0.975, hits + 1, rows - hits))
    return low, high


def _measure(task: Task, decision: Decision, labels: Array, decoded: Array, decisions: Decisions) -> dict[str, Any]:
    good = np.isfinite(decoded.reshape(len(decoded), -1)).all(axis=1)
    labels, decoded = labels[good], decoded[good]
    mended = decision.mend(decoded)
    several = task.rule.nature is Nature.SEVERAL_YES_NO
    pairs = [*zip(labels.T, decoded.T, mended.T, strict=True)] if several else [(labels, decoded, mended)]
    found: dict[str, Any] = {"labels": int(np.isfinite(labels).sum())}
    if any(decision.maps):
        each = [_calibration(*one) for one in pairs]
        found["calibration"] = {"how": decisions.wishes.calibrate, **(_columns(each) if several else each[0])}
    if any(decision.thresholds):
        costs = decisions.wishes.threshold(task.name)
        cuts = [
            one and _threshold(y, after, one, None if isinstance(costs, str) else costs)
            for one, (y, _, after) in zip(decision.thresholds, pairs, strict=True)
        ]
        found["threshold"] = cuts if several else cuts[0]
    if decision.span is not None:
        found["interval"] = _coverage(task, decision, labels, decoded)
    return found


def _columns(each: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: [one[key] for one in each] for key in each[0]}


def _calibration(y: Array, before: Array, after: Array) -> dict[str, Any]:
    known = np.isfinite(y)
    if not known.any():
        return {"brier": None, "ece": None}
    return {
        "brier": [brier(y[known], chance[known]) for chance in (before, after)],
        "ece": [expected_calibration_error(y[known], chance[known]) for chance in (before, after)],
    }


def _threshold(y: Array, chance: Array, chosen: Threshold, costs: Any) -> dict[str, Any]:
    """The metric at 0.5 and at the threshold, of the probabilities for which it was chosen."""
    known = np.isfinite(y)
    said = (chance[known] >= 0.5, chosen.decide(chance[known]))
    before, after = (_score(y[known] == 1, yes, chosen.metric, costs) for yes in said)
    return {"metric": chosen.metric, "value": chosen.value, "before": before, "after": after}


def _score(truth: NDArray[np.bool_], yes: NDArray[np.bool_], metric: str, costs: Any) -> float | None:
    if not len(truth):
        return None
    tp, fp, fn, tn = (
        np.array([float(n)])
        for n in ((truth & yes).sum(), (~truth & yes).sum(), (truth & ~yes).sum(), (~truth & ~yes).sum())
    )
    if metric == "cost":
        return float((costs[0] * fp + costs[1] * fn)[0] / len(truth))
    return float(METRICS[metric](tp, fp, fn, tn)[0])


def _coverage(task: Task, decision: Decision, labels: Array, decoded: Array) -> dict[str, Any]:
    from scipy import stats

    known = np.isfinite(labels)
    labels, decoded = labels[known], decoded[known]
    ends, members = decision.ends(task, decoded), decision.members(decoded)
    if members is not None:
        places = labels.astype(int)
        inside = members[np.arange(len(labels)), places]
        size = {"size": float(members.sum(axis=1).mean()) if len(labels) else None}
    else:
        low, high = ends if ends is not None else (labels, labels)
        inside = (low <= labels) & (labels <= high)
        size = {"width": float((high - low).mean()) if len(labels) else None}
    span: Any = decision.span
    rows, hits = len(labels), int(inside.sum())
    place = int(np.ceil((span.labels + 1) * span.coverage - 1e-9))
    expected = [1.0, 1.0]
    if place <= span.labels and rows:
        law = stats.betabinom(rows, place, span.labels + 1 - place)
        expected = [float(law.ppf(share)) / rows for share in (0.025, 0.975)]
    return {
        "promised": span.coverage,
        "labels": rows,
        "covered": hits / rows if rows else None,
        **dict(zip(("low", "high"), binomial_interval(hits, rows) if rows else (None, None), strict=True)),
        "expected": expected,
        "chosen_on": span.labels,
        **size,
    }


def _read(outputs: Outputs, source: Source, tasks: TaskSet) -> tuple[dict[str, Array], dict[str, Array]]:
    """Labels and decoded predictions of all rows of a source, in natural units."""
    labels: dict[str, list[Array]] = {name: [] for name in tasks}
    decoded: dict[str, list[Array]] = {name: [] for name in tasks}
    asked = [name for name, task in tasks.items() if task.rule.nature is not Nature.OTHER]
    for part in batches(source, BATCH):
        answers = outputs(part.inputs)
        for name in asked:
            said = tasks[name].decode(answers[name].detach().cpu().double()).numpy()
            decoded[name].append(said)
            labels[name].append(labels_of(tasks[name], part.targets.get(name), len(said)))
    return (
        {name: np.concatenate(labels[name]) for name in asked},
        {name: np.concatenate(decoded[name]) for name in asked},
    )
