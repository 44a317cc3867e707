"""What a message tells the reader to do can be done where it is read: at the command line no Python is needed."""

import re

import pytest
import torch

from polytask import Task
from polytask.errors import TaskError
from polytask.folders import locked
from polytask.remedies import said_in
from polytask.train import Trainer

PYTHON = re.compile(r"\b\w+=\S|\w+\(\)|\bfit\(|\bout=|resume=")


def remedy(outcome):
    """The message, without the file it is about."""
    return outcome.err.replace("--set train.epochs=", "")


@pytest.mark.parametrize("verb", ["train", "compare"])
def test_a_folder_in_use(verb, polytask, config, tmp_path):
    with locked(tmp_path / "out"):
        outcome = polytask(verb, config, "--out", tmp_path / "out")
    assert outcome.code == 3
    assert "--out" in outcome.err
    assert not PYTHON.search(remedy(outcome))


def test_a_checkpoint_of_another_run(polytask, config, tmp_path):
    polytask("train", config, "--out", tmp_path / "model")
    outcome = polytask("train", config, "--out", tmp_path / "model", "--set", "train.lr=0.5")
    assert outcome.code == 3
    assert "start afresh with --fresh" in outcome.err
    assert not PYTHON.search(remedy(outcome))


@pytest.mark.parametrize("verb", ["train", "compare"])
def test_an_interruption(verb, polytask, config, tmp_path, monkeypatch):
    def interrupted(self, *args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "evaluate", interrupted)
    monkeypatch.setattr("sys.argv", ["polytask", verb, "polytask.toml"])
    outcome = polytask(verb, config, "--out", tmp_path / "out")
    assert outcome.code == 3
    assert f"resume with: polytask {verb} polytask.toml" in outcome.err
    assert not PYTHON.search(remedy(outcome))


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("tasks.price.kind=count", 'kind = "regression"'),
    ],
)
def test_settings_are_written_as_in_the_configuration(setting, expected, polytask, config, tmp_path):
    outcome = polytask("train", config, "--out", tmp_path / "out", "--set", setting)
    assert outcome.code == 2
    assert expected in outcome.err
    assert not PYTHON.search(remedy(outcome))


def test_labels_that_mean_none_are_declared_where_the_reader_can():
    with said_in("toml"), pytest.raises(TaskError, match=re.escape('[data] missing_values = ["-1"]')):
        Task("sick", "binary").loss(torch.zeros(2, 1), torch.tensor([-1, 1]))
