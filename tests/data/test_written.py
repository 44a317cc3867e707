"""Numbers as people write them."""

import numpy as np
import pandas as pd
import pytest

from polytask.data import inspect_table, read_table
from polytask.data.opening import open_table
from polytask.data.written import number
from polytask.errors import ConfigError, DataError
from polytask.remedies import said_in

VALUES = np.round(np.random.default_rng(0).normal(1500, 700, 60), 2)
X = np.random.default_rng(1).normal(size=60)


@pytest.mark.parametrize(
    ("text", "decimal", "value"),
    [
        ("1.234,50 €", ",", 1234.5),
        ("($1,234.50)", ".", -1234.5),
        ("-$5", ".", -5),
        ("$-5", ".", -5),
        ("\u22124", ".", -4),
        ("12.5 %", ".", 12.5),
        ("1\u202f234,5", ",", 1234.5),
        ("1\u00a0234\u00a0567", ".", 1234567),
        ("CHF 1\u2019234.50", ".", 1234.5),
        ("R$ 1.234,00", ",", 1234),
        ("1e-3", ".", 0.001),
        ("1,234", ".", 1234),
        ("1,234", ",", 1.234),
    ],
)
def test_a_number_is_read_whatever_it_is_dressed_in(text, decimal, value):
    assert number(text, decimal) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "()",
        "(-5)",
        "--5",
        "1,2,3",
        "1,23,456",
        "0,123",
        "12-A",
        "1.2.3",
        "$5€",
        "(5",
        "5 kg",
        "192.168.1.1",
        "€",
    ],
)
def test_what_is_no_number_stays_text(text):
    assert number(text, ".") is None


def _spell(style, value):
    us = f"{value:,.2f}"
    eu = us.translate(str.maketrans(",.", ".,"))
    return {
        "decimal comma": f"{value:.2f}".replace(".", ","),
        "german": eu,
        "dollars": f"(${us[1:]})" if value < 0 else f"${us}",
        "percent": f"{value:.2f}%",
        "unicode minus": us.replace("-", "\u2212"),
        "thin spaces": us.replace(",", "\u2009"),
        "swiss": us.replace(",", "'"),
        "euros behind": f"{eu} €",
    }[style]


STYLES = ["decimal comma", "german", "dollars", "percent", "unicode minus", "thin spaces", "swiss", "euros behind"]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("separator", [",", ";"])
def test_a_file_in_any_style_gives_the_same_numbers_as_a_plain_one(tmp_path, style, separator):
    """The oracle is the plain file."""
    frame = pd.DataFrame({"x": VALUES, "y": VALUES[::-1] - 1500})
    written = frame.map(lambda value: _spell(style, value))
    path = tmp_path / "t.csv"
    written.to_csv(path, sep=separator, index=False)
    opened, said, *_ = open_table(path)
    pd.testing.assert_frame_equal(opened, frame)
    assert len(said) == 2
    assert repr(written["x"][0]) in said[0]
    assert "row 1" in said[0]
    pd.testing.assert_frame_equal(open_table(written)[0], frame)


@pytest.mark.parametrize(("separator", "first"), [(";", 1.234), (",", 1234)])
def test_what_proves_nothing_follows_the_separator_of_the_file_and_is_said(tmp_path, separator, first):
    path = tmp_path / "t.csv"
    pd.DataFrame({"x": ["1,234", "2,500", "999"] * 9, "n": 1}).to_csv(path, sep=separator, index=False)
    opened, said, *_ = open_table(path)
    assert opened["x"][0] == first
    assert "decimal=" in said[0]
    for decimal, value in ((",", 1.234), (".", 1234)):
        opened, said, *_ = open_table(path, decimal=decimal)
        assert opened["x"][0] == value
        assert "decimal=" not in said[0]


def test_points_are_thousands_where_another_column_proves_the_comma(tmp_path):
    """pandas reads 1.234 as a fraction: only the text, and the other columns, say what it is."""
    path = tmp_path / "t.csv"
    path.write_text("n;x;z;p\n" + "1.234;12,5;0,1;3.14\n12.517;7,25;0,2;2.71\n999;8,0;0,3;1.41\n" * 5)
    opened, said, *_ = open_table(path)
    assert opened["n"].tolist()[:3] == [1234, 12517, 999]
    assert opened["x"].tolist()[:2] == [12.5, 7.25]
    assert opened["p"].tolist()[:2] == [3.14, 2.71]
    assert any("'n'" in sentence and "1234" in sentence for sentence in said)
    path.write_text("n;x\n1.234;2.500\n3.125;4.125\n")
    assert open_table(path)[0]["n"].tolist() == [1.234, 3.125]


def test_what_is_asked_to_be_text_stays_text(tmp_path):
    path = tmp_path / "t.csv"
    pd.DataFrame({"answers": ["1,2", "2,3", "1,3"] * 20, "y": VALUES}).to_csv(path, index=False)
    data = read_table(path, ["y"], kinds={"answers": "categorical"})
    assert data.table.categorical[0].levels == ("1,2", "1,3", "2,3")


def test_texts_that_only_look_like_numbers_are_left(tmp_path):
    frame = pd.DataFrame(
        {
            "phone": [f"555 {i} {999 - i}" for i in range(100, 160)],
            "two": [f"{'$' if i % 2 else '€'}{i}.50" for i in range(60)],
            "version": [f"1.{i}.0" for i in range(60)],
        }
    )
    opened, said, *_ = open_table(frame)
    pd.testing.assert_frame_equal(opened, frame)
    assert said == []


def test_a_text_among_written_numbers_is_named():
    column = ["$1,234.50"] * 40 + ["unknown"]
    with pytest.raises(DataError, match=r"'x' holds numbers, but row 41 holds 'unknown'"):
        read_table(pd.DataFrame({"x": column, "y": VALUES[:41]}), ["y"])


def test_a_target_with_decimal_commas_is_a_regression_and_said_so(tmp_path):
    path = tmp_path / "t.csv"
    pd.DataFrame({"y": [_spell("decimal comma", value) for value in VALUES], "x": X}).to_csv(path, index=False)
    data = read_table(path, ["y"])
    assert data.tasks["y"].kind == "regression"
    assert any("'y'" in surprise and "is read as" in surprise for surprise in data.details["surprises"])
    assert any("is read as" in surprise for surprise in inspect_table(path, ["y"]).surprises)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decimal": ";"}, "decimal must be"),
        ({"thousands": "x"}, "thousands must be"),
        ({"decimal": ",", "thousands": ","}, "must differ"),
        ({"encoding": "klingon"}, "unknown encoding 'klingon'"),
    ],
)
def test_marks_that_cannot_be(tmp_path, options, words):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match=words):
        open_table(path, **options)


def test_an_encoding_is_offered_and_used(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("ort,y\nKöln,1\nUlm,2\n".encode("cp1252"))
    with pytest.raises(DataError, match="encoding='cp1252'"):
        open_table(path)
    with said_in("toml"), pytest.raises(DataError, match=r'\[data\] encoding = "cp1252"'):
        open_table(path)
    assert open_table(path, encoding="cp1252")[0]["ort"].tolist() == ["Köln", "Ulm"]
    path.write_bytes("ort,y\nKöln,1\n".encode("utf-16"))
    opened = open_table(path)
    assert opened.frame["ort"].tolist() == ["Köln"]
    assert "UTF-16" in opened.said[0]
    assert open_table(path, encoding="utf-16")[0]["ort"].tolist() == ["Köln"]
    with pytest.raises(DataError, match="is for CSV files"):
        open_table(pd.DataFrame({"a": [1]}), encoding="cp1252")


def test_a_later_table_of_one_row_is_read_like_the_first(tmp_path):
    """Alone, 1,234 would be a thousand."""
    path = tmp_path / "t.csv"
    rows = pd.DataFrame({"x": [_spell("decimal comma", value) for value in VALUES], "y": X})
    reading = read_table(rows, ["y"]).details["reading"]
    assert reading["decimal"] == ","
    pd.DataFrame({"x": ["1,234"]}).to_csv(path, index=False)
    assert open_table(path, **reading).frame["x"][0] == 1.234
    assert open_table(path).frame["x"][0] == 1234
