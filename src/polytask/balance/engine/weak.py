"""Parameters that are remembered but not kept alive."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Generic, TypeVar, final

from torch import Tensor
from torch.utils.weak import TensorWeakRef

__all__ = ["WeakTensors"]

K = TypeVar("K", bound=Hashable)


@final
class WeakTensors(Generic[K]):
    """A mapping to tensors, in the order they came; one that nobody else holds is forgotten.

    An ``id`` comes again after its tensor has gone, so compare the tensor that is got with the one that is meant.

    Args:
        tensors: The first entries.

    Attributes:
        count: The number of entries there ever were.

    Examples:
        >>> import torch
        >>> kept = torch.ones(2)
        >>> list(WeakTensors({"kept": kept, "gone": torch.ones(3)}).alive())
        ['kept']
    """

    def __init__(self, tensors: Mapping[K, Tensor] | None = None) -> None:
        self.count = 0
        self._references: dict[K, TensorWeakRef] = {}
        self.update(tensors or {})

    def update(self, tensors: Mapping[K, Tensor]) -> None:
        """Add or replace entries."""
        for key, tensor in tensors.items():
            if self.get(key) is not tensor:
                self._references.pop(key, None)
                self._references[key] = TensorWeakRef(tensor)
                self.count += 1

    def get(self, key: K) -> Tensor | None:
        """The tensor, if there was one and it still exists."""
        reference = self._references.get(key)
        found: Tensor | None = None if reference is None else reference()
        return found

    def holds(self, tensors: Mapping[K, Tensor]) -> bool:
        """Whether each of these tensors, which the caller holds, is the entry under its key."""
        references = self._references
        for key, tensor in tensors.items():
            reference = references.get(key)
            # .ref() is what is referred to, as it is; a tensor that is to be used has to come from reference()
            if reference is None or reference.ref() is not tensor:
                return False
        return True

    def alive(self) -> dict[K, Tensor]:
        """The entries that still exist."""
        found = {key: reference() for key, reference in self._references.items()}
        for key, tensor in found.items():
            if tensor is None:
                del self._references[key]
        return {key: tensor for key, tensor in found.items() if tensor is not None}

    def __len__(self) -> int:
        return len(self.alive())

    def __bool__(self) -> bool:
        return any(reference() is not None for reference in self._references.values())

    def __getstate__(self) -> dict[str, Any]:
        """The tensors themselves: a copy made together with the model then refers to the copied model's parameters."""
        alive = self.alive()
        return {"count": self.count, "keys": list(alive), "tensors": list(alive.values())}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        references = zip(state["keys"], map(TensorWeakRef, state["tensors"]), strict=True)
        self.count, self._references = state["count"], dict(references)
