import numpy as np
import pandas as pd
import pytest
import torch

from polytask.data.targets import guess_kind, read_target
from polytask.errors import DataError

RNG = np.random.default_rng(0)


def column(values, name="y"):
    return pd.Series(values, name=name)


def read(values, kind=None, train=None, name="y"):
    series = column(values, name)
    return read_target(series, np.arange(len(series)) if train is None else np.array(train), kind)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (RNG.normal(size=50), "regression"),
        ([0, 1, None] * 20, "binary"),
        (["no", "yes", None] * 20, "binary"),
        ([True, False] * 20, "binary"),
        ([3, 8] * 20, "binary"),
        ([0.5, 1.5] * 20, "regression"),
        (["a", "b", "c"] * 20, "multiclass"),
        (["low", "high", "medium"] * 20, "ordinal"),
        ([1, 2, 3, 4, 5] * 20, "multiclass"),
        ([1.0, 2.0, 3.0, np.nan] * 20, "multiclass"),
        (pd.Categorical(["lo", "mid", "hi"] * 20, ["lo", "mid", "hi"], ordered=True), "ordinal"),
        (pd.Categorical(["lo", "mid", "hi"] * 20), "multiclass"),
        (RNG.poisson(5, 200), "count"),
        (RNG.integers(18, 80, 200), "regression"),
        (RNG.integers(-20, 20, 200), "regression"),
    ],
)
def test_guesses(values, kind):
    assert guess_kind(column(values)).kind == kind


def test_classes_are_ordered_and_kept_on_the_task():
    task, target, _ = read(["yes", None, "no", "yes"] * 3)
    assert task.labels == ("no", "yes")
    assert target.tolist() == [1, -100, 0, 1] * 3
    task, target, guess = read([10, 9, np.nan, 2] * 5)
    assert (task.kind, task.classes, task.labels) == ("multiclass", 3, ("2", "9", "10"))
    assert target[:4].tolist() == [2, 1, -100, 0]
    assert "kinds={'y': 'ordinal'}" in guess.surprise
    task, target, _ = read(pd.Categorical(["hi", "lo", "mid"] * 4, ["lo", "mid", "hi", "never"], ordered=True))
    assert (task.kind, task.labels) == ("ordinal", ("lo", "mid", "hi"))
    assert target[:3].tolist() == [2, 0, 1]
    task, target, _ = read([True, False, None] * 5)
    assert task.labels == ("False", "True")
    assert target[:3].tolist() == [1, 0, -100]


@pytest.mark.parametrize("values", [["02", "01", "10"] * 5, ["2.0", "1.0", "10"] * 5, [2, "1", 10.0] * 5])
def test_classes_written_as_text_are_those_of_the_numbers(values):
    task, target, _ = read(values, "multiclass")
    assert task.labels == ("1", "2", "10")
    assert target[:3].tolist() == [1, 0, 2]


def test_words_of_a_scale_have_its_order():
    task, target, guess = read(["Medium", "low", None, "high"] * 9)
    assert (task.kind, task.labels) == ("ordinal", ("low", "Medium", "high"))
    assert target[:4].tolist() == [1, 0, -100, 2]
    assert "'low' < 'Medium' < 'high'" in guess.surprise
    assert read(["low", "high", "medium"] * 9, "multiclass")[0].kind == "multiclass"


def test_a_text_among_class_numbers_is_a_class_when_asked_for():
    task, target, _ = read(["10", "9", None] * 20 + ["x"], "multiclass")
    assert task.labels == ("9", "10", "x")
    assert target[-4:].tolist() == [1, 0, -100, 2]


def test_shift_and_scale_are_of_the_training_labels():
    values = np.array([1.0, np.nan, 3.0, 5.0, 1e6, -1e6])
    task, target, _ = read(values, "regression", train=[0, 1, 2, 3])
    assert task.shift == 3.0
    assert task.scale == pytest.approx(np.std([1.0, 3.0, 5.0]))
    np.testing.assert_array_equal(target.numpy(), values.astype(np.float32))
    quantile, _, _ = read(values, "quantile", train=[0, 1, 2, 3])
    assert (quantile.kind, quantile.shift) == ("quantile", 3.0)


def test_large_offsets_keep_their_digits():
    values = 1.6e9 + np.arange(50.0)
    _, target, _ = read(values, "regression")
    assert target.dtype == torch.float64
    assert torch.diff(target).unique().tolist() == [1.0]
    assert read(np.arange(50.0), "regression")[1].dtype == torch.float32


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ([None, None], None, "target 'y': all 2 labels are missing"),
        ([7, 7, None, 7], None, "target 'y' is constant: all 3 labels are 7"),
        (["a", "a"], None, "target 'y' is constant"),
        (["1.5"] * 50 + ["2.5"] * 48 + ["bad"], "regression", "target 'y' of kind 'regression': .*row 99 holds 'bad'"),
        (["1.5"] * 50 + ["2.5"] * 48 + ["bad"], None, "row 99 holds 'bad'"),
        ([1.0, np.inf, 2.0], None, "holds inf in row 2"),
        ([f"c{i}" for i in range(20)], None, r"20 classes in 20 labelled rows \('c0', 'c1', .*too many"),
        (["a", "b", "c"] * 4, "binary", "must have 2 values, found 3: 'a', 'b', 'c'"),
        (["a", "b", "c"] * 4, "ordinal", "whose order is not known"),
        ([0, 1, 2, -3], "count", "row 4 holds -3.0"),
        ([0, 1, 2, 0.5], "count", "row 4 holds 0.5"),
        ([0, 1], "regresion", "unknown kind of a target column 'regresion'; did you mean 'regression'"),
        ([0, 1], "detection", "unknown kind of a target column 'detection'"),
        ([0, 1], "multilabel", "of kind 'multilabel' holds numbers; expected labels separated by"),
        ([[1], [2]], None, "holds list objects"),
        (pd.date_range("2020-01-01", periods=3), None, "holds dates or durations; turn them into numbers"),
        (pd.to_timedelta([1, 2, 3], unit="D"), None, "holds dates or durations; turn them into numbers"),
        ([1 + 2j, 2 + 0j, 3j], None, "holds complex numbers"),
        (["1", "2"] * 20 + ["x"], None, r"row 41 holds 'x'.*kinds={'y': 'multiclass'}, or leave the target out"),
        (["1", "2", "3"] * 20 + ["x"], "ordinal", r"holds text \('1', '2', '3', 'x'\) whose order is not known"),
    ],
)
def test_unusable_targets_are_explained(values, kind, message):
    with pytest.raises(DataError, match=message):
        read(values, kind)


def test_no_label_in_the_training_rows():
    with pytest.raises(DataError, match="none of its 2 labels fell into the training split"):
        read([None, None, 1.0, 2.5], train=[0, 1])
