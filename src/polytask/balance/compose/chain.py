"""Rows rescaled before a method solves."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float

from polytask.balance.compose.inner import Inner, resolve, solve_inner
from polytask.balance.compose.stages import Stage, stage_of
from polytask.balance.contract.method import Card, Evidence, GramianMethod, LossMethod, Solution
from polytask.balance.contract.options import Limits
from polytask.balance.contract.state import Lesson
from polytask.balance.toolbox.scales import rescaled
from polytask.errors import ConfigError

__all__ = ["Chain"]

Array = np.ndarray

Given = Stage | LossMethod | str


@dataclasses.dataclass(frozen=True)
class _Stages:
    """One stage or several."""

    def allows(self, value: object) -> bool:
        """Whether every part of ``value`` is a stage."""
        try:
            return len(_read(value)) > 0
        except (ConfigError, TypeError):
            return False

    def __str__(self) -> str:
        return (
            "stages (Log(), Normalise(…), loss-based methods) or a text such as 'log' or 'imtl_l-l2' made of "
            "log, l2, loss, loss+ and names of loss-based methods"
        )


@final
class Chain(GramianMethod):
    """A method applied to rescaled gradients: weights S·w, where w solves the inner method's problem for S·G·S.

    S holds the product of the stages' factors: a transformed loss φ(L_i) has the gradient φ'(L_i)·g_i, so nothing has
    to be differentiated again. Later stages see the rows as the earlier ones left them.

    Args:
        stages: Stages in order, or a text with their names joined by ``-``: ``log`` (1/L_i), ``l2`` (1/‖g_i‖),
            ``loss`` (1/L_i), ``loss+`` (both), or a loss-based method's registry name for its weights.
        inner: The method that solves, or its registry name.

    Raises:
        ConfigError: A part is unknown or does not fit.

    Examples:
        >>> import torch
        >>> method = Chain("log", "mgda")
        >>> method.weights(torch.tensor([[1.0, 0.0], [0.0, 4.0]]), losses=torch.tensor([1.0, 2.0]))
        tensor([0.5000, 0.2500])

    Notes:
        Losses are handed to the inner method as they are; only gradients are rescaled.
        Task weights are applied as the inner method does by itself; stages do not see them.

    References:
        Navon et al., "Multi-task learning as a bargaining game", ICML 2022, and Sener, Koltun, "Multi-task learning as
        multi-objective optimization", NeurIPS 2018, use such normalisations.
    """

    uses_preference = True
    limits: ClassVar[Limits] = {"stages": _Stages(), "inner": Inner()}
    card = Card(
        title="Chain",
        paper="normalisations of Sener, Koltun, NeurIPS 2018",
        url="https://arxiv.org/abs/1810.04650",
        idea="Rescale the gradients, e.g. to those of log losses, before a method combines them.",
        cost="K through the shared part",
        invariances=("order of tasks", "log, l2: a factor on each loss separately"),
        verified=("the inner method on the Jacobian of the transformed losses", "IMTL as a chain"),
        notes="log and loss need positive losses.",
        preference="what it is in the inner method; stages do not see it",
        heads=(
            "unless the method inside declares another rule; where it does not and stages transform the losses, "
            "'transformed'"
        ),
    )

    def __init__(self, stages: Given | Sequence[Given] = "log", inner: str | GramianMethod = "mgda") -> None:
        super().__init__()
        self.stages, self.inner = stages, inner
        self._stages = _read(stages)
        self._method = resolve(inner)
        self._transforms = [stage for stage in self._stages if stage.of_losses]
        self.heads = "transformed" if self._transforms and self._method.heads == "plain" else self._method.heads
        self._parts = [stage.method for stage in self._stages if stage.method is not None] + [self._method]
        for position, part in enumerate(self._parts):
            self.state.adopt(str(position), part.state)

    def loss_slopes(self, evidence: Evidence) -> Float[Array, "K"]:
        """Products of the slopes of the stages that transform losses, and of the inner method."""
        slopes = self._method.loss_slopes(evidence)
        for stage in self._transforms:
            slopes = slopes * stage.scales(evidence)
        return slopes

    def solve(self, evidence: Evidence) -> Solution:
        """The inner method's weights for the rescaled rows, times the factors."""
        scales, scaled = np.ones(evidence.size), evidence
        lessons: list[Lesson] = []
        for stage in self._stages:
            found = stage.solution(scaled)
            if stage.method is not None:
                lessons.append(found.lesson(scaled))
            scales = scales * found.weights
            scaled = dataclasses.replace(scaled, gramian=rescaled(scaled.inner, found.weights))
        solution = solve_inner(self._method, scaled)
        lessons.append(solution.lesson(scaled))
        news = {str(position): lesson for position, lesson in enumerate(lessons) if lesson.news}
        return Solution(scales * solution.weights, solution.iterations, remember=news)

    def end_epoch(self) -> None:
        """Tell every part."""
        for part in self._parts:
            part.end_epoch()


def _read(given: object) -> list[Stage]:
    """Stages from objects, names, or one text with names joined by ``-``."""
    if isinstance(given, str):
        return [stage_of(name) for name in given.split("-")]
    if isinstance(given, (Stage, LossMethod)):
        return [stage_of(given)]
    if isinstance(given, Sequence):
        return [stage for part in given for stage in _read(part)]
    raise ConfigError(f"expected stages, found {given!r}")
