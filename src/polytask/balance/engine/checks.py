"""What a balancer is told, checked once, before the first step."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Literal, Never, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, distributed

from polytask.balance.contract.asks import LOSSES_AFTER_STEP, TWIN_BATCH
from polytask.balance.contract.method import GramianMethod, JacobianMethod, LossMethod, Method
from polytask.balance.contract.penalty import PenaltyMethod, PenaltySource
from polytask.balance.engine.cheap_sources import SubBatchSource
from polytask.balance.engine.gradients import Heads
from polytask.balance.engine.source import GradientSource
from polytask.balance.engine.sources import FeatureSource, ParameterSource
from polytask.errors import MethodError, unknown
from polytask.remedies import setting

__all__ = [
    "Scaler",
    "Weighted",
    "check_batches",
    "check_heard",
    "check_needs",
    "check_options",
    "check_processes",
    "check_real",
    "check_task_weights",
    "heads_of",
    "refuse_windows",
    "working",
]

_PATIENCE = 100
"""Steps after which it is odd that nothing was heard: more than the micro-batches of one step."""


@runtime_checkable
class Weighted(Protocol):
    """Anything with a fixed weight, such as a task."""

    @property
    def weight(self) -> float:
        """The preference."""


@runtime_checkable
class Scaler(Protocol):
    """What is needed of ``torch.amp.GradScaler``."""

    def get_scale(self) -> float:
        """The present loss scale."""


def check_options(heads: str, scale: str, nonfinite: str, every: int) -> None:
    """Raise :class:`MethodError` for a word or number that is not an option."""
    for what, given, options in (
        ("heads policy", heads, ("auto", "plain", "weighted", "transformed", "none")),
        ("scale", scale, ("native", "sum_to_k", "norm_of_mean")),
        ("non-finite policy", nonfinite, ("raise", "skip")),
    ):
        if given not in options:
            raise MethodError(unknown(what, given, options))
    if every < 1:
        raise MethodError(f"every must be a whole number of steps, at least 1; found {every}")


def check_task_weights(weights: Mapping[str, float], tasks: Sequence[str] | None) -> None:
    """Raise :class:`MethodError` for a weight that is not positive, or of a task that does not exist."""
    bad = {name: weight for name, weight in weights.items() if not (np.isfinite(weight) and weight > 0)}
    if bad:
        raise MethodError(f"task weights must be positive and finite, found {bad}; to drop a task, leave it out")
    for task in weights:
        if tasks is not None and task not in tasks:
            raise MethodError(unknown("task in task_weights", task, tasks))


def check_needs(method: Method, source: GradientSource, scale: str, every: int) -> None:
    """Raise :class:`MethodError` where a method needs what the engine was not told to give, and say what would work."""
    name = type(method).__name__
    if scale == "norm_of_mean" and isinstance(method, LossMethod):
        raise MethodError(
            f"{setting('scale', 'norm_of_mean')} needs gradients, and {name} looks at losses only; use "
            f"{setting('scale', 'sum_to_k')}"
        )
    if TWIN_BATCH in method.asks and not isinstance(method, GramianMethod):
        raise MethodError(f"{name} asks for two batches, which only methods on Gramians get: make it a GramianMethod")
    if TWIN_BATCH in method.asks and not isinstance(source, ParameterSource):
        raise MethodError(
            f"{name} compares the gradients of two batches and needs their rows: use "
            f"{setting('grads', 'params')} without low_memory"
        )
    if isinstance(method, PenaltyMethod):
        _check_penalty(name, source, scale, every)
    if isinstance(method, JacobianMethod):
        if not source.has_coordinates:
            raise MethodError(
                f"{name} mixes coordinates and needs their rows: use {setting('grads', 'params')} or 'features'"
            )
        if method.needs == "features" and not isinstance(source, FeatureSource):
            raise MethodError(f"{name} works on features: set grads='features' and pass features=z to backward()")
        if every > 1 or scale != "native":
            raise MethodError(f"{name} gives a gradient, not weights: every and scale do not apply to it")


def _check_penalty(name: str, source: GradientSource, scale: str, every: int) -> None:
    if not isinstance(source, PenaltySource):
        raise MethodError(
            f"{name} differentiates the tasks' gradients again: use grads='params' (without low_memory or row_dtype) "
            "or, for less time and memory, some parameters, as in grads=last_shared_block.parameters()"
        )
    if every > 1 or scale != "native":
        raise MethodError(f"{name} adds to the loss and gives no weights: every and scale do not apply to it")


def check_processes(method: Method, *, alike: bool) -> None:
    """Raise :class:`MethodError` where several processes train together and their steps would not be ``alike``.

    Only a fixed weighted sum of the losses is the same in every process whatever its part of the batch, and goes
    through the one backward pass that ``DistributedDataParallel`` averages over processes.
    """
    if alike or not (distributed.is_available() and distributed.is_initialized()):
        return
    count = distributed.get_world_size()
    if count > 1:
        raise MethodError(
            f"{count} processes train together, and {type(method).__name__} with these options would weigh the tasks "
            "in each of them by its own part of the batch, so that their models drift apart; use 'equal' or "
            "'static' without task weights, heads= and scale=, or train in one process"
        )


def heads_of(method: Method, heads: Literal["auto"] | Heads) -> Heads:
    """The policy meant; ``"auto"`` is what the method declares, which is what was published.

    Raises:
        MethodError: ``"transformed"`` is asked of a method that transforms no loss.
    """
    if heads == "transformed" and type(method).loss_slopes is Method.loss_slopes:
        raise MethodError(
            f"heads='transformed' gives the parameters of one task the gradient of the loss as the method transforms "
            f"it (db_mtl its logarithm, imtl its learned scale), and {type(method).__name__} takes losses as they are; "
            "use 'plain', 'weighted' or 'none'"
        )
    return method.heads if heads == "auto" else heads


def check_batches(
    method: Method,
    source: GradientSource,
    twin: Mapping[str, Tensor | None] | None,
    judge: Mapping[str, Tensor] | None,
) -> None:
    """Raise :class:`MethodError` for a second batch that is missing, or that nobody asked for."""
    name = type(method).__name__
    if TWIN_BATCH in method.asks and twin is None:
        raise MethodError(TWIN_BATCH.refusal(name, "this step does not have"))
    if twin is not None and TWIN_BATCH not in method.asks:
        raise MethodError(f"{name} looks at one batch: leave twin= out and average the losses over all rows")
    if judge is not None and not isinstance(source, SubBatchSource):
        raise MethodError(
            "judge= holds losses on part of the batch, which only grads='sub_batch' looks at; leave it out"
        )


def check_heard(method: Method, steps: int) -> None:
    """Warn of a method that learns from the losses after the step, and was never told any."""
    if steps == _PATIENCE and LOSSES_AFTER_STEP in method.asks:
        said = LOSSES_AFTER_STEP.refusal(type(method).__name__, f"it never got in {steps} steps, and it learns nothing")
        warnings.warn(said, stacklevel=3)


def check_real(leaves: Sequence[Tensor], method: Method) -> None:
    """Raise :class:`MethodError` for complex numbers where inner products of gradients are taken."""
    found = next((leaf for leaf in leaves if leaf.is_complex()), None)
    if found is not None:
        raise MethodError(
            f"{type(method).__name__} compares gradients as real vectors, and a shared tensor of shape "
            f"{tuple(found.shape)} is {found.dtype}: keep it as real and imaginary parts and use torch.view_as_complex "
            "in the forward pass, or use a method that looks at losses only"
        )


def working(scaler: Scaler | None, losses: Mapping[str, Tensor | None]) -> Scaler | None:
    """The scaler, if it scales: one that is switched off is none, and a fresh one is made ready on the losses' device.

    A :class:`torch.amp.GradScaler` waits for a tensor to scale before it knows where to live.
    """
    if not isinstance(scaler, torch.amp.GradScaler):
        return scaler
    if not scaler.is_enabled():
        return None
    for loss in losses.values():
        if isinstance(loss, Tensor):
            scaler.scale(torch.zeros((), device=loss.device))
            break
    return scaler


def refuse_windows() -> Never:
    """Raise :class:`MethodError` for a window of micro-batches that cannot be gathered."""
    raise MethodError(
        "accumulate() needs grads='params' (without low_memory) and a method that looks at one batch: anything else "
        "would have to keep the graphs of all micro-batches; call backward() for each of them instead"
    )
