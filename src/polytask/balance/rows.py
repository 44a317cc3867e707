"""The tasks' gradients as rows of one reused buffer: filled by autograd, read as a Gramian, combined by weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["GradientRows"]

_SMALLEST = 1e-30
"""Squared norms below this lose digits to float32 underflow; such Gramians are computed again in float64."""


class GradientRows:
    """Up to K gradients with respect to the same tensors, stored as a (K, P) matrix per device and dtype.

    The matrix is kept between steps, because fresh memory of that size costs a page fault per 4 KiB on first touch.
    Half-precision gradients are stored in float32.

    Args:
        tensors: What is differentiated with respect to.
        capacity: K, the largest number of rows.
    """

    def __init__(self, tensors: Sequence[Tensor], capacity: int) -> None:
        self.capacity = capacity
        self._keys = [(tensor.device, torch.promote_types(tensor.dtype, torch.float32)) for tensor in tensors]
        self._shapes = [tensor.shape for tensor in tensors]
        widths: dict[tuple[torch.device, torch.dtype], int] = {}
        self._slices: list[slice] = []
        for tensor, key in zip(tensors, self._keys, strict=True):
            start = widths.get(key, 0)
            widths[key] = start + tensor.numel()
            self._slices.append(slice(start, widths[key]))
        self._blocks = {
            (device, dtype): torch.empty(capacity, width, device=device, dtype=dtype)
            for (device, dtype), width in widths.items()
        }
        self._views = [
            [
                self._blocks[key][row, part].view(shape)
                for key, part, shape in zip(self._keys, self._slices, self._shapes, strict=True)
            ]
            for row in range(capacity)
        ]

    def fits(self, tensors: Sequence[Tensor], tasks: int) -> bool:
        """Whether this buffer can hold ``tasks`` gradients of ``tensors``."""
        return (
            tasks <= self.capacity
            and len(tensors) == len(self._keys)
            and all(tensor.shape == shape for tensor, shape in zip(tensors, self._shapes, strict=True))
            and all(tensor.device == key[0] for tensor, key in zip(tensors, self._keys, strict=True))
        )

    def write(self, row: int, gradients: Sequence[Tensor | None]) -> None:
        """Store one task's gradients; ``None`` (not reached) is a zero block."""
        for view, gradient in zip(self._views[row], gradients, strict=True):
            if gradient is None:
                view.zero_()
            else:
                view.copy_(gradient)

    def gramian(self, count: int) -> Float[np.ndarray, "K K"]:
        """Inner products of the first ``count`` rows, as float64; a row that is not finite gives non-finite entries."""
        total = np.zeros((count, count))
        for block in self._blocks.values():
            rows = block[:count]
            inner = (rows @ rows.T).double().cpu().numpy()
            if block.dtype == torch.float32 and _out_of_range(np.diag(inner)):
                wide = rows.double()
                inner = (wide @ wide.T).cpu().numpy()
            total += inner
        return (total + total.T) / 2

    def combine(self, weights: Float[np.ndarray, "K"], rows: Sequence[int]) -> list[Tensor]:
        """Σ_k w_k·row_k over the rows named, one tensor per original tensor and in its shape."""
        chosen = list(rows)
        whole = chosen == list(range(len(chosen)))
        mixed = {
            key: torch.as_tensor(weights, dtype=block.dtype).to(block.device)
            @ (block[: len(chosen)] if whole else block[chosen])
            for key, block in self._blocks.items()
        }
        return [
            mixed[key][part].view(shape)
            for key, part, shape in zip(self._keys, self._slices, self._shapes, strict=True)
        ]


def _out_of_range(squared_norms: Float[np.ndarray, "K"]) -> bool:
    return bool(((squared_norms < _SMALLEST) | ~np.isfinite(squared_norms)).any())
