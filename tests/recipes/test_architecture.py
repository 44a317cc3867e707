"""The recipe for an architecture: one file with a class and its options, one line in ARCHITECTURES, one in CASES."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import polytask as pt
from polytask.cli import app
from polytask.errors import ConfigError, TrialError
from polytask.share import ARCHITECTURES, build_model
from polytask.study import Config
from polytask.train import Trainer
from tests.share.cases import CASES
from tests.share.toys import MMoE, Stitched

PAGE = """
[data]
source = "people.csv"
[tasks.income]
[tasks.age]
[tasks.sick]
[model]
encoder = "tabular:8"
architecture = "mmoe"
"""


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "mmoe", MMoE)
    monkeypatch.setitem(ARCHITECTURES, "stitched", Stitched)


def page(options="experts = 8", more=""):
    return f"{PAGE}{options}\n{more}"


def test_the_conformance_suite_has_it():
    assert {MMoE, Stitched} <= {case.made for case in CASES}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("expert = 8", r"polytask.toml: \[model\] has no key 'expert' \(did you mean 'experts'\?\)"),
        ("experts = 0", r"\[model\] architecture 'mmoe': experts must be a whole number ≥ 1, found 0"),
        ("dropout = 1.0", r"\[model\] architecture 'mmoe': dropout must be a number in \[0, 1\), found 1.0"),
    ],
)
def test_the_configuration_checks_its_options(options, message):
    with pytest.raises(ConfigError, match=message):
        Config.parse(page(options), where="polytask.toml")


def test_networks_are_compared_and_come_back(study, folder):
    result = study(page("experts = 8\ndropout = 0.25\nbalance = 0.1"), ["stl", "equal", "upgrad"])
    assert result.protocol.architecture == "mmoe (experts=8, dropout=0.25, balance=0.1)"
    trials = {trial.id: trial for trial in result.trials}
    for name, trial in trials.items():
        kept = pt.load(folder / "runs" / "trials" / name)
        model = kept.model
        assert (type(model), len(model.experts), model.drop.p, model.balance) == (MMoE, 8, 0.25, 0.1)
        assert trial.parameters["shared"] == sum(p.numel() for p in model.shared_parameters())
        assert len(kept.predict(pd.read_csv(folder / "people.csv")[["a", "b", "c"]])) == 120
    other = study(page("experts = 2"), ["equal"])
    assert not trials.keys() & {trial.id for trial in other.trials}


def test_features_are_the_experts_outputs(study):
    """Judged by them, the weights are those of the Gramian summed over the experts and what their gates read."""
    result = study(page(more='[method]\ngrads = "features"\n'), ["equal", "upgrad", "mgda"])
    assert not any(trial.failed for trial in result.trials)
    assert all("norms" in epoch for trial in result.trials[1:] for epoch in trial.balance)


def test_an_architecture_that_shares_no_tensor_is_refused_before_anything_is_trained(study, folder):
    wrong = PAGE.replace('"mmoe"', '"stitched"') + '[method]\ngrads = "features"\n'
    with pytest.raises((ConfigError, TrialError), match="in Stitched every task reads a tensor of its own: a unit"):
        study(wrong, ["stl", "upgrad"])
    assert not list((folder / "runs").rglob("trial.json"))


def test_the_command_line_trains_it(folder):
    (folder / "polytask.toml").write_text(page("experts = 3\nbalance = 0.5", "[train]\nepochs = 2\n"))
    file, runner = str(folder / "polytask.toml"), CliRunner()
    done = runner.invoke(app, ["train", file, "--out", str(folder / "out"), "--set", "model.width=5", "--json"])
    assert done.exit_code == 0, done.output
    assert set(json.loads(done.stdout)["test"]) == {"income", "age", "sick"}
    model = pt.load(folder / "out").model
    assert (len(model.experts), model.width) == (3, 5)
    wrong = runner.invoke(app, ["train", file, "--out", str(folder / "no"), "--set", "model.experts=none", "--json"])
    assert wrong.exit_code == 2
    assert "experts must be a whole number" in wrong.output + wrong.stderr


def test_the_dry_run_knows_what_it_shares(folder):
    """``polytask check`` times features where there are such, and refuses what training would refuse."""
    runner, file = CliRunner(), folder / "polytask.toml"
    for name, ways in (("mmoe", True), ("stitched", False)):
        file.write_text(PAGE.replace('"mmoe"', f'"{name}"') + '[protocol]\nmethods = ["upgrad"]\n')
        done = runner.invoke(app, ["check", str(file), "--evidence", "--json"])
        assert done.exit_code == 0, done.output
        assert ("features" in json.loads(done.stdout)["methods"]["upgrad"]["evidence"]) == ways
    done = runner.invoke(app, ["check", str(file), "--set", "method.grads=features", "--json"])
    assert done.exit_code == 2
    assert "every task reads a tensor of its own" in done.output + done.stderr


def test_a_loss_of_its_own_is_logged_under_its_name_and_added(folder):
    """Of one expert the gates are even; of several, the loss that the parameters descend has the term in it."""
    data = Config.parse(page(), folder=folder).build_data()
    settled = {}
    for balance in (0.0, 0.9):
        model = build_model(data, encoder="tabular:8", architecture={"name": "mmoe", "balance": balance})
        with torch.no_grad():
            for name in data.tasks:
                model.gates[name].bias.copy_(torch.tensor([3.0, 0.0, 0.0, 0.0]))
        trainer = Trainer(model, data.tasks, epochs=10, lr=0.03, batch_size=32, restore="last", progress=False)
        history = trainer.fit(data)
        first, last = (history.value("extra", "balance", epoch=epoch) for epoch in (1, 10))
        settled[balance] = torch.stack([gate.bias.softmax(0) for gate in map(model.gates.__getitem__, data.tasks)])
        assert np.isnan(first) if not balance else last < first
    assert (settled[0.9].mean(0) - 0.25).square().sum() < (settled[0.0].mean(0) - 0.25).square().sum()


def test_a_configuration_can_give_it_as_a_table():
    config = Config.of({"data": {"source": "multidigits"}, "model": {"architecture": {"name": "mmoe", "experts": 8}}})
    assert config.compare_options()["architecture"] == {"name": "mmoe", "experts": 8}
    assert Config.parse(config.to_toml()) == config
