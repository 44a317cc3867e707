"""Functions that a configuration names, as ``module:function``."""

from __future__ import annotations

import importlib
from typing import Any

from polytask.errors import ConfigError

__all__ = ["resolve"]


def resolve(spec: str, where: str) -> Any:
    """Import ``module:attribute``.

    Raises:
        ConfigError: There is no such module or attribute.
    """
    module, _, name = spec.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{where}: cannot import {spec!r}: {error}. Expected 'module:function'.") from error
