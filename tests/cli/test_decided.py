"""``[decide]`` from the configuration to predictions, and ``polytask explain``."""

import json

import pandas as pd
import pytest

import polytask as pt

DECIDE = ("--set", "decide.thresholds=f1", "--set", "decide.calibrate=temperature", "--set", "decide.coverage=0.8")


def test_train_keeps_decisions_says_what_they_are_worth_and_predict_follows(polytask, config, table, tmp_path):
    run = tmp_path / "model"
    found = polytask("train", config, "--out", run, *DECIDE, "--json")
    assert found.code == 0, found.err
    decisions = found.json["decisions"]
    assert set(decisions["test"]["sold"]) == {"labels", "threshold", "calibration", "interval"}
    assert json.loads((run / "result.json").read_text())["decisions"] == decisions
    out = polytask("train", config, "--out", run, *DECIDE).out
    assert "decided on validation rows, measured on test rows" in out
    assert "price: 80 % intervals hold" in out
    assert "ECE" in out
    pd.read_csv(table).head(5).to_csv(tmp_path / "new.csv", index=False)
    lines = polytask("predict", run, tmp_path / "new.csv").out.splitlines()
    assert lines[0] == "price,price low,price high,sold,sold P(yes),sold set"
    cut = pt.load(run).decisions["sold"].thresholds[0].value
    for row in lines[1:]:
        cells = row.split(",")
        assert float(cells[1]) <= float(cells[0]) <= float(cells[2])
        assert (cells[3] == "yes") == (float(cells[4]) >= cut)


def test_training_does_not_depend_on_what_is_decided(polytask, config, tmp_path):
    plain = polytask("train", config, "--out", tmp_path / "a", "--json").json
    decided = polytask("train", config, "--out", tmp_path / "b", *DECIDE, "--json").json
    assert decided["test"] == plain["test"]
    assert "decisions" not in plain
    assert next((tmp_path / "a").glob("weights-*")).name == next((tmp_path / "b").glob("weights-*")).name


def test_compare_keeps_decisions_with_the_best_and_report_says_them_again(polytask, config, tmp_path):
    out = ("--out", tmp_path / "study")
    plain = polytask("compare", config, "--methods", "ridge", "--seeds", "1", *out, "--json")
    assert plain.code == 0, plain.err
    assert "decisions" not in plain.json
    found = polytask("compare", config, "--methods", "ridge", "--seeds", "1", *out, *DECIDE, "--json")
    assert found.json["summary"] == plain.json["summary"]
    kept = pt.load(tmp_path / "study").decisions
    assert kept.plain()["tasks"] == found.json["decisions"]["tasks"]
    assert polytask("report", tmp_path / "study", "--json").json["decisions"] == found.json["decisions"]
    assert "price: 80 % intervals hold" in polytask("report", tmp_path / "study").out
    back = polytask("compare", config, "--methods", "ridge", "--seeds", "1", *out, "--json")
    assert "decisions" not in back.json


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("decide.thresholds=f2", "unknown metric for a threshold 'f2'"),
        ("decide.thresholds.sold=[1.0, -2.0]", "two positive numbers"),
        ("decide.calibrate=platt", "calibrate"),
        ("decide.coverage=1.5", "coverage"),
        ("decide.cover=0.5", "did you mean 'coverage'"),
    ],
)
def test_mistakes_are_named(polytask, config, change, words):
    outcome = polytask("train", config, "--set", change)
    assert outcome.code == 2
    assert "decide" in outcome.err
    assert words in outcome.err


def test_refit_leaves_no_rows_to_decide_on(polytask, config):
    outcome = polytask("compare", config, "--refit", *DECIDE)
    assert outcome.code == 2
    assert "refit leaves none" in outcome.err


def test_explain_says_importance_groups_and_effects(polytask, config, table, tmp_path):
    run = tmp_path / "model"
    assert polytask("train", config, "--out", run).code == 0
    model = pt.load(run)
    outcome = polytask("explain", run, table, "--repeats", "2", "--json")
    assert outcome.code == 0, outcome.err
    records = {row["column"]: row for row in outcome.json["importance"]}
    expected = model.importance(str(table), repeats=2)
    assert records["size"]["price"] == pytest.approx(expected.loc["size", "price"])
    text = polytask("explain", run, table, "--repeats", "2").out
    assert "how much worse when a column is shuffled" in text
    groups = polytask("explain", run, table, "--by", "place", "--json").json["by_group"]["place"]
    assert {(row["task"], row["place"]) for row in groups} == {
        (task, place) for task in ("price", "sold") for place in ("north", "south", "west")
    }
    effect = polytask("explain", run, table, "--column", "place", "--json").json["partial_dependence"]["place"]
    assert [row["place"] for row in effect] == ["north", "south", "west"]
    wrong = polytask("explain", run, table, "--by", "plaice")
    assert wrong.code == 2
    assert "did you mean 'place'" in wrong.err
