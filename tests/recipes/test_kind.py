"""The recipe for a kind: one file with a class, one line in KINDS; tables, networks and estimators take it then."""

import copy
import dataclasses
import pickle
from typing import final

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from polytask.data import read_table
from polytask.deploy import load
from polytask.errors import ConfigError, TaskError
from polytask.options import Choice, Flag, Real, Whole, option
from polytask.study import Config
from polytask.tasks import KINDS, Kind, Nature, Score, Task
from polytask.tasks.kind import finite, made_by, rows_of_one


@final
class Robust(Kind):
    """A number per row with outliers; Huber's loss, squared up to an error of ``delta`` and linear beyond.

    Args:
        delta: Where the loss turns linear, in units of the task's scale.
    """

    nature = Nature.NUMBER
    affine = True
    default_metrics = ("mae", "rmse")
    delta: float = option(1.0, Real(0, open_low=True))

    @property
    def out_features(self):
        return 1

    def arrange(self, prediction):
        return rows_of_one(self, prediction)

    def check(self, target):
        return finite(self, target)

    def loss(self, prediction, target):
        return functional.huber_loss(prediction, target, reduction="none", delta=self.delta)

    def decode(self, prediction):
        return prediction

    def point(self, decoded):
        return decoded

    def scores(self):
        return {
            "mae": Score(made_by("torchmetrics.MeanAbsoluteError"), higher_is_better=False),
            "rmse": Score(made_by("torchmetrics.MeanSquaredError", squared=False), higher_is_better=False),
        }


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(KINDS, "robust", Robust)


PAGE = """
[data]
source = "people.csv"
[tasks.income]
kind = "{kind}"
metric = "mae"
{option}
[tasks.age]
metric = "mae"
[tasks.sick]
"""


def page(kind="robust", option="delta = 0.5"):
    return PAGE.format(kind=kind, option=option)


def test_an_option_is_an_argument_a_key_and_an_attribute():
    task = Task("income", "robust", delta=np.float32(2))
    assert task.rule.delta == 2.0
    assert type(task.rule.delta) is float
    assert Task("income", "robust").options == {"delta": 1.0}
    assert task.to_dict()["delta"] == 2.0
    assert Task.from_dict(task.to_dict()) == task != Task("income", "robust")
    assert dataclasses.replace(task, weight=3.0).options == {"delta": 2.0}
    assert dataclasses.replace(task, delta=5).options == {"delta": 5.0}
    assert "delta=2.0" in repr(task)
    assert "delta" not in Task("income").to_dict()
    z, y = torch.tensor([[0.0], [0.0]]), torch.tensor([1.0, 10.0])
    torch.testing.assert_close(task.entry_losses(z, y), torch.tensor([0.5, 2 * (10 - 1)]))


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), True, "1", None, [1.0]])
def test_a_value_outside_the_limits_is_refused(value):
    with pytest.raises(TaskError, match="task 'income': delta must be a finite number > 0, found"):
        Task("income", "robust", delta=value)


def test_a_task_with_an_option_can_be_copied_and_pickled():
    task = Task("income", "robust", delta=3.0, weight=2.0)
    for other in (copy.deepcopy(task), pickle.loads(pickle.dumps(task))):
        assert (other, other.rule.delta) == (task, 3.0)


def test_a_kind_of_an_unknown_nature_is_refused():
    with pytest.raises(TypeError, match="nature must be a member of Nature, found 'number'"):
        type("Mine", (Kind,), {"nature": "number"})


def test_an_unknown_option_is_answered_with_the_nearest():
    with pytest.raises(TaskError, match="argument of a task of kind 'robust': 'detla'; did you mean 'delta'"):
        Task("income", "robust", detla=1.0)
    with pytest.raises(TaskError, match="argument of a task of kind 'regression': 'delta'"):
        Task("income", "regression", delta=1.0)
    with pytest.raises(TaskError, match="unknown key of a task 'delta'"):
        Task.from_dict({"name": "income", "kind": "regression", "delta": 1.0})


@pytest.mark.parametrize(
    ("kind", "option", "message"),
    [
        ("robust", "detla = 1.0", r"polytask.toml: \[tasks.income\] has no key 'detla' \(did you mean 'delta'\?\)"),
        ("robust", "delta = -1.0", r"polytask.toml: \[tasks.income\] delta: must be a finite number > 0, found -1.0"),
        ("robust", 'delta = "1"', r"polytask.toml: \[tasks.income\] delta: must be a finite number > 0, found '1'"),
        ("regression", "delta = 1.0", r"\[tasks.income\] has no key 'delta'"),
    ],
)
def test_the_configuration_checks_the_option_before_anything_is_read(kind, option, message):
    with pytest.raises(ConfigError, match=message):
        Config.parse(page(kind, option), where="polytask.toml")


def test_the_configuration_can_be_written_and_read_again():
    config = Config.parse(page())
    assert config.tasks["income"].options == {"delta": 0.5}
    assert Config.parse(config.to_toml()) == config
    assert config.with_values({"tasks.income.delta": 2.0}).tasks["income"].options == {"delta": 2.0}


def test_an_option_of_a_kind_that_the_data_do_not_have_is_refused_when_they_are_read(folder):
    config = Config.parse('[data]\nsource = "people.csv"\n[tasks.income]\ndelta = 1.0\n', folder=folder)
    with pytest.raises(ConfigError, match=r"\[tasks.income\] unknown option of kind 'regression': 'delta'"):
        config.build_data()


def test_a_column_can_be_of_the_kind_and_is_standardised(folder):
    data = read_table(folder / "people.csv", ["income", "sick"], kinds={"income": "robust"})
    income, plain = data.tasks["income"], read_table(folder / "people.csv", ["income", "sick"]).tasks["income"]
    assert (income.kind, income.rule.delta) == ("robust", 1.0)
    assert (income.shift, income.scale) == (plain.shift, plain.scale) != (0.0, 1.0)


def test_networks_and_estimators_learn_it(study):
    methods = ["stl", "equal", "ridge", "boosting:max_iter=5", "joint_feature:alpha=0.1"]
    result = study(page(), methods)
    for trial in result.trials:
        for metrics in trial.metrics["test"].values():
            assert all(map(np.isfinite, metrics.values())), trial.id
    assert {trial.method for trial in result.trials if "income" in trial.metrics["test"]} >= {"stl", "equal", "ridge"}
    # what an estimator fits depends on the nature alone, and a family learns both kinds of number together
    plain = study(page("regression", ""), methods[2:], out="plain")
    fitted = [trial for trial in result.trials if trial.method not in ("stl", "equal")]
    for robust, squared in zip(fitted, plain.trials, strict=True):
        assert robust.method == squared.method
        for task, metrics in robust.metrics["test"].items():
            shared = metrics.keys() & squared.metrics["test"][task].keys()
            assert shared >= ({"auroc"} if task == "sick" else {"mae", "rmse"})
            for name in shared:
                assert metrics[name] == pytest.approx(squared.metrics["test"][task][name], rel=1e-9)
    assert any(set(trial.fitted) >= {"income+age"} for trial in result.trials)


@pytest.mark.parametrize("method", ["equal", "ridge", "boosting:max_iter=5"])
def test_a_finished_model_knows_it(study, folder, method):
    study(page(), [method])
    model = load(folder / "runs")
    assert model.tasks["income"].rule.delta == 0.5
    frame = pd.read_csv(folder / "people.csv")
    found = model.predict(frame)
    assert np.isfinite(found["income"]).all()
    assert found["income"].std() > 0


def test_another_value_is_another_trial(study):
    first = study(page(), ["equal"])
    again = study(page(), ["equal"])
    other = study(page(option="delta = 0.01"), ["equal"])
    assert first.trials[0].id == again.trials[0].id != other.trials[0].id
    assert first.trials[0].metrics != other.trials[0].metrics


def test_options_of_every_type_are_declared_alike():
    class Many(Kind):
        rate: float = option(0.5, Real(0, 1))
        lags: int = option(2, Whole(1))
        way: str = option("up", Choice(("up", "down")))
        exact: bool = option(False, Flag())

    assert list(Many.declared) == ["rate", "lags", "way", "exact"]
    with pytest.raises(ValueError, match="the default must be a whole number ≥ 1, found 0"):
        option(0, Whole(1))


@pytest.mark.parametrize("name", ["weight", "labels", "metric", "lr", "task", "levels", "setup", "own"])
def test_a_name_that_means_something_else_is_refused(name):
    with pytest.raises(TypeError, match=f"no option can be called '{name}'"):
        type("Mine", (Kind,), {name: option(1.0, Real(0))})
