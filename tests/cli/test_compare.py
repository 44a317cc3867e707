"""``polytask compare``, ``report`` and ``demo``."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest


def test_a_comparison_writes_results_and_report_and_says_where(polytask, config):
    outcome = polytask("compare", config, "--seeds", "2")
    assert outcome.code == 0, outcome.err
    folder = config.parent / "runs" / "houses"
    assert str(folder / "report.html") in outcome.out
    assert "Δm" in outcome.out
    results = json.loads((folder / "results.json").read_text())
    assert [row["method"] for row in results["summary"]] == ["stl", "equal"]
    assert (folder / "report.html").read_text().lstrip().startswith("<!DOCTYPE html>")


def test_options_replace_values_of_the_file(polytask, config, tmp_path):
    outcome = polytask(
        "compare", config, "--methods", "equal,uw", "--seeds", "2", "--out", tmp_path / "other", "--json"
    )
    assert outcome.code == 0, outcome.err
    assert [row["method"] for row in outcome.json["summary"]] == ["equal", "uw"]
    assert outcome.json["protocol"]["seeds"] == [0, 1]
    assert outcome.json["files"]["results"] == str(tmp_path / "other" / "results.json")


def test_a_report_can_be_written_again(polytask, config):
    polytask("compare", config)
    folder = config.parent / "runs" / "houses"
    page = folder / "report.html"
    before = page.read_text()
    page.unlink()
    outcome = polytask("report", folder, "--json")
    assert outcome.code == 0, outcome.err
    assert page.read_text() == before
    assert [row["method"] for row in outcome.json["summary"]] == ["stl", "equal"]


def test_a_report_of_nothing(polytask, tmp_path):
    outcome = polytask("report", tmp_path / "nowhere")
    assert outcome.code == 2
    assert "polytask compare" in outcome.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--methods", "stl,fairgard"], "did you mean 'fairgrad'?"),
        (["--set", "train.epoch=3"], "did you mean 'epochs'?"),
        (["--set", "modle.encoder=mlp:8"], "did you mean 'model'?"),
        (["--set", "data.source=nowhere.csv"], "nowhere.csv"),
        (["--set", "tasks.prize.kind=regression"], "price"),
        (["--set", "train.epochs=none"], "epochs"),
    ],
)
def test_what_the_user_can_correct_is_exit_code_2_and_names_the_remedy(polytask, config, words, expected):
    outcome = polytask("compare", config, *words)
    assert outcome.code == 2, outcome.err
    assert expected in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out == ""


def test_a_folder_or_file_that_is_no_study_is_exit_code_2(polytask, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no study")
    for wrong, reason in (("empty", "there is no .*results.json"), ("notes.txt", "is not the result of a study")):
        outcome = polytask("report", tmp_path / wrong)
        assert outcome.code == 2
        assert re.search(f"{reason}.*; give the folder that `polytask compare` wrote", outcome.err)


def test_a_study_does_not_go_into_a_file(polytask, config, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    outcome = polytask("compare", config, "--out", tmp_path / "notes.txt")
    assert outcome.code == 2
    assert re.search("expected a folder for the study, found the file .*notes.txt; give another --out", outcome.err)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_missing_configuration(polytask, tmp_path):
    outcome = polytask("compare", tmp_path / "polytask.toml", "--json")
    assert outcome.code == 2
    assert outcome.json["error"]["kind"] == "ConfigError"
    assert "polytask.toml" in outcome.err


def test_a_trial_out_of_memory_is_exit_code_3_and_the_table_is_still_there(polytask, config, monkeypatch):
    from polytask.study.contenders import network as trial

    real = trial.Trainer.fit

    def fit(self, *args, **kwargs):
        if len(self.tasks) == 2:
            raise MemoryError
        return real(self, *args, **kwargs)

    monkeypatch.setattr(trial.Trainer, "fit", fit)
    outcome = polytask("compare", config)
    assert outcome.code == 3
    assert "not judged: out of memory" in outcome.out
    machine = polytask("compare", config, "--json")
    assert machine.code == 3
    assert [row["verdict"] for row in machine.json["summary"]] == ["reference", "not judged: out of memory"]
    monkeypatch.undo()
    assert polytask("compare", config).code == 0


def test_fresh_trains_every_trial_anew(polytask, config):
    polytask("compare", config)
    before = {path: path.stat().st_mtime_ns for path in config.parent.glob("runs/houses/trials/*/trial.json")}
    assert polytask("compare", config, "--fresh").code == 0
    assert all(path.stat().st_mtime_ns > then for path, then in before.items())


def test_a_damaged_study_is_named_and_the_command_that_repairs_it_is_there(polytask, config):
    polytask("compare", config)
    path = config.parent / "runs" / "houses" / "results.json"
    whole = path.read_text()
    path.write_text(whole.replace('"seed": 0', '"seed": 1', 1))
    outcome = polytask("report", path.parent)
    assert outcome.code == 2
    assert f"{path} is damaged" in outcome.err
    assert "polytask compare" in outcome.err
    assert polytask("compare", config).code == 0
    assert json.loads(path.read_text())["trials"] == json.loads(whole)["trials"]


def _call(*words):
    """The command line in a process of its own, in a way that lets it be interrupted."""
    code = "import sys; from polytask.cli import main; sys.argv[0] = 'polytask'; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores the signal; a person's process does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_ctrl_c_leaves_a_study_that_the_printed_command_finishes(polytask, config, tmp_path):
    folder = tmp_path / "study"
    words = ["compare", config, "--methods", "equal,uw,rlw", "--set", "train.epochs=15", "--out", folder]
    process = _call(*words)
    deadline = time.monotonic() + 120
    while not list(folder.glob("trials/*/trial.json")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    assert f"resume with: polytask compare {config}" in err
    assert "Traceback" not in err
    assert out == ""
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("trials/*/trial.json")}
    assert 1 <= len(finished) < 3

    resumed = polytask(*words, "--json")
    assert resumed.code == 0, resumed.err
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    whole = polytask(*words[:-1], tmp_path / "whole", "--json")
    keys = [key for key in whole.json["summary"][0] if not key.startswith("seconds")]
    for mine, other in zip(resumed.json["summary"], whole.json["summary"], strict=True):
        assert [mine[key] for key in keys] == [other[key] for key in keys]


def test_the_demo_runs(polytask, tmp_path):
    outcome = polytask("demo", "--quick", "--seeds", "2", "--workers", "1", "--out", tmp_path / "demo", "--json")
    assert outcome.code == 0, outcome.err
    assert [row["method"] for row in outcome.json["summary"]] == ["stl", "equal", "uw", "nash_mtl", "upgrad"]
    assert (tmp_path / "demo" / "results.json").is_file()
    assert "https://" not in (tmp_path / "demo" / "report.html").read_text().replace("https://www.w3.org", "")


@pytest.mark.slow
def test_the_demo_shows_negative_transfer_and_a_repair(polytask, tmp_path):
    outcome = polytask("demo", "--out", tmp_path / "demo", "--json")
    assert outcome.code == 0, outcome.err
    parity = {row["method"]: row["parity"] for row in outcome.json["summary"]}
    assert parity["equal"] < parity["stl"] - 0.05
    assert max(parity["upgrad"], parity["nash_mtl"]) > parity["equal"]
