"""``polytask train``."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest


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


OTHERS = {
    "rows": lambda table: table.write_text(table.read_text().replace("north", "south")),
    "split": "data.seed=9",
    "task weight": "tasks.price.weight=3",
    "encoder": "model.encoder=tabular:9",
    "method": "method.name=dwa",
    "method options": "method.mu=3",
    "engine": "method.every=2",
    "learning rate": "train.lr=0.5",
    "seed": "train.seed=4",
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_run_of_other_data_or_settings_is_never_taken_over(other, polytask, config, table, tmp_path):
    """Trained rows judged as test rows would be too good; the folder says so instead, and what to do."""
    base = ["train", config, "--out", tmp_path / "model", "--set", "method.name=stch"]
    assert polytask(*base).code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "model").rglob("*.json")}
    change = OTHERS[other]
    words = ["--set", change] if isinstance(change, str) else []
    if not words:
        change(table)
    refused = polytask(*base, *words)
    assert refused.code == 3
    assert "--fresh" in refused.err
    assert {path: path.read_bytes() for path in before} == before
    afresh = polytask(*base, *words, "--fresh", "--json")
    assert afresh.code == 0, afresh.err
    whole = polytask("train", config, "--out", tmp_path / "whole", "--set", "method.name=stch", *words, "--json")
    assert afresh.json["test"] == whole.json["test"]


def test_a_damaged_checkpoint_is_moved_aside_and_trained_again(polytask, config, tmp_path):
    first = polytask("train", config, "--out", tmp_path / "model", "--json")
    model = next((tmp_path / "model" / "checkpoint").glob("model.*"))
    content = bytearray(model.read_bytes())
    content[-3] ^= 1
    model.write_bytes(content)
    again = polytask("train", config, "--out", tmp_path / "model", "--json")
    assert again.code == 0
    assert f"{model.name} is damaged" in again.err
    assert "moved aside as" in again.err
    assert again.json["test"] == first.json["test"]


def test_a_second_train_in_one_folder_is_refused_in_words(polytask, config, tmp_path):
    from polytask.folders import locked

    with locked(tmp_path / "model"):
        outcome = polytask("train", config, "--out", tmp_path / "model")
    assert outcome.code == 3
    assert "another process is working in" in outcome.err
    assert "--out" in outcome.err


def test_a_place_that_cannot_be_written_is_told_before_anything_is_trained(polytask, config, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for words in (["train", config, "--out", small_disk / "run"], ["compare", config, "--out", small_disk / "run"]):
        outcome = polytask(*words)
        assert outcome.code == 3
        assert "the place is read-only" in outcome.err
        assert "epoch 1" not in outcome.err
        assert "Traceback" not in outcome.err


NAMES = ["[/bold]", "[red]", ":smile:", "a\x1b[31mred", "[link=http://a]x[/link]"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_data_and_shown_as_they_are(name, polytask, tmp_path):
    """Of columns, tasks and folders: what looks like markup or an escape sequence is text."""
    folder = tmp_path / name.replace("/", "|").replace("\x1b", "")
    folder.mkdir()
    frame_with(name).to_csv(folder / "t.csv", index=False)
    config = folder / "polytask.toml"
    made = polytask("init", folder / "t.csv", "--targets", f"{name},y", "--out", config)
    assert made.code == 0, made.err
    shown = name.replace("\x1b", "\\x1b")
    short = ["--set", "train.epochs=1", "--set", "model.encoder=tabular:4"]
    for words in (["check", config, "--no-evidence"], ["train", config, "--out", folder / "run"]):
        outcome = polytask(*words, *short)
        assert outcome.code == 0, outcome.err
        assert shown in outcome.out
        assert "\x1b" not in outcome.out + outcome.err
    assert str(folder) in outcome.out.replace("\n", "")


def frame_with(name, rows=120):
    draws = np.random.default_rng(0).normal(size=(rows, 4))
    return pd.DataFrame(draws + draws[:, :1], columns=["x", "z", name, "y"])


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["train", "compare"])
@pytest.mark.parametrize("gaps", [[0.02], [0.3], [0.01, 0.02, 0.05, 0.1, 0.2, 0.2]])
def test_ctrl_c_again_and_again_ends_in_words(verb, gaps, config, tmp_path):
    code = "import sys; from polytask.cli import main; sys.argv[0] = 'polytask'; main()"
    words = [verb, config, "--out", tmp_path / "run", "--set", "train.epochs=3000", "--set", "train.batch_size=8"]
    if verb == "compare":
        words += ["--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("run/**/meta.json")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for gap in [0, *gaps]:
        time.sleep(gap)
        if process.poll() is None:  # as a terminal does: to every process of the group
            os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    assert "resume with: polytask" in err
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    assert out == ""
