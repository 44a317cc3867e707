"""What the verbs that read a configuration share."""

import json

import pytest

from polytask.cli.settings import method_entries, read_config
from polytask.errors import ConfigError


def test_overrides_are_toml_or_text(config):
    settings = read_config(
        config, ["train.epochs=7", "model.encoder=tabular:4", 'protocol.methods=["stl", "uw"]'], protocol__seeds=2
    )
    assert settings.train["epochs"] == 7
    assert settings.model.encoder == "tabular:4"
    assert list(settings.protocol.methods) == ["stl", "uw"]
    assert settings.protocol.seeds == 2


def test_an_option_that_was_not_given_changes_nothing(config):
    assert read_config(config, None, protocol__seeds=None).protocol.seeds == 1


@pytest.mark.parametrize("text", ["epochs=3", "train.epochs", ""])
def test_an_override_needs_section_key_and_value(config, text):
    with pytest.raises(ConfigError, match=r"expected section\.key=value"):
        read_config(config, [text])


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        (None, None),
        ("stl, equal", ["stl", "equal"]),
        ("cagrad:c=0.4,rescale=True,uw", ["cagrad:c=0.4,rescale=True", "uw"]),
    ],
)
def test_methods_with_options_are_told_apart(text, entries):
    assert method_entries(text) == entries


@pytest.mark.parametrize("name", ["Sepal.Width", "a=b", 'say "x"', "don't", "a b", "größe", "x.y.", "[a]", "#"])
def test_a_value_of_any_column_can_be_set(name, config):
    config.write_text(config.read_text().replace("[tasks.sold]", f"[tasks.{json.dumps(name, ensure_ascii=False)}]"))
    settings = read_config(config, [f"tasks.{json.dumps(name, ensure_ascii=False)}.weight=3", "train.epochs = 7"])
    assert settings.tasks[name].weight == 3
    assert settings.train["epochs"] == 7
    assert list(settings.tasks) == ["price", name]


@pytest.mark.parametrize("text", ['tasks."a.b.weight=3', "tasks..weight=3", ".=3", '"=3', "tasks.a"])
def test_a_key_that_is_none_is_told(config, text):
    with pytest.raises(ConfigError, match=r"expected section\.key=value"):
        read_config(config, [text])
