"""The method inside a composed one: how it is named, checked, solved and kept up to date."""

from __future__ import annotations

import dataclasses

from polytask.balance.contract.method import Evidence, GramianMethod, Method, Solution
from polytask.balance.registry import METHODS, get_method
from polytask.errors import ConfigError

__all__ = ["Inner", "refuse_asks", "resolve", "solve_inner"]


@dataclasses.dataclass(frozen=True)
class Inner:
    """A method on Gramians, or its registry name."""

    def allows(self, value: object) -> bool:
        """Whether ``value`` is such a method; names are looked up."""
        if isinstance(value, str):
            return value in METHODS and issubclass(METHODS[value], GramianMethod)
        return isinstance(value, GramianMethod)

    def __str__(self) -> str:
        return "a method that needs a Gramian, or the registry name of one"


def resolve(inner: str | GramianMethod) -> GramianMethod:
    """The method meant by ``inner``, which has been checked.

    Raises:
        ConfigError: It cannot be made from its name alone, or asks for more than the evidence of a step.
    """
    if not isinstance(inner, str):
        method: Method = inner
    else:
        try:
            method = get_method(inner)
        except ConfigError as error:
            raise ConfigError(f"{error}; inside another method, pass the method itself instead of its name") from error
    assert isinstance(method, GramianMethod)
    refuse_asks(method)
    return method


def refuse_asks(method: Method) -> None:
    """Raise :class:`ConfigError` for a method that asks for more than the evidence of a step."""
    for ask in method.asks:
        raise ConfigError(ask.refusal(type(method).__name__, "a method that is part of another one does not get"))


def solve_inner(method: GramianMethod, evidence: Evidence) -> Solution:
    """The method's solution with the preference applied, whether it uses it by itself or not."""
    return method.preferred(evidence, method.solution(evidence))
