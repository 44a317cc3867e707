"""A model for a dataset, in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from torch import nn

from polytask.errors import ConfigError, unknown
from polytask.share.encoders import build_encoder
from polytask.share.hard import HardSharing
from polytask.share.model import MultiTaskModel

if TYPE_CHECKING:
    from polytask.data import MultiTaskData

__all__ = ["ARCHITECTURES", "build_model"]

ARCHITECTURES: dict[str, Callable[..., MultiTaskModel]] = {
    "hard": HardSharing,
}
"""Architectures by name; each is called as (encoder, tasks, seed=…, **options)."""


def build_model(
    data: MultiTaskData,
    *,
    encoder: str | nn.Module | None = None,
    architecture: str = "hard",
    tasks: Iterable[str] | None = None,
    seed: int | None = 0,
    **options: Any,
) -> MultiTaskModel:
    """A freshly initialised model for a dataset.

    The trunk depends on ``seed`` alone, and each head on ``seed`` and its task's name: a single-task model starts from
    the same trunk and the same head as the multi-task model of the same seed. The global generator is not touched.

    Args:
        data: Says what the inputs and the tasks are, and which encoder is a good default.
        encoder: One line of text as for :func:`build_encoder`, or a module; by default ``data.encoder``.
        architecture: Name in :data:`ARCHITECTURES`.
        tasks: Names of the tasks to learn; all by default.
        seed: Any integer; None draws from the global generator.
        **options: Of the architecture (hard sharing: ``head_hidden``, ``width``, ``heads``).

    Raises:
        ConfigError: Encoder or architecture are unknown or do not fit.
        TaskError: One of ``tasks`` is no task of the data.
    """
    if architecture not in ARCHITECTURES:
        raise ConfigError(unknown("architecture", architecture, ARCHITECTURES))
    chosen = data.encoder if encoder is None else encoder
    trunk = chosen if isinstance(chosen, nn.Module) else build_encoder(chosen, data.inputs, seed=seed)
    wanted = data.tasks if tasks is None else data.tasks.subset(tasks)
    return ARCHITECTURES[architecture](trunk, wanted, seed=seed, **options)
