"""Folds of training rows by which estimators choose: groups stay whole."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import polytask as pt
from polytask.data import read_table
from polytask.study.classical.fit import learn
from polytask.study.classical.folds import row_folds
from polytask.study.contenders import read_contender
from polytask.tasks import Task

ROWS = 120


def labels(seed=0):
    draw = np.random.default_rng(seed)
    return {
        "a": (draw.random(ROWS) < 0.3).astype(float),
        "b": np.where(draw.random(ROWS) < 0.4, np.nan, draw.normal(size=ROWS)),
    }


TASKS = {"a": Task("a", "binary"), "b": Task("b")}


@pytest.mark.parametrize("groups", [2, 3, 5, 30, ROWS])
@pytest.mark.parametrize("seed", [0, 1])
def test_groups_are_never_parted_and_every_row_is_judged_once(groups, seed):
    numbers = np.random.default_rng(seed).integers(0, groups, ROWS) * 7
    folds = row_folds(TASKS, labels(), seed, groups=numbers)
    assert len(folds) == min(5, len(np.unique(numbers)))
    for train, test in folds:
        assert not set(numbers[train]) & set(numbers[test])
        assert sorted([*train, *test]) == list(range(ROWS))
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(ROWS))


def test_classes_have_their_share_as_far_as_groups_allow():
    targets = labels()
    numbers = np.repeat(np.arange(40), 3)
    positives = [targets["a"][test].mean() for _, test in row_folds(TASKS, targets, 0, groups=numbers)]
    assert np.ptp(positives) < 0.12
    plain = [set(test) for _, test in row_folds(TASKS, targets, 0)]
    assert plain == [set(test) for _, test in row_folds(TASKS, targets, 0, groups=None)]


def test_one_group_is_parted_and_rare_patterns_are_no_error():
    assert len(row_folds(TASKS, labels(), 0, groups=np.zeros(ROWS, dtype=int))) == 5
    rare = {"a": Task("a", "multiclass", classes=ROWS)}
    folds = row_folds(rare, {"a": np.arange(float(ROWS))}, 0, groups=np.arange(ROWS) // 4)
    assert len(folds) == 5


def patients():
    """A target that is the patient's, and an input by which a patient is known: trees can learn it by heart only."""
    draw = np.random.default_rng(3)
    who = np.repeat(np.arange(60), 6)
    return pd.DataFrame(
        {
            "patient": who,
            "marker": draw.normal(size=60)[who],
            "noise": draw.normal(size=len(who)),
            "y": draw.normal(size=60)[who] + 0.1 * draw.normal(size=len(who)),
        }
    )


def test_trees_do_not_learn_patients_by_heart():
    data = read_table(patients(), ["y"], group="patient")
    assert {split: len(numbers) for split, numbers in data.groups.items()} == {
        split: len(source) for split, source in data.splits.items()
    }
    entry = read_contender("boosting").estimator
    whole = learn(entry, data, data.tasks, 0).fitted.facts["y"]["trees"]
    parted = learn(entry, dataclasses.replace(data, groups=None), data.tasks, 0).fitted.facts["y"]["trees"]
    assert np.max(whole) <= 5 < np.min(parted)


def test_ridge_chooses_by_patients_left_out():
    """Thirty inputs by which a patient is known: of use where one row is left out, of none where a patient is."""
    draw = np.random.default_rng(4)
    frame = patients().assign(**{f"gene{i}": draw.normal(size=60)[patients()["patient"]] for i in range(30)})
    data = read_table(frame, ["y"], group="patient")
    entry = read_contender("ridge").estimator
    whole = learn(entry, data, data.tasks, 0).fitted.facts["y"]["alpha"]
    parted = learn(entry, dataclasses.replace(data, groups=None), data.tasks, 0).fitted.facts["y"]["alpha"]
    assert whole > 100 * parted


def test_groups_are_part_of_the_fingerprint_and_of_a_subset_of_tasks():
    frame = patients().assign(z=1.5)
    frame["z"] += np.arange(len(frame)) % 7
    data = read_table(frame, ["y", "z"], group="patient")
    assert dataclasses.replace(data, groups=None).fingerprint != data.fingerprint
    assert data.only(["z"]).groups is data.groups
    assert read_table(frame, ["y", "z"]).groups is None


def test_a_model_trained_again_on_all_rows_keeps_groups_whole(tmp_path):
    data = read_table(patients(), ["y"], group="patient")
    study = pt.compare(data, methods=["ridge"], seeds=1, out=tmp_path, keep="best", refit=True)
    assert study.best is not None
