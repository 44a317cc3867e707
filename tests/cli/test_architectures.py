"""Several architectures in one study, from the command line."""

import json
from typing import final

import pandas as pd
import pytest

import polytask as pt
from polytask.share import ARCHITECTURES, HardSharing


@final
class Wide(HardSharing):
    """Hard sharing by another name."""


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "wide", Wide)


def test_compare_takes_them_and_predict_uses_the_best(polytask, config, tmp_path):
    words = ("--architectures", "hard,wide:head_hidden=[3],width=8", "--methods", "equal,uw @ hard", "--json")
    outcome = polytask("compare", config, *words)
    assert outcome.code == 0, outcome.err
    labels = ["equal @ hard", "equal @ wide:head_hidden=[3],width=8", "uw @ hard"]
    assert outcome.json["protocol"]["methods"] == labels
    new = tmp_path / "new.csv"
    pd.DataFrame({"size": [0.1], "age": [0.0], "place": ["north"]}).to_csv(new, index=False)
    for folder in (tmp_path / "runs" / "houses", *(tmp_path / "runs" / "houses" / "trials").iterdir()):
        assert polytask("predict", folder, new).code == 0
    kept = {pt.load(folder).about["method"] for folder in (tmp_path / "runs" / "houses" / "trials").iterdir()}
    assert kept == set(labels)


def test_check_shows_the_parameters_of_each(polytask, config):
    page = config.read_text().replace(
        'encoder = "tabular:8"', 'encoder = "tabular:8"\narchitecture = ["hard", { name = "wide", head_hidden = [3] }]'
    )
    config.write_text(page)
    outcome = polytask("check", config, "--no-evidence")
    assert outcome.code == 0, outcome.err
    for words in ("parameters of hard:", "parameters of wide (head_hidden=(3,)):", "equal @ wide:head_hidden=[3]"):
        assert words in outcome.out


def test_train_takes_the_first(polytask, config, tmp_path):
    page = config.read_text().replace(
        'encoder = "tabular:8"', 'encoder = "tabular:8"\narchitecture = [{ name = "wide", head_hidden = [3] }, "hard"]'
    )
    config.write_text(page)
    outcome = polytask("train", config, "--out", tmp_path / "model")
    assert outcome.code == 0, outcome.err
    stored = json.loads((tmp_path / "model" / "blueprint.json").read_text())["model"]
    assert (stored["architecture"], stored["options"]["head_hidden"]) == ("wide", [3])


@pytest.mark.parametrize(
    ("given", "message"),
    [("hard,hrad", "did you mean 'hard'"), ("hard,hard", "given twice"), ("hard,wide:widht=3", "did you mean 'width'")],
)
def test_what_is_wrong_is_an_error_of_the_user(polytask, config, given, message):
    outcome = polytask("compare", config, "--architectures", given)
    assert outcome.code == 2
    assert message in " ".join(outcome.err.split())
