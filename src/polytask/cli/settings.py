"""What the verbs that read a configuration share: the file argument, ``--set``, and lists of methods."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polytask.errors import ConfigError

if TYPE_CHECKING:
    from polytask.study import Config

__all__ = ["ConfigFile", "Override", "method_entries", "read_config"]

ConfigFile = Annotated[Path, typer.Argument(help="Configuration written by `polytask init`.", metavar="polytask.toml")]
Override = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Replace a value of the configuration; may be repeated. A name with a dot or = in double quotes.",
    ),
]


def read_config(path: Path, overrides: Sequence[str] | None, **more: Any) -> Config:
    """Load a configuration and replace single values.

    Args:
        path: The file.
        overrides: Texts ``"section.key=value"``, names with dots in double quotes, the value in TOML's
            notation; what is not TOML is a string.
        **more: Values from options of their own, by dotted key with ``__`` for the dot; ``None`` changes nothing.

    Raises:
        ConfigError: The file, a key or a value is wrong.
    """
    from polytask.study import Config

    values = dict(map(_override, overrides or ()))
    values |= {key.replace("__", "."): value for key, value in more.items() if value is not None}
    config = Config.load(path)
    return config.with_values(values) if values else config


def method_entries(text: str | None) -> list[str] | None:
    """The entries of ``--methods`` or ``--architectures``; a comma inside one's options does not separate entries.

    Examples:
        >>> method_entries("stl, equal, cagrad:c=0.4,rescale=True, uw")
        ['stl', 'equal', 'cagrad:c=0.4,rescale=True', 'uw']
        >>> method_entries("ridge:alphas=[0.1,1],equal")
        ['ridge:alphas=[0.1,1]', 'equal']
    """
    from polytask.study.contenders.request import split_at_commas

    if text is None:
        return None
    entries: list[str] = []
    for part in split_at_commas(text):
        if "=" in part and ":" not in part and entries:
            entries[-1] += f",{part}"
        else:
            entries.append(part)
    return entries


def _override(text: str) -> tuple[str, Any]:
    from polytask.study import toml

    parts, value = toml.split_setting(text)
    if value is None or len(parts) < 2:
        raise ConfigError(f"--set {text!r}: expected section.key=value, for example --set train.epochs=5")
    key = ".".join(map(json.dumps, parts))
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value.strip()
