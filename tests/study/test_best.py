"""Which model of a study is kept, and what it was trained on."""

import dataclasses

import pandas as pd
import pytest
import torch
from tests.study.toy import toy_data

import polytask as pt
from polytask.data import together
from polytask.errors import ConfigError
from polytask.share.stored import has_model
from polytask.study.best import choose


def run(folder, **options):
    options = {"methods": ["stl", "equal"], "seeds": 2, "train": {"epochs": 2}, **options}
    return pt.compare(toy_data(), out=folder, progress=False, **options)


def test_every_trial_is_a_model_and_one_of_them_is_best(tmp_path):
    comparison = run(tmp_path)
    data, inputs = toy_data(), toy_data().test.inputs
    for trial in comparison.trials:
        model = pt.load(tmp_path / "trials" / trial.id)
        assert model.tasks.names == trial.tasks
        assert model.about["method"] == trial.method
        meter = data.tasks.subset(trial.tasks).meter()
        outputs = model._outputs(inputs, trial.tasks, 1024)
        meter.update(outputs, {name: data.test.targets[name] for name in trial.tasks})
        for task, metrics in meter.compute().items():
            assert metrics == pytest.approx(trial.metrics["test"][task], rel=1e-6), "the model that was judged"
    best = pt.load(tmp_path)
    found = choose(comparison)
    assert best.about["method"] == found.method
    assert best.about["chosen_on"] == "val"
    assert comparison.best == tmp_path / "best"
    kept = pd.concat([pt.load(tmp_path / "trials" / trial.id).predict(inputs) for trial in found.trials], axis=1)
    pd.testing.assert_frame_equal(best.predict(inputs)[[*kept.columns]], kept, check_exact=True)


def edit(comparison, method, split, task, factor):
    """The same study with one metric of a method made better or worse."""
    trials = []
    for trial in comparison.trials:
        metrics = {name: {t: dict(values) for t, values in found.items()} for name, found in trial.metrics.items()}
        if trial.method == method and task in metrics[split]:
            metrics[split][task] = {name: value * factor for name, value in metrics[split][task].items()}
        trials.append(dataclasses.replace(trial, metrics=metrics))
    return type(comparison)(comparison.protocol, trials)


def test_the_choice_looks_at_validation_never_at_test(make):
    comparison = make()
    for method in ("equal", "uw", "fairgrad"):
        assert choose(edit(comparison, method, "val", "age", 0.01)).method == method  # mean absolute error
        unmoved = choose(edit(comparison, method, "test", "age", 0.01))
        assert unmoved == dataclasses.replace(choose(comparison), trials=unmoved.trials)


def test_single_task_models_are_chosen_together(make):
    comparison = make(methods=("stl", "equal"))
    found = choose(edit(comparison, "equal", "val", "age", 100.0))
    assert found.method == "stl"
    assert [trial.tasks for trial in found.trials] == [("age",), ("sex",), ("bmi",)]
    assert len({trial.seed for trial in found.trials}) == 1


def test_a_failed_trial_is_never_the_best(make):
    comparison = make()
    best = choose(comparison)
    failed = [
        dataclasses.replace(trial, error="RuntimeError: x", metrics={}) if trial in best.trials else trial
        for trial in comparison.trials
    ]
    other = choose(type(comparison)(comparison.protocol, failed))
    assert (other.method, other.seed) != (best.method, best.seed)
    gone = [dataclasses.replace(trial, error="RuntimeError: x", metrics={}) for trial in comparison.trials]
    assert choose(type(comparison)(comparison.protocol, gone)) is None


def test_only_the_best_is_kept_or_none_and_what_is_missing_is_trained_again(tmp_path):
    first = run(tmp_path, keep="none")
    assert not list(tmp_path.rglob("blueprint.json"))
    assert first.best is None
    again = run(tmp_path, keep="best")
    assert [path.parent for path in tmp_path.rglob("blueprint.json")] == [tmp_path / "best"]
    assert again.primary.equals(first.primary)
    whole = run(tmp_path / "whole", keep="all")
    inputs = toy_data().test.inputs
    pd.testing.assert_frame_equal(
        pt.load(tmp_path).predict(inputs), pt.load(whole.out).predict(inputs), check_exact=True
    )


def test_a_damaged_model_of_a_trial_is_trained_again(tmp_path):
    comparison = run(tmp_path, seeds=1)
    inputs = toy_data().test.inputs
    before = pt.load(tmp_path).predict(inputs)
    for file in (*tmp_path.glob("best/weights-*"), *tmp_path.glob("trials/*/weights-*")):
        file.write_bytes(b"")
    again = run(tmp_path, seeds=1)
    assert again.primary.equals(comparison.primary)
    pd.testing.assert_frame_equal(pt.load(tmp_path).predict(inputs), before, check_exact=True)


@pytest.mark.parametrize("methods", [["stl", "equal"], ["ridge", "boosting:max_iter=3"]])
def test_refit_learns_from_all_rows(tmp_path, methods):
    comparison = run(tmp_path, methods=methods, refit=True, keep="best", seeds=1)
    model = pt.load(tmp_path)
    assert model.about["trained_on"] == "all rows with labels"
    stamp = (comparison.best / "blueprint.json").stat().st_mtime_ns
    run(tmp_path, methods=methods, refit=True, keep="best", seeds=1)
    assert (comparison.best / "blueprint.json").stat().st_mtime_ns == stamp, "a finished study is not trained again"
    same = run(tmp_path / "plain", methods=methods, seeds=1)
    inputs = toy_data().test.inputs
    assert not model.predict(inputs).equals(pt.load(same.out).predict(inputs))
    assert has_model(comparison.best)


def test_what_is_kept_is_one_of_three_words(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'best'"):
        run(tmp_path, keep="bests")
    with pytest.raises(ConfigError, match="use keep='best'"):
        run(tmp_path, keep="none", refit=True)
    assert not list(tmp_path.iterdir())


def test_sources_together_are_their_rows_in_order():
    data = toy_data()
    joined = together([data.train, data.val, data.test])
    assert len(joined) == 96 + 48 + 48
    index = torch.tensor([191, 0, 96, 143, 95])
    inputs, targets = joined.batch(index)
    whole = torch.cat([source.inputs for source in data.splits.values()])
    assert torch.equal(inputs, whole[index])
    labels = torch.cat([source.targets["b"] for source in data.splits.values()])[index]
    torch.testing.assert_close(targets["b"], labels, rtol=0, atol=0, equal_nan=True)
