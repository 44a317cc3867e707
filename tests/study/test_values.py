"""Values that no configuration can have."""

import itertools

import pytest

from polytask.balance import Balancer
from polytask.balance.section import ENGINE_OPTIONS
from polytask.data.section import DataSection
from polytask.errors import ConfigError, PolytaskError
from polytask.study import Config
from polytask.study.run import _engine
from polytask.study.section import ProtocolSection
from polytask.tasks.section import TaskSection
from polytask.train import TrainOptions

HOSTILE = {
    "too long to read": "9" * 4301,
    "400 digits": "9" * 400,
    "23 digits": "1" + "0" * 22,
    "minus 23 digits": "-1" + "0" * 22,
    "inf": "inf",
    "nan": "nan",
    "list": "[1, 2]",
    "table": "{ a = 1 }",
    "date": "2026-01-01",
    "deep": "[" * 3000 + "]" * 3000,
    "deep but read": "[" * 30 + "]" * 30,
    "null character": '"a\\u0000b"',
    "text": '"x"',
}
NUMERIC = [
    *(f"data.{key}" for key in ("val", "test", "seed")),
    *(f"tasks.a.{key}" for key in ("weight", "lr")),
    *("protocol.workers", "method.every", "method.c"),
    *(f"train.{key}" for key, field in TrainOptions.model_fields.items() if type(field.default) in (int, float)),
    *(f"train.{key}" for key in ("clip", "patience", "threads", "checkpoint_every")),
]


@pytest.mark.parametrize(("key", "value"), list(itertools.product(NUMERIC, HOSTILE)))
def test_no_numeric_key_takes_what_is_no_number_of_its_kind(key, value):
    section, _, name = key.rpartition(".")
    lines = {section: f"{name} = {HOSTILE[value]}"}
    lines["data"] = 'source = "t.csv"\n' + lines.get("data", "")
    if section == "method":
        lines["method"] = 'name = "cagrad"\n' + lines["method"]
    text = "\n".join(f"[{head}]\n{body}" for head, body in lines.items())
    with pytest.raises(ConfigError) as caught:
        Config.parse(text)
    assert len(str(caught.value)) < 1000
    if value in ("23 digits", "inf", "nan") and section != "method":
        assert name in str(caught.value)


@pytest.mark.parametrize("value", HOSTILE)
def test_lists_of_rates_and_options_inside_names(value):
    for text in (f"[train]\ntask_lr = {HOSTILE[value]}", f"[protocol]\nseeds = [{HOSTILE[value]}]"):
        if (text, value) == ("[train]\ntask_lr = { a = 1 }", "table"):
            continue  # what a table of rates looks like
        with pytest.raises(ConfigError):
            Config.parse(f'[data]\nsource = "t.csv"\n[tasks.a]\nlr = 0.1\n{text}')
    with pytest.raises(PolytaskError):
        Config.parse(f'[data]\nsource = "t.csv"\n[protocol]\nmethods = ["cagrad:c={"9" * 400}"]')


def test_values_given_on_the_command_line_are_checked_alike():
    config = Config.parse('[data]\nsource = "t.csv"')
    with pytest.raises(ConfigError, match=r"train\.seed must lie within"):
        config.with_values({"train.seed": 10**22})


def test_the_sections_are_those_of_the_rooms():
    found = {name: field.annotation for name, field in Config.model_fields.items()}
    assert found["data"] is DataSection
    assert found["protocol"] is ProtocolSection
    assert found["tasks"] == dict[str, TaskSection]


ACCEPTED = {
    "grads": "features",
    "every": 2,
    "low_memory": True,
    "heads": "plain",
    "scale": "sum_to_k",
    "nonfinite": "skip",
}


@pytest.mark.parametrize("option", ENGINE_OPTIONS)
def test_an_engine_option_is_taken_by_engine_configuration_and_study_alike(option):
    """A new option needs a value here; nothing else lists them."""
    value = ACCEPTED[option]
    Balancer("upgrad", announce=None, **{option: value})
    config = Config.of({"data": {"source": "multidigits"}, "method": {"name": "upgrad", option: value}})
    assert config.method.engine == {option: value}
    assert _engine(config.compare_options()["balancer"]) == ((option, value),)


def test_an_unknown_engine_option_is_told_the_known_ones():
    with pytest.raises(ConfigError, match="did you mean 'low_memory'"):
        _engine({"lowmemory": True})
