import builtins
import importlib
import inspect

import numpy as np
import pandas as pd
import pytest

from polytask.data.files import read_frame, read_source
from polytask.errors import DataError, MissingExtraError

TEXT = "a,b\n1,x\n2,\n"


@pytest.fixture
def write(tmp_path):
    def write(content, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(("separator", "name"), [(",", "t.csv"), (";", "t.csv"), ("\t", "t.tsv"), ("|", "t.txt")])
def test_separators_are_found_in_the_header(write, separator, name):
    frame = read_frame(write(TEXT.replace(",", separator), name))
    assert frame["a"].tolist() == [1, 2]
    assert frame["b"].isna().tolist() == [False, True]


def test_a_byte_order_mark_and_spaces_are_no_part_of_a_name(write):
    assert list(read_frame(write(b"\xef\xbb\xbf a , b\n1,2\n")).columns) == ["a", "b"]


def test_extra_missing_values(write):
    frame = read_frame(write("a,b\n1,?\n-,x\n"), ["?", "-"])
    assert frame["a"].isna().tolist() == [False, True]
    assert frame["b"].isna().tolist() == [True, False]
    frame = read_frame(pd.DataFrame({"a": ["?", "x"]}), ["?"])
    assert frame["a"].isna().tolist() == [True, False]


def test_parquet_with_an_index(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "t.parquet"
    pd.DataFrame({"x": [1.0, None]}, index=pd.Index(["p", "q"], name="patient")).to_parquet(path)
    frame = read_frame(path)
    assert list(frame.columns) == ["patient", "x"]
    assert list(frame.index) == [0, 1]


def test_a_dataframe_is_copied(write):
    mine = pd.DataFrame({1: [1], "b": [2]}, index=[7])
    frame = read_frame(mine)
    assert list(frame.columns) == ["1", "b"]
    frame["b"] = 3
    assert list(mine.columns) == [1, "b"]
    assert mine["b"].tolist() == [2]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "t.csv", r"t\.csv is empty \(0 bytes\)"),
        ("\n", "t.csv", "first line is blank"),
        ("a,b\n", "t.csv", r"has a header \(a, b\) but no rows"),
        ("a,b\n1,2\n1,2,3\n", "t.csv", r"separated by ',': .*line 3, saw 3"),
        ("a,b\n1,2,3\n4,5,6\n", "t.csv", "separated by ','.*Check quotes"),
        ('a,b\n1,"2\n', "t.csv", "EOF inside string"),
        ("a,b\nMünchen,1\n".encode("cp1252"), "t.csv", r"not UTF-8 text: byte 0xfc.*iconv -f cp1252"),
        ("a,b\n" + "x,1\n" * 200_000 + "ü,1\n", "t.latin", "files of type '.latin' are not read.*pass the DataFrame"),
        (b"PAR1 nonsense", "t.parquet", r"t\.parquet cannot be read as Parquet"),
    ],
)
def test_unreadable_files_say_why(write, content, name, message):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match=message):
        read_frame(write(content, name))


def test_wrong_encoding_far_from_the_start(write):
    with pytest.raises(DataError, match="not UTF-8 text: byte 0xfc"):
        read_frame(write(b"a,b\n" + b"x,1\n" * 300_000 + b"\xfc,1\n"))


def test_missing_file_lists_neighbours(write, tmp_path):
    write(TEXT, "patients.csv")
    with pytest.raises(DataError, match=r"no such file: .*patient\.csv; .* holds patients\.csv"):
        read_frame(tmp_path / "patient.csv")
    with pytest.raises(DataError, match="is a directory; it holds patients"):
        read_frame(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        read_frame(str(tmp_path / "no" / "x.csv"))


def test_missing_values_mean_the_same_in_a_frame_and_a_file(write):
    path = write("a,b,c\n-9,x,-9\n2,-9,u\n3,y,v\n")
    frame = pd.DataFrame({"a": [-9, 2, 3], "b": ["x", "-9", "y"], "c": pd.Categorical(["-9", "u", "v"])})
    expected = [[True, False, True], [False, True, False], [False, False, False]]
    assert read_frame(path, ["-9"]).isna().to_numpy().tolist() == expected
    assert read_frame(frame, ["-9"]).isna().to_numpy().tolist() == expected
    assert frame["a"].tolist() == [-9, 2, 3]


@pytest.mark.parametrize("source", [None, [1, 2], {"a": [1]}])
def test_what_is_no_table_is_named(source):
    with pytest.raises(DataError, match=f"expected a path or a DataFrame, found {type(source).__name__}"):
        inspect.unwrap(read_source)(source)  # past the type check that only tests have


def test_one_text_for_a_list_of_missing_values():
    with pytest.raises(DataError, match=r"found 'NA'; write \['NA'\]"):
        inspect.unwrap(read_source)(pd.DataFrame({"a": ["N", "A"]}), "NA")


def test_duplicate_names_in_a_dataframe():
    read = read_source(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    assert read.frame.to_dict("list") == {"a": [1], "a (2)": [2]}
    assert read.said == ("2 columns are named 'a': the second is 'a (2)' here",)
    assert list(read_frame(pd.DataFrame([[1, 2]], columns=[1, "1"])).columns) == ["1", "1 (2)"]
    with pytest.raises(DataError, match="no columns"):
        read_frame(pd.DataFrame(index=[0]))


def test_parquet_without_pyarrow(write, monkeypatch):
    path = write(b"PAR1", "t.parquet")

    def refuse(name, *args, **kwargs):
        if name == "pyarrow":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    real = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MissingExtraError, match=r't\.parquet: .*pip install "polytask\[data\]"'):
        read_frame(path)
    assert builtins.__import__ is not None


HEADER = "x,y,z\n" + "1,2,3\n" * 5


@pytest.mark.parametrize(
    ("above", "line"),
    [("Report 2024\n\n", 3), ("Report 2024,,\n", 2), ("Sales, all\nby us\n", 3), ("# made by a tool\n", 2), ("\n", 2)],
)
def test_lines_above_the_header_are_left_out_and_said(write, above, line):
    read = read_source(write(above + HEADER))
    pd.testing.assert_frame_equal(read.frame, read_frame(write(HEADER, "plain.csv")))
    assert read.said[0].startswith(f"{line - 1} line")
    assert above.strip().split("\n")[0] in read.said[0]


def test_a_header_of_one_long_table_is_no_title(write):
    assert read_frame(write("x\n1\n2\n")).shape == (2, 1)
    read = read_source(write("x,,\n1,2,\n3,4,\n"))
    assert read.frame.columns.tolist() == ["x", "column 2"]
    assert read.said == ("1 column with neither name nor value is left out",)


@pytest.mark.parametrize(
    ("name", "words"),
    [("t.xls", "libreoffice --headless --convert-to csv"), ("t.ods", "Save as, CSV"), ("t.csv.zst", "Unpack it first")],
)
def test_other_files_come_with_a_way_from_the_terminal(write, name, words):
    with pytest.raises(DataError, match=words):
        read_frame(write("PK", name))


def test_a_page_is_no_table(write):
    with pytest.raises(DataError, match="is a page"):
        read_frame(write("<!DOCTYPE html>\n<html>not found</html>\n"))


def test_parquet_with_text_that_is_not_utf8(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    offsets = arrow.py_buffer(np.array([0, 3, 5, 8], dtype=np.int32).tobytes())
    texts = arrow.Array.from_buffers(arrow.string(), 3, [None, offsets, arrow.py_buffer(b"abc\xff\xfedef")])
    parquet.write_table(arrow.table({"s": texts, "y": arrow.array([1.0, 2.0, 3.0])}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="column 's' holds text that is not UTF-8"):
        read_frame(tmp_path / "t.parquet")
    coded = arrow.DictionaryArray.from_arrays(arrow.array([0, 1, 2]), texts)
    parquet.write_table(arrow.table({"s": coded}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet"):
        read_frame(tmp_path / "t.parquet")
