"""What all verbs have in common: where output goes, exit codes, errors."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from polytask.cli import app
from polytask.cli.answer import Answer, Debug, Json, names, plain, verb
from polytask.errors import DataError, MissingExtraError, NonFiniteError, TrialError


def run(body, *words):
    """Run a command line whose only verb calls ``body``."""
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    @verb
    def act(as_json: Json = False, debug: Debug = False) -> Answer:
        return body()

    return CliRunner().invoke(app, list(words))


def fail(error):
    def body():
        raise error

    return body


def test_the_answer_is_text_or_json_and_nothing_else_is_on_standard_output():
    def body():
        print("working")  # noqa: T201 - it is the point
        return Answer({"a": 1.0, "bad": math.nan}, ("all is well",))

    text = run(body)
    assert (text.exit_code, text.stdout, text.stderr) == (0, "all is well\n", "working\n")
    machine = run(body, "--json")
    assert json.loads(machine.stdout) == {"a": 1.0, "bad": None}
    assert machine.stderr == "working\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("column 'agee' is not there"), 2),
        (MissingExtraError("needs pyarrow"), 2),
        (FileNotFoundError(2, "No such file", "x.csv"), 2),
        (NonFiniteError("loss of 'a' is nan"), 3),
        (TrialError("trial failed"), 3),
        (KeyboardInterrupt(), 3),
        (RuntimeError("a defect"), 3),
    ],
)
def test_exit_codes(error, code):
    outcome = run(fail(error))
    assert outcome.exit_code == code
    assert outcome.stdout == ""


def test_an_expected_error_is_one_message_without_a_traceback_unless_asked_for():
    quiet = run(fail(DataError("column 'agee' is not there")))
    assert quiet.stderr == "error: column 'agee' is not there\n"
    assert "Traceback" in run(fail(DataError("column 'agee' is not there")), "--debug").stderr


def test_a_defect_shows_its_traceback():
    outcome = run(fail(RuntimeError("a defect")))
    assert "Traceback" in outcome.stderr
    assert "unexpected RuntimeError: a defect" in outcome.stderr


def test_an_error_is_json_too():
    outcome = run(fail(DataError("column 'agee' is not there")), "--json")
    assert json.loads(outcome.stdout) == {"error": {"kind": "DataError", "message": "column 'agee' is not there"}}


def test_an_interruption_prints_the_command_that_resumes(monkeypatch):
    monkeypatch.setattr("sys.argv", ["polytask", "compare", "my table.toml"])
    assert "polytask compare 'my table.toml'" in run(fail(KeyboardInterrupt())).stderr


def test_plain_values():
    value = {
        "path": Path("a/b"),
        1: (np.float32(0.5), np.int64(3)),
        "set": {2},
        "inf": math.inf,
        "text": "ü",
    }
    assert json.loads(json.dumps(plain(value))) == {
        "path": "a/b",
        "1": [0.5, 3],
        "set": [2],
        "inf": None,
        "text": "ü",
    }


def test_names_are_trimmed():
    assert names(" a, b,,c ") == ["a", "b", "c"]


@pytest.mark.parametrize(
    "words", [("bogus",), ("train", "--bogus"), ("compare", "--seeds", "0"), ("predict",), ("init", "t.csv", "--set")]
)
def test_a_command_that_cannot_be_read_is_an_object_too(words):
    """With --json, a program that reads standard output finds one object whatever happened."""
    outcome = CliRunner().invoke(app, [*words, "--json"])
    assert outcome.exit_code == 2
    assert json.loads(outcome.stdout)["error"]["message"]
    assert CliRunner().invoke(app, list(words)).stdout == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_an_answer_that_cannot_be_written_is_an_error_in_words(more):
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-c", "from polytask.cli import main; main()", "methods", "equal", *more]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr == "error: the answer could not be written to standard output: No space left on device\n"
