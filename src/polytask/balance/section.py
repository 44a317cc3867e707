"""``[method]`` of the configuration, which declares the engine's options for all that pass them on."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
from pydantic import ConfigDict, Field

__all__ = ["ENGINE_OPTIONS", "MethodSection"]


class MethodSection(pydantic.BaseModel):
    """``[method]``: the balancing method of ``polytask train``, and the engine's options for every method.

    Attributes:
        name: Registry name of the method; further keys of the section are this method's own options.
        grads: Gradient evidence, ``"params"`` (exact) or ``"features"`` (at the shared representation).
        every: Steps between two recomputations of the weights.
        low_memory: Exact gradients with one task's at a time in memory, for more backward passes.
        heads: Rule for the parameters of one task.
        scale: Convention for the size of the weights.
        nonfinite: What a NaN or infinite loss does.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = "equal"
    grads: Literal["params", "features"] | None = None
    every: Annotated[int, Field(ge=1)] | None = None
    low_memory: bool | None = None
    heads: Literal["auto", "plain", "weighted", "transformed", "none"] | None = None
    scale: Literal["native", "sum_to_k", "norm_of_mean"] | None = None
    nonfinite: Literal["raise", "skip"] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The method's own options."""
        return dict(self.model_extra or {})

    @property
    def engine(self) -> dict[str, Any]:
        """The engine's options that are set, as keyword arguments of :class:`~polytask.balance.Balancer`."""
        values = {key: getattr(self, key) for key in ENGINE_OPTIONS}
        return {key: value for key, value in values.items() if value is not None}


ENGINE_OPTIONS = tuple(key for key in MethodSection.model_fields if key != "name")
"""Options of :class:`~polytask.balance.Balancer` that a configuration and a study may set for all methods."""
