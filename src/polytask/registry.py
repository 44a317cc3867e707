"""One class for every list of names in the house: methods, kinds, encoders, architectures, datasets, estimators."""

from __future__ import annotations

import importlib
import inspect
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, final

from polytask.errors import ConfigError, PolytaskError, unknown

__all__ = ["Registry", "check_options"]

T = TypeVar("T")


@final
class Registry(MutableMapping[str, T], Generic[T]):
    """Things by name, each imported when it is first asked for.

    Packages that are installed add their own through an entry-point group, ``name = "package.module:Thing"``. They are
    looked for when a name is not polytask's, or when all names are asked for. A program adds one of its own by
    assignment, ``METHODS["mine"] = Mine``; names that are taken are refused.

    Args:
        what: What is named, in the singular, for messages.
        places: Name → ``"module:Thing"``, below ``package``.
        package: The package the modules are in.
        group: Entry-point group of other packages' things; empty for none.
        fits: Whether something is a thing of this kind.
        expected: What it has to be, in words.
        error: Raised for a name that is not there, or a thing that does not fit.

    Examples:
        >>> encoders = Registry("encoder", {"mlp": "mlp:MLP"}, package="polytask.share.encoders")
        >>> encoders["mlp"].__name__
        'MLP'
        >>> encoders.find("mpl")
        Traceback (most recent call last):
            ...
        polytask.errors.ConfigError: unknown encoder 'mpl'; did you mean 'mlp'? Known: mlp
    """

    def __init__(
        self,
        what: str,
        places: Mapping[str, str],
        *,
        package: str,
        group: str = "",
        fits: Callable[[Any], bool] = callable,
        expected: str = "something to call",
        error: type[PolytaskError] = ConfigError,
    ) -> None:
        self.what, self.group = what, group
        self._places, self._package = dict(places), package
        self.fits, self.expected, self.error = fits, expected, error
        self._added: dict[str, T] = {}
        self._found: dict[str, EntryPoint] | None = None

    def find(self, name: str) -> T:
        """The thing called ``name``.

        Raises:
            PolytaskError: There is none, in the registry's own type of error; the nearest name is given.
        """
        if name not in self:
            raise self.error(unknown(self.what, name, self))
        return self[name]

    def __getitem__(self, name: str) -> T:
        if name in self._places:
            module, _, attribute = self._places[name].partition(":")
            found: T = operator.attrgetter(attribute)(importlib.import_module(f"{self._package}.{module}"))
            return found
        return self._added[name] if name in self._added else self._load(self.plugins[name])

    def __setitem__(self, name: str, thing: T) -> None:
        if name in self:
            raise ConfigError(f"there is {self._one} called {name!r} already; choose another name")
        if not self.fits(thing):
            raise self.error(f"{name!r} is not {self._one}: expected {self.expected}, found {thing!r}")
        self._added[name] = thing

    def __delitem__(self, name: str) -> None:
        del self._added[name]

    def __contains__(self, name: object) -> bool:
        return name in self._places or name in self._added or name in self.plugins

    def __iter__(self) -> Iterator[str]:
        yield from self._places
        yield from self._added
        yield from self.plugins

    def __len__(self) -> int:
        return len(self._places) + len(self._added) + len(self.plugins)

    @property
    def plugins(self) -> Mapping[str, EntryPoint]:
        """Things of other packages by name, none of them imported.

        Raises:
            ConfigError: Two packages, or a package and polytask, use the same name.
        """
        if self._found is None:
            found: dict[str, EntryPoint] = {}
            for entry in entry_points(group=self.group) if self.group else ():
                if entry.name in self._places or entry.name in found:
                    other = _origin(found[entry.name]) if entry.name in found else "polytask itself"
                    raise ConfigError(
                        f"two {self.what}s are called {entry.name!r}: one of {other}, one of {_origin(entry)}; rename "
                        f"one in its entry-point group {self.group!r}, or uninstall a package"
                    )
                found[entry.name] = entry
            self._found = found
        return self._found

    @property
    def own(self) -> Mapping[str, str]:
        """Polytask's own names, and where each thing is, as ``"module:Thing"``."""
        return dict(self._places)

    @property
    def _one(self) -> str:
        return f"{'an' if self.what[0] in 'aeiou' else 'a'} {self.what}"

    def _load(self, entry: EntryPoint) -> T:
        try:
            found: T = entry.load()
        except (ImportError, AttributeError) as error:
            raise self.error(f"cannot import {self.what} {entry.name!r} of {_origin(entry)}: {error}") from error
        if not self.fits(found):
            raise self.error(
                f"{entry.name!r} of {_origin(entry)} is not {self._one}: expected {self.expected}, found {found!r}"
            )
        return found


def check_options(what: str, made: Callable[..., Any], given: Iterable[str], *, skip: int = 0, as_in: str = "") -> None:
    """Check the names of options against what ``made`` takes.

    Args:
        what: Whose options they are, for messages (``"method 'cagrad'"``).
        made: What will be called with them.
        given: Names of the options.
        skip: How many leading arguments are no options.
        as_in: What stands before the name of an option where it is written, for the remedy (``"cagrad:"``).

    Raises:
        ConfigError: One is unknown, with the nearest name, or one that has no default is not given.
    """
    parameters = dict(list(inspect.signature(made).parameters.items())[skip:])
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    given = list(given)
    for option in given:
        if option not in parameters:
            raise ConfigError(unknown(f"option of {what}:", option, parameters))
    lacking = [name for name, value in parameters.items() if value.default is value.empty and name not in given]
    if lacking:
        remedy = f", as in '{as_in}{lacking[0]}=…'" if as_in else ""
        raise ConfigError(f"{what} needs the option {', '.join(lacking)}{remedy}")


def _origin(entry: EntryPoint) -> str:
    return f"the package {entry.dist.name} ({entry.value})" if entry.dist is not None else entry.value
