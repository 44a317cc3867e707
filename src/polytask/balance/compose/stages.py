"""Stages of a chain: positive factors on the tasks' gradients, as if each loss had been transformed."""

from __future__ import annotations

import abc
import dataclasses
from typing import Literal, final

from jaxtyping import Float
from numpy import full, ndarray

from polytask.balance.compose.inner import refuse_asks
from polytask.balance.contract.method import Evidence, LossMethod, Method, Solution
from polytask.balance.registry import METHODS, get_method
from polytask.balance.toolbox.scales import row_scales
from polytask.errors import ConfigError, unknown

__all__ = ["Log", "Normalise", "Stage", "Weigh", "stage_of"]

_WORDS = ("log", "l2", "loss", "loss+")


class Stage(abc.ABC):
    """A positive factor per task, which scales the task's gradient."""

    method: Method | None = None
    """A method whose state belongs to the stage."""
    of_losses: bool = True
    """Whether the factors are slopes of transformed losses, so that heads may descend those, too."""

    @abc.abstractmethod
    def scales(self, evidence: Evidence) -> Float[ndarray, "K"]:
        """The factors, (K,), of tasks with gradients that are not zero."""

    def solution(self, evidence: Evidence) -> Solution:
        """The factors as weights, and what :attr:`method` is to remember."""
        return Solution(self.scales(evidence))


@final
@dataclasses.dataclass(frozen=True)
class Log(Stage):
    """The logarithm of every loss: factors 1/L_i. Losses must be positive."""

    def scales(self, evidence: Evidence) -> Float[ndarray, "K"]:
        """1/L."""
        return row_scales("loss", evidence)


@final
@dataclasses.dataclass(frozen=True)
class Normalise(Stage):
    """Factors 1/‖g_i‖ (``"l2"``), 1/L_i (``"loss"``) or 1/(L_i·‖g_i‖) (``"loss+"``)."""

    by: Literal["l2", "loss", "loss+"]
    of_losses = False

    def __post_init__(self) -> None:
        if self.by not in _WORDS[1:]:
            raise ConfigError(unknown("normalisation", self.by, _WORDS[1:]))

    def scales(self, evidence: Evidence) -> Float[ndarray, "K"]:
        """As named by ``by``."""
        return row_scales(self.by, evidence)


@final
class Weigh(Stage):
    """The weights of a method that looks at losses only, e.g. IMTL-L's learned scales."""

    def __init__(self, method: LossMethod) -> None:
        self.method = method

    def scales(self, evidence: Evidence) -> Float[ndarray, "K"]:
        """The method's weights; the preference is left to the method that solves, so that it counts once."""
        return self.solution(evidence).weights

    def solution(self, evidence: Evidence) -> Solution:
        """The method's solution for equal task weights."""
        assert self.method is not None
        return self.method.solution(dataclasses.replace(evidence, preference=full(evidence.size, 1 / evidence.size)))


def stage_of(given: Stage | LossMethod | str) -> Stage:
    """The stage meant: itself, a loss-based method, one of the words, or a loss-based method's registry name.

    Raises:
        ConfigError: There is no such stage.
    """
    if isinstance(given, Stage):
        return given
    method = given
    if isinstance(method, str):
        if method == "log":
            return Log()
        if method in _WORDS:
            return Normalise(method)  # type: ignore[arg-type]
        by_losses = method in METHODS and issubclass(METHODS[method], LossMethod)
        if not by_losses:
            raise ConfigError(unknown("stage", method, [*_WORDS, "the name of a loss-based method"]))
        made = get_method(method)
        assert isinstance(made, LossMethod)
        method = made
    refuse_asks(method)
    return Weigh(method)
