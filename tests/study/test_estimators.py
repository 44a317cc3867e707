"""Estimators in a study: equal to scikit-learn by hand, fitted on training rows alone, judged like networks."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import jaxtyping
import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as scores
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge

from polytask.balance import METHODS
from polytask.data import InputSpec, MultiTaskData, TensorSource, read_table
from polytask.errors import ConfigError
from polytask.files import encode
from polytask.linear.registry import FAMILIES
from polytask.study import Comparison, compare
from polytask.study.classical import entry_names, find_entry
from polytask.study.classical.entries import NO_COLUMNS
from polytask.study.classical.rows import Encoding, read_rows
from polytask.study.classical.saved import head_of
from polytask.study.contenders import read_contender
from polytask.study.contenders.estimator import EstimatorContender
from polytask.tasks import Task, TaskSet


@pytest.fixture(autouse=True)
def _no_shape_checks():
    """Cross-validation makes thousands of small fits; their shapes are checked in the tests of polytask.linear."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


def table(rows=300, seed=0):
    """Every kind of target of the same linear score, with a category and missing labels."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, 0.0]
    place = rng.integers(0, 4, rows)
    score = x[:, 0] + 0.1 * (x[:, 1] - 5) + np.array([-1.0, 0.0, 0.5, 2.0])[place]
    price = 100 + 20 * score + 5 * rng.normal(size=rows)
    price[rng.random(rows) < 0.3] = np.nan
    return pd.DataFrame(
        {
            **{f"x{i}": x[:, i] for i in range(3)},
            "place": np.array(["east", "north", "south", "west"])[place],
            "price": price,
            "size": 3 * score + rng.normal(size=rows),
            "sold": score + rng.normal(size=rows) > 0,
            "seen": score - rng.normal(size=rows) > 0.5,
            "colour": np.array(["red", "green", "blue"])[np.digitize(score + rng.normal(size=rows), [-1, 1])],
            "grade": np.digitize(score + rng.normal(size=rows), [-1, 0, 1]),
            "calls": rng.poisson(np.exp(0.5 * score)),
        }
    )


def data_of(**kinds):
    """One split of the table for all seeds: what is tested here are seeds on the same rows."""
    frame = table()
    spare = [name for name in frame.columns[4:] if name not in kinds]
    return dataclasses.replace(read_table(frame, list(kinds), kinds=kinds, ignore=spare), splitter=None)


def matrices(data, task):
    """Training and test rows as scikit-learn takes them, made without the code under test."""
    found = []
    for source in (data.train, data.test):
        codes = source.inputs["categorical"].numpy()
        hot = np.concatenate([codes == level for level in range(1, codes.max() + 1)], axis=1).astype(float)
        y = source.targets[task].numpy().astype(float)
        known = ~np.isnan(y)
        found += [np.hstack([source.inputs["numeric"].numpy().astype(float), hot])[known], y[known]]
    return found


def run(data, method, out, **options):
    comparison = compare(data, methods=[method], **{"seeds": 1, "out": out, "progress": False, **options})
    assert not comparison.failures, [trial.error for trial in comparison.failures]
    return comparison


def measured(comparison, task, metric, split="test"):
    frame = comparison.frame
    found = frame[(frame["task"] == task) & (frame["metric"] == metric) & (frame["split"] == split)]["value"]
    assert len(found) == 1
    return float(found.iloc[0])


def facts(comparison):
    found = json.loads(encode([trial.to_dict() for trial in comparison.trials]))
    for trial in found:
        trial.pop("timing")
    return found


# ---- names ---------------------------------------------------------------------------------------------------------


def test_names_do_not_collide():
    assert len(set(entry_names())) == len(entry_names())
    assert not set(entry_names()) & {"stl", *METHODS}


def test_every_family_is_an_entry_or_says_why_not():
    assert set(FAMILIES) - set(entry_names()) == set(NO_COLUMNS)
    assert set(NO_COLUMNS) <= set(FAMILIES)


#: options without which a family does not fit these tasks
OPTIONS = {"tensor_tasks": {"shape": [2, 1]}, "calibrated": {"ridge": 0.1}}
CHOSEN_OTHERWISE = ("ridge", "logistic", "boosting", "powerset", "chains")


def learn(name, options, out):
    """Better than the mean and than chance, from features of different scales, with a third of the labels missing."""
    kinds = {"price": "regression", "size": "regression", "sold": "binary", "seen": "binary", "calls": "count"}
    learns = find_entry(name, {}).learns
    data = data_of(**{task: kind for task, kind in kinds.items() if kind in learns})
    comparison = run(data, {"name": name, **options, **OPTIONS.get(name, {})}, out)
    for task in data.tasks.values():
        if task.kind == "count":
            rate = data.train.targets[task.name].float().mean().item()
            truth = data.test.targets[task.name].numpy()
            constant = scores.mean_poisson_deviance(truth, np.full(len(truth), rate))
            assert measured(comparison, task.name, "deviance") < 0.85 * constant
            continue
        metric, least = ("r2", 0.5) if task.kind == "regression" else ("auroc", 0.7)
        assert measured(comparison, task.name, metric) > least
    for trial in comparison.trials:
        assert sum(trial.parameters.values()) > 0
        assert trial.steps == trial.epochs == 0
        assert trial.curves == {}
        assert set(trial.metrics) == {"val", "test"}


# ``learner`` has the options of what it is given, and tests of its own (test_together.py)
OWN = [name for name in entry_names() if name != "learner"]


@pytest.mark.parametrize("name", OWN)
def test_every_entry_learns_numbers_and_answers_with_missing_labels(name, tmp_path):
    learn(name, {} if name in CHOSEN_OTHERWISE else {"alpha": 0.01}, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in OWN if name not in CHOSEN_OTHERWISE])
def test_every_family_is_cross_validated_by_default(name, tmp_path):
    learn(name, {"alphas": 3, "cv": 2} if name == "calibrated" else {"alphas": 4}, tmp_path)


# ---- equal to scikit-learn by hand ---------------------------------------------------------------------------------


def test_ridge_of_numbers_is_scikit_learns(tmp_path):
    data = data_of(price="regression")
    X, y, later, truth = matrices(data, "price")
    prediction = Ridge(alpha=0.05 * len(y)).fit(X, y).predict(later)
    comparison = run(data, "ridge:alpha=0.05", tmp_path)
    assert measured(comparison, "price", "rmse") == pytest.approx(scores.root_mean_squared_error(truth, prediction))
    assert measured(comparison, "price", "r2") == pytest.approx(scores.r2_score(truth, prediction))


def test_ridge_chooses_by_leaving_one_out(tmp_path):
    data = data_of(price="regression")
    X, y, _, _ = matrices(data, "price")
    errors = {}
    for alpha in (1e-3, 0.1, 10.0):
        left_out = []
        for row in range(len(y)):
            keep = np.arange(len(y)) != row
            left_out.append(y[row] - Ridge(alpha=alpha * len(y)).fit(X[keep], y[keep]).predict(X[[row]])[0])
        errors[alpha] = np.mean(np.square(left_out))
    comparison = run(data, {"name": "ridge", "alphas": list(errors)}, tmp_path)
    assert comparison.trials[0].fitted["price"]["alpha"] == pytest.approx(min(errors, key=errors.__getitem__))


@pytest.mark.parametrize("name", ["ridge", "logistic"])
def test_ridge_of_answers_is_logistic_regression(tmp_path, name):
    data = data_of(sold="binary")
    X, y, later, truth = matrices(data, "sold")
    chances = LogisticRegression(C=1 / (0.01 * len(y))).fit(X, y).predict_proba(later)[:, 1]
    comparison = run(data, f"{name}:alpha=0.01", tmp_path)
    assert measured(comparison, "sold", "auroc") == pytest.approx(scores.roc_auc_score(truth, chances))
    assert measured(comparison, "sold", "accuracy") == pytest.approx(scores.accuracy_score(truth, chances > 0.5))


def test_ridge_of_classes_grades_and_counts(tmp_path):
    data = data_of(colour="multiclass", grade="ordinal", calls="count")
    comparison = run(data, "ridge:alpha=0.01", tmp_path)
    X, y, later, truth = matrices(data, "colour")
    guess = LogisticRegression(C=100 / len(y)).fit(X, y).predict(later)
    assert measured(comparison, "colour", "accuracy") == pytest.approx(scores.accuracy_score(truth, guess))
    X, y, later, truth = matrices(data, "grade")
    above = [LogisticRegression(C=100 / len(y)).fit(X, y > k).predict(later) for k in range(3)]
    median = np.cumprod(above, axis=0).sum(axis=0)  # the thresholds passed, one after the other
    assert measured(comparison, "grade", "mae") == pytest.approx(np.abs(median - truth).mean())
    X, y, later, truth = matrices(data, "calls")
    rate = PoissonRegressor(alpha=0.01, max_iter=1000).fit(X, y).predict(later)
    expected = scores.mean_poisson_deviance(truth, rate)
    assert measured(comparison, "calls", "deviance") == pytest.approx(expected, rel=1e-4)


def test_boosting_is_scikit_learns(tmp_path):
    data = data_of(price="regression", size="quantile")
    comparison = run(data, "boosting:max_iter=30,max_leaf_nodes=5", tmp_path)
    for task in ("price", "size"):
        source, later = data.train, data.test
        X, new = (np.hstack([s.inputs["numeric"], s.inputs["categorical"]]).astype(float) for s in (source, later))
        y, truth = (s.targets[task].numpy().astype(float) for s in (source, later))
        known, measurable = ~np.isnan(y), ~np.isnan(truth)
        mean, spread = y[known].mean(), y[known].std()
        options = {"max_iter": 30, "max_leaf_nodes": 5, "early_stopping": False, "categorical_features": [3]}
        if task == "price":
            model = HistGradientBoostingRegressor(**options).fit(X[known], (y[known] - mean) / spread)
            prediction = model.predict(new) * spread + mean
            expected = scores.root_mean_squared_error(truth[measurable], prediction[measurable])
            assert measured(comparison, task, "rmse") == pytest.approx(expected)
        else:
            levels = []
            for level in (0.1, 0.5, 0.9):
                model = HistGradientBoostingRegressor(loss="quantile", quantile=level, **options)
                levels.append(model.fit(X, (y - mean) / spread).predict(new) * spread + mean)
            ordered = np.sort(levels, axis=0)
            pinball = [
                scores.mean_pinball_loss(truth, q, alpha=a) for q, a in zip(ordered, (0.1, 0.5, 0.9), strict=True)
            ]
            assert measured(comparison, task, "pinball") == pytest.approx(np.mean(pinball))


def test_a_family_is_polytask_linears(tmp_path):
    """The tasks' own units do not matter: targets are standardised by their training labels."""
    from polytask.linear import MeanRegularizedRegressor

    data = data_of(price="regression", size="regression")
    comparison = run(data, {"name": "mean_regularized", "alpha": 0.2}, tmp_path)
    X, later = (
        np.hstack([s.inputs["numeric"].numpy(), s.inputs["categorical"].numpy() == [[1, 2, 3, 4]]]).astype(float)
        for s in (data.train, data.test)
    )
    Y = np.stack([data.train.targets[task].numpy() for task in data.tasks], axis=1).astype(float)
    mean, spread = np.nanmean(Y, axis=0), np.nanstd(Y, axis=0)
    model = MeanRegularizedRegressor(alpha=0.2, tol=1e-8).fit(X, (Y - mean) / spread)
    prediction = model.predict(later) * spread + mean
    for place, task in enumerate(data.tasks):
        truth = data.test.targets[task].numpy()
        known = ~np.isnan(truth)
        expected = scores.root_mean_squared_error(truth[known], prediction[known, place])
        assert measured(comparison, task, "rmse") == pytest.approx(expected, rel=1e-3)
    bare = dataclasses.replace(
        data, tasks=TaskSet([dataclasses.replace(t, shift=0.0, scale=1.0) for t in data.tasks.values()])
    )
    again = run(bare, {"name": "mean_regularized", "alpha": 0.2}, tmp_path)
    assert again.primary.to_numpy() == pytest.approx(comparison.primary.to_numpy(), rel=1e-6)


def test_a_family_learns_counts_by_their_likelihood(tmp_path):
    from polytask.linear import MeanRegularizedRegressor

    data = data_of(calls="count", grade="count", sold="binary")
    comparison = run(data, {"name": "mean_regularized", "alpha": 0.05}, tmp_path)
    X, later = (
        np.hstack([s.inputs["numeric"].numpy(), s.inputs["categorical"].numpy() == [[1, 2, 3, 4]]]).astype(float)
        for s in (data.train, data.test)
    )
    Y = np.stack([data.train.targets[task].numpy() for task in ("calls", "grade")], axis=1).astype(float)
    rates = MeanRegularizedRegressor(alpha=0.05, loss="poisson").fit(X, Y).predict(later)
    for place, task in enumerate(("calls", "grade")):
        expected = scores.mean_poisson_deviance(data.test.targets[task].numpy(), rates[:, place])
        assert measured(comparison, task, "deviance") == pytest.approx(expected, rel=1e-3)
    assert "one Poisson regressor for calls, grade and one classifier for sold, which share nothing" in str(comparison)


def test_several_labels_per_row_are_learned_one_by_one(tmp_path):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 5, generator=generator)
    labels = (x[:, :3] > 0).float()
    labels[torch.rand(200, 3, generator=generator) < 0.3] = float("nan")
    rows = TensorSource(x, {"tags": labels})
    tasks = TaskSet([Task("tags", "multilabel", classes=3)])
    data = MultiTaskData("tags", tasks, rows, rows, rows, InputSpec("vector", (5,)), "mlp:8")
    for method in ("ridge", "boosting"):
        assert measured(run(data, method, tmp_path), "tags", "auroc") > 0.95


# ---- rows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ridge", "boosting", "mean_regularized"])
def test_only_training_rows_are_learned_from(tmp_path, method):
    data = data_of(price="regression", sold="binary")
    first = run(data, method, tmp_path / "a")
    changed = dict(data.test.targets)
    changed["price"] = changed["price"] * 3
    changed["sold"] = 1 - changed["sold"]
    other = dataclasses.replace(data, test=TensorSource(data.test.inputs, changed))
    second = run(other, method, tmp_path / "b")
    for one, two in zip(first.trials, second.trials, strict=True):
        assert one.fitted == two.fitted
        assert one.metrics["val"] == two.metrics["val"]
        assert one.metrics["test"] != two.metrics["test"]


def test_a_row_without_the_label_is_as_no_row(tmp_path):
    data = data_of(price="regression", sold="binary")
    keep = torch.arange(0, len(data.train), 2)
    blank = dict(data.train.targets)
    blank["price"] = torch.full_like(blank["price"], float("nan"))
    blank["price"][keep] = data.train.targets["price"][keep]
    some = dataclasses.replace(data, train=TensorSource(data.train.inputs, blank))
    fewer = dataclasses.replace(data, train=data.train.subset(keep))
    one, two = (run(d, "ridge:alpha=0.01", tmp_path / name) for d, name in ((some, "a"), (fewer, "b")))
    assert measured(one, "price", "rmse") == pytest.approx(measured(two, "price", "rmse"), rel=1e-3)
    assert one.trials[0].labels_seen["price"] == two.trials[0].labels_seen["price"]
    assert one.trials[1].labels_seen["sold"] > two.trials[1].labels_seen["sold"]


def test_labels_that_are_missing_by_a_sentinel(tmp_path):
    data = data_of(size="regression")
    y = data.train.targets["size"].clone()
    y[::3] = -9.0
    task = dataclasses.replace(data.tasks["size"], missing=-9.0)
    marked = dataclasses.replace(data, tasks=TaskSet([task]), train=TensorSource(data.train.inputs, {"size": y}))
    assert read_rows(marked.train, marked.tasks).targets["size"].tolist()[:2] == [
        pytest.approx(np.nan, nan_ok=True),
        y[1],
    ]
    assert run(marked, "ridge", tmp_path).trials[0].labels_seen["size"] == int((y != -9).sum())


def test_categories_reach_the_trees_as_such():
    codes = torch.tensor([[0], [3], [3], [1], [2], [2], [2]])
    source = TensorSource({"numeric": torch.zeros(7, 0), "categorical": codes}, {"a": torch.arange(7.0)})
    rows = read_rows(source, TaskSet([Task("a")]))
    encoding = Encoding.learn(rows.features, InputSpec("table", cardinalities=(4,)))
    assert encoding.is_category.tolist() == [True]
    ranks = encoding.trees(rows.features)[:, 0]
    assert np.isnan(ranks[0])
    assert ranks[1:].tolist() == [1, 1, 2, 0, 0, 0]
    assert encoding.linear(rows.features).sum(axis=1).tolist() == [1.0] * 7


def test_more_levels_than_trees_can_tell_apart(tmp_path):
    codes = torch.arange(9000).remainder(300).add(1)[:, None]
    inputs = {"numeric": torch.zeros(9000, 1), "categorical": codes}
    rows = TensorSource(inputs, {"a": (codes[:, 0] % 2).float()})
    spec = InputSpec("table", numeric=1, cardinalities=(301,))
    data = MultiTaskData("many", TaskSet([Task("a")]), rows, rows, rows, spec, "tabular:8")
    assert measured(run(data, "boosting", tmp_path), "a", "r2") > 0.5
    assert measured(run(data, "ridge:alpha=1e-4", tmp_path), "a", "r2") > 0.9


def test_very_large_tables_are_sparse(tmp_path, monkeypatch):
    data = data_of(price="regression", size="regression", sold="binary")
    methods = ["ridge", "mean_regularized:alpha=0.1"]
    dense = compare(data, methods=methods, seeds=1, out=tmp_path / "a", progress=False)
    monkeypatch.setattr("polytask.study.classical.rows.LARGEST_DENSE", 0)
    sparse = compare(data, methods=methods, seeds=1, out=tmp_path / "b", progress=False)
    assert sparse.primary.to_numpy() == pytest.approx(dense.primary.to_numpy(), rel=1e-3)


@pytest.mark.parametrize("shape", [(6,), (1, 3, 4)])
def test_vectors_and_images(tmp_path, shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(120, *shape, generator=generator)
    rows = TensorSource(x, {"a": x.flatten(1).sum(1), "b": (x.flatten(1)[:, 0] > 0).long()})
    kind = "vector" if len(shape) == 1 else "image"
    tasks = TaskSet([Task("a"), Task("b", "binary")])
    data = MultiTaskData("toy", tasks, rows, rows, rows, InputSpec(kind, shape), "mlp:8")
    assert measured(run(data, "ridge", tmp_path), "a", "r2") > 0.99


@pytest.mark.parametrize("method", ["ridge", "boosting"])
def test_rare_and_absent_classes(tmp_path, method):
    """One row of a class, none of another, one class only: finite predictions, nothing fails."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 3, generator=generator)
    three = (x[:, 0] > 0).long() * 2
    three[0] = 3
    targets = {"kind": three, "yes": torch.ones(60).long(), "grade": three.clamp(max=2), "none": torch.zeros(60).long()}
    kinds = {"kind": "multiclass", "grade": "ordinal"}
    tasks = [Task(name, kinds[name], classes=5) for name in kinds]
    rows = TensorSource(x, targets)
    data = MultiTaskData(
        "rare", TaskSet([*tasks, Task("yes", "binary"), Task("none", "count")]), rows, rows, rows,
        InputSpec("vector", (3,)), "mlp:8",
    )  # fmt: skip
    comparison = run(data, method, tmp_path)
    assert measured(comparison, "kind", "accuracy") > 0.85
    assert measured(comparison, "yes", "accuracy") == 1
    assert measured(comparison, "grade", "mae") < 0.3
    assert measured(comparison, "none", "mae") < 0.05


def test_folds_without_a_second_class_choose_nothing(tmp_path):
    """One positive label: in the fold that holds it out, the likelihood of the rest has no maximiser."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 2, generator=generator)
    targets = {"rare": (torch.arange(40) == 7).long(), "common": (x[:, 0] > 0).long()}
    rows = TensorSource(x, targets)
    tasks = TaskSet([Task("rare", "binary"), Task("common", "binary")])
    data = MultiTaskData("rare", tasks, rows, rows, rows, InputSpec("vector", (2,)), "mlp:8")
    comparison = run(data, {"name": "mean_regularized", "alphas": 5}, tmp_path)
    assert comparison.trials[0].remarks == []
    assert measured(comparison, "common", "auroc") > 0.95


# ---- choices -------------------------------------------------------------------------------------------------------


def test_trees_are_as_many_as_the_signal_bears(tmp_path):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 4, generator=generator)
    noise = torch.randn(300, generator=generator)
    rows = TensorSource(x, {"signal": x.sum(1), "noise": noise})
    tasks = TaskSet([Task("signal"), Task("noise")])
    data = MultiTaskData("toy", tasks, rows, rows, rows, InputSpec("vector", (4,)), "mlp:8")
    found = {
        next(iter(t.fitted)): t.fitted[next(iter(t.fitted))]["trees"] for t in run(data, "boosting", tmp_path).trials
    }
    assert found["noise"] < 20 < found["signal"] <= 300


def test_alpha_fixes_a_family_and_its_absence_cross_validates(tmp_path):
    data = data_of(price="regression", size="regression")
    assert run(data, "trace_norm:alpha=0.1", tmp_path).trials[0].fitted["price+size"] == {
        "estimator": "TraceNormRegressor",
        "alpha": 0.1,
        "dual_gap": pytest.approx(0, abs=1e-3),
    }
    chosen = run(data, {"name": "trace_norm", "alphas": [0.3, 0.02]}, tmp_path).trials[0].fitted["price+size"]
    assert chosen["estimator"] == "TraceNormRegressorCV"
    assert chosen["alpha"] == 0.02


def test_a_seed_is_its_folds_and_a_method_without_chance_is_told(tmp_path):
    data = data_of(price="regression", sold="binary")
    comparison = compare(
        data, methods=["ridge:alpha=0.1", "boosting"], seeds=3, out=tmp_path, progress=False, baseline="boosting"
    )
    assert comparison.constant == ("ridge:alpha=0.1",)
    assert "the same at every seed: ridge:alpha=0.1" in str(comparison)
    assert len({str(trial.fitted) for trial in comparison.trials if trial.method == "boosting"}) > 2


def test_two_methods_without_chance_get_no_interval(tmp_path):
    data = data_of(price="regression", sold="binary")
    methods = ["ridge:alpha=0.1", "mean_regularized:alpha=0.1"]
    comparison = compare(data, methods=methods, seeds=3, out=tmp_path, progress=False)
    assert comparison.reference == methods[0]
    assert comparison.verdict_of(methods[1]) == "no spread"
    assert np.isnan(comparison.summary.loc[methods[1], "ci_low"])
    assert "[" not in str(comparison).splitlines()[6]


# ---- trials --------------------------------------------------------------------------------------------------------


def test_a_trial_per_task_for_single_task_baselines_and_one_for_a_family(tmp_path):
    data = data_of(price="regression", sold="binary")
    comparison = compare(data, methods=["ridge", "trace_norm:alpha=0.1"], seeds=2, out=tmp_path, progress=False)
    assert [t.tasks for t in comparison.trials if t.method == "ridge" and t.seed == 0] == [("price",), ("sold",)]
    assert [t.tasks for t in comparison.trials if t.method != "ridge"] == [("price", "sold")] * 2
    for trial in comparison.trials:
        folder = tmp_path / "trials" / trial.id
        kept = [file.name for file in folder.iterdir() if not file.name.startswith("weights-")]
        assert sorted(kept) == ["answers.safetensors", "blueprint.json", "config.json", "trial.json"]
        assert set(trial.versions) == {"polytask", "numpy", "scikit-learn", "python"}


def test_finished_trials_are_not_fitted_again(tmp_path, monkeypatch):
    data = data_of(price="regression", sold="binary")
    methods = ["ridge", "trace_norm:alpha=0.1"]
    first = compare(data, methods=methods, seeds=1, out=tmp_path, progress=False)
    monkeypatch.setattr("polytask.study.contenders.estimator.fit_estimator", None)
    # options of networks do not concern estimators
    again = compare(data, methods=methods, seeds=1, out=tmp_path, progress=False, train={"epochs": 7}, encoder="mlp:3")
    assert facts(again) == facts(first)


def test_another_option_is_another_trial(tmp_path):
    data = data_of(price="regression")
    for method in ("ridge", "ridge:alpha=0.1", "ridge:alpha=0.2", {"name": "ridge", "alphas": [0.1, 0.2]}):
        run(data, method, tmp_path)
    assert len(list(tmp_path.glob("trials/*/trial.json"))) == 4


KILLED = """
import sys, time
sys.path.insert(0, {folder!r})
import test_estimators as here
from polytask.study import Comparison, compare
from polytask.study.classical import families
fit = families.Family._fit
def slow(*arguments):
    open({flag!r}, "w").close()
    time.sleep(60)
families.Family._fit = slow
compare(here.data_of(price="regression", sold="binary"), methods=["ridge", "joint_feature"], seeds=1, out={out!r},
        progress=False)
"""


@pytest.mark.slow
def test_a_killed_study_is_finished_by_the_same_call(tmp_path):
    out, flag = tmp_path / "study", tmp_path / "fitting"

    script = KILLED.format(folder=str(Path(__file__).parent), flag=str(flag), out=str(out))
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60
    while not flag.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("trials/*/trial.json")}
    assert len(kept) == 2
    data, methods = data_of(price="regression", sold="binary"), ["ridge", "joint_feature"]
    again = compare(data, methods=methods, seeds=1, out=out, progress=False)
    whole = compare(data, methods=methods, seeds=1, out=tmp_path / "whole", progress=False)
    assert facts(again) == facts(whole)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.slow
def test_workers_do_not_change_results(tmp_path):
    data = data_of(price="regression", sold="binary")
    options = {"methods": ["ridge", "boosting", "joint_feature"], "seeds": 2, "progress": False}
    one, two = (compare(data, workers=n, out=tmp_path / str(n), **options) for n in (1, 2))
    assert facts(one) == facts(two)


def test_a_failing_estimator_is_recorded_and_the_others_go_on(tmp_path):
    data = data_of(price="regression", size="regression")
    blank = dict(data.train.targets)
    blank["price"] = torch.full_like(blank["price"], float("nan"))
    empty = dataclasses.replace(data, train=TensorSource(data.train.inputs, blank))
    comparison = compare(empty, methods=["ridge", "joint_feature"], seeds=1, out=tmp_path, progress=False)
    assert {(t.method, t.tasks) for t in comparison.failures} == {
        ("ridge", ("price",)),
        ("joint_feature", ("price", "size")),
    }
    assert all("'price' has no training label" in trial.error for trial in comparison.failures)


def test_what_a_solver_warns_of_is_kept_and_said_once(tmp_path, caplog):
    data = data_of(price="regression", size="regression")
    methods = [{"name": "trace_norm", "alpha": 0.01, "max_iter": 1, "tol": 1e-9}]
    comparison = compare(data, methods=methods, seeds=2, out=tmp_path, progress=False)
    assert "gap" in comparison.trials[0].remarks[0]
    assert str(comparison).count("warned") == 1
    assert "gap" in caplog.text


def test_mixed_versions_are_told(tmp_path, caplog):
    data = data_of(price="regression")
    run(data, "ridge", tmp_path)
    path = next(tmp_path.glob("trials/*/trial.json"))
    record = json.loads(path.read_text())
    record["versions"]["scikit-learn"] = "1.2.3"
    del record["checksum"]  # records of earlier versions have none
    path.write_text(json.dumps(record))
    comparison = compare(data, methods=["ridge"], seeds=2, out=tmp_path, progress=False)
    assert "different versions: scikit-learn 1.2.3, " in caplog.text
    assert any("different versions" in note for note in comparison.protocol.notes)


def test_records_without_versions_can_be_read(tmp_path):
    data = data_of(price="regression")
    run(data, "ridge", tmp_path)
    path = next(tmp_path.glob("trials/*/trial.json"))
    record = json.loads(path.read_text())
    for later in ("versions", "fitted", "remarks", "checksum"):
        del record[later]
    path.write_text(json.dumps(record))
    assert run(data, "ridge", tmp_path).trials[0].versions == {}


# ---- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        (["joint_featur"], "did you mean 'joint_feature'"),
        (["boostin"], "did you mean 'boosting'"),
        (["fairgard"], "did you mean 'fairgrad'"),
        (["incomplete_sources"], "unknown method"),
        (["ridge:alfa=1"], "did you mean 'alpha'"),
        (["ridge:alpha=-1"], "a positive number"),
        (["ridge:alpha=much"], "a positive number"),
        ([{"name": "ridge", "alphas": []}], "a positive number"),
        (["boosting:max_iters=3"], "did you mean 'max_iter'"),
        (["boosting:max_iter=0"], "max_iter"),
        (["boosting:loss=poisson"], "unknown option"),
        (["trace_norm:alpha=-1"], "alpha"),
        (["trace_norm:rigde=1"], "did you mean 'ridge'"),
        (["trace_norm:task_col=school"], "unknown option"),
        (["ridge", "logistic"], "are the same"),
        (["ridge:alpha=1", "logistic:alpha=1"], "are the same"),
        (["joint_feature"], r"cannot learn 'colour' \(multiclass\).*use ridge or boosting"),
        (["calibrated", "ridge"], r"calibrated learns .*regression, and cannot learn 'colour'"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_told_before_anything_is_fitted(tmp_path, methods, words):
    data = data_of(price="regression", colour="multiclass")
    with pytest.raises(ConfigError, match=words):
        compare(data, methods=methods, seeds=1, out=tmp_path, progress=False)
    assert not list(tmp_path.rglob("trial.json"))


def test_ridge_refuses_quantiles_and_names_what_learns_them(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot learn 'size' \(quantile\); use boosting, which"):
        compare(data_of(size="quantile"), methods=["ridge"], out=tmp_path)


def test_custom_inputs_are_refused(tmp_path):
    rows = TensorSource(torch.randn(20, 3), {"a": torch.randn(20)})
    data = MultiTaskData("mine", TaskSet([Task("a")]), rows, rows, rows, InputSpec("custom"), "mlp:8")
    with pytest.raises(ConfigError, match="reads tables, vectors and images"):
        compare(data, methods=["ridge"], out=tmp_path)


def test_validation_rows_are_needed_by_networks_only(tmp_path):
    data = data_of(price="regression")
    bare = dataclasses.replace(data, val=data.train.subset(torch.arange(0)))
    assert run(bare, "ridge", tmp_path).trials[0].metrics["test"]["price"]["rmse"] > 0
    with pytest.raises(ConfigError, match="no validation rows"):
        compare(bare, methods=["ridge", "equal"], out=tmp_path)


def test_labels_can_be_read_again():
    lists = {"name": "ridge", "alphas": [0.1, 1.0]}, {"name": "tensor_tasks", "shape": [2, 1], "alpha": 0.1}
    for entry in ("ridge:alpha=0.1", {"name": "trace_norm", "alpha": 0.5}, "boosting", *lists):
        row = read_contender(entry)
        assert read_contender(row.label) == row
        assert isinstance(row, EstimatorContender)
    assert read_contender("stl").alone
    assert read_contender("ridge").alone
    assert not read_contender("joint_feature").alone
    assert not isinstance(read_contender("equal"), EstimatorContender)


def test_an_estimator_is_left_out_for_the_task_it_cannot_learn_and_no_other(tmp_path):
    data = data_of(price="regression", colour="multiclass", size="quantile")
    methods = ["boosting:max_iter=5", "ridge", "joint_feature:alpha=0.1"]
    found = compare(data, methods=methods, seeds=2, out=tmp_path, progress=False)
    assert not found.failures
    assert found.protocol.left_out.keys() == {"ridge", "joint_feature:alpha=0.1"}
    assert set(found.protocol.left_out["joint_feature:alpha=0.1"]) == {"colour", "size"}
    assert found.verdict_of("ridge") == "learns 2 of 3 tasks"
    assert found.excluded == {}  # the others' Δm is the mean over all three
    assert found.interval("ridge", "price") is not None
    whole = compare(data.only(["price", "colour"]), methods=methods[:2], seeds=2, out=tmp_path / "two", progress=False)
    for task in ("price", "colour"):
        assert found.values("ridge", task).to_list() == whole.values("ridge", task).to_list()
    text = str(found)
    assert "no Δm of ridge: ridge learns tasks of kind" in text
    assert "cannot learn 'size' (quantile); use boosting" in text
    row = next(line for line in text.splitlines() if line.startswith("ridge "))
    assert "undefined" not in row
    assert Comparison.load(tmp_path).protocol.left_out == found.protocol.left_out
    assert found.report(tmp_path).exists()


def test_a_constant_prediction_shares_no_memory_with_its_tensor():
    frequencies = np.broadcast_to(np.array([0.2, 0.8]), (3, 2))  # one row of memory, which may not be written to
    outputs = head_of(Task("y", "multiclass", classes=2), frequencies, (0.0, 1.0))
    outputs[0] = 0.0
    assert frequencies[1].tolist() == [0.2, 0.8]
    assert outputs[1].tolist() == [0.2, 0.8]
