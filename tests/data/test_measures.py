"""Columns that are nearly numbers say why they are none."""

import numpy as np
import pandas as pd
import pytest

from polytask.data import read_table
from polytask.data.columns import infer_column
from polytask.data.measures import nearly_numbers
from polytask.errors import DataError

N = 60
VALUES = [f"{value:.2f}" for value in np.random.default_rng(0).normal(50, 9, N)]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([f"{value} kg" for value in VALUES], "numbers with a unit, such as"),
        ([f"{value}km/h" for value in VALUES], "numbers with a unit, such as"),
        ([f"{value} m²" for value in VALUES], "numbers with a unit, such as"),
        ([f"€{v}" if i % 2 else f"{v} $" for i, v in enumerate(VALUES)], "numbers in several units ('$', '€')"),
        ([f"{v} lb" if i % 2 else f"{v} kg" for i, v in enumerate(VALUES)], "numbers in several units ('kg', 'lb')"),
        ([v if i % 3 else "not measured" for i, v in enumerate(VALUES)], "missing_values=['not measured']"),
    ],
)
def test_a_dropped_column_of_nearly_numbers_says_what_to_do(texts, expected):
    found = infer_column(pd.Series(texts, name="x"))
    assert found.role == "dropped"
    assert expected in found.reason


def test_a_target_with_one_unit_is_a_number_in_that_unit():
    frame = pd.DataFrame({"a": np.sin(range(N)), "y": [f"{value} kg" for value in VALUES]})
    task = read_table(frame, ["y"]).tasks["y"]
    assert (task.kind, task.unit) == ("regression", "kg")


@pytest.mark.parametrize(
    "texts",
    [
        [f"{i % 40}{'ABCDEFGH'[i % 8]}" for i in range(N)],  # flats
        [f"{i}{['st', 'nd', 'rd', 'th'][i % 4]}" for i in range(N)],
        [f"{i} {name} Street" for i, name in enumerate(["Main", "High", "Park", "Lake"] * 15)],
        [f"{i % 24}:{i % 60:02d}" for i in range(N)],
        [f"A{i}" for i in range(N)],
        [f"person {i}" for i in range(N)],
        ["40-79", "80-119", "120+", "0-39g/day"] * 15,
        [],
    ],
)
def test_codes_and_words_are_no_measures(texts):
    assert nearly_numbers(pd.Series(texts, dtype=object)) == ""


def test_infinities_in_a_column_that_may_hold_thousands_give_no_warning(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,y\n1.234,inf\n" + "".join(f"2.{i:03d},3.{i + 1:03d}\n" for i in range(100, 140)))
    with pytest.raises(DataError, match="'y' holds inf in row 1"):
        read_table(path, ["y"])
