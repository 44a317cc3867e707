"""Values that no key of a configuration can have, found before any section looks at them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from polytask.errors import ConfigError

__all__ = ["check_values"]

_LARGEST = 2**63 - 1  # TOML's own limit, and that of seeds
_DEEPEST = 20
_METHOD = "method"  # a method may know what to do with an infinite option


def check_values(raw: Mapping[str, Any], where: str) -> None:
    """Refuse numbers that are too large, NaN or infinite, and values nested too deeply.

    Args:
        raw: The configuration as nested dictionaries.
        where: What error messages call it.

    Raises:
        ConfigError: Names the key.

    Examples:
        >>> check_values({"train": {"seed": 10**22}}, "polytask.toml")
        Traceback (most recent call last):
        polytask.errors.ConfigError: polytask.toml: train.seed must lie within ±9.2e18, found a number of 23 digits
    """
    waiting: list[tuple[str, int, Any]] = [("", 0, raw)]
    while waiting:
        key, depth, value = waiting.pop()
        if depth > _DEEPEST:
            raise ConfigError(f"{where}: {_short(key)} is nested more than {_DEEPEST} levels deep")
        if isinstance(value, Mapping):
            waiting += [(f"{key}.{name}" if key else str(name), depth + 1, inner) for name, inner in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(f"{key}[{place}]", depth + 1, inner) for place, inner in enumerate(value)]
        elif isinstance(value, int) and abs(value) > _LARGEST:
            digits = int(abs(value).bit_length() * math.log10(2)) + 1
            raise ConfigError(f"{where}: {key} must lie within ±9.2e18, found a number of {digits} digits")
        elif isinstance(value, float) and not math.isfinite(value) and key.partition(".")[0] != _METHOD:
            raise ConfigError(f"{where}: {key} must be a finite number, found {value}")
        elif isinstance(value, str) and "\0" in value:
            raise ConfigError(f"{where}: {key} holds a null character; remove it")


def _short(key: str) -> str:
    return key if len(key) <= 60 else f"{key[:60]}…"
