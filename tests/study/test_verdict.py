"""The words follow from the numbers."""

import dataclasses
import math
import re

import pytest

from polytask.study import Comparison
from polytask.study.outcome.statistics import paired_interval
from polytask.study.outcome.text import signed_interval
from polytask.study.outcome.verdict import judge


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


def with_estimators(comparison, **gains):
    """The study with estimators beside the networks: ``name=(gain, spread)`` per cent, for all tasks alike."""
    base = [trial for trial in comparison.trials if trial.method == "stl"]
    directions = {task: info.directions for task, info in comparison.protocol.tasks.items()}
    more = [
        dataclasses.replace(
            t,
            method=name,
            metrics={
                "test": {
                    task: {
                        metric: value * (1 + directions[task][metric] * (gain + spread * (t.seed - 2)) / 100)
                        for metric, value in metrics.items()
                    }
                    for task, metrics in t.metrics["test"].items()
                }
            },
            curves={},
            balance=[],
            epochs=0,
            steps=0,
        )
        for name, (gain, spread) in gains.items()
        for t in base
    ]
    protocol = dataclasses.replace(
        comparison.protocol,
        methods=(*comparison.methods, *gains),
        alone=("stl", *(name for name in gains if name in ("ridge", "boosting"))),
        estimators=dict.fromkeys(gains, "fitted"),
    )
    return Comparison(protocol, [*comparison.trials, *more])


def test_the_best_may_be_to_learn_each_task_alone(comparison):
    found = judge(with_estimators(comparison, boosting=(9.0, 0.1), ridge=(1.0, 0.1), joint_feature=(5.0, 0.3)))
    assert found.headline.startswith("Learn each task alone, with boosting: it beats one network per task by Δm +9.0 %")
    assert "the best joint method, joint_feature, by 4.0" in found.headline
    assert found.best == "joint_feature"
    assert found.details[0].startswith("With boosting, age, sex and bmi gain")
    assert found.next[0].startswith("use boosting")


def test_single_task_estimators_are_never_called_joint(comparison):
    found = judge(with_estimators(comparison, boosting=(1.0, 0.1), ridge=(-3.0, 0.1)))
    assert found.headline.startswith("Training age, sex and bmi together with fairgrad beats one network per task")
    assert "Each task alone: boosting +1.0 % [+0.8, +1.2] (better); ridge -3.0 %" in " ".join(found.details)
    assert any(line.startswith("fairgrad is ahead of boosting by ") for line in found.details)
    assert not any("boosting" in line for line in found.next)


def test_a_simpler_model_that_is_not_surely_worse_is_named(make):
    studied = with_estimators(make(seeds=(0, 1, 2, 3, 4)), ridge=(2.2, 0.5))
    found = judge(studied)
    assert studied.difference("fairgrad", "ridge").verdict == "not separable"
    assert "No difference can be shown between fairgrad and ridge." in found.details
    assert any(line.startswith("ridge is the simpler choice") for line in found.next)


def test_without_a_joint_method_nothing_is_said_of_sharing(make):
    found = judge(with_estimators(make(methods=("stl",)), ridge=(2.0, 0.1), boosting=(-1.0, 0.1)))
    assert found.headline.startswith("No joint method was compared. Of those that learn each task alone, ridge beats")
    assert "Worse: boosting -1.0 %" in " ".join(found.details)


def test_what_never_varies_has_no_interval(make):
    studied = with_estimators(make(methods=("stl",)), ridge=(2.0, 0.0), joint_feature=(3.0, 0.0))
    found = judge(studied)
    assert "At all 5 paired seeds, joint_feature is ahead of one network per task by Δm +3.0 %:" in found.headline
    assert "joint_feature is ahead of ridge by 1.0 points of Δm, the same at every seed." in found.details
    assert found.next == ("other splits of the rows ([data] seed) would tell how much is chance; more seeds will not.",)


def test_another_baseline_is_named_as_itself(comparison):
    studied = with_estimators(comparison, ridge=(2.0, 0.1), joint_feature=(4.0, 0.1))
    studied = Comparison(dataclasses.replace(studied.protocol, baseline="ridge"), studied.trials)
    assert studied.reference == "ridge"
    assert studied.verdict_of("stl") == "worse"
    found = judge(studied)
    assert "together with joint_feature beats ridge: Δm +2.0 %" in found.headline
    assert "Each task alone: stl -2.0 %" in " ".join(found.details)


def resplit(comparison, rows=None, **changes):
    """The study as if every seed had a split of its own."""
    rows = rows or comparison.protocol.rows
    return Comparison(
        dataclasses.replace(comparison.protocol, splits="hold-outs", rows=rows, **changes), comparison.trials
    )


def test_the_headline_says_what_the_interval_is_over(comparison):
    assert "5 paired seeds (seeds only: all on one split of the rows)" in judge(comparison).headline
    found = judge(resplit(comparison))
    assert "5 paired splits." in found.headline
    assert "seeds only" not in found.headline
    assert "Nadeau-Bengio) over 5 splits (hold-outs): variance of a split times 1/5 + 0.2" in str(resplit(comparison))


def test_a_split_of_its_own_widens_the_interval_as_published(comparison):
    """Half widths are as √(1/J + n_test/n_train) to √(1/J): 200 test rows, 1,000 others."""
    narrow, wide = (study.interval("fairgrad") for study in (comparison, resplit(comparison)))
    assert (wide.high - wide.mean) / (narrow.high - narrow.mean) == pytest.approx(math.sqrt((0.2 + 0.2) / 0.2))
    assert wide.mean == narrow.mean


def test_where_the_spread_is_of_rows_the_advice_is_more_rows_and_no_winner(make):
    study = resplit(make(methods=("stl", "uw")), rows={"train": 34, "val": 9, "test": 11})
    found = judge(study)
    assert study.verdict_of("uw") == "not separable"
    assert found.headline.startswith("No difference can be shown")
    assert any(
        re.search(r"cannot tell from so few rows: about [\d,]+ would separate uw from stl", s) for s in found.next
    )
    assert not any(step.startswith("use ") for step in found.next)


def test_too_few_rows_of_a_class_carry_no_verdict(comparison):
    tasks = {t: dataclasses.replace(info, rarer=2) for t, info in comparison.protocol.tasks.items()}
    few = resplit(comparison, tasks=tasks)
    assert few.interval("fairgrad").low > 0
    assert few.verdict_of("fairgrad") == "cannot tell"
    found = judge(few)
    words = "2 test rows of its rarer class, at least 5 needed; about 3,000 rows would do"  # 1,200·5/2
    assert found.headline.startswith("Cannot tell whether training age, sex and bmi together helps: age: " + words)
    assert found.next == (f"more rows: {few.interval('fairgrad').lacking}.",)
    assert not few.negative_transfer["helped"].any()
    one = resplit(comparison, tasks={**comparison.protocol.tasks, "sex": tasks["sex"]})
    assert one.verdict_of("fairgrad") == "better"  # two of three tasks carry it
    assert f"Cannot tell for sex ({words})." in judge(one).details


def test_methods_with_the_same_numbers_are_one(comparison):
    twin = [dataclasses.replace(t, method="uw", id=f"{t.id}-uw") for t in comparison.trials if t.method == "fairgrad"]
    study = Comparison(comparison.protocol, [*(t for t in comparison.trials if t.method != "uw"), *twin])
    assert study.twins == (("uw", "fairgrad"),)
    assert "uw and fairgrad gave the same numbers at every seed: here they are one method." in judge(study).details
    assert "the same numbers at every seed: uw and fairgrad" in str(study)
    assert not any("not separable from each other" in step for step in judge(study).next)
    assert comparison.twins == ()


def test_the_budget_decides_where_best_epochs_are_the_last(comparison):
    late = [dataclasses.replace(t, best_epoch=t.epochs) for t in comparison.trials]
    words = "The budget decides, not the method: 30 of 30 trials were best at their last epoch."
    assert words in judge(Comparison(comparison.protocol, late)).details
    assert not any("budget" in line for line in judge(comparison).details)


def test_the_trivial_row_and_who_is_below_it(comparison):
    trivial = {"age": (7.0,) * 5, "sex": (0.5,) * 5, "bmi": (1.0,) * 5}
    study = Comparison(dataclasses.replace(comparison.protocol, trivial=trivial), comparison.trials)
    row = next(line for line in str(study).splitlines() if line.startswith("trivial"))
    assert [float(cell) for cell in row.split()[1:4]] == [7.0, 0.5, 1.0]
    below = "Worse than a prediction that looks at no input: stl for bmi; equal for bmi; uw for bmi; fairgrad for bmi."
    assert below in judge(study).details


def test_gains_near_nothing_are_bounded(comparison):
    """An error of a thousandth of the trivial one is solved: 1 % of the trivial error is the least denominator."""
    trivial = {"age": (6400.0,) * 5, "sex": (0.5,) * 5, "bmi": (21.0,) * 5}
    study = Comparison(dataclasses.replace(comparison.protocol, trivial=trivial), comparison.trials)
    error = {m: study.values(m, "age") for m in ("stl", "equal")}
    expected = 100 * (error["stl"] - error["equal"]) / 64
    assert study.gains.loc["equal"]["age"].to_numpy() == pytest.approx(expected.to_numpy())
    for task in ("sex", "bmi"):
        assert study.gains[task].to_numpy() == pytest.approx(comparison.gains[task].to_numpy())


def test_gains_of_metrics_whose_zero_is_chance_are_points(comparison):
    tasks = {
        **comparison.protocol.tasks,
        "sex": dataclasses.replace(comparison.protocol.tasks["sex"], skill=("auroc",)),
    }
    study = Comparison(dataclasses.replace(comparison.protocol, tasks=tasks), comparison.trials)
    values = {m: study.values(m, "sex") for m in ("stl", "uw")}
    assert study.gains.loc["uw"]["sex"].to_numpy() == pytest.approx(100 * (values["uw"] - values["stl"]).to_numpy())
    assert "gains are differences in points of 0.01, as 0 is no better than chance: sex" in str(study)


@pytest.mark.parametrize("scale", [1.0, 0.03, 1e-4, 1e-8, 1e4])
def test_printed_bounds_do_not_contradict_the_verdict(scale):
    for differences in ([1.0, 1.1, 1.5], [-1.0, -1.1, -1.5], [1.0, 2.0, 3.0]):
        interval = paired_interval([scale * value for value in differences])
        low, high = re.search(r"\[(.*), (.*)\]", signed_interval(interval)).groups()
        assert [math.copysign(1, float(low)), math.copysign(1, float(high))] == [
            math.copysign(1, interval.low), math.copysign(1, interval.high),
        ]  # fmt: skip
        assert float(low)
        assert float(high)
