import datetime as dt

import numpy as np
import pandas as pd
import pytest

from polytask.data.columns import dates, infer_column, levels, numbers
from polytask.errors import ConfigError, DataError
from polytask.remedies import said_in

N = 100


def column(values, name="x", **options):
    return pd.Series(values, name=name, **options)


@pytest.mark.parametrize(
    ("series", "role"),
    [
        (column(np.linspace(0, 1, N)), "numeric"),
        (column([1, 2, 3, 4, 5] * 20), "numeric"),
        (column(["1", "2", "3.5", None] * 25), "numeric"),
        (column(range(0, 10 * N, 10), "price"), "numeric"),  # all different, but neither an id's name nor consecutive
        (column([True, False] * 50), "boolean"),
        (column([True, False, None, True] * 25, dtype=object), "boolean"),
        (column([True, None] * 50, dtype="boolean").fillna(False), "boolean"),
        (column(["yes", "no"] * 50), "categorical"),
        (column(pd.Categorical(["a", "b"] * 50)), "categorical"),
        (column(pd.Categorical([1, 2] * 50)), "categorical"),
        (column([3, 7] * 50, "school_id"), "categorical"),
        (column([3, 7] * 50, "userId"), "categorical"),
        (column(pd.date_range("2020-01-01", periods=N)), "date"),
        (column([f"2020-01-{d % 28 + 1:02d}" for d in range(N)]), "date"),
        (column([f"{d % 28 + 1:02d}.03.2020" for d in range(N)]), "date"),
        (column([dt.date(2020, 1, 1 + i % 20) for i in range(N)]), "date"),
        (column(pd.to_timedelta(range(N), unit="h")), "date"),
        (column(range(N), "anything"), "dropped"),  # 0 … N − 1 in some order
        (column(np.random.default_rng(0).permutation(10**6)[:N], "patient_id"), "dropped"),
        (column([f"person {i}" for i in range(N)]), "dropped"),
        (column([f"text {i % 60}" for i in range(N)]), "dropped"),
        (column([4.2] * N), "dropped"),
        (column([None] * N), "dropped"),
        (column([[1], [2]] * 50), "dropped"),
    ],
)
def test_what_a_column_is_taken_for(series, role):
    assert infer_column(series).role == role


@pytest.mark.parametrize(
    ("series", "reason"),
    [
        (column([4.2] * N), "constant: every training row that has a value holds 4.2"),
        (column([None] * N), "empty"),
        (column([[1], [2]] * 50), "list objects"),
        (column([f"person {i}" for i in range(N)]), "an id or free text: 100 different texts in 100 rows"),
        (column([f"text {i % 60}" for i in range(N)]), "kinds={'x': 'categorical'} keeps it"),
        (column(range(N)), "an id: a different whole number in each row"),
    ],
)
def test_dropped_columns_say_why(series, reason):
    assert reason in infer_column(series).reason


def test_asking_beats_guessing():
    assert infer_column(column(range(N)), "numeric").role == "numeric"
    assert infer_column(column([f"text {i}" for i in range(N)]), "categorical").role == "categorical"
    with pytest.raises(
        ConfigError, match="column 'x': unknown kind of an input column 'nummeric'; did you mean 'numeric'"
    ):
        infer_column(column([1]), "nummeric")
    with pytest.raises(DataError, match="column 'x' holds dates, but row 2 holds 'soon'"):
        infer_column(column(["2020-01-01", "soon"]), "date")


def test_text_between_numbers_names_value_row_and_remedy():
    values = ["1.5"] * 98 + ["unknown", "n.b."]
    with pytest.raises(DataError) as caught:
        infer_column(column(values, "dose"))
    message = str(caught.value)
    remedies = ("missing_values=['unknown']", "ignore=['dose']")
    for part in ("'dose'", "row 99", "'unknown'", "1 more like it", *remedies):
        assert part in message
    with said_in("init"), pytest.raises(DataError, match=r"--missing unknown.*--kind dose=categorical.*--ignore dose"):
        infer_column(column(values, "dose"))


def test_row_numbers_are_those_of_the_whole_table():
    series = column([1.0, "x", 2.0], "dose", index=[10, 20, 30])
    with pytest.raises(DataError, match="row 21 holds 'x'"):
        numbers(series)


def test_infinities_are_refused():
    with pytest.raises(DataError, match=r"column 'x' holds -inf in row 2 \(2 infinite values in all\)"):
        numbers(column([1.0, -np.inf, np.inf]))


def test_values():
    np.testing.assert_array_equal(numbers(column([1, None], dtype="Int64")), [1.0, np.nan])
    np.testing.assert_array_equal(numbers(column(pd.Categorical([3, 1]))), [3.0, 1.0])
    np.testing.assert_array_equal(numbers(column(pd.to_timedelta([36, None], unit="h"))), [1.5, np.nan])
    np.testing.assert_array_equal(dates(column(["1970-01-02", None])), [1.0, np.nan])
    stamps = pd.to_datetime(["1970-01-01T12:00:00", None])
    np.testing.assert_array_equal(dates(column(stamps)), [0.5, np.nan])
    np.testing.assert_array_equal(dates(column(stamps.tz_localize("UTC"))), [0.5, np.nan])
    np.testing.assert_array_equal(dates(column([dt.date(1970, 1, 2), None])), [1.0, np.nan])
    np.testing.assert_array_equal(dates(column(["02.01.1970"]), "%d.%m.%Y"), [1.0])
    assert levels(column([1.0, 2.5, None])).tolist() == ["1", "2.5", None]
    assert levels(column([1, 2])).tolist() == ["1", "2"]
    assert levels(column(pd.Categorical(["b", None]))).tolist() == ["b", None]
    assert levels(column([True, False])).tolist() == ["True", "False"]


def test_milliseconds_are_days_too():
    for unit in ("s", "ms", "us", "ns"):
        stamps = pd.Series(pd.to_datetime(["1970-01-03"])).astype(f"datetime64[{unit}]")
        assert dates(stamps).tolist() == [2.0]


@pytest.mark.parametrize(
    ("days", "found"),
    [
        (np.arange(0, 1000, 1.0), ("year", "week")),
        (np.arange(0, 700, 1.0), ("week",)),  # less than twice through the year
        (np.arange(0, 1000, 7.0), ("year",)),  # always the same day of the week
        (np.arange(0, 3, 0.125), ("day",)),
    ],
)
def test_dates_have_the_cycles_that_they_run_through_twice(days, found):
    stamps = pd.Timestamp("2020-01-01") + pd.to_timedelta(pd.Series(days), unit="D")
    assert infer_column(stamps.rename("when")).cycles == found


def test_many_texts_are_categories_where_frequent_ones_cover_half_of_the_rows():
    towns = [f"town {i % 20}" for i in range(600)] + [f"hamlet {i}" for i in range(400)]
    found = infer_column(column(towns))
    assert (found.role, found.least) == ("categorical", 5)
    assert "20 categories of at least 5 rows; 400 rarer ones (400 rows) count as one" in found.surprise
    assert infer_column(column(towns[-500:])).role == "dropped"


def test_digits_with_zeros_in_front_are_no_numbers():
    assert infer_column(column(["00123", "45678"] * 50)).role == "categorical"
    assert infer_column(column(["01", "12"] * 50)).role == "numeric"
