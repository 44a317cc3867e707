"""Sums and gaps that give a target away."""

import time

import numpy as np
import pytest

from polytask.data.combinations import combination, gaps_tell, told_twice

ROWS = 400


def columns(count, seed=0, scale=1.0):
    table = np.random.default_rng(seed).normal(size=(count, ROWS)) * scale
    return {f"x{i}": table[i] for i in range(count)}


@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e10])
@pytest.mark.parametrize("terms", [2, 3, 5, 8])
def test_the_terms_and_their_factors_are_found(terms, scale):
    table = columns(60, scale=scale)
    factors = dict(zip(table, np.random.default_rng(1).uniform(0.5, 2, terms), strict=False))
    target = sum(factor * table[name] for name, factor in factors.items()) + 7
    found = combination(target, table)
    assert found.keys() == factors.keys()
    assert all(found[name] == pytest.approx(factor, rel=1e-6) for name, factor in factors.items())


def test_a_difference_of_columns_that_are_nearly_the_same():
    table = columns(10)
    table["close"] = table["x0"] + 0.05 * table["x1"]
    found = combination(table["close"] - table["x0"] + table["x5"], {k: v for k, v in table.items() if k != "x1"})
    assert {name: round(factor, 4) for name, factor in found.items()} == {"close": 1.0, "x0": -1.0, "x5": 1.0}


def test_rows_without_a_value_do_not_hide_it():
    table = columns(20)
    target = table["x3"] - table["x4"]
    draw = np.random.default_rng(2)
    holes = {name: np.where(draw.random(ROWS) < 0.1, np.nan, values) for name, values in table.items()}
    target[::9] = np.nan
    assert set(combination(target, holes)) == {"x3", "x4"}


@pytest.mark.parametrize("noise", [0.01, 0.1, 1.0])
def test_a_good_fit_is_no_sum(noise):
    """R² of 0.99995 and less: what a linear law with a measurement error gives."""
    table = columns(20)
    target = table["x0"] + table["x1"] + noise * table["x2"] * table["x3"]
    assert combination(target, table) == {}


def test_one_column_is_no_combination():
    table = columns(20)
    assert combination(3 * table["x0"] + 1, table) == {}


@pytest.mark.parametrize("rows", [5, 20, 29])
def test_few_rows_prove_nothing(rows):
    table = {name: values[:rows] for name, values in columns(30).items()}
    assert combination(table["x0"] + table["x1"], table) == {}


def test_many_columns_fit_anything_and_prove_nothing():
    """As many columns as rows: least squares is exact, and means nothing."""
    table = columns(ROWS)
    assert combination(np.random.default_rng(3).normal(size=ROWS), table) == {}


def test_constant_and_empty_columns_do_no_harm():
    table = {**columns(5), "flat": np.full(ROWS, 3.0), "empty": np.full(ROWS, np.nan)}
    assert set(combination(table["x0"] - table["x1"], table)) == {"x0", "x1"}
    assert combination(np.full(ROWS, 2.0), table) == {}


def test_time_grows_with_the_columns_and_no_faster():
    def seconds(count):
        table = columns(count)
        target = np.random.default_rng(4).normal(size=ROWS)
        start = time.process_time()
        for _ in range(3):
            combination(target, table)
        return time.process_time() - start

    seconds(200)
    assert seconds(2000) < 40 * seconds(200)  # 100 times if it were quadratic


@pytest.mark.parametrize("side", ["a value", "no value"])
def test_gaps_in_rows_of_one_class(side):
    labels = (np.arange(ROWS) % 3 == 0).astype(float)
    there = (labels == 1) & (np.arange(ROWS) % 2 == 0)
    missing = ~there if side == "a value" else there
    assert gaps_tell(missing, labels, ("no", "yes")).startswith(f"has {side} in {there.sum()} rows, all of class 'yes'")


def test_gaps_by_chance():
    draw = np.random.default_rng(5)
    alarms = 0
    for _ in range(300):
        labels = (draw.random(ROWS) < 0.9).astype(float)
        missing = draw.random(ROWS) < draw.uniform(0.03, 0.97)
        alarms += bool(gaps_tell(missing, labels, None))
    assert alarms == 0
    assert gaps_tell(np.arange(ROWS) < 12, np.ones(ROWS), None) == ""


def test_a_target_that_others_tell_is_named_once():
    table = columns(4)
    table["total"] = table["x0"] + table["x1"]
    table["again"] = -3 * table["x2"] + 1
    said = told_twice(table)
    assert len(said) == 2
    assert said[0].startswith("target 'total' is a weighted sum of 'x")
    assert said[1].startswith("target 'again' is the same, up to shift and scale, as 'x2'")
    table["total"] += 0.05 * table["x3"] ** 2
    del table["again"]
    assert told_twice(table) == []
