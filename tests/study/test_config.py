"""The configuration file: every key checked, errors that name the nearest, text that reads back equal."""

import math
import tomllib

import pytest

from polytask.data import MultiTaskData
from polytask.errors import ConfigError
from polytask.study import Config, compare, toml

FULL = """
[data]
source = "people.csv"
val = 0.25
test = 0.25
ignore = ["id"]
stratify = true

[tasks.age]
kind = "regression"
metric = "mae"
unit = "years"

[tasks.sex]
kind = "binary"
lr = 3e-4
weight = 2.0

[model]
encoder = "tabular:16"

[method]
name = "cagrad"
c = 0.4
every = 2

[schedule]
name = "stop_and_go"
every = 3

[train]
epochs = 1
lr = 1e-3

[protocol]
methods = ["stl", "equal", "cagrad", "cagrad:c=0.2"]
seeds = 2
split_seeds = false

[decide]
thresholds = "f1"
calibrate = "temperature"
coverage = 0.9
"""


def people(folder, rows=120):
    lines = ["id,height,team,age,sex"]
    lines += [f"p{i},{150 + i % 40},{'abc'[i % 3]},{20 + (7 * i) % 50},{'fm'[(i // 2) % 2]}" for i in range(rows)]
    (folder / "people.csv").write_text("\n".join(lines) + "\n")
    path = folder / "polytask.toml"
    path.write_text(FULL)
    return path


def test_a_table_from_file_to_comparison(tmp_path):
    config = Config.load(people(tmp_path))
    data = config.build_data()
    assert isinstance(data, MultiTaskData)
    assert data.tasks.names == ("age", "sex")
    assert data.tasks["age"].primary == "mae"
    assert data.tasks["age"].unit == "years"
    assert data.tasks["sex"].weight == 2.0
    options = config.compare_options()
    assert options["balancer"] == {"every": 2}
    assert options["schedule"] == {"name": "stop_and_go", "every": 3}
    assert options["train"] == {"epochs": 1, "lr": 1e-3, "task_lr": {"sex": 3e-4}}
    assert options["methods"] == ["stl", "equal", {"name": "cagrad", "c": 0.4}, "cagrad:c=0.2"]
    comparison = compare(data, out=tmp_path / "run", progress=False, **options)
    assert comparison.methods == ("stl", "equal", "cagrad:c=0.4", "cagrad:c=0.2")
    assert "age  mae [years] ↓" in str(comparison)


def test_toml_reads_back_equal(tmp_path):
    config = Config.parse(FULL)
    assert Config.parse(config.to_toml()) == config
    assert "architecture" not in config.to_toml()  # defaults stay out of it


def test_the_page_has_every_section():
    assert set(tomllib.loads(FULL)) == set(Config.model_fields)


def test_built_in_data_with_chosen_tasks():
    config = Config.parse(
        '[data]\nsource = "multidigits"\noptions = {n = 60}\n[tasks.parity]\n[tasks.left]\nweight = 3.0\n'
    )
    data = config.build_data()
    assert data.tasks.names == ("parity", "left")
    assert data.tasks.weights()["left"] == 3.0


def test_a_function_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "mine_for_config.py").write_text(
        "from polytask import data\n"
        "def make(n):\n    return data.load('multidigits', n=n)\n"
        "def wrong():\n    return 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    data = Config.parse('[data]\nsource = "mine_for_config:make"\noptions = {n = 60}\n').build_data()
    assert len(data.train) == 40
    with pytest.raises(ConfigError, match="must return a MultiTaskData, found int"):
        Config.parse('[data]\nsource = "mine_for_config:wrong"\n').build_data()
    with pytest.raises(ConfigError, match="cannot import 'mine_for_config:none'"):
        Config.parse('[data]\nsource = "mine_for_config:none"\n').build_data()


def test_default_methods_contain_the_chosen_one():
    head = '[data]\nsource = "multidigits"\n'
    assert Config.parse(head).compare_options()["methods"] == ["stl", "equal", "uw"]
    chosen = Config.parse(head + '[method]\nname = "upgrad"\n')
    assert chosen.compare_options()["methods"] == ["stl", "equal", "upgrad"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trian": {}}, ["no key 'trian'", "did you mean 'train'", "Known keys: data, tasks"]),
        ({"data.sorce": "x"}, ["[data]", "no key 'sorce'", "did you mean 'source'", "missing_values"]),
        ({"tasks.age.metrik": "mae"}, ["[tasks.age]", "no key 'metrik'", "did you mean 'metric'"]),
        ({"method.cc": 0.4}, ["[method]", "no key 'cc'", "did you mean 'c'", "cagrad accepts: c"]),
        ({"method.name": "cagrat"}, ["unknown method 'cagrat'", "did you mean 'cagrad'"]),
        ({"train.epoch": 3}, ["[train]", "'epoch'", "did you mean 'epochs'"]),
        ({"train.lr": -1.0}, ["[train]", "lr", "-1.0"]),
        ({"protocol.selection": "tset"}, ["[protocol]", "selection", "'tset'"]),
        ({"protocol.seeds": 0}, ["[protocol]", "seeds", "0"]),
        ({"protocol.methods": ["equl"]}, ["unknown method 'equl'", "did you mean 'equal'"]),
        ({"data.val": 1.5}, ["[data]", "val", "less than 1", "1.5"]),
        ({"method.grads": "feature"}, ["[method]", "grads", "'feature'"]),
    ],
)
def test_mistakes_are_named_with_place_and_remedy(change, words):
    with pytest.raises(ConfigError) as caught:
        Config.parse(FULL, where="polytask.toml").with_values(change)
    for word in ["polytask.toml", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[data", "not valid TOML"),
        ("[train]\nepochs = 3\n", "needs the key 'data'"),
        ('[data]\nsource = "multidigits"\nval = 0.1\n', "applies to tables only"),
        ('[data]\nsource = "multidigits"\n[tasks.lefd]\n', "did you mean 'left'"),
        ('[data]\nsource = "multidigits"\n[tasks.left]\nmetric = "auc"\n', "unknown metric 'auc'"),
        ('[data]\nsource = "multidigits"\n[tasks.left]\nkind = "binary"\n', "kind is 'binary'"),
        ('[data]\nsource = "people.csv"\n', r"one \[tasks.NAME\] section"),
    ],
)
def test_other_mistakes(text, words):
    with pytest.raises(ConfigError, match=words):
        Config.parse(text).build_data()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml"):
        Config.load(tmp_path / "none.toml")


def test_values_can_be_replaced_and_removed():
    config = Config.parse(FULL).with_values({"train.epochs": 7, "train.lr": None, "protocol.seeds": [3, 5]})
    assert config.train == {"epochs": 7}
    assert config.protocol.seeds == (3, 5)
    assert config.folder == Config.parse(FULL).folder


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        'quo"te',
        "back\\slash",
        "new\nline",
        "del\x7f",
        "Δm ✓ 😀",
        True,
        0,
        -3,
        1e-05,
        1e22,
        math.inf,
        [1, 2],
        ["a", "b"],
        {},
    ],
)
def test_toml_writer_against_the_standard_reader(value):
    document = {
        "top": value,
        "section": {"key with blank": value, "deep": {"x": value}},
        "list": [{"name": "a", "v": 1}],
    }
    assert tomllib.loads(toml.dumps(document)) == document


def test_toml_writer_refuses_what_has_no_form():
    with pytest.raises(ConfigError, match=r"a\.b"):
        toml.dumps({"a": {"b": object()}})


def test_kinds_of_input_columns_are_taken_from_the_file(tmp_path):
    path = people(tmp_path)
    path.write_text(FULL.replace('ignore = ["id"]', 'ignore = ["id"]\nkinds = { weight = "categorical" }'))
    table = path.with_name("people.csv")
    head, *rows = table.read_text().splitlines()
    numbered = [f"{row},{(3 * i * i) % 11}" for i, row in enumerate(rows)]
    table.write_text("\n".join([head + ",weight", *numbered]) + "\n")
    config = Config.load(path)
    declared = config.build_data().inputs
    assert tomllib.loads(config.to_toml())["data"]["kinds"] == {"weight": "categorical"}
    path.write_text(FULL)
    guessed = Config.load(path).build_data().inputs
    assert (declared.numeric, len(declared.cardinalities)) == (guessed.numeric - 1, len(guessed.cardinalities) + 1)


def test_how_rows_are_split_is_read(tmp_path):
    config = Config.load(people(tmp_path))
    assert config.compare_options()["split_seeds"] is False
    assert config.build_data().notes.startswith("Split by rows, stratified by age, sex, seed 0.")
    folds = config.with_values({"data.folds": 4, "data.group": ["id"], "data.ignore": None})
    assert folds.build_data().resplits == "4 folds"
    (tmp_path / "later").mkdir()
    (tmp_path / "people.csv").rename(tmp_path / "later" / "people.csv")
    people(tmp_path)
    data = config.with_values({"data.test_table": "later/people.csv"}).build_data()
    assert len(data.test) == sum(map(len, config.build_data().splits.values()))
    with pytest.raises(ConfigError, match="stratify applies to tables only"):
        Config.of({"data": {"source": "multidigits", "stratify": True}}).build_data()
