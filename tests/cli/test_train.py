"""``polytask train``."""

import json


def test_training_keeps_a_model_and_what_made_it(polytask, config, tmp_path):
    outcome = polytask("train", config, "--out", tmp_path / "model", "--set", "method.name=uw", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["method"] == "uw"
    assert outcome.json["best_epoch"] == 1
    assert json.loads((tmp_path / "model" / "result.json").read_text()) == outcome.json
    again = polytask(
        "train", tmp_path / "model" / "config.toml", "--set", f"data.source={config.parent / 'houses.csv'}"
    )
    assert again.code == 0, again.err


def test_the_table_shows_each_tasks_labels_and_metrics(polytask, config, tmp_path):
    outcome = polytask("train", config, "--out", tmp_path / "model")
    assert outcome.code == 0, outcome.err
    assert "rmse ↓" in outcome.out
    assert "auroc ↑" in outcome.out
    seen = polytask("train", config, "--out", tmp_path / "other", "--json").json["labels_seen"]
    assert 0 < seen["sold"] < seen["price"]


def test_the_same_command_goes_on_from_the_last_epoch(polytask, config, tmp_path):
    """Two epochs, then two more, are four: the second call does not start again."""
    out = ("--out", tmp_path / "model")
    polytask("train", config, *out, "--set", "train.epochs=2")
    resumed = polytask("train", config, *out, "--set", "train.epochs=4", "--json")
    whole = polytask("train", config, "--out", tmp_path / "whole", "--set", "train.epochs=4", "--json")
    assert resumed.json["test"] == whole.json["test"]
    assert resumed.json["labels_seen"] == whole.json["labels_seen"]
