"""What a method's options may be, said once per option and checked in one place, before any constructor runs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from polytask.errors import ConfigError
from polytask.options import Choice, Flag, Limit, PerTask, Real, TaskName, Whole

__all__ = ["Choice", "Flag", "Limit", "Limits", "PerTask", "Real", "TaskName", "Whole", "checked", "task_names"]


Limits = Mapping[str, Limit]


def checked(construct: Callable[..., None]) -> Callable[..., None]:
    """A constructor behind a look at its arguments, which are held against the class attribute ``limits``.

    An argument outside its limits is refused before the constructor runs; no class has to remember to do so. Of
    constructors that call one another only the outermost looks, as its arguments are the declared options.

    Args:
        construct: An ``__init__`` whose parameters have the names of the options.

    Raises:
        ConfigError: By the result: an option is outside its limits; the message names class, option, what is allowed
            and the value.
    """
    signature = inspect.signature(construct)

    @functools.wraps(construct)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> None:
        if type(self).__init__ is guarded:
            given = signature.bind(self, *args, **kwargs)
            given.apply_defaults()
            for name, limit in type(self).limits.items():
                if not limit.allows(given.arguments[name]):
                    found = given.arguments[name]
                    raise ConfigError(f"{type(self).__name__}({name}=…) must be {limit}, found {found!r}")
        construct(self, *args, **kwargs)

    return guarded


def task_names(method: Any) -> Iterator[tuple[str, str, bool]]:
    """Every task a method's options name, those of the methods inside it too.

    Yields:
        The option, as ``"GCS(primary=…)"``, the task, and whether the method cannot do its work without it.
    """
    for option, limit in type(method).limits.items():
        value, where = getattr(method, option), f"{type(method).__name__}({option}=…)"
        if isinstance(limit, TaskName) and value is not None:
            yield where, value, True
        elif isinstance(limit, PerTask) and isinstance(value, Mapping):
            yield from ((where, task, False) for task in value)
    for value in vars(method).values():
        for part in value if isinstance(value, list) else [value]:
            inner = getattr(part, "method", part)
            if hasattr(type(inner), "limits"):
                yield from task_names(inner)
