"""Architectures by name, with their options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polytask.errors import ConfigError
from polytask.registry import Registry
from polytask.share.model import MultiTaskModel
from polytask.share.options import check_options

__all__ = ["ARCHITECTURES", "read_architecture"]

ARCHITECTURES: Registry[type[MultiTaskModel]] = Registry(
    "architecture",
    {"hard": "hard:HardSharing"},
    package="polytask.share",
    group="polytask.architectures",
    fits=lambda thing: isinstance(thing, type) and issubclass(thing, MultiTaskModel) and hasattr(thing, "options"),
    expected="a subclass of MultiTaskModel that declares options",
)
"""Architectures by name; each is called as (encoder, tasks, seed=…, **options)."""


def read_architecture(
    given: str | Mapping[str, Any], options: Mapping[str, Any] | None = None
) -> tuple[str, dict[str, Any]]:
    """Name and checked options of an architecture.

    Args:
        given: Its name, or a table with ``name`` and options.
        options: Further options.

    Raises:
        ConfigError: The architecture or an option is unknown, or a value is not allowed.

    Examples:
        >>> read_architecture({"name": "hard", "head_hidden": [16]})
        ('hard', {'head_hidden': (16,)})
    """
    if isinstance(given, str):
        name, found = given, dict(options or {})
    else:
        if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
            raise ConfigError(f"an architecture is a name, or a table with a name and options; found {given!r}")
        name, found = given["name"], {**given, **(options or {})}
        del found["name"]
    return name, check_options(f"architecture {name!r}", ARCHITECTURES.find(name).options, found)
