"""The recipe for a section: one file section.py in the room with a class, one line in Config."""

from typing import Annotated

import pytest
from pydantic import Field

from polytask.errors import ConfigError
from polytask.section import Section
from polytask.study import Config


class ScheduleSection(Section):
    """``[schedule]``: which task is trained when.

    Attributes:
        patience: Epochs without gain after which a task rests.
    """

    patience: Annotated[int, Field(ge=1)] = 3


class Longer(Config):
    """The configuration with the line that the recipe asks for."""

    schedule: ScheduleSection = ScheduleSection()


DATA = '[data]\nsource = "multidigits"\n'


def test_its_keys_are_read_and_written():
    config = Longer.parse(DATA + "[schedule]\npatience = 7\n")
    assert config.schedule.patience == 7
    assert Longer.parse(config.to_toml()) == config
    assert config.with_values({"schedule.patience": 2}).schedule.patience == 2
    assert Longer.parse(DATA).schedule.patience == 3


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("[schedule]\npatienc = 7\n", r"\[schedule\] has no key 'patienc' \(did you mean 'patience'\?\)"),
        ("[schedule]\npatience = 0\n", r"\[schedule\] patience: input should be greater than or equal to 1, found 0"),
        ("[schedul]\npatience = 1\n", r"has no key 'schedul' \(did you mean 'schedule'\?\)"),
    ],
)
def test_what_is_wrong_is_told_as_for_every_section(page, message):
    with pytest.raises(ConfigError, match=message):
        Longer.parse(DATA + page)


def test_without_the_line_the_section_does_not_exist():
    with pytest.raises(ConfigError, match="has no key 'schedule'"):
        Config.parse(DATA + "[schedule]\npatience = 7\n")
