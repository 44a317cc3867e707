"""Importance, partial dependence and slices against models whose answers are known."""

import numpy as np
import pandas as pd
import pytest
from sklearn.inspection import permutation_importance as theirs
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, mean_squared_error, roc_auc_score

from polytask.decide import by_group, partial_dependence, permutation_importance
from polytask.errors import ConfigError, DataError


def table(n=4000, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, 3)), columns=list("abc"))
    return frame.assign(word=rng.choice(["x", "y"], n))


def predict(frame):
    return {
        "one": 2 * frame["a"].to_numpy() + frame["b"].to_numpy(),
        "two": 3 * (frame["word"] == "y").to_numpy(),
    }


LOSSES = {"one": mean_squared_error, "two": mean_squared_error}


def test_importance_of_a_linear_model_is_twice_its_variance():
    """Shuffling an independent column of effect β raises the squared loss by 2β²·Var."""
    frame = table()
    found = permutation_importance(predict, frame, predict(frame), LOSSES, repeats=10)
    assert found.loc["a", "one"] == pytest.approx(2 * 4, rel=0.08)
    assert found.loc["b", "one"] == pytest.approx(2 * 1, rel=0.08)
    assert found.loc["word", "two"] == pytest.approx(2 * 9 * 0.25, rel=0.08)
    assert found.loc["c", ["one", "two", "shared"]].tolist() == [0, 0, 0]
    assert found.loc["a", "shared"] == pytest.approx((0.8 + 0) / 2, abs=0.02)
    assert found.index[0] == "word"
    assert found["shared"].sum() == pytest.approx(1)


def test_importance_agrees_with_scikit_learn():
    frame = table(500).drop(columns="word")
    y = 2 * frame["a"] + np.random.default_rng(1).normal(size=500)
    model = LinearRegression().fit(frame, y)
    mine = permutation_importance(
        lambda rows: {"y": model.predict(rows)}, frame, {"y": y}, {"y": mean_squared_error}, repeats=200
    )
    other = theirs(model, frame, y, scoring="neg_mean_squared_error", n_repeats=200, random_state=0)
    np.testing.assert_allclose(mine.loc[list("abc"), "y"], other.importances_mean, rtol=0.03, atol=0.02)


def test_columns_in_groups_and_missing_labels():
    frame = table()
    y = predict(frame)
    y["one"] = np.where(np.arange(len(frame)) < 2000, np.nan, y["one"])
    found = permutation_importance(predict, frame, y, LOSSES, columns={"both": ["a", "b"], "word": ["word"]}, repeats=3)
    assert found.loc["both", "one"] == pytest.approx(2 * 5, rel=0.1)
    assert found.loc["both", "one ±"] > 0
    before = frame.copy()
    permutation_importance(predict, frame, y, LOSSES, repeats=1)
    pd.testing.assert_frame_equal(frame, before)
    with pytest.raises(ConfigError, match="'wrod'"):
        permutation_importance(predict, frame, y, LOSSES, columns=["wrod"])
    with pytest.raises(ConfigError, match="repeats"):
        permutation_importance(predict, frame, y, LOSSES, repeats=0)


def test_partial_dependence_of_a_sum_is_its_term():
    frame = table()
    found = partial_dependence(predict, frame, "a", values=[-1.0, 0.0, 2.0])
    np.testing.assert_allclose(found["one"], 2 * np.array([-1.0, 0.0, 2.0]) + frame["b"].mean())
    assert found["two"].nunique() == 1
    words = partial_dependence(predict, frame, "word")
    assert words["two"].tolist() == [0.0, 3.0]
    assert words.index.tolist() == ["x", "y"]
    assert len(partial_dependence(predict, frame, "c", points=7)) == 7
    with pytest.raises(ConfigError, match="'d'"):
        partial_dependence(predict, frame, "d")


def test_a_group_that_is_served_worse_is_found_and_others_are_not():
    rng = np.random.default_rng(0)
    groups = rng.choice(["a", "b", "c"], 3000, p=[0.5, 0.3, 0.2])
    y = rng.normal(size=3000)
    found = y + rng.normal(size=3000) * np.where(groups == "c", 2.0, 1.0)
    result = by_group(mean_absolute_error, y, found, groups, draws=200)
    assert result.index.tolist() == ["a", "b", "c"]
    # the mean of |N(0, 2²)| is twice that of |N(0, 1)|, sqrt(2/π)
    assert result.loc["c", "difference"] == pytest.approx(np.sqrt(2 / np.pi), abs=0.12)
    assert result.loc["c", "low"] > 0


def test_intervals_between_equal_groups_hold():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(120):
        y, groups = rng.normal(size=200), rng.choice(["a", "b"], 200)
        row = by_group(lambda y, found: np.abs(y - found).mean(), y, np.zeros(200), groups, draws=120).iloc[0]
        hits += row["low"] <= 0 <= row["high"]
    assert 0.88 <= hits / 120 <= 0.99


def test_groups_that_cannot_be_judged_say_so():
    y = np.array([0.0] * 30 + [1.0] * 30 + [1.0] * 5 + [np.nan] * 9)
    groups = np.array(["a"] * 60 + [None] * 5 + ["gone"] * 9, dtype=object)
    result = by_group(roc_auc_score, y, np.linspace(0, 1, len(y)), groups, draws=50)
    assert result.index.tolist() == ["a", "missing"]
    assert result.loc["a", "value"] == 1.0
    assert np.isnan(result.loc["missing", "value"])
    with pytest.raises(DataError, match="as many"):
        by_group(mean_absolute_error, [1.0], [1.0], ["a", "b"])


def test_whole_numbers_take_values_between_them():
    rows = pd.DataFrame({"n": [1, 2, 3]})
    found = partial_dependence(lambda given: {"y": 2 * given["n"].to_numpy()}, rows, "n", values=[1.5, 2])
    assert found["y"].to_dict() == {1.5: 3.0, 2: 4.0}


def test_a_task_without_labels_has_no_importance():
    rows = pd.DataFrame({"n": [1.0, 2.0]})
    with pytest.raises(DataError, match="task 'y' has no label"):
        permutation_importance(
            lambda given: {"y": given["n"]}, rows, {"y": [np.nan, np.nan]}, {"y": lambda y, found: 0.0}
        )
