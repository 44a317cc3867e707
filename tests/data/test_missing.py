"""What means "no value" in one column is a value in another."""

import json

import numpy as np
import pandas as pd
import pytest

from polytask.data import inspect_table, read_table
from polytask.data.files import read_frame
from polytask.errors import DataError

ROWS = 60
DRAW = np.random.default_rng(0)
INCOME = np.where(np.arange(ROWS) % 6 == 0, -999.0, DRAW.normal(2000, 300, ROWS).round())
HEIGHT = np.where(np.arange(ROWS) % 5 == 0, -999.0, DRAW.normal(-990, 8, ROWS).round())  # below the sea
WORDS = np.where(np.arange(ROWS) % 4 == 0, "gone", np.where(np.arange(ROWS) % 2 == 0, "here", "there"))


def frame():
    return pd.DataFrame({"income": INCOME, "height": HEIGHT, "place": WORDS, "y": DRAW.normal(size=ROWS)})


def sources(folder):
    table = frame()
    table.to_csv(folder / "t.csv", index=False)
    table.to_parquet(folder / "t.parquet")
    table.to_json(folder / "t.jsonl", orient="records", lines=True)
    return [table, folder / "t.csv", folder / "t.parquet", folder / "t.jsonl"]


@pytest.mark.parametrize("given", [{"income": ["-999"], "place": ["gone"]}, {"income": ["-999"], "*": ["gone"]}])
def test_a_text_is_missing_in_its_column_only_in_every_medium(tmp_path, given):
    for source in sources(tmp_path):
        read = read_frame(source, given)
        assert (read["income"].isna() == (INCOME == -999)).all()
        assert read["height"].notna().all()
        assert (read["place"].isna() == (WORDS == "gone")).all()


def test_texts_for_all_columns_are_those_of_a_list(tmp_path):
    for source in sources(tmp_path):
        pd.testing.assert_frame_equal(read_frame(source, {"*": ["-999", "gone"]}), read_frame(source, ["-999", "gone"]))


def test_a_word_among_numbers_leaves_numbers(tmp_path):
    table = frame().astype({"income": object})
    table.loc[3, "income"] = "refused"
    table.to_csv(tmp_path / "t.csv", index=False)
    assert read_frame(tmp_path / "t.csv", {"income": ["refused"]})["income"].dtype == np.float64


def test_following_the_advice_silences_it_and_spares_other_columns():
    table = frame()
    said = " ".join(inspect_table(table, ["y"]).surprises)
    assert "missing_values={'income': ['-999']}" in said
    data = read_table(table, ["y"], missing_values={"income": ["-999"]})
    assert not any("income" in words for words in data.details["surprises"])
    assert {column.name: column.indicator for column in data.table.numeric} == {"income": True, "height": False}
    assert json.loads(json.dumps(data.details["reading"]))["missing_values"] == {"income": ["-999"]}


def test_what_is_kept_with_the_data_reads_later_rows_alike():
    data = read_table(frame(), ["y"], missing_values={"income": ["-999"]})
    later = read_frame(frame().drop(columns="y"), data.details["reading"]["missing_values"])
    assert torch_equal(data.table.encode(later), data.table.encode(read_frame(frame(), {"income": ["-999"]})))


def torch_equal(one, two):
    return all((one[key] == two[key]).all() for key in one)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"incom": ["-999"]}, "unknown column in missing_values 'incom'; did you mean 'income'"),
        ({"income": "-999"}, "missing_values of column 'income' must be a list of texts"),
        ("-999", "missing_values must be a list of texts"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(given, words):
    with pytest.raises(DataError, match=words):
        read_table(frame(), ["y"], missing_values=given)
