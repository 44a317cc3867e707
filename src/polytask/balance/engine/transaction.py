"""All gradients of a step reach ``.grad``, finite, or none does."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import final

import torch
from torch import Tensor

__all__ = ["BrokenGradientError", "Transaction", "all_finite", "entries"]


class BrokenGradientError(Exception):
    """Gradients that are not finite; never leaves the balancer.

    Attributes:
        leaves: The parameters they belong to.
    """

    def __init__(self, leaves: Sequence[Tensor]) -> None:
        super().__init__("gradients that are not finite")
        self.leaves = list(leaves)


@final
class Transaction:
    """A block of code in which ``.grad`` starts empty; what it held before comes back, with the block's added to it.

    After an exception, and without :meth:`settle`, ``.grad`` is as it was before. Hooks of
    ``register_post_accumulate_grad_hook`` run at the end, once, and only then: such a hook may step an optimizer.

    Args:
        leaves: Everything whose ``.grad`` the block may write.
        aside: Those of them whose gradient, where it is not finite, is left out instead of failing the block.

    Examples:
        >>> p = torch.ones(2, requires_grad=True)
        >>> with Transaction([p]) as transaction:
        ...     (p * 3).sum().backward()
        ...     transaction.settle()
        >>> p.grad
        tensor([3., 3.])
        >>> with Transaction([p]) as transaction:
        ...     (p - 1).sqrt().sum().backward()
        ...     transaction.settle()
        Traceback (most recent call last):
            ...
        polytask.balance.engine.transaction.BrokenGradientError: gradients that are not finite
        >>> p.grad
        tensor([3., 3.])
    """

    def __init__(self, leaves: Iterable[Tensor], aside: Iterable[Tensor] = ()) -> None:
        self._leaves = list({id(leaf): leaf for leaf in leaves}.values())
        self._aside = {id(leaf) for leaf in aside}
        self._before: list[tuple[Tensor, Tensor]] = []
        self._hooks: list[tuple[Tensor, dict[int, Callable[[Tensor], None]]]] = []
        self._settled = False

    def __enter__(self) -> Transaction:
        for leaf in self._leaves:
            if leaf.grad is not None:
                self._before.append((leaf, leaf.grad))
                leaf.grad = None
            hooks = leaf._post_accumulate_grad_hooks
            if hooks:
                self._hooks.append((leaf, dict(hooks)))
                hooks.clear()  # in place: PyTorch holds on to this dictionary
        return self

    def settle(self) -> None:
        """Add what ``.grad`` held before the block to what it holds now; nothing may be written after this.

        Raises:
            BrokenGradientError: A gradient, or a sum, is not finite.
        """
        if self._before:
            self._add_before()
        if not all_finite([leaf.grad for leaf in self._leaves]):
            broken = [leaf for leaf in self._leaves if not all_finite([leaf.grad])]
            if any(id(leaf) not in self._aside for leaf in broken):
                raise BrokenGradientError([leaf for leaf in broken if id(leaf) not in self._aside])
            self._leave_out(broken)
        self._settled = True

    @torch.no_grad()
    def _add_before(self) -> None:
        for leaf, before in self._before:
            if leaf.grad is None:
                continue
            if leaf.grad.layout == torch.strided:
                leaf.grad.add_(before)  # which may be sparse
            else:
                leaf.grad = before + leaf.grad

    def _leave_out(self, broken: Sequence[Tensor]) -> None:
        """No parameter depends on these gradients, so the step can go on; they are as if they had not been asked."""
        warnings.warn(
            f"the gradient of {len(broken)} leaf tensor{'s' if len(broken) > 1 else ''} that is no nn.Parameter, of "
            f"shape {', '.join(str(tuple(leaf.shape)) for leaf in broken[:3])}, is not finite and was left out of "
            ".grad; all parameters' gradients are finite. Make it an nn.Parameter, or pass shared=, if it is trained",
            stacklevel=2,
        )
        for leaf in broken:
            leaf.grad = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        keep = kind is None and self._settled
        if not keep:
            for leaf in self._leaves:
                leaf.grad = None
        touched = [leaf for leaf, _ in self._hooks if leaf.grad is not None]
        for leaf, before in self._before:
            _put_back(leaf, before)
        for leaf, hooks in self._hooks:
            leaf._post_accumulate_grad_hooks.update(hooks)
        if keep:
            for leaf in touched:
                for hook in list(leaf._post_accumulate_grad_hooks.values()):
                    hook(leaf)


@torch.no_grad()
def _put_back(leaf: Tensor, before: Tensor) -> None:
    """``.grad`` is the tensor it was, which others may refer to, with the new values; sparse ones are replaced."""
    if leaf.grad is None:
        leaf.grad = before
    elif before.layout == torch.strided:
        before.copy_(leaf.grad)
        leaf.grad = before


def all_finite(tensors: Sequence[Tensor | None]) -> bool:
    """Whether no entry is NaN or infinite; the tensors must be the caller's own, without overlaps.

    One pass over all of them, through the function that ``torch.amp.GradScaler`` uses (with a factor of one): several
    times faster than ``isfinite``, and one transfer to the host.
    """
    given = [tensor for tensor in tensors if tensor is not None]
    if not given:
        return True
    found = torch.zeros((), device=given[0].device)
    try:
        torch._amp_foreach_non_finite_check_and_unscale_(given, found, _one(found.device))
        return not found.item()
    except (AttributeError, NotImplementedError, RuntimeError):  # sparse, complex, on several devices
        return all(bool(torch.isfinite(entries(tensor)).all()) for tensor in given)


@functools.lru_cache(maxsize=16)
def _one(device: torch.device) -> Tensor:
    return torch.ones((), device=device)


def entries(tensor: Tensor) -> Tensor:
    """All entries of a tensor that may be sparse."""
    return tensor.coalesce().values() if tensor.layout == torch.sparse_coo else tensor
