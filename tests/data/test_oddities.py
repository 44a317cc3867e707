"""Single values that deserve a look."""

import numpy as np
import pandas as pd
import pytest

from polytask.data import inspect_table, read_table
from polytask.errors import DataError
from polytask.remedies import said_in

ROWS = 100
X = np.random.default_rng(0).normal(20, 3, ROWS)
Y = np.random.default_rng(1).normal(20, 3, ROWS)


def surprises(**columns):
    """What reading says beside what it says without the oddity."""
    frame = pd.DataFrame({"x": X, "y": Y, **columns})
    targets = ["y"] + (["ok"] if "ok" in columns else [])
    found = read_table(frame, targets).details["surprises"]
    seen = inspect_table(frame, targets).surprises
    assert set(found) <= set(seen) | {s for s in found if "no training row" in s}
    return " ".join(found)


@pytest.mark.parametrize("row", range(0, ROWS, 9))  # in whichever split it falls
@pytest.mark.parametrize("column", ["x", "y"])
def test_one_value_far_from_all_others_is_named_with_its_row(row, column):
    values = np.random.default_rng(2).normal(20, 3, ROWS)
    values[row] = 1e20
    said = surprises(**{column: values})
    assert f"{column!r}: row {row + 1} holds 1e+20" in said
    assert f"missing_values={{{column!r}: ['1e+20']}}" in said


def test_declaring_it_missing_is_a_remedy(tmp_path):
    frame = pd.DataFrame({"x": X, "y": Y})
    frame.loc[17, "x"] = 1e20
    path = tmp_path / "t.csv"
    frame.to_csv(path, index=False)
    data = read_table(path, ["y"], missing_values=["1e+20"])
    assert data.details["surprises"] == []
    assert data.table.numeric[0].scale == pytest.approx(3, rel=0.3)


def test_nothing_is_said_of_heavy_tails_and_rare_events():
    rng = np.random.default_rng(0)
    assert (
        surprises(a=np.exp(rng.normal(0, 1.5, ROWS)), b=(rng.random(ROWS) < 0.05) * 3.0, c=rng.poisson(3, ROWS)) == ""
    )


@pytest.mark.parametrize("column", ["x", "y"])
@pytest.mark.parametrize("value", [1e39, -1e39, 1e300])
def test_values_beyond_single_precision_are_refused_with_the_cell(column, value):
    frame = pd.DataFrame({"x": X, "y": Y})
    frame.loc[17, column] = value
    with pytest.raises(DataError, match=rf"{column!r} holds .*e\+.* in row 18.*missing_values=\['"):
        read_table(frame, ["y"])


def test_spellings_of_one_label_are_told():
    labels = np.where(X + Y > 40, "yes", "no").astype(object)
    labels[3], labels[4] = "Yes", " yes "
    said = surprises(ok=labels)
    assert "'Yes' (1 rows)" in said
    assert "' yes ' (1 rows)" in said
    assert "column 'place'" in surprises(place=np.where(X > 20, "Ulm", "ulm"))


@pytest.mark.parametrize("value", [-1, -999])
def test_a_class_that_may_mean_no_label_leads_to_missing_values(value):
    labels = (X + Y > 40).astype(int)
    labels[::7] = value
    said = surprises(ok=labels)
    assert f"missing_values={{'ok': ['{value}']}}" in said
    data = read_table(pd.DataFrame({"x": X, "ok": labels}), ["ok"], missing_values=[str(value)])
    assert data.tasks["ok"].kind == "binary"


def test_a_number_that_may_mean_no_value():
    x = X.copy()
    x[::10] = -999
    assert "10 values are -999" in surprises(x=x)
    assert surprises(x=X - 20) == ""  # numbers around zero, -1 among them or not


def test_a_row_of_totals_is_named():
    frame = pd.DataFrame({"shop": [f"s{i % 5}" for i in range(ROWS)], "y": X})
    frame.loc[ROWS] = ["Total", X.sum()]
    with said_in("toml"):
        assert any("the last row, 101, holds 'Total'" in say for say in read_table(frame, ["y"]).details["surprises"])


@pytest.mark.parametrize(("levels", "rows", "role"), [(20, 300, "categorical"), (20, 60, "dropped")])
def test_texts_that_repeat_are_categories(levels, rows, role):
    frame = pd.DataFrame({"site": [f"site {i % levels}" for i in range(rows)], "y": np.arange(rows) % 7 + 0.5})
    report = {column.name: column.role for column in inspect_table(frame, ["y"]).columns}
    assert report["site"] == role


def test_dates_in_two_notations_are_said():
    day = [f"2024-01-{i % 28 + 1:02d}" if i % 2 else f"{i % 28 + 1:02d}/01/2024" for i in range(300)]
    report = inspect_table(pd.DataFrame({"day": day, "y": np.arange(300) * 0.5}), ["y"])
    assert any("dates in more than one notation" in surprise for surprise in report.surprises)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([10**400, 3] * 50, "object"),
        ([1.5, None, 3.25, 4.0] * 25, "float64[pyarrow]"),
        (["1,5", None, "3,25", "4"] * 25, "string[pyarrow]"),
        (pd.period_range("2020", periods=ROWS, freq="D"), None),
        (["1,5e3", 2.5, "inf", None] * 25, "object"),
    ],
)
def test_columns_of_any_type_are_read_or_refused_in_words(values, dtype):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"x": pd.Series(values, dtype=dtype), "z": X, "y": Y})
    try:
        read_table(frame, ["y"])
    except DataError as error:
        assert "'x'" in str(error)  # noqa: PT017 - which of the two happens depends on the column
    assert not any("notation" in surprise for surprise in inspect_table(frame, ["y"]).surprises)
