"""The words follow from the numbers."""

import dataclasses
import math

import pytest

from polytask.study import Comparison
from polytask.study.verdict import judge


def test_better(comparison):
    found = judge(comparison)
    assert found.best == "fairgrad"
    assert found.headline.startswith("Training age, sex and bmi together with fairgrad beats one model per task: Δm +")
    assert "5 paired seeds" in found.headline
    assert any("gain" in line and "bmi" in line for line in found.details)
    assert any(line.startswith("Worse: equal") for line in found.details)
    assert any("use fairgrad" in line for line in found.next)


def test_worse(make):
    found = judge(make(methods=("stl", "equal")))
    assert found.headline.startswith("Keep one model per task")
    assert any("age" in line and "hurt" in line for line in found.details)
    assert any("apart" in line for line in found.next)


def test_not_separable_says_how_many_seeds(make):
    found = judge(make(methods=("stl", "uw"), seeds=(0, 1, 2)))
    assert found.headline.startswith("No difference can be shown")
    assert any("seeds" in line for line in found.next)


def test_a_sure_gain_comes_before_a_larger_uncertain_one(make):
    comparison = make()
    wild = [
        dataclasses.replace(
            t,
            metrics={
                **t.metrics,
                "test": {k: {n: v * (0.5 if t.seed == 0 else 1.0) for n, v in m.items()} if k != "sex" else m
                         for k, m in t.metrics["test"].items()},
            },
        ) if t.method == "uw" else t
        for t in comparison.trials
    ]  # fmt: skip
    moved = Comparison(comparison.protocol, wild)
    assert moved.interval("uw").mean > moved.interval("fairgrad").mean
    assert judge(moved).best == "fairgrad"


def test_one_seed_claims_nothing(make):
    found = judge(make(seeds=(0,)))
    assert "With one seed nothing can be told apart" in found.headline
    assert not any("hurt" in line for line in found.details)
    assert any("3 seeds" in line for line in found.next)


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_an_undefined_delta_is_not_called_one_seed_or_one_method(make, seeds):
    comparison = make(seeds=seeds)
    blank = [
        dataclasses.replace(
            t, metrics={**t.metrics, "test": {k: dict.fromkeys(m, math.nan) for k, m in t.metrics["test"].items()}}
        )
        for t in comparison.trials
    ]
    undefined = Comparison(comparison.protocol, blank)
    assert undefined.verdict_of("uw") == "undefined"
    found = judge(undefined)
    assert found.headline == "No verdict: Δm is undefined, because no task can be compared."
    assert len(found.details) == 3
    assert "one seed" not in str(undefined).splitlines()[3]
    assert "undefined %" not in str(undefined)


def test_selection_on_test_is_said_first(make):
    assert judge(make(selection="test")).headline.startswith("Selected on the test set, so too good")


def test_trials_that_were_still_improving(comparison):
    late = [dataclasses.replace(t, best_epoch=t.epochs) for t in comparison.trials]
    assert any("train longer: 30 of 30" in line for line in judge(Comparison(comparison.protocol, late)).next)
    assert not any("train longer" in line for line in judge(comparison).next)


def test_a_single_method_has_nothing_to_say(make):
    assert judge(make(methods=("equal",))).headline.startswith("Nothing to compare")


def test_failures_are_told(comparison):
    broken = [
        dataclasses.replace(t, metrics={}, error="boom") if t.method == "fairgrad" else t for t in comparison.trials
    ]
    found = judge(Comparison(comparison.protocol, broken))
    assert found.best == "uw"
    assert any("5 of 30 trials failed (fairgrad)" in line for line in found.details)
    nothing = [dataclasses.replace(t, metrics={}, error="boom") if t.method == "stl" else t for t in comparison.trials]
    assert "No verdict" in judge(Comparison(comparison.protocol, nothing)).headline
