"""Label shares, groups, time and folds, each counted on the rows themselves."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from polytask.data import SplitRule, TensorSource, read_table
from polytask.data.split_strata import deal, strata
from polytask.errors import DataError

SHARES = [0.6, 0.2, 0.2]


def off(labels, part, shares):
    """Largest distance of a part's number of a label, or of units, from its share."""
    everything = np.column_stack([labels, np.ones(len(labels))])
    total = everything.sum(axis=0)
    return max(np.abs(everything[part == j].sum(axis=0) - share * total).max() for j, share in enumerate(shares))


def several_targets(rng, n):
    """One-hot columns of three targets: three classes, one in ten positive, five classes that miss a tenth."""
    fifth = np.eye(5)[rng.integers(0, 5, n)] * (rng.random(n) < 0.9)[:, None]
    return np.concatenate([np.eye(3)[rng.integers(0, 3, n)], np.eye(2)[(rng.random(n) < 0.1).astype(int)], fifth], 1)


@pytest.mark.parametrize("seed", range(20))
def test_every_label_of_several_targets_is_within_one_row_of_its_share(seed):
    rng = np.random.default_rng(seed)
    labels = several_targets(rng, int(rng.integers(50, 150)))
    part = deal(labels, SHARES, rng)
    assert off(labels, part, SHARES) < 1
    random = rng.permutation(np.arange(len(labels)) * 5 // len(labels))
    assert off(labels, np.maximum(random - 2, 0), SHARES) > 1  # chance alone does not do it


def test_the_published_greedy_alone_keeps_exclusive_labels_within_one_row(monkeypatch):
    monkeypatch.setattr("polytask.data.split_strata._POLISHED", 0)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        labels = np.eye(4)[rng.integers(0, 4, int(rng.integers(20, 200)))]
        part = deal(labels, SHARES, rng)
        shares = np.array([[labels[part == j, k].sum() for k in range(4)] for j in range(3)])
        assert np.abs(shares - np.outer(SHARES, labels.sum(axis=0))).max() <= 1


def test_a_deal_is_as_good_as_the_best_of_all():
    """Eight units in two halves: no other halves are closer to the shares (all 70 tried)."""
    from itertools import combinations

    for seed in range(10):
        labels = np.random.default_rng(seed).integers(0, 2, (8, 3))

        def distance(part, labels=labels):
            surplus = labels[part == 0].sum(0) - labels.sum(0) / 2
            return float((surplus**2).sum())

        halves = []
        for members in combinations(range(8), 4):
            part = np.ones(8, dtype=int)
            part[list(members)] = 0
            halves.append(distance(part))
        assert distance(deal(labels, [0.5, 0.5], np.random.default_rng(0))) <= min(halves) + 1


@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_deal_of_few_units(n):
    part = deal(np.ones((n, 1)), [0.5, 0.5], np.random.default_rng(0))
    assert len(part) == n
    assert set(part) <= {0, 1}


def test_many_units_are_dealt_in_seconds_and_within_their_shares():
    labels = several_targets(np.random.default_rng(0), 20_000)
    assert off(labels, deal(labels, SHARES, np.random.default_rng(0)), SHARES) < 40  # sd of chance is 60


def test_strata_are_quantile_bins_and_classes():
    numbers = pd.Series([*range(100), np.nan])
    found = strata({"x": numbers, "y": pd.Series([3, 3, 7, None] * 25 + [3])})
    assert [int(rows.sum()) for (target, _), rows in found.items() if target == "x"] == [20] * 5
    assert {name: int(rows.sum()) for (target, name), rows in found.items() if target == "y"} == {"3.0": 51, "7.0": 25}
    assert not any(rows[100] for (target, _), rows in found.items() if target == "x")


@pytest.fixture
def table():
    rng = np.random.default_rng(1)
    n = 120
    return pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "school": rng.integers(0, 24, n),
            "day": pd.date_range("2024-01-01", periods=n)[rng.permutation(n)],
            "y": rng.normal(size=n),
            "sick": np.where(rng.random(n) < 0.15, "yes", "no"),
        }
    )


TARGETS = ["y", "sick"]


def whole(parts, n):
    return sorted(np.concatenate(list(parts.values()))) == list(range(n))


@pytest.mark.parametrize("rule", [SplitRule(stratify=True), SplitRule(stratify=True, folds=5), SplitRule(folds=5)])
def test_every_row_is_in_one_split(rule, table):
    for number in range(6):
        parts = rule.split(table, TARGETS, number)
        assert whole(parts, 120)
        assert [len(parts[name]) for name in ("train", "val", "test")] == pytest.approx([72, 24, 24], abs=1)


def test_stratified_splits_hold_their_share_of_positives(table):
    for number in range(10):
        parts = SplitRule(stratify=True).split(table, TARGETS, number)
        sick = (table["sick"] == "yes").to_numpy()
        for name, share in zip(("train", "val", "test"), SHARES, strict=True):
            assert abs(sick[parts[name]].sum() - share * sick.sum()) < 1
            high = (table["y"] > table["y"].quantile(0.8)).to_numpy()
            assert abs(high[parts[name]].sum() - share * high.sum()) <= 1


@pytest.mark.parametrize("stratify", [False, True])
def test_folds_test_every_row_once_in_each_repetition(table, stratify):
    rule = SplitRule(folds=4, stratify=stratify, seed=3)
    repetitions = [[rule.split(table, TARGETS, 4 * r + f)["test"] for f in range(4)] for r in range(2)]
    for folds in repetitions:
        assert sorted(np.concatenate(folds)) == list(range(120))
    assert repetitions[0][0].tolist() != repetitions[1][0].tolist()


@pytest.mark.parametrize("rule", [SplitRule(group=("school",), stratify=True), SplitRule(group=("school",), folds=4)])
def test_groups_stay_together(table, rule):
    for number in range(3):
        parts = rule.split(table, TARGETS, number)
        assert whole(parts, 120)
        members = [set(table["school"].iloc[rows]) for rows in parts.values()]
        assert sum(map(len, members)) == len(set.union(*members))


def test_rows_that_share_any_of_several_columns_stay_together():
    # 0-1 share the mother, 1-2 the school: the three belong together although 0 and 2 share nothing.
    rows = pd.DataFrame({"mother": [0, 0, 1, 2, 3, 4], "school": list("abbcde"), "y": range(6)})
    for number in range(10):
        parts = SplitRule(group=("mother", "school")).split(rows, ["y"], number)
        assert sum({0, 1, 2} <= set(part) for part in parts.values()) == 1


def test_a_split_in_time_learns_from_the_past_with_a_gap(table):
    parts = SplitRule(time="day", gap=5, val=0.2, test=0.2).split(table, TARGETS)
    day = table["day"]
    assert (day.iloc[parts["val"]].min() - day.iloc[parts["train"]].max()).days == 5
    assert (day.iloc[parts["test"]].min() - day.iloc[parts["val"]].max()).days == 5
    assert {name: len(rows) for name, rows in parts.items()} == {
        "train": 64,
        "val": 24,
        "test": 24,
    }  # 2·4 days left out
    as_text = table.assign(day=day.dt.strftime("%d.%m.%Y"))
    again = SplitRule(time="day", gap=5).split(as_text, TARGETS)
    assert all((again[name] == rows).all() for name, rows in parts.items())


def test_rows_of_one_moment_are_never_parted():
    rows = pd.DataFrame({"year": np.repeat([2000, 2001, 2002, 2003], 10), "y": range(40)})
    parts = SplitRule(time="year", val=0.2, test=0.2).split(rows, ["y"])
    assert {name: set(rows["year"].iloc[part]) for name, part in parts.items()} == {
        "train": {2000, 2001}, "val": {2002}, "test": {2003},
    }  # fmt: skip


def test_a_column_says_it_all():
    rows = pd.DataFrame({"part": ["Train"] * 6 + ["dev"] * 2 + ["test"] * 2, "y": range(10)})
    parts = SplitRule(column="part").split(rows, ["y"])
    assert {name: part.tolist() for name, part in parts.items()} == {
        "train": [0, 1, 2, 3, 4, 5], "val": [6, 7], "test": [8, 9],
    }  # fmt: skip
    drawn = SplitRule(column="part", val=0.25).split(rows.assign(part=["train"] * 8 + ["test"] * 2), ["y"])
    assert [len(drawn["train"]), len(drawn["val"]), drawn["test"].tolist()] == [6, 2, [8, 9]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 1}, "folds must be at least 2, found 1"),
        ({"folds": 3, "val": 0.7}, r"with 3 folds, val must be below 0\.667"),
        ({"time": "day", "stratify": True}, "split by time draws nothing: use time, or stratify"),
        ({"gap": 3.0}, "gap is a distance in time and needs time"),
        ({"time": "day", "gap": 200.0}, "no rows are left for val.*gap of 200: shorten the gap"),
        ({"folds": 200}, "at least 200 rows for 200 parts, found 120; add some, lower folds"),
        ({"folds": 30, "group": ("school",)}, "groups of school.* found 24"),
        ({"column": "school"}, "must say train, val or test in every row, but row 1 holds"),
        ({"column": "part", "folds": 3}, "use one of them"),
    ],
)
def test_impossible_requests_say_what_to_do(table, options, message):
    with pytest.raises(DataError, match=message):
        SplitRule(**options).split(table, TARGETS)


def test_too_few_positives_are_counted():
    rows = pd.DataFrame({"x": range(40), "sick": ["yes"] * 2 + ["no"] * 38})
    with pytest.raises(DataError, match=r"'sick' has 2 rows of 'yes', too few for every split.* got none; add such"):
        SplitRule(stratify=True).split(rows, ["sick"])


def test_resplit_learns_the_encoding_from_its_own_training_rows(table):
    data = read_table(table.assign(y=table["y"] * 3 + 5), TARGETS, ignore=["day"], seed=2)
    seen = set()
    for number in range(3):
        split = data.resplit(number)
        again = read_table(table.assign(y=table["y"] * 3 + 5), TARGETS, ignore=["day"], seed=2 + number)
        assert split.fingerprint == again.fingerprint  # what is read with that seed in the first place
        x = split.table.numeric[0]
        inputs = split.train.inputs["numeric"][:, 0].double()
        assert [inputs.mean(), inputs.std(correction=0)] == pytest.approx([0, 1], abs=1e-5)
        labels = split.train.targets["y"].double()
        assert [split.tasks["y"].shift, split.tasks["y"].scale] == pytest.approx(
            [labels.mean().item(), labels.std(correction=0).item()], rel=1e-5
        )
        seen.add((x.mean, split.fingerprint))
    assert len(seen) == 3
    assert data.resplit(1).splitter.frame is data.splitter.frame  # the table is shared


def test_resplit_keeps_what_was_set_of_the_tasks(table):
    import dataclasses

    from polytask.tasks import TaskSet

    data = read_table(table, TARGETS, ignore=["day"])
    mine = dataclasses.replace(data.tasks["y"], weight=3.0, metrics=["mae"])
    split = pickle.loads(pickle.dumps(dataclasses.replace(data, tasks=TaskSet([mine])))).resplit(4)
    assert split.tasks.names == ("y",)
    assert (split.tasks["y"].weight, split.tasks["y"].primary) == (3.0, "mae")
    assert split.tasks["y"].shift != data.tasks["y"].shift
    assert isinstance(split.train, TensorSource)
    assert list(split.train.targets) == ["y"]


def test_test_rows_may_be_a_table_of_their_own(table, tmp_path):
    later = tmp_path / "later.csv"
    table.iloc[100:].drop(columns="day").to_csv(later, index=False)
    data = read_table(table.iloc[:100].drop(columns="day"), TARGETS, test_table=later, val=0.25)
    assert [len(source) for source in data.splits.values()] == [75, 25, 20]
    torch.testing.assert_close(data.test.targets["y"], torch.tensor(table["y"].to_numpy()[100:], dtype=torch.float32))
    assert data.resplits == ""
    with pytest.raises(DataError, match="fixed test rows and no other split"):
        data.resplit(1)
    with pytest.raises(DataError, match="test_table lacks the column"):
        read_table(table, TARGETS, test_table=table.drop(columns="x"))


def test_columns_that_split_are_no_inputs_and_are_checked(table):
    data = read_table(table, TARGETS, group=["school"], time=None, ignore=["day"])
    assert "school" not in data.table.columns
    with pytest.raises(DataError, match="unknown time column 'dya'; did you mean 'day'"):
        read_table(table, TARGETS, time="dya")
    with pytest.raises(DataError, match="column 'sick' is both a target and the group"):
        read_table(table, TARGETS, group=["school", "sick"])
