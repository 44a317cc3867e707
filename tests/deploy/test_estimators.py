"""Estimators as plain arrays: what they predict is what the library predicts, and comes back to the last bit."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

import polytask as pt
from polytask.data import read_table
from polytask.data.interface import Interface
from polytask.deploy import FinishedModel
from polytask.errors import ConfigError
from polytask.study.classical import entry_names, find_entry, learn
from tests.deploy.conftest import KINDS, image_data, make_rows

pytestmark = pytest.mark.filterwarnings("ignore::polytask.deploy.PredictionWarning", "ignore::UserWarning")
FEW = {"boosting": {"max_iter": 5}, "ridge": {"alpha": 0.1}, "logistic": {"alpha": 0.1}}


def fitted(name, data, options):
    entry = find_entry(name, options)
    names = [task.name for task in data.tasks.values() if task.kind in entry.learns]
    tasks = data.tasks.subset(names)
    learned = learn(entry, data, tasks, 0)
    return learned, learned.plain(Interface.of(data, names))


@pytest.mark.parametrize("name", ["ridge", "boosting"])
def test_baselines_of_every_kind_predict_as_their_library(name, houses, rows, tmp_path, elsewhere):
    learned, plain = fitted(name, houses, FEW[name])
    inputs, _ = plain.interface.encode(make_rows(80, seed=5).assign(place="mars"))
    from polytask.study.classical.rows import features_of

    features = features_of(inputs)
    encoding = learned.encoding
    heads = learned.fitted.heads(encoding.linear(features), encoding.trees(features))
    found = plain.outputs(inputs)
    for task, values in heads.items():
        own = plain.interface.tasks[task]
        unit = learned.units[task]
        raw = (values * unit[1] + unit[0] - own.shift) / own.scale if own.rule.affine else values
        np.testing.assert_allclose(found[task].numpy().reshape(raw.shape), raw, rtol=1e-9, atol=1e-9)
    model = FinishedModel([plain])
    before = model.predict(rows)
    assert {name for name in KINDS if name in before} == set(plain.interface.tasks)
    model.save(tmp_path)
    pd.testing.assert_frame_equal(pt.load(tmp_path).predict(rows), before, check_exact=True)
    pd.testing.assert_frame_equal(elsewhere(tmp_path, rows), before, check_exact=True)


def test_trees_on_categories_numbers_and_gaps_are_scikit_learns_to_the_last_bit():
    """Deep trees on many levels, some of them unseen, against the library's own traversal."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    from polytask.study.classical.plain import trees

    rng = np.random.default_rng(0)
    X = np.stack([rng.normal(size=500), rng.integers(0, 60, 500), rng.integers(0, 3, 500)], axis=1).astype(float)
    X[rng.random(X.shape) < 0.1] = np.nan
    y = np.nan_to_num(X[:, 0]) + np.sin(np.nan_to_num(X[:, 1])) + np.nan_to_num(X[:, 2])
    model = HistGradientBoostingRegressor(categorical_features=[1, 2], max_iter=30).fit(X, y)
    new = np.concatenate([X, [[0.0, 99.0, 1.0], [np.nan, np.nan, np.nan], [9.0, -1.0, 7.0]]])
    np.testing.assert_array_equal(trees(model).head(new), model.predict(new))


@pytest.mark.parametrize("name", ["multiclass", "multilabel"])
def test_labels_of_pictures(name, tmp_path):
    data = image_data()
    task = {"multiclass": "digit", "multilabel": "marks"}[name]
    _, plain = fitted("ridge", data.only([task]), {"alpha": 1.0})
    model = FinishedModel([plain])
    x = torch.rand(5, 1, 8, 8)
    model.save(tmp_path)
    pd.testing.assert_frame_equal(pt.load(tmp_path).predict(x), model.predict(x), check_exact=True)


def test_a_class_that_no_training_row_has_is_improbable_not_lost(houses, tmp_path):
    train = houses.train
    targets = dict(train.targets)
    targets["size"] = torch.where(targets["size"] == 0, -100, targets["size"])
    data = dataclasses.replace(houses, train=pt.data.TensorSource(train.inputs, targets)).only(["size"])
    for entry in ("ridge", "boosting"):
        _, plain = fitted(entry, data, FEW[entry])
        answers = FinishedModel([plain]).predict(make_rows(20))
        first = f"size P({houses.tasks['size'].labels[0]})"
        assert (answers[first] < 1e-9).all()


@pytest.mark.parametrize("name", [name for name in entry_names() if name not in ("ridge", "logistic", "boosting")])
def test_families_that_end_in_a_linear_predictor_are_kept(name, tmp_path):
    """The others are not, and say so where the best model is chosen."""
    rows = make_rows(40)[["x", "age", "garden", "price", "sold", "rooms"]]
    rows["cost"] = rows["price"] * 0.5 + np.random.default_rng(0).normal(size=40) * 1e4
    targets = [task for task in ("price", "cost", "sold", "rooms") if KINDS.get(task, "regression") in learns(name)]
    data = read_table(rows, targets, kinds={"rooms": "count"} if "rooms" in targets else {})
    _, plain = fitted(name, data, fixed(name))
    assert (plain is not None) == find_entry(name, fixed(name)).storable
    if plain is not None:
        model = FinishedModel([plain])
        model.save(tmp_path)
        pd.testing.assert_frame_equal(pt.load(tmp_path).predict(rows), model.predict(rows), check_exact=True)


def learns(name):
    return find_entry(name, fixed(name)).learns


def fixed(name):
    """At one α, where the family has one: cross-validation would take minutes in all."""
    try:
        find_entry(name, {"alpha": 0.1})
    except ConfigError:
        return {}
    return {"alpha": 0.1}
