"""A model for a dataset, in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from polytask.share.blueprint import Blueprint
from polytask.share.model import MultiTaskModel

if TYPE_CHECKING:
    from polytask.data import InputSpec, MultiTaskData

__all__ = ["build_model"]


def build_model(
    data: MultiTaskData,
    *,
    encoder: str | nn.Module | Callable[[InputSpec], nn.Module] | None = None,
    architecture: str | Mapping[str, Any] = "hard",
    tasks: Iterable[str] | None = None,
    seed: int | None = 0,
    heads: Mapping[str, nn.Module | None] | None = None,
    **options: Any,
) -> MultiTaskModel:
    """A freshly initialised model for a dataset: :meth:`Blueprint.build` in one call.

    The trunk depends on ``seed`` alone, and each head on ``seed`` and its task's name: a single-task model starts from
    the same trunk and the same head as the multi-task model of the same seed. The global generator is not touched.

    Args:
        data: Says what the inputs and the tasks are, and which encoder is a good default.
        encoder: One line of text as for :func:`build_encoder`, a function from an ``InputSpec`` to a module, or a
            module; by default ``data.encoder``.
        architecture: Name in :data:`ARCHITECTURES`, or a table with ``name`` and options.
        tasks: Names of the tasks to learn; all by default.
        seed: Any integer; None draws from the global generator.
        heads: Modules of the user for some tasks, where the architecture takes them.
        **options: Of the architecture (hard sharing: ``head_hidden``, ``width``).

    Raises:
        ConfigError: Encoder, architecture or an option are unknown or do not fit.
        TaskError: One of ``tasks`` is no task of the data.
    """
    own = encoder if isinstance(encoder, nn.Module) else None
    chosen = None if isinstance(encoder, nn.Module) else encoder
    blueprint = Blueprint.of(data, encoder=chosen, architecture=architecture, tasks=tasks, seed=seed, **options)
    return blueprint.build(encoder=own, **({} if heads is None else {"heads": heads}))
