"""Tables that are no text give what the same table gives as a DataFrame."""

import datetime as dt
import importlib

import numpy as np
import pandas as pd
import pytest
import torch

from polytask.data import read_table
from polytask.data.files import name_of, read_source
from polytask.data.opening import open_table
from polytask.errors import DataError, MissingExtraError

N = 40
RNG = np.random.default_rng(0)


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "dose": RNG.normal(size=N),
            "ward": RNG.choice(["a", "b", "c"], N),
            "seen": pd.date_range("2024-01-01", periods=N, freq="17D"),
            "zip": [f"0{4000 + i % 7}" for i in range(N)],
            "pain": np.where(RNG.random(N) < 0.2, np.nan, RNG.normal(size=N)),
        }
    )


def encoded_alike(data, other):
    """The same features, to the fifteen digits that a workbook keeps."""
    assert data.table.features == other.table.features
    assert data.table.categorical == other.table.categorical
    for split, source in data.splits.items():
        for key, values in source.inputs.items():
            torch.testing.assert_close(values, other.splits[split].inputs[key])


def test_the_sheet_of_a_workbook(frame, tmp_path):
    pytest.importorskip("openpyxl")
    path = tmp_path / "book.xlsx"
    with pd.ExcelWriter(path) as book:
        frame.to_excel(book, sheet_name="rows", index=False)
        frame.head(3).to_excel(book, sheet_name="few", index=False)
    read = read_source(path)
    pd.testing.assert_frame_equal(read.frame, frame, check_dtype=False)
    assert read.said == ("sheet 'rows' is read; for another ('few'): 'book.xlsx#few'",)
    assert len(read_source(f"{path}#few").frame) == 3
    encoded_alike(read_table(path, ["pain"]), read_table(frame, ["pain"]))
    with pytest.raises(DataError, match="unknown sheet 'fev'; did you mean 'few'"):
        read_source(f"{path}#fev")


def test_a_workbook_as_people_keep_them(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    rows = [["Visits of 2024", None, None, None], [None] * 4, ["day", "kg", "kg", None]]
    rows += [[dt.datetime(2024, 1, i), "12,5 kg", i, None] for i in range(1, 6)] + [[None] * 4] * 2
    for row in rows:
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    opened = open_table(tmp_path / "t.xlsx")
    assert opened.frame.to_dict("list") == {
        "day": [pd.Timestamp(2024, 1, i) for i in range(1, 6)],
        "kg": [12.5] * 5,
        "kg (2)": [1, 2, 3, 4, 5],
    }
    text = "\n".join(opened.said)
    assert all(
        part in text for part in ("2 rows above", "2 columns are named 'kg'", "1 column with neither", "12.5 kg")
    )


@pytest.mark.parametrize(
    "wanted", ["#visits", "", "#SELECT * FROM visits", "#SELECT dose, ward, seen, zip, pain FROM visits"]
)
def test_a_table_or_a_query_of_a_database(frame, tmp_path, wanted):
    alchemy = pytest.importorskip("sqlalchemy")
    url = f"sqlite:///{tmp_path / 'clinic.db'}"
    engine = alchemy.create_engine(url)
    frame.to_sql("visits", engine, index=False)
    engine.dispose()
    opened = open_table(url + wanted)
    pd.testing.assert_frame_equal(opened.frame, frame, check_dtype=False)
    assert (["the only table, 'visits', is read"] if not wanted else []) == opened.said[: not wanted]
    data = read_table(url + wanted, ["pain"])
    encoded_alike(data, read_table(frame, ["pain"]))
    assert data.name == "clinic"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///{}/none.db#t", "no such file"),
        ("sqlite:///{}/clinic.db#nowhere", "no such table: nowhere"),
        ("sqlite:///{}/clinic.db#SELEC 1", "syntax error"),
        ("sqlite:///{}/clinic.db", "holds the tables a, b: name one"),
    ],
)
def test_what_a_database_has_not(tmp_path, url, message):
    alchemy = pytest.importorskip("sqlalchemy")
    engine = alchemy.create_engine(f"sqlite:///{tmp_path / 'clinic.db'}")
    for name in ("a", "b"):
        pd.DataFrame({"x": [1]}).to_sql(name, engine, index=False)
    engine.dispose()
    with pytest.raises(DataError, match=message):
        read_source(url.format(tmp_path))
    assert not (tmp_path / "none.db").exists()


def test_a_password_is_never_said(monkeypatch):
    pytest.importorskip("sqlalchemy")
    monkeypatch.setenv("SECRET", "hush")
    with pytest.raises((DataError, MissingExtraError)) as caught:
        read_source("postgresql://me:$SECRET@127.0.0.1:1/db#t")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("package", "source", "extra"),
    [("openpyxl", "t.xlsx", "excel"), ("sqlalchemy", "sqlite:///t.db#t", "sql"), ("pyarrow", "t.feather", "data")],
)
def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch, package, source, extra):
    monkeypatch.chdir(tmp_path)
    (tmp_path / source).write_bytes(b"PK") if "/" not in source else None
    real = importlib.import_module

    def refuse(name, *args, **kwargs):
        if name == package:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MissingExtraError, match=rf'pip install "polytask\[{extra}\]"'):
        read_source(source)


def test_levels_of_rows_and_columns_are_columns_and_names(frame):
    several = frame.assign(patient=range(N), visit=1).set_index(["patient", "visit"])[["dose", "pain"]]
    several.columns = pd.MultiIndex.from_tuples([("drug", "dose"), ("pain", "")])
    read = read_source(several)
    assert list(read.frame.columns) == ["patient", "visit", "drug/dose", "pain"]
    assert read.frame["patient"].tolist() == list(range(N))
    assert several.index.names == ["patient", "visit"]


@pytest.mark.parametrize(
    "source", ["rows.csv", "a/rows.csv.gz", "rows.parquet", "rows.xlsx#two", "sqlite:///a/rows.db#t"]
)
def test_a_dataset_is_called_like_its_file(source):
    assert name_of(source) == "rows"
