"""Encoders in one line of text: ``mlp:128,128;dropout=0.1``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from polytask.errors import ConfigError, unknown

__all__ = ["GRAMMAR", "Spec", "parse"]

GRAMMAR = 'an encoder is written NAME:WIDTH,WIDTH,…;OPTION=NUMBER;…, as in "mlp:128,128;dropout=0.1"'


@dataclasses.dataclass(frozen=True)
class Spec:
    """A parsed line.

    Attributes:
        name: Name in the registry.
        widths: Numbers after the colon.
        options: Numbers after the semicolons, by name.
    """

    name: str
    widths: tuple[int, ...]
    options: Mapping[str, float]

    def take(self, **defaults: float) -> dict[str, float]:
        """The options, with defaults: a float is a share in [0, 1), an int a number that may be 0 if its default is.

        Raises:
            ConfigError: An option is not among the defaults, or its value is not possible.
        """
        for option, value in self.options.items():
            if option not in defaults:
                raise ConfigError(f"encoder {self.name!r}: {unknown('option', option, defaults)}; {GRAMMAR}")
            default = defaults[option]
            least = min(default, 1)
            if isinstance(default, int) and not (value >= least and value == int(value)):
                raise ConfigError(f"encoder {self.name!r}: {option}= must be a whole number ≥ {least}, found {value:g}")
            if isinstance(default, float) and not 0 <= value < 1:
                raise ConfigError(f"encoder {self.name!r}: {option}= must be between 0 and 1, found {value:g}")
        return {**defaults, **self.options}


def parse(text: str) -> Spec:
    """Parse a line.

    Args:
        text: As the grammar says: a name, widths after a colon, options after semicolons.

    Raises:
        ConfigError: It does not follow the grammar.

    Examples:
        >>> parse("mlp:64,32;dropout=0.1")
        Spec(name='mlp', widths=(64, 32), options={'dropout': 0.1})
    """
    head, *rest = (part.strip() for part in text.split(";"))
    name, colon, numbers = head.partition(":")
    try:
        widths = tuple(int(number) for number in numbers.split(",")) if colon else ()
        options = {key.strip(): float(value) for key, value in (part.split("=") for part in rest if part)}
    except ValueError:
        raise ConfigError(f"cannot read the encoder {text!r}; {GRAMMAR}") from None
    if not widths or min(widths) < 1:
        raise ConfigError(f"encoder {text!r}: expected one or more positive widths; {GRAMMAR}")
    return Spec(name.strip(), widths, options)
