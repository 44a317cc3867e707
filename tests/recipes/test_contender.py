"""The recipe for a contender: one file with a class, a line in CONTENDERS, and one in FORMS for what it keeps."""

import dataclasses
import logging
from typing import final

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.neighbors import KNeighborsRegressor

from polytask.data import batches
from polytask.data.interface import Interface
from polytask.deploy import FORMS, load
from polytask.errors import ConfigError
from polytask.registry import check_options
from polytask.share.stored import Stored, write_model
from polytask.study import Config, compare
from polytask.study.contenders import CONTENDERS, Contender
from polytask.study.judging import judge
from polytask.tasks import Nature


@final
class Neighbours:
    """Training rows that answer for those near them, task by task.

    Args:
        interface: What goes in and what comes out.
        k: How many neighbours are asked.
        rows: Encoded numbers of the training rows, (n, d).
        labels: Task to the labels of these rows, NaN where missing.
    """

    def __init__(self, interface, k, rows, labels):
        self.interface, self.k, self.rows, self.labels = interface, k, rows, labels

    def outputs(self, inputs, tasks=None):
        found = {}
        for name in self.interface.tasks if tasks is None else tasks:
            task, known = self.interface.tasks[name], ~self.labels[name].isnan()
            far = torch.cdist(inputs["numeric"].double(), self.rows[known])
            near = far.topk(min(self.k, int(known.sum())), largest=False).indices
            found[name] = ((self.labels[name][known][near].mean(1) - task.shift) / task.scale).reshape(-1, 1)
        return found

    def store(self, about):
        arrays = {f"label {name}": values for name, values in self.labels.items()}
        values = {"interface": self.interface.to_dict(), "k": self.k}
        return Stored("neighbours", values, dict(about), {"rows": self.rows, **arrays})

    @classmethod
    def restore(cls, stored, where, encoder=None):
        interface = Interface.from_dict(stored.values["interface"])
        labels = {name: stored.arrays[f"label {name}"] for name in interface.tasks}
        return cls(interface, stored.values["k"], stored.arrays["rows"], labels)


@final
@dataclasses.dataclass(frozen=True)
class Nearest(Contender):
    """The mean label of the ``k`` nearest training rows, task by task: ``nearest:k=3``."""

    k: int = 1
    name = "nearest"
    depends_on_seed = False
    storable = True

    def __post_init__(self):
        if not isinstance(self.k, int) or self.k < 1:
            raise ConfigError(f"nearest: k must be a whole number ≥ 1, found {self.k!r}")

    @property
    def label(self):
        return f"nearest:k={self.k}"

    @classmethod
    def read(cls, request, setting):
        check_options(f"method {request.name!r}", cls, dict(request.options))
        return [cls(**dict(request.options))]

    def title(self, data):
        return f"the mean of {self.k} training rows"

    def shares(self, data):
        return False

    def check(self, data, tasks):
        odd = [name for name in tasks if data.tasks[name].rule.nature is not Nature.NUMBER]
        if odd or data.inputs.kind != "table":
            raise ConfigError(f"nearest learns numbers from tables, and {odd or data.inputs.kind} is none")

    def config(self, data, tasks, seed):
        return {"contender": self.name, "k": self.k}

    def run(self, data, tasks, seed, folder, on_epoch=None):
        model = self._learn(data, tasks)
        write_model(folder, model.store(self.about(data, seed, folder)))
        seen = {name: int((~labels.isnan()).sum()) for name, labels in model.labels.items()}
        return self.record(
            tasks, seed, folder, **judge(model.outputs, data, data.tasks.subset(tasks)), labels_seen=seen
        )

    def refit(self, data, tasks, seed, epochs):
        return self._learn(data, tasks).store({})

    def _learn(self, data, tasks):
        parts = list(batches(data.train, 1000))
        rows = torch.cat([part.inputs["numeric"] for part in parts]).double()
        labels = {name: torch.cat([part.targets[name] for part in parts]).double() for name in tasks}
        return Neighbours(Interface.of(data, tasks), self.k, rows, labels)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(CONTENDERS, "nearest", Nearest)
    monkeypatch.setitem(FORMS, "neighbours", Neighbours)


PAGE = '[data]\nsource = "people.csv"\n[tasks.income]\n[tasks.age]\n'


def expected(data, split, task, k):
    """The same by scikit-learn."""
    x, y = rows_of(data.train, task)
    known = ~np.isnan(y)
    oracle = KNeighborsRegressor(k, algorithm="brute").fit(x[known], y[known])
    x, y = rows_of(data.splits[split], task)
    return float(np.sqrt(np.nanmean((oracle.predict(x) - y) ** 2)))


def rows_of(source, task):
    inputs, targets = source.batch(torch.arange(len(source)))
    return inputs["numeric"].double().numpy(), targets[task].double().numpy()


def test_a_study_takes_it_by_name_with_its_option_beside_networks_and_estimators(study, folder):
    result = study(PAGE, ["stl", "equal", "ridge", "nearest:k=3", {"name": "nearest"}])
    assert result.methods == ("stl", "equal", "ridge", "nearest:k=3", "nearest:k=1")
    built = Config.parse(PAGE, folder=folder).build_data()
    for trial in result.trials:
        if trial.method.startswith("nearest"):
            for split in ("val", "test"):
                for task in ("income", "age"):
                    wanted = expected(built, split, task, 3 if trial.method.endswith("3") else 1)
                    assert trial.metrics[split][task]["rmse"] == pytest.approx(wanted, rel=1e-6)
    assert result.reference == "stl"
    assert result.cost("nearest:k=3")["seconds"] > 0
    assert result.protocol.estimators["nearest:k=3"] == "the mean of 3 training rows"
    assert {"nearest:k=3", "ridge", "stl"} <= set(result.protocol.alone)
    assert "nearest:k=3" in str(result)
    assert "the mean of 3 training rows" in result.report(folder / "report.html").read_text(encoding="utf-8")


def test_it_may_be_given_as_an_object_and_runs_in_other_processes(folder):
    data = Config.parse(PAGE, folder=folder).build_data()
    options = {"methods": [Nearest(2), "ridge:alpha=1.0"], "seeds": 2, "progress": False}
    here = compare(data, out=folder / "here", **options)
    there = compare(data, out=folder / "there", workers=2, **options)
    assert [trial.metrics for trial in here.trials] == [trial.metrics for trial in there.trials]
    assert [trial.id for trial in here.trials] == [trial.id for trial in there.trials]


def test_the_configuration_takes_it(study, folder):
    page = PAGE + '[protocol]\nmethods = ["equal", "nearest:k=5"]\nseeds = 1\nbaseline = "nearest"\n'
    config = Config.parse(page, where="polytask.toml", folder=folder)
    result = compare(config.build_data(), progress=False, **{**config.compare_options(), "out": folder / "runs"})
    assert result.reference == "nearest:k=5"
    with pytest.raises(ConfigError, match=r"polytask.toml: unknown option of method 'nearest': 'kk'"):
        Config.parse(page.replace("k=5", "kk=5"), where="polytask.toml", folder=folder)
    with pytest.raises(ConfigError, match="did you mean 'nearest'"):
        Config.parse(page.replace("nearest:k=5", "neerest"), where="polytask.toml", folder=folder)
    with pytest.raises(ConfigError, match=r"\[method\] is how a network is balanced, and 'nearest' is no network"):
        Config.parse(PAGE + '[method]\nname = "nearest"\n', where="polytask.toml", folder=folder)


def test_what_it_cannot_learn_is_refused_before_anything_runs(study, folder):
    with pytest.raises(ConfigError, match=r"nearest learns numbers from tables, and \['sick'\] is none"):
        study(PAGE + "[tasks.sick]\n", ["equal", "nearest"])
    assert not (folder / "runs" / "trials").exists()


def test_it_is_not_run_again_when_it_is_finished(study, monkeypatch, caplog):
    first = study(PAGE, ["nearest"])
    monkeypatch.setattr(Nearest, "_learn", lambda *a: 1 / 0)
    with caplog.at_level(logging.INFO, "polytask"):
        again = study(PAGE, ["nearest"])
    assert [trial.to_dict() for trial in again.trials] == [trial.to_dict() for trial in first.trials]


@pytest.mark.parametrize("refit", [False, True])
def test_the_best_is_kept_and_predicts(folder, refit):
    data = Config.parse(PAGE, folder=folder).build_data()
    compare(data, methods=["nearest:k=1"], seeds=1, out=folder / "runs", progress=False, refit=refit)
    frame = load(folder / "runs").predict(folder / "people.csv")
    # a row is its own nearest neighbour: a row that was learned from is answered with its own label
    rows = pd.read_csv(folder / "people.csv")["income"]
    own = np.isclose(frame["income"].to_numpy(dtype=float), rows, rtol=1e-5)
    assert own.sum() == (len(rows) if refit else len(data.train))


def test_the_dry_run_names_it_as_something_without_steps(folder):
    from polytask.cli.dryrun import dry_run

    config = Config.parse(PAGE + '[protocol]\nmethods = ["equal", "nearest"]\n', folder=folder)
    found = dry_run(config, say=lambda text: None, evidence=False)
    assert found["methods"]["nearest:k=1"]["milliseconds"] is None
    assert found["methods"]["equal"]["ratio_to_equal"] == 1.0
