"""Labels of several tasks as columns of one matrix, so that a batch takes whole rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

__all__ = ["Columns"]

MANY = 4
"""Targets of one type that are worth laying side by side."""


@final
class Columns:
    """The matrices of a source's labels: made at the first batch, and anew where labels were replaced or changed."""

    def __init__(self) -> None:
        self._matrices: list[tuple[list[str], Tensor]] = []
        self._laid_out: list[tuple[str, Tensor, int]] = []

    def of(self, targets: Mapping[str, Tensor]) -> list[tuple[list[str], Tensor]]:
        """Names and matrix (N, K) of the labels of each type of which there are several."""
        same = len(self._laid_out) == len(targets) and all(
            name == before and y is kept and _version(y) == version
            for (name, y), (before, kept, version) in zip(targets.items(), self._laid_out, strict=True)
        )
        if not same:
            alike: dict[torch.dtype, list[str]] = {}
            for name, y in targets.items():
                if y.ndim == 1 and y.is_cpu and y.layout == torch.strided and not y.requires_grad:
                    alike.setdefault(y.dtype, []).append(name)
            many = [names for names in alike.values() if len(names) >= MANY]
            self._matrices = [(names, torch.stack([targets[name] for name in names], 1)) for names in many]
            self._laid_out = [(name, y, _version(y)) for name, y in targets.items()]
        return self._matrices


def _version(tensor: Tensor) -> int:
    """Changes with every change in place, as far as that is counted."""
    return 0 if tensor.is_inference() else tensor._version
