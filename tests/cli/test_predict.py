"""``polytask predict``: new rows through what ``train`` and ``compare`` left."""

import json
import subprocess
import sys

import pandas as pd
import pytest

import polytask as pt


@pytest.fixture
def run(polytask, config, tmp_path):
    outcome = polytask("train", config, "--out", tmp_path / "model")
    assert outcome.code == 0, outcome.err
    return tmp_path / "model"


@pytest.fixture
def new(tmp_path):
    path = tmp_path / "new.csv"
    rows = {"id": ["a", "b", "c"], "size": [0.1, None, 2.0], "age": [0.0, 1.0, 1e6], "place": ["north", "East", "west"]}
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_train_says_how_to_predict_and_it_works(polytask, config, tmp_path, new):
    outcome = polytask("train", config, "--out", tmp_path / "my model")
    command = outcome.out.split("predict new rows with: polytask ")[1].splitlines()[0]
    assert command == f"predict '{tmp_path / 'my model'}' new.csv"
    assert polytask("predict", tmp_path / "my model", new).code == 0


def test_csv_on_standard_output_and_what_is_odd_on_standard_error(polytask, run, new):
    outcome = polytask("predict", run, new, "--with", "id")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0] == "id,price,sold,sold P(yes)"
    assert [line.split(",")[0] for line in lines[1:]] == ["a", "b", "c"]
    assert {line.split(",")[2] for line in lines[1:]} <= {"yes", "no"}
    for words in ("'East'", "1 of 3 rows has no value", "another unit?"):
        assert words in outcome.err
    assert "'id'" not in outcome.err, "a column that is written along is not ignored"


def test_the_answer_as_json(polytask, run, new):
    outcome = polytask("predict", run, new, "--tasks", "price", "--json")
    assert outcome.json["tasks"] == ["price"]
    assert outcome.json["rows"] == len(outcome.json["predictions"]) == 3
    counts = {(remark["about"], remark["column"]): remark["count"] for remark in outcome.json["remarks"]}
    assert counts == {
        ("extra columns", ""): 1,
        ("missing values", "size"): 1,
        ("far off", "age"): 1,
        ("unknown categories", "place"): 1,
    }


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "jsonl"])
def test_files_in_and_out_hold_the_same(polytask, run, new, tmp_path, suffix):
    frame, source, target = pd.read_csv(new), tmp_path / f"rows.{suffix}", tmp_path / f"answers.{suffix}"
    write = {
        "csv": lambda: frame.to_csv(source, index=False),
        "tsv": lambda: frame.to_csv(source, index=False, sep="\t"),
        "parquet": lambda: frame.to_parquet(source),
        "jsonl": lambda: frame.to_json(source, orient="records", lines=True),
    }
    write[suffix]()
    assert polytask("predict", run, source, "--out", target).code == 0
    read = {
        "csv": pd.read_csv,
        "tsv": lambda path: pd.read_csv(path, sep="\t"),
        "parquet": pd.read_parquet,
        "jsonl": lambda path: pd.DataFrame([json.loads(line) for line in path.read_text().splitlines()]),
    }
    with pytest.warns(pt.deploy.PredictionWarning):
        expected = pt.load(run).predict(frame)
    pd.testing.assert_frame_equal(read[suffix](target), expected, check_exact=True, check_dtype=False)


def test_the_table_may_change_or_go(polytask, run, table, new):
    """What a row means is kept with the model, not looked up in the table again."""
    before = polytask("predict", run, new).out
    changed = pd.read_csv(table).assign(price=lambda rows: rows["price"] * 50, size=lambda rows: rows["size"] * 1000)
    changed.to_csv(table, index=False)
    assert polytask("predict", run, new).out == before
    table.unlink()
    command = [sys.executable, "-c", "from polytask.cli import main; main()", "predict", str(run), str(new)]
    elsewhere = subprocess.run(command, capture_output=True, text=True, check=True)
    assert elsewhere.stdout == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "new.csv"], "there is no model in"),
        (["model", "old.csv"], "no such file"),
        (["model", "new.csv", "--tasks", "prise"], "did you mean 'price'?"),
        (["model", "new.csv", "--with", "idd"], "did you mean 'id'?"),
        (["model", "new.csv", "--out", "answers.xlsx"], "are not written; expected .csv"),
        (["model", "short.csv"], "--fill-missing"),
        (["model", "words.csv"], "row 1 holds 'big'"),
        (["model", "lines.jsonl"], "line 2"),
    ],
)
def test_what_can_be_corrected_is_code_2(polytask, run, new, tmp_path, words, message):
    pd.read_csv(new).drop(columns="size").to_csv(tmp_path / "short.csv", index=False)
    pd.read_csv(new).assign(size="big").to_csv(tmp_path / "words.csv", index=False)
    (tmp_path / "lines.jsonl").write_text('{"size": 1}\n{"size": \n')
    outcome = polytask("predict", *(tmp_path / word if place < 2 else word for place, word in enumerate(words)))
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.out == ""


def test_a_damaged_model_is_code_3(polytask, run, new):
    (weights,) = run.glob("weights-*")
    weights.write_bytes(weights.read_bytes()[:-1])
    outcome = polytask("predict", run, new, "--json")
    assert outcome.code == 3
    assert outcome.json["error"]["kind"] == "CheckpointError"


def test_columns_that_are_not_there_may_be_filled(polytask, run, new, tmp_path):
    pd.read_csv(new).drop(columns=["size", "place"]).to_csv(tmp_path / "short.csv", index=False)
    outcome = polytask("predict", run, tmp_path / "short.csv", "--fill-missing")
    assert outcome.code == 0
    assert outcome.err.count("not there") == 2


def test_compare_ends_with_the_command_that_predicts(polytask, config, new, tmp_path):
    outcome = polytask("compare", config, "--keep", "best")
    assert outcome.code == 0, outcome.err
    study = config.parent / "runs" / "houses"
    assert outcome.out.splitlines()[-1] == f"predict: polytask predict {study} new.csv"
    assert polytask("predict", study, new).code == 0
    assert f"polytask predict {study}" in (study / "report.html").read_text()
    assert not list((study / "trials").glob("*/blueprint.json"))


def test_an_encoder_function_is_seeded(polytask, config, tmp_path):
    """Two runs of one configuration are one model."""
    encoder = ("--set", "model.encoder=tests.deploy.encoders:small")
    first = polytask("train", config, *encoder, "--out", tmp_path / "a", "--json").json
    second = polytask("train", config, *encoder, "--out", tmp_path / "b", "--json").json
    assert first["test"] == second["test"]
    names = [[file.name for file in (tmp_path / run).glob("weights-*")] for run in "ab"]
    assert names[0] == names[1]


def test_the_architectures_options_are_read_checked_and_kept(polytask, config, new, tmp_path):
    outcome = polytask("train", config, "--set", "model.head_hidden=[3]", "--out", tmp_path / "model")
    assert outcome.code == 0, outcome.err
    assert pt.load(tmp_path / "model").blueprint.options == {"head_hidden": (3,)}
    for option, message in (("head_hiden=[3]", "did you mean 'head_hidden'?"), ("width=0", "a whole number ≥ 1")):
        refused = polytask("check", config, "--set", f"model.{option}")
        assert refused.code == 2
        assert message in refused.err


def test_the_rows_are_not_overwritten_by_the_answers(polytask, run, new, tmp_path):
    (tmp_path / "link.csv").symlink_to(new)
    before = new.read_bytes()
    for out in (new, tmp_path / "link.csv"):
        outcome = polytask("predict", run, new, "--out", out)
        assert outcome.code == 2
        assert "give another name" in outcome.err
    assert new.read_bytes() == before


def test_remedies_are_those_of_a_model_that_is_trained(polytask, run, new):
    """There is no configuration beside new rows: what it says takes another training."""
    new.write_text("size,age,place\nbig,1,north\n1,1,north\n")
    outcome = polytask("predict", run, new)
    assert outcome.code == 2
    assert '[data] missing_values = ["big"] and train again' in outcome.err
    assert '[data.kinds] size = "categorical" and train again' in outcome.err
