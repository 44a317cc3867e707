"""Estimators on the command line: beside networks in ``compare``, ``check`` and ``init``, and in ``methods``."""

import json

import pytest
from rich.cells import cell_len
from rich.console import Console

from polytask.cli.estimators import every, facts
from polytask.cli.methods import _Names
from polytask.study import Config
from polytask.study.classical import entry_names


def test_estimators_stand_beside_networks(polytask, config):
    methods = "stl,equal,ridge,trace_norm:alpha=0.1"
    outcome = polytask("compare", config, "--methods", methods, "--seeds", "2")
    assert outcome.code == 0, outcome.err
    assert "fitted on the training rows" in outcome.out
    folder = config.parent / "runs" / "houses"
    results = json.loads((folder / "results.json").read_text())
    assert [row["method"] for row in results["summary"]] == methods.split(",")
    page = (folder / "report.html").read_text()
    assert "scikit-learn&#39;s ridge" in page
    assert "nan" not in page.split("<pre>")[0].replace("nance", "")


def test_another_baseline(polytask, config):
    outcome = polytask("compare", config, "--methods", "ridge,mean_regularized:alpha=0.1", "--baseline", "ridge")
    assert outcome.code == 0, outcome.err
    assert "Δm vs ridge" in outcome.out
    wrong = polytask("compare", config, "--methods", "ridge,equal", "--baseline", "rigde")
    assert wrong.code == 2
    assert "did you mean 'ridge'" in wrong.err


def test_check_says_that_an_estimator_has_no_steps(polytask, config):
    words = ["--set", 'protocol.methods=["equal", "ridge", "joint_feature"]']
    outcome = polytask("check", config, *words)
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("no steps") == 2
    methods = polytask("check", config, *words, "--json").json["methods"]
    assert methods["ridge"].pop("backward_passes") == 0
    assert set(methods["ridge"].values()) == {None}


def test_check_finds_tasks_that_an_estimator_cannot_learn(polytask, config):
    outcome = polytask("check", config, "--set", 'protocol.methods=["calibrated"]')
    assert outcome.code == 2
    assert "cannot learn 'sold' (binary)" in outcome.err


def test_an_estimator_is_no_method_of_training(polytask, config):
    outcome = polytask("train", config, "--set", "method.name=ridge")
    assert outcome.code == 2
    assert "list it in [protocol] methods" in outcome.err


def test_init_suggests_ridge(polytask, table, tmp_path):
    out = tmp_path / "polytask.toml"
    assert polytask("init", table, "--targets", "price,sold", "--out", out).code == 0
    assert "ridge" in Config.load(out).protocol.methods
    assert all(len(line) <= 120 for line in out.read_text().splitlines())


@pytest.mark.parametrize("name", entry_names())
def test_every_estimator_has_a_card(polytask, name):
    card = facts(name)
    assert card["idea"]
    assert card["objective"]
    assert card["learns"]
    assert card["options"]
    assert "`" not in card["idea"] + card["objective"]


def test_a_card_says_what_and_how(polytask):
    text = polytask("methods", "joint_feature").out
    for words in ("JointFeatureRegressorCV", "‖W_j‖_2", "Obozinski", "alphas=30", "joint_feature:alpha=0.1"):
        assert words in text
    assert polytask("methods", "ridge", "--json").json["tasks"] == "each by itself"


def test_the_list_ends_with_the_estimators(polytask):
    text = polytask("methods").out
    assert text.index("\nupgrad") < text.index("estimators: fitted") < text.index("\njoint_feature")
    assert {one["name"] for one in polytask("methods", "--json").json["estimators"]} == set(entry_names())


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_list_fits_the_terminal(width):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(_Names("estimators", every()))
    console.file.close()
    lines = console.export_text().splitlines()
    assert max(cell_len(line.rstrip()) for line in lines) <= width
    assert set(entry_names()) - {"logistic"} <= {line.split()[0] for line in lines if line.strip()}


def test_an_unknown_name_is_looked_for_among_estimators_too(polytask):
    outcome = polytask("methods", "joint_featur")
    assert outcome.code == 2
    assert "did you mean 'joint_feature'?" in outcome.err
