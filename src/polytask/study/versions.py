"""Versions of the packages that numbers depend on."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib import metadata

from polytask.version import __version__

__all__ = ["mixed_versions", "versions"]


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Version by package, polytask's first and Python's last.

    Args:
        packages: Packages that numbers depend on.
    """
    found = {"polytask": __version__, **{name: metadata.version(name) for name in packages}}
    return {**found, "python": platform.python_version()}


def mixed_versions(trials: Iterable[Mapping[str, str]]) -> str:
    """That trials of one study were made with different versions, in words; empty if they were not.

    Trials without a record of versions say nothing.

    Examples:
        >>> mixed_versions([{"torch": "2.6", "numpy": "2.1"}, {"numpy": "2.1"}, {"torch": "2.7"}])
        'trials of this study were made with different versions: torch 2.6, 2.7'
    """
    found: dict[str, set[str]] = {}
    for used in trials:
        for package, version in used.items():
            found.setdefault(package, set()).add(version)
    parts = [f"{package} {', '.join(sorted(seen))}" for package, seen in found.items() if len(seen) > 1]
    return f"trials of this study were made with different versions: {'; '.join(parts)}" if parts else ""
