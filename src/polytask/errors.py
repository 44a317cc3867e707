"""The errors polytask raises at its public boundary, and two helpers that word them.

Every message says what was expected, what was found and what to do.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DamagedError",
    "DataError",
    "MethodError",
    "MissingExtraError",
    "NonFiniteError",
    "PolytaskError",
    "StorageError",
    "TaskError",
    "TrialError",
    "require",
    "unknown",
]


class PolytaskError(Exception):
    """Base of every error polytask raises on purpose."""


class ConfigError(PolytaskError, ValueError):
    """A configuration file, option or argument is wrong."""


class TaskError(PolytaskError, ValueError):
    """Names, kinds, labels or shapes of tasks do not fit."""


class DataError(PolytaskError, ValueError):
    """A table, file or dataset cannot be used as it is."""


class MethodError(PolytaskError, ValueError):
    """A balancing method and the engine do not fit together."""


class NonFiniteError(PolytaskError, ArithmeticError):
    """A loss or gradient is NaN or infinite."""


class CheckpointError(PolytaskError, RuntimeError):
    """A checkpoint cannot be read or does not belong to this run."""


class TrialError(PolytaskError, RuntimeError):
    """A trial of a study failed."""


class StorageError(CheckpointError, TrialError, OSError):
    """A file or folder cannot be written or read: disk full, read-only, denied, or another process works there."""


class DamagedError(CheckpointError, TrialError):
    """A file that polytask wrote is not as it was written."""


class MissingExtraError(PolytaskError, ImportError):
    """An optional dependency is not installed."""


def unknown(what: str, given: str, options: Iterable[str]) -> str:
    """Word the message for an unknown name: what was given, the nearest known name, all known names.

    Args:
        what: Kind of thing that is named, in the singular (``"method"``).
        given: The name that was not found.
        options: All names that would have been accepted.

    Returns:
        One line, without a final period.

    Examples:
        >>> unknown("method", "fairgard", ["fairgrad", "uw"])
        "unknown method 'fairgard'; did you mean 'fairgrad'? Known: fairgrad, uw"
    """
    names = sorted(options)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {what} {given!r}{hint} Known: {', '.join(names) or '(none)'}"


def require(package: str, extra: str, feature: str) -> ModuleType:
    """Import an optional package, or say which extra installs it.

    Args:
        package: Module to import.
        extra: Name of polytask's extra that brings it.
        feature: What needs it, as the subject of the message.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: The package is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError(
            f'{feature} needs the package {package!r}, which is not installed: pip install "polytask[{extra}]"'
        ) from error
