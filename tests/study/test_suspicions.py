"""Results too good to be true."""

import dataclasses

import pytest

from polytask.study.outcome.comparison import Comparison
from polytask.study.outcome.suspicions import suspicions
from polytask.study.outcome.text import footer


def with_values(comparison, values):
    """The study with test values of one metric: task → metric → method → value (or a function of the seed)."""
    trials = []
    for trial in comparison.trials:
        test = {}
        for task, metrics in trial.metrics["test"].items():
            chosen = {
                metric: value(trial.seed) if callable(value) else value
                for metric, by_method in values.get(task, {}).items()
                for method, value in by_method.items()
                if method == trial.method
            }
            test[task] = {**metrics, **chosen}
        trials.append(dataclasses.replace(trial, metrics={**trial.metrics, "test": test}))
    return Comparison(comparison.protocol, trials)


def test_usual_results_are_not_suspicious(make):
    assert suspicions(make()) == []


@pytest.mark.parametrize(
    ("metric", "value", "words"),
    [
        ("r2", 0.9995, "too good to be true: {task} has r2 0.9995 with equal"),
        ("auroc", 1.0, "too good to be true: {task} has auroc 1 with equal"),
        ("auroc", 0.998, ""),
        ("r2", 0.998, ""),
        ("accuracy", 1.0, ""),  # easy classes are no miracle
        ("r2", -0.2, ""),  # said beside the verdict, against the trivial prediction
        ("r2", lambda seed: 0.9 if seed else 1.0, ""),  # by chance at some seeds
        ("rmse", -5.0, ""),
        ("r2", float("nan"), ""),
    ],
)
def test_what_is_suspicious(make, metric, value, words):
    comparison = make()
    task = comparison.tasks[0]
    other = {"auroc": dict.fromkeys(comparison.methods, 0.8), "r2": dict.fromkeys(comparison.methods, 0.5)}
    values = {name: dict(other) for name in comparison.tasks}
    values[task] = {**other, metric: {**other.get(metric, {}), "equal": value}}
    found = suspicions(with_values(comparison, values))
    if words:
        assert len(found) == 1
        assert found[0].startswith(words.format(task=task))
    else:
        assert found == []


def test_a_perfect_score_of_a_few_rows_is_no_wonder(make):
    comparison = make()
    info = comparison.protocol.tasks["sex"]
    few = dataclasses.replace(info, labels={**info.labels, "test": 4})
    protocol = dataclasses.replace(comparison.protocol, tasks={**comparison.protocol.tasks, "sex": few})
    values = {"sex": {"auroc": dict.fromkeys(comparison.methods, 1.0)}}
    assert suspicions(with_values(comparison, values))
    assert suspicions(with_values(Comparison(protocol, comparison.trials), values)) == []


def test_all_methods_are_named_once_and_stand_below_the_table(make):
    comparison = make()
    task = comparison.tasks[0]
    odd = with_values(comparison, {task: {"auroc": dict.fromkeys(comparison.methods, 0.99999)}})
    [said] = suspicions(odd)
    assert all(method in said for method in comparison.methods[:4])
    assert "0.99999" in said
    assert said in footer(odd)
    assert said in str(odd)
