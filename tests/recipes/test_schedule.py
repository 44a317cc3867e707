"""The recipe for a schedule: one file with a class, one line in SCHEDULES, one in CASES."""

import dataclasses
import json
from typing import final

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import polytask as pt
from polytask.cli import app
from polytask.data import TensorSource
from polytask.errors import ConfigError
from polytask.options import Real, TaskName, option
from polytask.schedule import SCHEDULES, Schedule, Standing, StopAndGo
from polytask.study import Config

PAGE = """
[data]
source = "people.csv"
[tasks.income]
[tasks.age]
[tasks.sick]
[schedule]
name = "chance"
"""


@final
class Chance(Schedule):
    """Every task but ``main`` counts in a step by chance, less often the better it is.

    Args:
        main: Counts always.
        share: Chance of a task of which nothing is known yet.
    """

    main: str | None = option(None, TaskName(optional=True))
    share: float = option(0.5, Real(0, 1))

    def fresh(self):
        return {"gain": 0.0}

    def counts(self, step):
        drawn = self.random(step).random(len(self.tasks))
        return [
            name
            for name, draw in zip(self.tasks, drawn, strict=True)
            if name == self.main or draw < self.share * (1 - self.memory[name]["gain"])
        ]

    def follow(self, standing):
        for name, (value, direction) in standing.values.items():
            self.memory[name]["gain"] = float(np.clip(value, 0, 0.5)) if direction > 0 else 0.0


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(SCHEDULES, "chance", Chance)


def page(options='main = "age"\nshare = 0.4', more=""):
    return f"{PAGE}{options}\n{more}"


def test_frequencies_are_those_that_it_promises():
    schedule = Chance(main="a", share=0.4)
    schedule.begin(["a", "b", "c"], seed=3)
    schedule.follow(Standing(1, values={"b": (0.5, +1)}))
    for _ in range(4000):
        schedule.next()
    shares = schedule.end_epoch()
    assert shares["a"] == 1.0
    assert shares["b"] == pytest.approx(0.2, abs=0.025)  # four standard errors
    assert shares["c"] == pytest.approx(0.4, abs=0.031)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("shar = 0.5", r"polytask.toml: \[schedule\] has no key 'shar' \(did you mean 'share'\?\)"),
        ("share = 2.0", r"\[schedule\] Chance\(share=…\) must be a number in \[0, 1\], found 2.0"),
        ('name = "chnce"', r"\[schedule\] unknown schedule 'chnce'; did you mean 'chance'"),
    ],
)
def test_the_configuration_checks_it(options, message):
    text = page(options) if "name" not in options else PAGE.replace('name = "chance"', options)
    with pytest.raises(ConfigError, match=message):
        Config.parse(text, where="polytask.toml")


def test_options_without_a_schedule_are_keys_that_do_not_exist():
    with pytest.raises(ConfigError, match=r"\[schedule\] has no key 'share'"):
        Config.parse(PAGE.replace('name = "chance"', "share = 0.5"), where="polytask.toml")


def test_the_configuration_can_be_written_and_read_again():
    config = Config.parse(page())
    assert config.compare_options()["schedule"] == {"name": "chance", "main": "age", "share": 0.4}
    assert Config.parse(config.to_toml()) == config
    assert config.with_values({"schedule.share": 0.1}).schedule.chosen["share"] == 0.1
    assert Config.parse(PAGE.replace('[schedule]\nname = "chance"', "")).schedule.chosen is None


def test_networks_of_several_tasks_are_compared_under_it(study):
    plain = study(page().partition("[schedule]")[0], ["stl", "equal", "ridge"])
    result = study(page(), ["stl", "equal", "ridge"])
    trials, others = ({trial.id: trial for trial in found.trials} for found in (result, plain))
    again = {name for name, trial in trials.items() if trial.method in ("stl", "ridge")}
    assert trials.keys() & others.keys() == again  # what learns one task at a time knows no schedule
    (equal,) = (trial for trial in result.trials if trial.method == "equal")
    (whole,) = (trial for trial in plain.trials if trial.method == "equal")
    assert equal.labels_seen["age"] == whole.labels_seen["age"]
    assert equal.labels_seen["income"] < 0.8 * whole.labels_seen["income"]
    assert any("chance (main=age, share=0.4)" in note for note in result.protocol.notes)
    assert not any("schedule" in note for note in plain.protocol.notes)
    other = study(page("share = 0.9"), ["equal"])
    assert other.trials[0].id != equal.id


def test_a_task_that_is_none_is_refused_before_anything_is_trained(study, folder):
    with pytest.raises(ConfigError, match=r"unknown task in Chance\(main=….*: 'agee'; did you mean 'age'"):
        study(page('main = "agee"'), ["stl", "equal"])
    assert not list((folder / "runs").rglob("trial.json"))


def test_the_command_line_trains_with_it_and_goes_on(folder):
    file, runner = folder / "polytask.toml", CliRunner()
    file.write_text(page(more="[train]\nbatch_size = 16\n"))

    def train(out, *words):
        done = runner.invoke(app, ["train", str(file), "--out", str(folder / out), "--json", *words])
        return done.exit_code, json.loads(done.stdout) if done.exit_code == 0 else done.output + done.stderr

    _, whole = train("whole", "--set", "train.epochs=4")
    train("out", "--set", "train.epochs=2")
    code, resumed = train("out", "--set", "train.epochs=4")
    assert code == 0
    assert (resumed["test"], resumed["labels_seen"]) == (whole["test"], whole["labels_seen"])
    assert whole["labels_seen"]["income"] < 0.8 * 4 * 120 * 0.6
    code, told = train("out", "--set", "schedule.share=0.9", "--set", "train.epochs=6")
    assert code == 3  # another run's checkpoint
    assert "Chance(main='age', share=0.4)" in told
    code, told = train("no", "--set", "schedule.main=nobody")
    assert code == 2
    assert "'nobody'" in told
    checked = runner.invoke(app, ["check", str(file), "--set", "schedule.main=nobody"])
    assert checked.exit_code == 2
    assert "'nobody'" in checked.output + checked.stderr
    assert set(pt.load(folder / "out").tasks.names) == {"income", "age", "sick"}


def test_the_best_model_can_be_trained_again_on_all_rows(folder):
    config = Config.parse(page(more="[train]\nepochs = 1\n"), folder=folder)
    options = {**config.compare_options(), "methods": ["equal"], "seeds": 1, "refit": True, "out": folder / "runs"}
    for schedule in ("chance", "stop_and_go"):
        pt.compare(config.build_data(), progress=False, **{**options, "schedule": schedule, "out": folder / schedule})
        assert pt.load(folder / schedule).tasks.names == ("income", "age", "sick")


def test_one_that_waits_for_validations_is_refused_where_there_are_none(folder):
    config = Config.parse(PAGE.replace("chance", "stop_and_go"), folder=folder)
    options = {**config.compare_options(), "methods": ["equal"], "selection": "last", "out": folder / "runs"}
    data = config.build_data()
    data = dataclasses.replace(data, val=TensorSource(*data.val.batch(torch.arange(0))))
    with pytest.raises(ConfigError, match="StopAndGo decides after every validation, and people has no validation"):
        pt.compare(data, progress=False, **options)


def test_it_works_in_a_loop_of_ones_own():
    """The loop of the documentation: ask before the step, tell after the validation."""
    schedule, counted = StopAndGo(every=2), []
    schedule.begin(["a", "b"])
    for epoch in range(1, 5):
        for _ in range(4):
            counting = schedule.next()
            counted.append({name: 1.0 for name in ("a", "b") if name in counting})
        schedule.follow(Standing(epoch, values={"a": (0.5, +1), "b": (0.1 * epoch, +1)}))
    assert [len(step) for step in counted] == [2] * 12 + [2, 1, 2, 1]
