"""The kinds of rows that a study may have, and rows by the names that users write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from polytask.errors import ConfigError, PolytaskError, unknown
from polytask.registry import Registry
from polytask.study.contenders.contender import Contender, Setting
from polytask.study.contenders.request import Request

__all__ = ["CONTENDERS", "Asked", "contender_names", "names_by_kind", "read_contender", "read_contenders"]

CONTENDERS: Registry[type[Contender]] = Registry(
    "contender",
    {"network": "network:NetworkContender", "estimator": "estimator:EstimatorContender"},
    package="polytask.study.contenders",
    group="polytask.contenders",
    fits=lambda thing: isinstance(thing, type) and issubclass(thing, Contender),
    expected="a subclass of Contender",
)
"""Kinds of rows by name. Each says by which names its rows are asked for; its own is the only one by default."""

Asked = str | Mapping[str, Any] | Contender
"""A row as users write it: ``"name"``, ``"name:option=value"``, a table with a ``name``, or a contender."""


def read_contenders(asked: Asked | Iterable[Asked], setting: Setting) -> tuple[Contender, ...]:
    """The rows of a study, each with a label of its own.

    Args:
        asked: What is to be compared.
        setting: What the rows have in common.

    Raises:
        ConfigError: None is asked for, one is given twice or unknown, or its options do not fit.
        MethodError: Options do not fit a balancing method.
    """
    entries = [asked] if isinstance(asked, (str, Mapping, Contender)) else list(asked)
    found = [row for entry in entries for row in _rows(entry, setting)]
    rows = [row.beside(found) for row in found]
    if not rows:
        raise ConfigError("expected at least one method to train, found none")
    for place, row in enumerate(rows):
        for other in rows[:place]:
            if other.label == row.label:
                raise ConfigError(f"method {row.label!r} is given twice")
            why = row.twin(other)
            if why:
                raise ConfigError(f"{other.label!r} and {row.label!r} are the same: {why}; name one of them")
    return tuple(rows)


def read_contender(asked: Asked, setting: Setting | None = None) -> Contender:
    """A single row; the first, if the setting's architectures make several of it.

    Raises:
        ConfigError: It is unknown, or its options do not fit.
        MethodError: Options do not fit a balancing method.

    Examples:
        >>> read_contender({"name": "cagrad", "c": 0.4}).label
        'cagrad:c=0.4'
    """
    return next(iter(_rows(asked, setting or Setting())))


def contender_names() -> list[str]:
    """Every name that a row can be asked for by."""
    return [name for names in names_by_kind()[0].values() for name in names]


def _rows(asked: Asked, setting: Setting) -> Sequence[Contender]:
    if isinstance(asked, Contender):
        return [asked]
    request = Request.of(asked)
    return CONTENDERS[_kind(request.name)].read(request, setting)


def _kind(name: str) -> str:
    """The kind of rows that a name belongs to.

    Raises:
        ConfigError: To none, or to several: whose numbers would be shown then, nobody could tell.
    """
    names, broken = names_by_kind()
    kinds = [kind for kind, own in names.items() if name in own]
    if len(kinds) > 1:
        raise ConfigError(
            f"{name!r} is the name of {len(kinds)} things that can be compared: {' and '.join(map(_whose, kinds))}; "
            "rename the one that polytask did not bring"
        )
    if not kinds and broken:
        raise broken[0]
    if not kinds:
        raise ConfigError(unknown("method", name, contender_names()))
    return kinds[0]


def names_by_kind() -> tuple[dict[str, tuple[str, ...]], list[PolytaskError]]:
    """Names by kind, and why a kind of another package cannot be had, which should not hide all others."""
    found: dict[str, tuple[str, ...]] = {}
    broken: list[PolytaskError] = []
    for kind in CONTENDERS:
        try:
            found[kind] = tuple(CONTENDERS[kind].names(kind))
        except PolytaskError as error:
            broken.append(error)
    return found, broken


def _whose(kind: str) -> str:
    return f"of the kind {kind!r}"
