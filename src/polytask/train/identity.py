"""Whether a checkpoint belongs to the run that wants to go on from it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from polytask.errors import CheckpointError, DamagedError, PolytaskError
from polytask.files import encode
from polytask.remedies import afresh, elsewhere

if TYPE_CHECKING:
    from polytask.schedule import Schedule

__all__ = ["check_identity", "check_options", "check_owner", "check_schedule", "complete", "few"]

_WORDS = {"fingerprint": "fingerprint of the data and their split", "data": "name of the data"}


def check_owner(meta: Mapping[str, Any], tasks: Sequence[str], method: str, where: str) -> None:
    """Refuse a checkpoint of other tasks or another method.

    Args:
        meta: What the checkpoint says of itself.
        tasks: This run's tasks.
        method: Class name of this run's method.
        where: What to call the checkpoint.

    Raises:
        CheckpointError: Names differ.
    """
    saved = meta.get("tasks", [])
    if set(saved) != set(tasks):
        raise CheckpointError(
            f"{where} was written with tasks {', '.join(saved)}; this run has {', '.join(tasks)}. Train the same "
            f"tasks, or {afresh()}"
        )
    if meta.get("method") != method:
        raise CheckpointError(
            f"{where} was written with method {meta.get('method')}; this run has {method}. Use the same method, or "
            f"{afresh()}"
        )


def check_options(meta: Mapping[str, Any], options: Mapping[str, Any], free: Sequence[str], where: str) -> None:
    """Refuse a checkpoint whose further course would not be the one that was begun.

    Args:
        meta: What the checkpoint says of itself.
        options: This run's training options as plain values.
        free: Options that may differ.
        where: What to call the checkpoint.

    Raises:
        CheckpointError: Another option differs.
    """
    saved = _plain(meta.get("options", {}))
    differing = [
        f"{name}: {saved.get(name)!r} there, {value!r} here"
        for name, value in _plain(options).items()
        if name not in free and saved.get(name) != value
    ]
    if differing:
        raise CheckpointError(
            f"{where} was written with other options ({'; '.join(differing)}); resume with the same ones, or "
            f"{afresh()}. What may change here: {', '.join(free)}"
        )


def check_schedule(meta: Mapping[str, Any], schedule: Schedule | None, where: str) -> None:
    """Refuse a checkpoint of a run under another schedule.

    Args:
        meta: What the checkpoint says of itself.
        schedule: This run's.
        where: What to call the checkpoint.

    Raises:
        CheckpointError: Schedules or their options differ.
    """
    saved, here = meta.get("schedule"), _plain(None if schedule is None else schedule.describe())
    if saved != here:
        raise CheckpointError(
            f"{where} was written under {_named(saved)}; this run has {_named(here)}. Use the same schedule, or "
            f"{afresh()}"
        )


def _named(schedule: dict[str, Any] | None) -> str:
    if schedule is None:
        return "no schedule"
    options = ", ".join(f"{key}={value!r}" for key, value in schedule.items() if key != "schedule")
    return f"the schedule {schedule['schedule']}({options})"


def check_identity(meta: Mapping[str, Any], identity: Mapping[str, Any] | None, where: str) -> None:
    """Refuse a checkpoint of other data, another method's options, another model or other task weights.

    Args:
        meta: What the checkpoint says of itself.
        identity: Plain values that determine this run's numbers besides its options; ``None`` if nobody knows them.
        where: What to call the checkpoint.

    Raises:
        CheckpointError: A value differs, or the checkpoint was written without any.
    """
    if identity is None:
        return
    saved = meta.get("identity")
    if saved is None:
        raise CheckpointError(
            f"{where} keeps no record of the data and settings it was trained with, so it cannot be told whether it "
            f"belongs to this run; {elsewhere()}, or {afresh()}"
        )
    differing = list(_differences(_plain(saved), _plain(identity)))
    if differing:
        raise CheckpointError(f"{where} belongs to another run ({few(differing, '; ')}); {elsewhere()}, or {afresh()}")


@contextlib.contextmanager
def complete(where: str) -> Iterator[None]:
    """Say that a checkpoint lacks something, where a component that takes over its state misses it.

    Raises:
        DamagedError: It does.
    """
    try:
        yield
    except PolytaskError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(
            f"{where} does not hold what this version of polytask needs ({type(error).__name__}: {error}); {afresh()}"
        ) from error


def few(names: Sequence[str], separator: str = ", ") -> str:
    """The first three, and how many there are."""
    return separator.join(names[:3]) + (f"{separator}… ({len(names)} in all)" if len(names) > 3 else "")


def _plain(value: Any) -> Any:
    """What comes back from a file."""
    return json.loads(encode(value))


def _differences(there: Any, here: Any, place: str = "") -> Iterator[str]:
    """Every value that differs, with its place in words."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in [*there, *(key for key in here if key not in there)]:
            name = f"{place}.{key}" if place else _WORDS.get(key, key)
            yield from _differences(there.get(key), here.get(key), name)
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for number, (one, other) in enumerate(zip(there, here, strict=True)):
            name = one.get("name", number) if isinstance(one, dict) else number
            yield from _differences(one, other, f"{place}.{name}")
    elif there != here or type(there) is not type(here):
        yield f"{place}: {_short(there)} there, {_short(here)} here"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
