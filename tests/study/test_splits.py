"""Each seed on a split of its own: identities, resuming, other processes, trivial predictions, real tables."""

import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import accuracy_score, mean_pinball_loss, mean_poisson_deviance, root_mean_squared_error
from tests.study.toy import toy_data

from polytask.data import InputSpec, MultiTaskData, TensorSource, read_table
from polytask.errors import ConfigError
from polytask.study import Comparison, compare
from polytask.study.splits import Splits
from polytask.study.trivial import judge_trivially
from polytask.tasks import Task, TaskSet


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 3))
    y = x[:, 0] + 0.5 * rng.normal(size=90)
    return pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": y, "z": y + rng.normal(size=90)})


def study(data, out, **options):
    return compare(data, methods=["ridge", "mean_regularized:alpha=0.1"], progress=False, out=out, **options)


def test_every_seed_is_judged_on_the_split_of_its_number(table, tmp_path):
    data = read_table(table, ["y", "z"])
    found = study(data, tmp_path, seeds=3)
    assert found.protocol.splits == "hold-outs"
    for seed in range(3):
        alone = study(data.resplit(seed), tmp_path / str(seed), seeds=[seed], split_seeds=False)
        mine = found.primary.xs(seed, level="seed")
        pd.testing.assert_frame_equal(mine, alone.primary.xs(seed, level="seed"))
    assert {trial.labels_seen["y"] for trial in found.trials if "y" in trial.labels_seen} == {54}
    assert found.interval("mean_regularized:alpha=0.1").overlap == pytest.approx(18 / 72)
    again = Comparison.load(tmp_path)
    assert again.protocol == found.protocol
    assert str(again) == str(found)


def test_trials_of_one_split_keep_their_names_and_are_not_trained_again(table, tmp_path, caplog):
    """A study finished with one split: the same call with split_seeds=False finds its trials, as does seed 0 of any."""
    data = read_table(table, ["y", "z"])
    bare = dataclasses.replace(data, splitter=None)  # as data were before they could be split again
    before = study(bare, tmp_path, seeds=2)
    fixed = study(data, tmp_path, seeds=2, split_seeds=False)
    assert [t.id for t in fixed.trials] == [t.id for t in before.trials]
    assert [t.timing for t in fixed.trials] == [t.timing for t in before.trials]
    varied = study(data, tmp_path, seeds=2)
    same = [t.id for t in varied.trials if t.id in {b.id for b in before.trials}]
    assert {t.seed for t in varied.trials if t.id in same} == {0}
    assert len(same) == len(before.trials) / 2
    assert "on one split of the rows: seeds only" in before.interval("mean_regularized:alpha=0.1").how


def test_processes_split_for_themselves(table, tmp_path):
    data = read_table(table, ["y", "z"], folds=3)
    one, two = (study(data, tmp_path / str(n), seeds=3, workers=n) for n in (1, 2))
    pd.testing.assert_frame_equal(one.frame, two.frame)
    assert one.protocol.splits == "3 folds"
    assert "corrected repeated k-fold t over 3 splits" in str(one)
    assert one.interval("mean_regularized:alpha=0.1").overlap == pytest.approx(1 / 2)  # 1/(k − 1)


def test_a_split_is_made_once_for_the_trials_of_a_seed(table):
    splits = Splits(read_table(table, ["y", "z"]))
    assert splits.of(1) is splits.of(1)
    copy = pickle.loads(pickle.dumps(splits))
    assert copy._last is None
    assert copy.of(1).fingerprint == splits.of(1).fingerprint != splits.of(2).fingerprint


def test_data_with_fixed_test_rows_cannot_vary(table, tmp_path):
    with pytest.raises(ConfigError, match=r"toy has fixed test rows.*leave out split_seeds"):
        compare(toy_data(), split_seeds=True, out=tmp_path)
    in_time = read_table(table.assign(t=range(90)), ["y", "z"], time="t")
    found = study(in_time, tmp_path, seeds=2)
    assert found.protocol.splits == ""


def test_the_trivial_prediction_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)

    def rows(n):
        return {
            "number": torch.tensor(rng.normal(5, 2, n)).float(),
            "count": torch.tensor(rng.poisson(3.0, n)).float(),
            "class": torch.tensor(rng.choice(3, n, p=[0.5, 0.3, 0.2])),
            "yes": torch.tensor((rng.random(n) < 0.3).astype(int)),
            "level": torch.tensor(rng.choice(3, n, p=[0.2, 0.6, 0.2])),
            "quantiles": torch.tensor(rng.normal(5, 2, n)).float(),
        }

    tasks = TaskSet(
        [
            Task("number", shift=2.0, scale=3.0),
            Task("count", "count"),
            Task("class", "multiclass", classes=3),
            Task("yes", "binary", metrics=["accuracy"]),
            Task("level", "ordinal", classes=3),
            Task("quantiles", "quantile", quantiles=(0.1, 0.5, 0.9)),
        ]
    )
    train, test = rows(200), rows(80)
    test["number"][:5] = float("nan")
    train["yes"][:5] = -100
    source = {name: TensorSource(torch.zeros(len(y["yes"]), 1), y) for name, y in (("train", train), ("test", test))}
    data = MultiTaskData(
        "d", tasks, source["train"], source["test"], source["test"], InputSpec("vector", (1,)), "mlp:4"
    )
    found = judge_trivially(data)
    learn, judge = ({k: v.numpy() for k, v in rows.items()} for rows in (train, test))

    def dummy(kind, name, **options):
        known = learn[name] != -100
        model = kind(**options).fit(np.zeros((known.sum(), 1)), learn[name][known])
        return model.predict(np.zeros((80, 1)))

    seen = ~np.isnan(judge["number"])
    cut = np.quantile(learn["quantiles"], [0.1, 0.5, 0.9])
    expected = {
        "number": root_mean_squared_error(judge["number"][seen], dummy(DummyRegressor, "number")[seen]),
        "count": mean_poisson_deviance(judge["count"], dummy(DummyRegressor, "count")),
        "class": accuracy_score(judge["class"], dummy(DummyClassifier, "class")),
        "yes": accuracy_score(judge["yes"], dummy(DummyClassifier, "yes")),
        "level": np.abs(judge["level"] - np.median(learn["level"])).mean(),
        "quantiles": np.mean([mean_pinball_loss(judge["quantiles"], np.full(80, q), alpha=a)
                              for q, a in zip(cut, (0.1, 0.5, 0.9), strict=True)]),
    }  # fmt: skip
    assert found.values == pytest.approx(expected, rel=1e-5)
    assert found.rarer == {"yes": int(min((judge["yes"] == 1).sum(), (judge["yes"] == 0).sum()))}


def test_impossible_labels_are_told_by_trials_and_not_here():
    data = toy_data()
    data.test.targets["c"][0] = 7
    found = judge_trivially(data).values
    assert np.isnan(found["c"])
    assert np.isfinite(found["a"])


def test_data_that_were_changed_are_left_as_they_are(table):
    data = read_table(table, ["y", "z"])
    assert Splits(data).how == Splits(data.only(["z"])).how == "hold-outs"
    fewer = dataclasses.replace(data, train=data.train.subset(torch.arange(20)))
    for changed in (fewer, data.resplit(3)):
        splits = Splits(changed)
        assert splits.how == ""
        assert splits.of(5) is changed
        with pytest.raises(ConfigError, match="are not those that were read"):
            Splits(changed, vary=True)
