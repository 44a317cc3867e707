"""What a balancer is told, checked once, before the first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from polytask.balance.method import JacobianMethod, LossMethod, Method
from polytask.balance.sources import FeatureSource, GradientSource
from polytask.errors import MethodError, unknown

__all__ = ["check_needs", "check_options", "check_task_weights"]


def check_options(heads: str, scale: str, nonfinite: str, every: int) -> None:
    """Raise :class:`MethodError` for a word or number that is not an option."""
    for what, given, options in (
        ("heads policy", heads, ("auto", "plain", "weighted", "none")),
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
            f"scale='norm_of_mean' needs gradients, and {name} looks at losses only; use scale='sum_to_k'"
        )
    if isinstance(method, JacobianMethod):
        if not source.has_coordinates:
            raise MethodError(f"{name} mixes coordinates and needs their rows: use grads='params' or 'features'")
        if method.needs == "features" and not isinstance(source, FeatureSource):
            raise MethodError(f"{name} works on features: set grads='features' and pass features=z to backward()")
        if every > 1 or scale != "native":
            raise MethodError(f"{name} gives a gradient, not weights: every= and scale= do not apply to it")
