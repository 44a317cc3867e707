"""Is a compiled graph still right when it is differentiated a second time?"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import Any, final

import torch
from torch import Tensor

from polytask.balance.engine.gradients import COMPILE_ADVICE, Step, task_gradients
from polytask.balance.engine.graph import COMPILED
from polytask.errors import MethodError

__all__ = ["CompiledGraphs"]


@final
class CompiledGraphs:
    """Every graph of ``torch.compile`` that a step passes through several times is tried out once.

    Its backward pass may reuse the memory of what the forward pass saved ("donated buffers"). PyTorch refuses a second
    pass then, unless ``torch._functorch.config.donated_buffer`` was switched off after the graph had been compiled, for
    example into the cache on disk: then a second pass reads what the first one has overwritten, without a word.
    """

    def __init__(self) -> None:
        self._tried: weakref.WeakSet[type] = weakref.WeakSet()

    def __reduce__(self) -> tuple[type[CompiledGraphs], tuple[()]]:
        """A copy has tried nothing: the classes of compiled functions cannot be copied."""
        return CompiledGraphs, ()

    def check(self, step: Step) -> None:
        """Differentiate one loss twice if it comes out of a graph that was not tried before.

        Raises:
            MethodError: The second gradient differs from the first.
        """
        tensors = step.leaves
        if not tensors or _graphs(step.losses.values()) <= set(self._tried):
            return
        for task, loss in step.losses.items():
            fresh = _graphs([loss]) - set(self._tried)
            if not fresh:
                continue
            first, second = (task_gradients(step.without_heads(), task, tensors, retain_graph=True)[0] for _ in "12")
            if not all(map(_same, first, second)):
                raise MethodError(
                    f"differentiating the loss of task {task!r} twice gives two gradients: a compiled part of the "
                    "model overwrites what it needs, because its graph was compiled (perhaps by an earlier run, into "
                    f"the cache on disk) for one backward pass only. {COMPILE_ADVICE}"
                )
            self._tried.update(fresh)


def _graphs(losses: Iterable[Tensor]) -> set[type]:
    """The classes of compiled functions in the losses' graph: there is one class per compiled graph."""
    found: set[type] = set()
    stack: list[Any] = [loss.grad_fn for loss in losses if loss.grad_fn is not None]
    seen = set(stack)
    while stack:
        node = stack.pop()
        if type(node).__name__ == COMPILED:
            found.add(type(node))
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                stack.append(following)
    return found


def _same(first: Tensor | None, second: Tensor | None) -> bool:
    """Whether two gradients agree up to rounding, which may differ on a GPU; not finite is for others to find."""
    if first is None or second is None:
        return first is second
    both: Sequence[Tensor] = [gradient.to_dense().detach() for gradient in (first, second)]
    size = both[0].abs().max() if both[0].numel() else torch.zeros(())
    close = torch.allclose(both[0], both[1], rtol=1e-2, atol=float(1e-3 * size), equal_nan=True)
    return close or not bool(torch.isfinite(both[0]).all())
