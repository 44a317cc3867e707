"""The tasks' gradients as rows of one reused buffer: filled by autograd, read as a Gramian, mixed into one gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balance.contract.method import Block

__all__ = ["GradientRows", "Mix"]

Mix = Callable[[Block], Float[Tensor, "P"]]
"""From the tasks' rows to the combined gradient."""

_SMALLEST = 1e-30
"""Squared norms below this lose digits to float32 underflow; such Gramians are computed again in float64."""
_CHUNK = 1 << 20
"""Columns converted at once when rows are stored in half precision."""


class GradientRows:
    """Up to K gradients with respect to the same tensors, stored as a (K, P) matrix per device and dtype.

    The matrix is kept between steps, because fresh memory of that size costs a page fault per 4 KiB on first touch.

    Args:
        tensors: What is differentiated with respect to.
        capacity: K, the largest number of rows.
        label: Prefix of the blocks' names.
        dtype: What rows are stored in; by default the tensors' dtype, and float32 for half precision.
    """

    def __init__(
        self, tensors: Sequence[Tensor], capacity: int, label: str = "", dtype: torch.dtype | None = None
    ) -> None:
        self.capacity = capacity
        self._label = label
        self._dtype = dtype
        self._keys = [(tensor.device, dtype or torch.promote_types(tensor.dtype, torch.float32)) for tensor in tensors]
        self._shapes = [tensor.shape for tensor in tensors]
        widths: dict[tuple[torch.device, torch.dtype], int] = {}
        self._slices: list[slice] = []
        for tensor, key in zip(tensors, self._keys, strict=True):
            start = widths.get(key, 0)
            widths[key] = start + tensor.numel()
            self._slices.append(slice(start, widths[key]))
        self._blocks = {
            (device, kind): torch.empty(capacity, width, device=device, dtype=kind)
            for (device, kind), width in widths.items()
        }
        self._views = self._pieces()

    def _pieces(self) -> list[list[Tensor]]:
        """Views of the blocks: for every row, one per tensor."""
        places = list(zip(self._keys, self._slices, self._shapes, strict=True))
        return [
            [self._blocks[key][row, part].view(shape) for key, part, shape in places] for row in range(self.capacity)
        ]

    def __getstate__(self) -> dict[str, Any]:
        """Without the views, which would be tensors of their own after pickling."""
        return {name: value for name, value in vars(self).items() if name != "_views"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._views = self._pieces()

    @property
    def nbytes(self) -> int:
        """Size of the buffer in bytes."""
        return sum(block.nbytes for block in self._blocks.values())

    def fits(self, tensors: Sequence[Tensor], tasks: int) -> bool:
        """Whether this buffer can hold ``tasks`` gradients of ``tensors``."""
        return (
            tasks <= self.capacity
            and len(tensors) == len(self._keys)
            and all(tensor.shape == shape for tensor, shape in zip(tensors, self._shapes, strict=True))
            and all(tensor.device == key[0] for tensor, key in zip(tensors, self._keys, strict=True))
        )

    def write(self, row: int, gradients: Sequence[Tensor | None], *, add: bool = False) -> None:
        """Store (or add) one task's gradients; ``None`` (not reached) is a zero block."""
        dense: list[tuple[Tensor, Tensor]] = []
        for view, gradient in zip(self._views[row], gradients, strict=True):
            if gradient is None:
                if not add:
                    view.zero_()
            elif gradient.is_sparse:
                (view if add else view.zero_()).add_(gradient)
            else:
                dense.append((view, gradient))
        if dense:
            views, given = map(list, zip(*dense, strict=True))
            (torch._foreach_add_ if add else torch._foreach_copy_)(views, given)

    def row(self, index: int) -> list[Tensor]:
        """One task's gradients, one per tensor and in its shape; views of the buffer."""
        return self._views[index]

    def gramian(self, count: int) -> Float[np.ndarray, "K K"]:
        """Inner products of the first ``count`` rows, as float64; a row that is not finite gives non-finite entries."""
        total = np.zeros((count, count))
        for (_, kind), block in self._blocks.items():
            inner = _inner(block[:count], torch.promote_types(kind, torch.float32))
            if kind != torch.float64 and _out_of_range(np.diag(inner)):
                inner = _inner(block[:count], torch.float64)
            total += inner
        return (total + total.T) / 2

    def blocks(
        self, rows: Sequence[int], values: Sequence[Tensor] | None = None, tensors: Sequence[Tensor] = ()
    ) -> Iterator[Block]:
        """The rows named, one block per device and dtype; a view where they are the first ones.

        Args:
            rows: Positions of the rows that take part.
            values: The original tensors' values, for methods that look at features.
            tensors: The original tensors, for methods that treat them differently.
        """
        chosen = list(rows)
        whole = chosen == list(range(len(chosen)))
        for key, block in self._blocks.items():
            inside = [i for i, other in enumerate(self._keys) if other == key]
            flat = None if values is None else torch.cat([values[i].detach().flatten() for i in inside])
            yield Block(
                name=f"{self._label}{key[0]}:{str(key[1]).removeprefix('torch.')}",
                rows=block[: len(chosen)] if whole else block[chosen],
                slices=tuple(self._slices[i] for i in inside),
                values=flat,
                batch=1 if values is None else values[inside[0]].shape[0],
                tensors=tuple(tensors[i] for i in inside) if tensors else (),
            )

    def mix(
        self,
        mix: Mix,
        rows: Sequence[int],
        values: Sequence[Tensor] | None = None,
        tensors: Sequence[Tensor] = (),
    ) -> list[Tensor]:
        """The combined gradient of the rows named, one tensor per original tensor and in its shape.

        Args:
            mix: From a block of rows to one gradient.
            rows: As for :meth:`blocks`.
            values: As for :meth:`blocks`.
            tensors: As for :meth:`blocks`.
        """
        mixed = dict(zip(self._blocks, map(mix, self.blocks(rows, values, tensors)), strict=True))
        return [
            mixed[key][part].view(shape)
            for key, part, shape in zip(self._keys, self._slices, self._shapes, strict=True)
        ]


def _inner(rows: Tensor, dtype: torch.dtype) -> Float[np.ndarray, "K K"]:
    """rows·rowsᵀ computed in ``dtype``; a narrower storage is converted piece by piece."""
    if rows.dtype == dtype:
        product = rows @ rows.T
    else:
        product = torch.zeros(len(rows), len(rows), dtype=dtype, device=rows.device)
        for piece in rows.split(_CHUNK, dim=1):
            wide = piece.to(dtype)
            product += wide @ wide.T
    return product.double().cpu().numpy()


def _out_of_range(squared_norms: Float[np.ndarray, "K"]) -> bool:
    return bool(((squared_norms < _SMALLEST) | ~np.isfinite(squared_norms)).any())
