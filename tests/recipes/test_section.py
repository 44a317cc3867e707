"""The recipe for a section: one file section.py in the room with a class, one line in Config."""

from typing import Annotated

import pytest
from pydantic import Field

from polytask.errors import ConfigError
from polytask.section import Section
from polytask.study import Config


class ReviewSection(Section):
    """``[review]``: who looks at the results when.

    Attributes:
        patience: Days without an answer after which somebody is reminded.
    """

    patience: Annotated[int, Field(ge=1)] = 3


class Longer(Config):
    """The configuration with the line that the recipe asks for."""

    review: ReviewSection = ReviewSection()


DATA = '[data]\nsource = "multidigits"\n'


def test_its_keys_are_read_and_written():
    config = Longer.parse(DATA + "[review]\npatience = 7\n")
    assert config.review.patience == 7
    assert Longer.parse(config.to_toml()) == config
    assert config.with_values({"review.patience": 2}).review.patience == 2
    assert Longer.parse(DATA).review.patience == 3


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("[review]\npatienc = 7\n", r"\[review\] has no key 'patienc' \(did you mean 'patience'\?\)"),
        ("[review]\npatience = 0\n", r"\[review\] patience: input should be greater than or equal to 1, found 0"),
        ("[revie]\npatience = 1\n", r"has no key 'revie' \(did you mean 'review'\?\)"),
    ],
)
def test_what_is_wrong_is_told_as_for_every_section(page, message):
    with pytest.raises(ConfigError, match=message):
        Longer.parse(DATA + page)


def test_without_the_line_the_section_does_not_exist():
    with pytest.raises(ConfigError, match="has no key 'review'"):
        Config.parse(DATA + "[review]\npatience = 7\n")
