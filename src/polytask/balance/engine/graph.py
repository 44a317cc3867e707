"""The autograd graph of losses: which leaves they reach, where it hides some, and how to cut it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torch.autograd.graph import get_gradient_edge

__all__ = ["COMPILED", "Walk", "cut_at", "entangled", "reached", "walked"]

COMPILED = "CompiledFunctionBackward"
"""Name of the nodes that ``torch.compile`` makes; there is one class of this name per compiled graph."""
_REENTRANT = "CheckpointFunctionBackward"


def reached(*outputs: Tensor, past: Sequence[Tensor] = ()) -> dict[int, Tensor]:
    """Leaf tensors that receive a gradient from any of ``outputs``, by ``id``, in the order a walk meets them.

    Args:
        *outputs: Tensors with an autograd graph.
        past: Tensors the walk does not go through, to find only what is reached past them.

    Returns:
        Every reached leaf that requires a gradient.

    Examples:
        >>> import torch
        >>> a, b = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
        >>> list(reached((a * 2).sum())) == [id(a)]
        True
    """
    return walked(*outputs, past=past).leaves


class Walk(NamedTuple):
    """What was met on the way through a graph.

    Attributes:
        leaves: Leaf tensors that receive a gradient, by ``id``, in the order they were met.
        kinds: Names of the kinds of nodes.
    """

    leaves: dict[int, Tensor]
    kinds: set[str]

    @property
    def hides(self) -> bool:
        """Whether a part of the graph was checkpointed in the reentrant way, which hides leaves."""
        return _REENTRANT in self.kinds

    @property
    def compiled(self) -> bool:
        """Whether a part of the graph is a compiled function."""
        return COMPILED in self.kinds


def walked(*outputs: Tensor, past: Sequence[Tensor] = ()) -> Walk:
    """As :func:`reached`, and what kinds of nodes there are."""
    cut = {(edge.node, edge.output_nr) for edge in map(get_gradient_edge, past)}
    found = {id(tensor): tensor for tensor in outputs if tensor.grad_fn is None and tensor.requires_grad}
    stack: list[Any] = [
        tensor.grad_fn
        for tensor in outputs
        if tensor.grad_fn is not None and (not cut or (tensor.grad_fn, tensor.output_nr) not in cut)
    ]
    seen: set[Any] = {None, *stack}  # where a gradient is not wanted, the next node is None
    while stack:  # goes through every node of every step: a few operations more would show
        node = stack.pop()
        edges = node.next_functions
        if not edges:
            leaf = getattr(node, "variable", None)
            if leaf is not None:
                found[id(leaf)] = leaf
        for following, output in edges:
            if following not in seen and not (cut and (following, output) in cut):
                seen.add(following)
                stack.append(following)
    return Walk(found, {kind.__name__ for kind in set(map(type, seen))})


@contextlib.contextmanager
def cut_at(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Let no gradient through these tensors, although theirs can be asked for.

    A gradient with respect to a parameter is then what reaches it past them, and one with respect to each of them is
    what does not come through another one.
    """
    edges = [get_gradient_edge(tensor) for tensor in tensors if tensor.grad_fn is not None]
    handles = [edge.node.register_prehook(functools.partial(_without, edge.output_nr)) for edge in edges]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _without(output: int, gradients: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """The gradients that enter a node, but for one; no gradient costs less than zeros and cannot become NaN."""
    return (*gradients[:output], None, *gradients[output + 1 :])


def entangled(losses: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """Two tasks that are different outputs of one compiled function, if there are such.

    Such a function is one node of the graph: every task seems to reach every parameter inside it, heads included.
    """
    entries: dict[object, tuple[int, str]] = {}
    for task, loss in losses.items():
        for node, output in _edges(loss):
            if type(node).__name__.startswith("CompiledFunction"):
                first_output, first_task = entries.setdefault(node, (output, task))
                if first_output != output and first_task != task:
                    return first_task, task
    return None


def _edges(loss: Tensor) -> Iterator[tuple[Any, int]]:
    """Every node of the graph with every output of it that the loss depends on."""
    stack: list[tuple[Any, int]] = [(loss.grad_fn, loss.output_nr)] if loss.grad_fn is not None else []
    seen = set(stack)
    while stack:
        edge = stack.pop()
        yield edge
        for following in edge[0].next_functions:
            if following[0] is not None and following not in seen:
                seen.add(following)
                stack.append(following)
