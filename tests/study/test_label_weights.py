"""Weights from a table's columns to networks, estimators and metrics."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as OneRidge

from polytask.data import read_table
from polytask.errors import ConfigError, DataError
from polytask.study.classical import find_entry
from polytask.study.classical.fit import learn
from polytask.study.classical.rows import read_rows
from polytask.study.trivial import judge_trivially

RNG = np.random.default_rng(0)
N = 120
FRAME = pd.DataFrame(
    {
        "x": RNG.normal(size=N),
        "z": RNG.normal(size=N),
        "w": RNG.integers(0, 4, N),
        "v": RNG.random(N) + 0.5,
    }
)
FRAME["y"] = FRAME.x + 0.3 * RNG.normal(size=N)
FRAME["sick"] = np.where(FRAME.z + RNG.normal(size=N) > 0.8, "yes", "no")


def arrays(data, task):
    rows = read_rows(data.train, data.tasks)
    known = ~np.isnan(rows.targets[task])
    return rows, rows.targets[task][known], rows.weights[task][known], known


def test_a_column_of_weights_is_no_input_and_zero_is_missing():
    data = read_table(FRAME, ["y", "sick"], weight={"y": "w"})
    assert set(data.details["roles"]) == {"x", "z", "v"}
    assert data.counts().loc["y"].sum() == (FRAME.w > 0).sum()
    assert data.counts().loc["sick"].sum() == N
    assert "Labels have weights: y by w." in data.notes
    again = data.resplit(1)
    assert set(again.train.weights) == {"y"}
    assert not torch.equal(again.train.weights["y"], data.train.weights["y"])
    assert data.fingerprint != read_table(FRAME.drop(columns="w"), ["y", "sick"]).fingerprint


@pytest.mark.parametrize("bad", [-1, np.nan, "a lot", np.inf])
def test_weights_that_cannot_be_name_the_row(bad):
    frame = FRAME.astype({"w": object})
    frame.loc[3, "w"] = bad
    with pytest.raises(DataError, match="row 4"):
        read_table(frame, ["y"], weight="w")


def test_names_of_columns_and_targets_are_checked():
    with pytest.raises(DataError, match="weight column"):
        read_table(FRAME, ["y"], weight="ww")
    with pytest.raises(DataError, match="target with weights"):
        read_table(FRAME, ["y"], weight={"x": "w"})


def test_ridge_is_that_of_repeated_rows():
    data = read_table(FRAME, ["y"], weight="w", ignore=["v"])
    learned = learn(find_entry("ridge", {"alpha": 0.1}), data, data.tasks, 0)
    rows, y, w, known = arrays(data, "y")
    X, count = learned.encoding.linear(rows.features)[known], w.astype(int)
    mean, spread = learned.units["y"]
    again = y.repeat(count)
    assert (mean, spread) == pytest.approx((again.mean(), again.std()))
    expected = OneRidge(alpha=0.1 * count.sum()).fit(X.repeat(count, 0), (again - mean) / spread)
    found = learned.fitted.heads(learned.encoding.linear(rows.features), learned.encoding.trees(rows.features))["y"]
    np.testing.assert_allclose(found, expected.predict(learned.encoding.linear(rows.features)), rtol=1e-8)


def test_boosting_is_scikit_learns_with_sample_weight():
    data = read_table(FRAME, ["y"], weight="v", ignore=["w"])
    learned = learn(find_entry("boosting", {"max_iter": 20}), data, data.tasks, 0)
    rows, y, w, _ = arrays(data, "y")
    X = learned.encoding.trees(rows.features)
    mean, spread = learned.units["y"]
    model = HistGradientBoostingRegressor(max_iter=20, max_leaf_nodes=8, early_stopping=False, random_state=0)
    model.fit(X, (y - mean) / spread, sample_weight=w)
    np.testing.assert_allclose(learned.fitted.heads(None, X)["y"], model.predict(X))


def test_a_learner_of_another_package_is_scikit_learns_with_sample_weight():
    data = read_table(FRAME, ["y", "sick"], weight={"y": "v"}, ignore=["w"])
    asked = {"estimator": "sklearn.linear_model:Ridge", "classifier": "sklearn.linear_model:LogisticRegression"}
    learned = learn(find_entry("learner", asked), data, data.tasks, 0)
    rows, y, w, _ = arrays(data, "y")
    X = learned.encoding.linear(rows.features)
    mean, spread = learned.units["y"]
    expected = OneRidge().fit(X, (y - mean) / spread, sample_weight=w).predict(X)
    np.testing.assert_allclose(learned.fitted.heads(X, X)["y"], expected)


@pytest.mark.parametrize("how", ["chain", "stack", "pooled"])
def test_ways_of_several_targets_take_weights(how):
    """A label of weight 0 is a missing one, whatever it says."""
    frame = FRAME.assign(u=(FRAME.w > 0) * 1.0, gone=FRAME.y.where(FRAME.w > 0), lied=FRAME.y.where(FRAME.w > 0, 99.0))
    frame["other"] = frame.z + frame.x**2

    def fitted(target, **weight):
        used = (target, *weight.values())
        data = read_table(
            frame.rename(columns={target: "t"}),
            ["t", "other"],
            ignore=[name for name in ("u", "w", "v", "y", "sick", "gone", "lied") if name not in used],
            weight={"t": weight["column"]} if weight else None,
            kinds={"t": "regression"},
        )
        learned = learn(find_entry("ridge", {"alpha": 0.1, "how": how}), data, data.tasks, 0)
        X = learned.encoding.linear(read_rows(data.train, data.tasks).features)
        mean, spread = learned.units["t"]
        return data, learned.fitted.heads(X, X)["t"] * spread + mean

    (one, weighed), (two, without) = fitted("lied", column="u"), fitted("gone")
    assert one.counts().loc["t"].tolist() == two.counts().loc["t"].tolist()
    np.testing.assert_allclose(weighed, without, rtol=1e-6)


def test_class_weights_of_the_logistic_model_are_scikit_learns():
    import dataclasses

    from polytask.tasks import TaskSet

    data = read_table(FRAME, ["sick"], ignore=["w", "v"])
    task = dataclasses.replace(data.tasks["sick"], class_weight="balanced")
    learned = learn(find_entry("ridge", {"alpha": 0.1}), data, TaskSet([task]), 0)
    rows = read_rows(data.train, TaskSet([task]))
    X, y = learned.encoding.linear(rows.features), rows.targets["sick"]
    model = LogisticRegression(C=1 / (0.1 * len(y)), class_weight="balanced", max_iter=1000).fit(X, y)
    np.testing.assert_allclose(learned.fitted.heads(X, X)["sick"], model.decision_function(X), rtol=1e-3, atol=1e-4)


def test_a_family_takes_weights_of_rows_and_refuses_two_in_one():
    frame = FRAME.assign(y2=FRAME.z + RNG.normal(size=N))
    entry = find_entry("joint_feature", {"alpha": 0.01})
    data = read_table(frame, ["y", "y2"], weight="v", ignore=["w", "sick"])
    assert learn(entry, data, data.tasks, 0).counts["y"] == len(data.train)
    apart = read_table(frame, ["y", "y2"], weight={"y": "v"}, ignore=["w", "sick"])
    with pytest.raises(ConfigError, match="one weight per row"):
        learn(entry, apart, apart.tasks, 0)


def test_the_trivial_baseline_is_judged_by_weights():
    data = read_table(FRAME, ["y"], weight="v", ignore=["w"])
    y, w = data.test.targets["y"].double(), data.test.weights["y"].double()
    train, own = data.train.targets["y"].double(), data.train.weights["y"].double()
    mean = (own * train).sum() / own.sum()
    expected = ((w * (y - mean) ** 2).sum() / w.sum()).sqrt()
    assert judge_trivially(data).values["y"] == pytest.approx(float(expected), rel=1e-5)


def test_the_configuration_names_columns_and_class_weights(tmp_path):
    from polytask.study.config import Config

    FRAME.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "polytask.toml").write_text(
        '[data]\nsource = "rows.csv"\nweight = "w"\n[tasks.y]\nweight_column = "v"\n'
        '[tasks.sick]\nclass_weight = "balanced"\n'
    )
    data = Config.load(tmp_path / "polytask.toml").build_data()
    assert data.tasks["sick"].class_weight == "balanced"
    assert data.tasks["sick"].weight == 1.0
    assert torch.allclose(
        data.train.weights["y"].sort().values[:3], torch.tensor(sorted(FRAME.v)[:1]).float(), atol=0.5
    )
    assert data.counts().loc["sick"].sum() == (FRAME.w > 0).sum()
