import json

import numpy as np
import pandas as pd
import pytest

from polytask.data import inspect_table
from polytask.errors import DataError


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": range(80),
            "x": rng.normal(size=80),
            "dose": ["1.5"] * 79 + ["lots"],
            "flat": 3,
            "cat": ["a", "b"] * 40,
            "y": np.where(rng.random(80) < 0.25, np.nan, rng.normal(size=80)),
            "z": rng.integers(1, 5, 80),
            "gone": np.nan,
        }
    )


def test_every_column_is_reported_and_nothing_raises(frame):
    frame["copy"] = frame["y"]
    report = inspect_table(frame, ["y", "z", "gone"])
    by_name = {column.name: column for column in report.columns}
    assert list(by_name) == list(frame.columns)
    assert {name: c.role for name, c in by_name.items()} == {
        "id": "dropped",
        "x": "numeric",
        "dose": "unusable",
        "flat": "dropped",
        "cat": "categorical",
        "y": "target",
        "z": "target",
        "gone": "target",
        "copy": "numeric",
    }
    assert report.targets == {"y": "regression", "z": "multiclass"}
    assert by_name["y"].missing == frame["y"].isna().mean()
    assert by_name["cat"].examples == ("a", "b")
    text = "\n".join(report.surprises)
    for part in (
        "column 'dose' holds numbers, but row 80 holds 'lots'",
        "missing_values=['lots']",
        "target 'gone': all 80 labels are missing",
        "target 'z': 4 whole numbers taken as classes",
        "column 'copy' equals (up to shift and scale) target 'y'",
        "column 'flat' would be dropped: constant",
        "column 'id' would be dropped",
    ):
        assert part in text
    assert "cat" in report.describe()
    assert json.loads(json.dumps(report.to_dict()))["rows"] == 80
    assert report.frame.loc["y", "kind"] == "regression"


def test_without_targets_all_columns_are_inputs(frame):
    report = inspect_table(frame)
    assert report.targets == {}
    assert report.rows_without_label == 0


def test_the_remedies_work(frame):
    report = inspect_table(frame, ["y"], missing_values=["lots"], kinds={"z": "categorical"}, ignore=["gone"])
    assert {c.name: c.role for c in report.columns}["dose"] == "dropped"  # constant once the question mark is gone
    assert {c.name: c.role for c in report.columns}["z"] == "categorical"
    assert not any("holds numbers" in surprise for surprise in report.surprises)
    assert report.rows_without_label == frame["y"].isna().sum()


def test_unknown_columns_and_files_still_raise(frame, tmp_path):
    with pytest.raises(DataError, match="unknown target 'yy'; did you mean 'y'"):
        inspect_table(frame, ["yy"])
    with pytest.raises(DataError, match="no such file"):
        inspect_table(tmp_path / "none.csv")
