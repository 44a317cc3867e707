"""An entry as a user writes it: a name and options, as text or as a table."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Mapping
from typing import Any, final

from polytask.errors import ConfigError

__all__ = ["Request", "split_at_commas"]


@final
@dataclasses.dataclass(frozen=True)
class Request:
    """A name and its options.

    Attributes:
        name: The name.
        options: Sorted by name.

    Examples:
        >>> Request.of("cagrad:c=0.4").options
        (('c', 0.4),)
        >>> Request.of("cagrad:c=0.4") == Request.of({"name": "cagrad", "c": 0.4})
        True
        >>> Request.of("uw @ hard:head_hidden=[8]").options
        (('architecture', 'hard:head_hidden=[8]'),)
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, given: object, what: str = "method") -> Request:
        """Read ``"name"``, ``"name:option=value,option=value"`` or ``{"name": …, option: value}``.

        A text may end in ``"@ architecture"``, which is short for the option ``architecture``.

        Args:
            given: Text or table.
            what: What is named, for messages.

        Raises:
            ConfigError: It cannot be read.
        """
        if isinstance(given, str):
            text, at, architecture = (part.strip() for part in given.partition("@"))
            name, _, tail = text.partition(":")
            options = _options(given, tail, what)
            if at:
                if not architecture or "architecture" in options:
                    raise ConfigError(f"cannot read {what} {given!r}; expected one architecture, as in uw @ hard")
                options["architecture"] = architecture
        elif isinstance(given, Mapping):
            options = dict(given)
            name = options.pop("name", "")
            if not isinstance(name, str) or not name:
                raise ConfigError(f"a {what} given as a table needs a name, found {dict(given)!r}")
        else:
            raise ConfigError(f"a {what} is a text or a table with a name, found {given!r}")
        return cls(name.strip(), tuple(sorted(options.items())))

    @property
    def text(self) -> str:
        """The shortest text that :meth:`of` reads as this."""
        if not self.options:
            return self.name
        return f"{self.name}:{','.join(f'{key}={value}' for key, value in self.options)}"


def _options(given: str, tail: str, what: str) -> dict[str, Any]:
    """Options after the colon; values are Python literals, anything else is a string."""
    options: dict[str, Any] = {}
    for part in split_at_commas(tail):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key.isidentifier():
            raise ConfigError(f"cannot read {part!r} in {what} {given!r}; expected name:option=value,option=value")
        options[key] = _literal(value)
    return options


def split_at_commas(text: str) -> list[str]:
    """Parts between commas that stand outside brackets, trimmed, without empty ones.

    Examples:
        >>> split_at_commas("alphas=[0.1, 1], cv=3,")
        ['alphas=[0.1, 1]', 'cv=3']
    """
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text, text)
