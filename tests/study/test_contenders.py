"""Rows of a study: what every kind promises, how rows are named, and that nothing else asks which kind a row is."""

import ast
import dataclasses
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import final

import pytest
import torch

import polytask
from polytask.balance import METHODS, LossMethod
from polytask.data import InputSpec, MultiTaskData, TensorSource
from polytask.deploy import load
from polytask.errors import ConfigError, PolytaskError
from polytask.share import ARCHITECTURES, HardSharing
from polytask.share.stored import has_model
from polytask.study import Config, compare
from polytask.study.contenders import CONTENDERS, Contender, Request, Setting, read_contender, read_contenders
from polytask.study.contenders.estimator import EstimatorContender
from polytask.study.contenders.network import NetworkContender
from polytask.study.trial import run_trial
from polytask.study.trial_spec import TrialSpec
from polytask.tasks import Task, TaskSet
from polytask.train import TrainOptions

SOURCES = Path(polytask.__file__).parent


def toy_data(seed=0, kinds=("regression", "regression", "binary")):
    """Three tasks on six numbers; other rows with another seed."""
    generator = torch.Generator().manual_seed(seed)

    def rows(n):
        x = torch.randn(n, 6, generator=generator)
        half = x[:, 1] + x[:, 2]
        half[torch.rand(n, generator=generator) < 0.5] = float("nan")
        values = (x[:, 0] + 0.1 * torch.randn(n, generator=generator), half, (x[:, 3] > 0).long())
        return TensorSource(x, dict(zip("abc", values, strict=True)))

    tasks = TaskSet([Task(name, kind) for name, kind in zip("abc", kinds, strict=True)])
    return MultiTaskData(f"toy{seed}", tasks, rows(64), rows(32), rows(32), InputSpec("vector", (6,)), "mlp:4")


SETTING = Setting(train=TrainOptions(epochs=2, batch_size=16))


@dataclasses.dataclass(frozen=True)
class Case:
    """A row, and how it is refused.

    Attributes:
        entry: As a user writes it.
        wrong: An entry of the same kind that cannot be read.
        says: What the refusal says.
    """

    entry: str
    wrong: str
    says: str


CASES = [
    Case("stl", "stl:c=1", "the single-task baselines take no options"),
    Case("equal", "equal:c=1", "option|argument"),
    Case("cagrad:c=0.3", "cagrad:c=-1", "c=…"),
    Case("uw @ hard:head_hidden=[3]", "uw @ hrad", "unknown architecture 'hrad'; did you mean 'hard'"),
    Case("ridge", "ridge @ hard", "an estimator and has no architecture"),
    Case("ridge:alpha=0.1", "ridge:alpha=-1", "takes alpha, a positive number"),
    Case("boosting:max_iter=3", "boosting:max_itr=3", "did you mean 'max_iter'"),
    Case("joint_feature:alpha=0.1", "joint_feature:alpha=-1", "alpha"),
    Case("mean_regularized:alpha=0.1", "mean_regularized:alhpa=1", "did you mean 'alphas'"),
]
each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.entry)


def facts(result):
    """Everything of a trial except times."""
    found = dict(result.to_dict())
    found.pop("timing")
    return repr(found)


def trials(row, data, seed=0):
    return [TrialSpec(row, tasks, seed) for tasks in row.groups(data.tasks.names)]


@each
def test_its_trials_learn_every_task_once(case):
    row = read_contender(case.entry, SETTING)
    groups = row.groups(("a", "b", "c"))
    assert sorted(task for tasks in groups for task in tasks) == ["a", "b", "c"]
    assert row.alone == (len(groups) == 3)


@each
def test_its_config_is_json_and_tells_trials_apart(case):
    data, row = toy_data(), read_contender(case.entry, SETTING)
    for trial in trials(row, data):
        config = row.config(data, trial.tasks, 0)
        assert json.loads(json.dumps(config)) == config
        assert row.config(data, trial.tasks, 0) == config
    names = [trial.id(toy_data(one)) for one in (0, 1) for seed in (0, 1) for trial in trials(row, data, seed)]
    assert len(set(names)) == len(names)


def test_trials_are_called_the_same_in_another_process_and_by_another_hash_of_strings(tmp_path):
    data = toy_data()
    rows = [read_contender(case.entry, SETTING) for case in CASES]
    here = [trial.id(data) for row in rows for trial in trials(row, data)]
    code = (
        "import sys, pickle; trials, data = pickle.load(open(sys.argv[1], 'rb'));"
        "print(*[trial.id(data) for trial in trials], sep='\\n')"
    )
    path = tmp_path / "trials.pkl"
    path.write_bytes(pickle.dumps(([trial for row in rows for trial in trials(row, data)], data)))
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == here


@each
def test_what_it_cannot_be_is_refused_with_the_remedy(case, tmp_path):
    with pytest.raises((PolytaskError, TypeError), match=case.says):
        compare(toy_data(), methods=["equal", case.wrong], out=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


@each
def test_it_keeps_nothing_of_the_data_it_has_seen(case, tmp_path):
    """The same object on other rows gives what a fresh one gives there."""
    row, fresh = (read_contender(case.entry, SETTING) for _ in range(2))
    before = pickle.dumps(row)
    for place, seed in enumerate((0, 1)):
        data = toy_data(seed)
        for trial in trials(row, data):
            used = run_trial(trial, data, tmp_path / f"{place}" / trial.id(data))
            if seed:
                other = dataclasses.replace(trial, contender=fresh)
                again = run_trial(other, data, tmp_path / "fresh" / trial.id(data))
                assert facts(used) == facts(again)
    assert pickle.dumps(row) == before


@each
def test_a_finished_trial_is_read_and_its_model_predicts_if_it_says_so(case, tmp_path, monkeypatch):
    data = toy_data()
    study = {"methods": [case.entry], "seeds": 1, "out": tmp_path, "progress": False, "train": {"epochs": 2}}
    first = compare(data, **study)
    row = read_contender(case.entry)
    monkeypatch.setattr(type(row), "run", lambda *a, **k: 1 / 0)
    again = compare(data, **study)
    assert list(map(facts, again.trials)) == list(map(facts, first.trials))
    assert {has_model(tmp_path / "trials" / trial.id) for trial in first.trials} == {row.storable}
    assert (first.best is not None) == row.storable
    if row.storable:
        inputs, targets = data.test.batch(torch.arange(len(data.test)))
        answer = load(tmp_path).predict(inputs)
        rmse = float((torch.tensor(answer["a"].to_numpy()).double() - targets["a"]).square().mean().sqrt())
        found = next(trial for trial in first.trials if "a" in trial.tasks).metrics["test"]["a"]["rmse"]
        assert rmse == pytest.approx(found, rel=1e-4)


@each
def test_what_does_not_depend_on_the_seed_is_the_same_at_every_seed(case, tmp_path):
    data, row = toy_data(), read_contender(case.entry, SETTING)
    if row.depends_on_seed:
        return
    for one, other in zip(trials(row, data, 0), trials(row, data, 1), strict=True):
        found = [run_trial(trial, data, tmp_path / trial.id(data)) for trial in (one, other)]
        assert found[0].metrics == found[1].metrics


def test_some_rows_do_not_depend_on_the_seed():
    assert [case.entry for case in CASES if not read_contender(case.entry).depends_on_seed] == ["ridge:alpha=0.1"]


def test_numbers_are_the_same_in_worker_processes(tmp_path):
    methods = [case.entry for case in CASES]
    options = {"methods": methods, "seeds": 1, "train": {"epochs": 2, "batch_size": 16}, "progress": False}
    here = compare(toy_data(), out=tmp_path / "here", **options)
    there = compare(toy_data(), out=tmp_path / "there", workers=2, **options)
    assert not here.failures
    assert list(map(facts, here.trials)) == list(map(facts, there.trials))


def test_folders_of_trials_of_earlier_versions_are_found():
    """Names that polytask wrote before rows were contenders: what is finished is not trained again."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
    toy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toy)
    data, all_tasks = toy.toy_data(), ("a", "b", "c")
    train = TrainOptions(epochs=3, batch_size=32, task_lr={"a": 0.01}, stop="b", patience=2)
    wide = {"name": "hard", "head_hidden": [8]}
    asked = [
        ("stl", ("a",), Setting("val", "mlp:8", ("hard",), train, (("every", 2),)), "stl-a-s1-695b495cb13c"),
        ("equal", all_tasks, Setting(train=train), "equal-s1-bce69712a936"),
        (
            "cagrad:c=0.4",
            all_tasks,
            Setting("last", None, (wide,), train, (("grads", "features"),)),
            "cagrad-c=0.4-s1-8160653e0fe3",
        ),
        ("ridge:alpha=0.5", ("c",), Setting(train=train), "ridge-alpha=0.5-c-s1-80e1c7e2295b"),
        ("joint_feature", all_tasks, Setting(train=train), "joint_feature-s1-33227b51c35e"),
    ]
    for entry, tasks, setting, name in asked:
        assert TrialSpec(read_contender(entry, setting), tasks, 1).id(data) == name


# Several architectures


@final
class Wide(HardSharing):
    """Hard sharing by another name, for studies of two architectures."""


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "wide", Wide)


SEVERAL = ["hard", {"name": "wide", "head_hidden": [3]}]
STUDY = {"seeds": 1, "train": {"epochs": 1}, "progress": False}


def test_methods_are_trained_with_every_architecture_and_the_baselines_with_the_first(wide, tmp_path):
    result = compare(toy_data(), methods=["stl", "equal", "uw", "ridge"], architecture=SEVERAL, out=tmp_path, **STUDY)
    both = [f"{name} @ {how}" for name in ("equal", "uw") for how in ("hard", "wide:head_hidden=[3]")]
    assert result.methods == ("stl", *both, "ridge")
    assert result.reference == "stl"
    assert result.protocol.architecture == "hard and wide (head_hidden=(3,))"
    assert set(result.frame["method"]) == set(result.methods)
    size = {method: result.cost(method)["parameters"] for method in result.methods}
    # two heads of one output and one of one, on 4 features: 3 * 5 = 15; with 3 hidden units 3 * (5 * 3 + 4) = 57
    assert size["uw @ wide:head_hidden=[3]"] - size["uw @ hard"] == 57 - 15
    assert size["stl"] == 3 * 28 + 15
    page = result.report(tmp_path).read_text(encoding="utf-8")
    assert "uw @ wide:head_hidden=[3]" in page
    for trial in result.trials:
        stored = json.loads((tmp_path / "trials" / trial.id / "trial.json").read_text())
        assert stored["method"] == trial.method


def test_a_study_that_grows_by_an_architecture_keeps_its_trials_under_their_new_labels(wide, tmp_path, monkeypatch):
    first = compare(toy_data(), methods=["stl", "equal"], out=tmp_path, **STUDY)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("trials/*/trial.json")}
    more = compare(toy_data(), methods=["stl", "equal"], architecture=SEVERAL, out=tmp_path, **STUDY)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert {trial.method for trial in more.trials} == {"stl", "equal @ hard", "equal @ wide:head_hidden=[3]"}
    old = next(trial for trial in first.trials if trial.method == "equal")
    new = next(trial for trial in more.trials if trial.method == "equal @ hard")
    assert (new.id, new.metrics) == (old.id, old.metrics)
    assert more.best is not None
    assert len(load(tmp_path).predict(torch.zeros(2, 6))) == 2


def test_one_architecture_leaves_labels_as_they_were(wide):
    rows = read_contenders(["stl", "equal"], Setting(architectures=({"name": "wide"},)))
    assert [row.label for row in rows] == ["stl", "equal"]
    rows = read_contenders(["stl @ wide", "equal @ wide"], Setting())
    assert [row.label for row in rows] == ["stl", "equal"]


def test_a_method_may_have_an_architecture_of_its_own(wide):
    rows = read_contenders(
        ["stl", "stl @ wide", "equal", {"name": "uw", "architecture": "wide:width=5"}, "cagrad:c=0.3 @ hard", "ridge"],
        Setting(),
    )
    labels = ["stl", "stl @ wide", "equal @ hard", "uw @ wide:width=5", "cagrad:c=0.3 @ hard", "ridge"]
    assert [row.label for row in rows] == labels
    assert [row.label for row in read_contenders(labels, Setting())] == labels
    assert {row.label for row in rows if row.is_reference} == {"stl", "stl @ wide"}


def test_the_first_single_network_is_the_reference(wide, tmp_path):
    result = compare(toy_data(), methods=["equal", "stl @ wide", "stl"], out=tmp_path, **STUDY)
    assert result.reference == "stl @ wide"
    with pytest.raises(ConfigError, match="baseline 'stl' could be"):
        compare(toy_data(), methods=["stl @ wide", "stl @ wide:width=3"], baseline="stl", out=tmp_path, **STUDY)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "expected at least one architecture, found none"),
        (["hard", {"name": "hard"}], "architecture 'hard' is given twice"),
        (["hard", "hard:head_hidden=[3]", {"name": "hard", "head_hidden": (3,)}], r"'hard:head_hidden=\[3\]' is given"),
        (["hard", "hrad"], "unknown architecture 'hrad'; did you mean 'hard'"),
        ("hard:widht=3", "did you mean 'width'"),
    ],
)
def test_wrong_architectures_are_refused(given, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        compare(toy_data(), methods=["equal"], architecture=given, out=tmp_path, **STUDY)
    assert not list(tmp_path.iterdir())


PAGE = '[data]\nsource = "multidigits"\n[data.options]\nn = 80\n[protocol]\nseeds = 1\nmethods = ["stl", "equal"]\n'
MODEL = '[model]\narchitecture = ["hard", { name = "wide", head_hidden = [3] }]\n'


def test_the_configuration_takes_several(wide, tmp_path):
    config = Config.parse(PAGE + MODEL, folder=tmp_path)
    assert Config.parse(config.to_toml(), folder=tmp_path) == config
    assert config.compare_options()["architecture"] == SEVERAL
    assert [row.label for row in read_contenders(config.compare_options()["methods"], config.setting())] == [
        "stl",
        "equal @ hard",
        "equal @ wide:head_hidden=[3]",
    ]
    with pytest.raises(ConfigError, match=r"\[model\] has no key 'head_hidden'. Options of several architectures go"):
        Config.parse(PAGE + MODEL + "head_hidden = [3]\n")
    with pytest.raises(ConfigError, match=r"configuration: \[model\] unknown architecture 'wid'"):
        Config.parse(PAGE + MODEL.replace("wide", "wid"))


def test_options_of_the_method_go_with_it_whatever_its_architecture(wide):
    page = PAGE.replace('"equal"]', '"cagrad", "cagrad @ wide"]') + '[method]\nname = "cagrad"\nc = 0.3\n'
    config = Config.parse(page)
    rows = read_contenders(config.compare_options()["methods"], config.setting())
    assert [row.label for row in rows] == ["stl", "cagrad:c=0.3 @ hard", "cagrad:c=0.3 @ wide"]


def test_the_dry_run_tries_every_architecture(wide, tmp_path):
    from polytask.cli.dryrun import dry_run

    found = dry_run(Config.parse(PAGE + MODEL, folder=tmp_path), say=lambda text: None, evidence=False)
    assert list(found["models"]) == ["hard", "wide (head_hidden=(3,))"]
    assert found["model"] == found["models"]["hard"]
    assert set(found["methods"]) == {"stl", "equal @ hard", "equal @ wide:head_hidden=[3]"}
    assert found["methods"]["equal @ hard"]["ratio_to_equal"] == 1.0


# Names


class Taken(LossMethod):
    """A balancing method with the name of an estimator."""

    solve = METHODS["equal"].solve
    card = METHODS["equal"].card


def test_a_name_of_two_kinds_is_refused_whoever_asks(monkeypatch):
    monkeypatch.setitem(METHODS, "ridge", Taken)
    with pytest.raises(ConfigError, match=r"'ridge' is the name of 2 things that can be compared: .*rename the one"):
        read_contender("ridge")
    assert read_contender("boosting").name == "boosting"


def test_a_config_that_json_cannot_hold_is_refused_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(EstimatorContender, "config", lambda *a: {"options": {1.0, 2.0}})
    with pytest.raises(ConfigError, match=r"ridge: config\(\) must hold what JSON holds.*set"):
        compare(toy_data(), methods=["ridge"], out=tmp_path, progress=False)


def test_rows_that_are_the_same_are_refused():
    with pytest.raises(ConfigError, match="'ridge' and 'logistic' are the same: a linear model"):
        read_contenders(["ridge", "logistic"], Setting())
    assert len(read_contenders(["ridge:alpha=0.1", "logistic"], Setting())) == 2
    with pytest.raises(ConfigError, match=r"method 'cagrad:c=0.4' is given twice"):
        read_contenders(["cagrad:c=0.4", {"name": "cagrad", "c": 0.4}], Setting())


def test_a_broken_kind_of_another_package_hides_no_other(monkeypatch):
    def names(cls, registered):
        raise ConfigError("cannot import contender 'odd'")

    monkeypatch.setitem(CONTENDERS, "odd", type("Odd", (Contender,), {"names": classmethod(names)}))
    assert read_contender("equal").name == "equal"
    with pytest.raises(ConfigError, match="cannot import contender 'odd'"):
        read_contender("something")


@pytest.mark.parametrize("given", [3, None, {"c": 0.4}, {"name": 3}, "uw @", "uw:architecture='hard' @ hard"])
def test_what_is_no_request_is_refused(given):
    with pytest.raises(ConfigError):
        Request.of(given)


# Nothing else asks


def _asks(tree):
    """Places where a module asks what kind a row is: by attribute, by name, by class."""
    kinds = {NetworkContender.__name__, EstimatorContender.__name__}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            if name in ("is_stl", "is_estimator", "STL"):
                yield f"{name} in line {node.lineno}"
        inside = list(ast.walk(node))
        if isinstance(node, ast.Compare | ast.MatchValue) and "stl" in [getattr(part, "value", "") for part in inside]:
            yield f"a comparison with 'stl' in line {node.lineno}"
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            yield from (f"isinstance in line {node.lineno}" for part in inside if getattr(part, "id", "") in kinds)


ALLOWED = {"study/config.py"}  # [method] is the balancing of networks: it asks whether its name is one


@pytest.mark.parametrize("room", ["study", "cli", "deploy"])
def test_nothing_outside_asks_for_a_kind_of_row(room):
    guilty = []
    for path in sorted((SOURCES / room).rglob("*.py")):
        where = path.relative_to(SOURCES).as_posix()
        if where.startswith("study/contenders/"):
            continue
        found = [f"{where}: {words}" for words in _asks(ast.parse(path.read_text(encoding="utf-8")))]
        guilty += [words for words in found if where not in ALLOWED or "isinstance" not in words]
    assert guilty == []


@pytest.mark.parametrize(
    "source",
    ["if spec.is_stl: pass", 'x = name == "stl"', 'x = name in ("stl", "equal")', "isinstance(row, NetworkContender)"],
)
def test_the_search_sees_who_asks(source):
    assert list(_asks(ast.parse(source)))
    assert not list(_asks(ast.parse('methods = ["stl", "equal"]; row.alone')))
