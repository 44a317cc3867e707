"""What the tasks of a model read in common: where ``grads="features"`` may take gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, final

from torch import Tensor

from polytask.errors import ConfigError
from polytask.remedies import setting

__all__ = ["Encoded", "Representation"]

Encoded = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
"""What ``encode`` returns: one tensor, or several, with or without names."""


@final
@dataclasses.dataclass(frozen=True)
class Representation:
    """What an architecture's ``encode`` returns, and whether gradients there say how tasks conflict.

    Gradients of two tasks have an inner product where both read the same tensor. Over several such tensors it is the
    sum of those at each: the row of a task is the concatenation of its gradients at all of them.

    Attributes:
        form: ``"one"`` tensor that all tasks read; ``"several"``, each read by two tasks or more (experts, branches,
            levels of a pyramid); one ``"per_task"``, which nobody else reads; ``"nothing"`` is shared.
        why: What makes the tasks share no tensor, for the last two: a clause that ends the message of refusal.

    Raises:
        ValueError: Nothing is shared and no reason is given.

    Examples:
        >>> Representation("per_task", "units mix the tasks' networks after every stage").check("CrossStitch")
        Traceback (most recent call last):
            ...
        polytask.errors.ConfigError: grads='features' takes gradients where several tasks read one tensor, and in \
CrossStitch every task reads a tensor of its own: units mix the tasks' networks after every stage. Use grads='params', \
which is exact
    """

    form: Literal["one", "several", "per_task", "nothing"]
    why: str = ""

    ONE: ClassVar[Representation]
    """One tensor that all tasks read."""
    SEVERAL: ClassVar[Representation]
    """Several tensors, each read by two tasks or more."""

    def __post_init__(self) -> None:
        if not self.is_shared and not self.why:
            raise ValueError(f"Representation({self.form!r}) needs a reason: why=")

    @property
    def is_shared(self) -> bool:
        """Whether there is a tensor that several tasks read."""
        return self.form in ("one", "several")

    def check(self, model: str) -> None:
        """Refuse an architecture whose tasks share no tensor.

        Args:
            model: What to call it.

        Raises:
            ConfigError: There is no such tensor; the message says why.
        """
        if not self.is_shared:
            own = "every task reads a tensor of its own" if self.form == "per_task" else "tasks share nothing"
            raise ConfigError(
                f"{setting('grads', 'features')} takes gradients where several tasks read one tensor, and in {model} "
                f"{own}: {self.why}. Use {setting('grads', 'params')}, which is exact"
            )

    def tensors(self, encoded: Encoded, model: str) -> list[Tensor]:
        """The shared tensors in what ``encode`` returned.

        Args:
            encoded: What it returned.
            model: What to call the architecture.

        Raises:
            ConfigError: It is not what the architecture says, or no tensor is shared.

        Examples:
            >>> import torch
            >>> len(Representation.SEVERAL.tensors({"low": torch.ones(2), "high": torch.ones(3)}, "Pyramid"))
            2
        """
        self.check(model)
        found = _flat(encoded)
        if not found or isinstance(encoded, Tensor) != (self.form == "one"):
            wanted = "one tensor" if self.form == "one" else "several tensors, as a dictionary or a sequence"
            raise ConfigError(
                f"{model}.encode() says that it returns {wanted}, found {type(encoded).__name__}; make it so, or "
                "declare another representation"
            )
        return found


def _flat(encoded: Any) -> list[Tensor]:
    """The tensors of a representation; none if something in it is no tensor."""
    if isinstance(encoded, Tensor):
        return [encoded]
    found = encoded.values() if isinstance(encoded, Mapping) else encoded if isinstance(encoded, Sequence) else ()
    return list(found) if all(isinstance(tensor, Tensor) for tensor in found) else []


Representation.ONE = Representation("one")
Representation.SEVERAL = Representation("several")
