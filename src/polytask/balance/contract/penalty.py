"""Methods whose loss contains the tasks' gradients, and the evidence they need: gradients with a graph of their own."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balance.contract.method import Evidence, Method, Need, Solution
from polytask.balance.engine.gradients import Heads, Step, accumulate
from polytask.balance.engine.rows import Mix
from polytask.balance.engine.source import Array, GradientSource, Judged, judged_by
from polytask.balance.engine.weak import WeakTensors
from polytask.errors import MethodError

__all__ = ["PenaltyMethod", "PenaltySource", "differentiable_rows"]


class PenaltyMethod(Method):
    """A method that adds to the sum of the losses a term made of the tasks' gradients, and descends the total.

    The gradients are those with respect to all shared parameters, or to some of them (``grads=`` of the balancer). The
    term is differentiated once more, with respect to every parameter, heads included.
    """

    needs: ClassVar[Need] = "graph"
    heads: Heads = "weighted"

    @abc.abstractmethod
    def penalty(self, rows: Float[Tensor, "K P"]) -> Float[Tensor, ""]:
        """The term, differentiable in the tasks' gradients; a row may be zero."""

    @final
    def solve(self, evidence: Evidence) -> Solution:
        """One for every task's own loss."""
        return Solution(np.ones(evidence.size))

    @final
    def total(self, losses: Mapping[str, Tensor], parameters: Iterable[Tensor]) -> Float[Tensor, ""]:
        """Σ L_i plus the term: what the balancer descends, for a loop of one's own.

        Args:
            losses: Scalar loss per task, with a graph.
            parameters: What the gradients are taken with respect to, e.g. those of the last shared layer.

        Returns:
            A scalar with a graph.
        """
        rows = differentiable_rows(list(losses.values()), list(parameters))
        return sum((loss.reshape(()) for loss in losses.values()), self.penalty(torch.stack(rows)))


@final
class PenaltySource(GradientSource):
    """Gradients that can be differentiated again; K backward passes with a graph, then one through all of it.

    Args:
        method: Makes the term.
        tensors: What the gradients are taken with respect to; all shared parameters by default.
    """

    def __init__(self, method: PenaltyMethod, tensors: Iterable[Tensor] | None = None) -> None:
        super().__init__()
        self._method = method
        self._tensors = None if tensors is None else WeakTensors(dict(enumerate(tensors)))
        if self._tensors is not None and not self._tensors:
            raise MethodError("grads= holds no parameters; pass 'params' or at least one parameter")
        self._rows: list[Tensor] = []

    def collect(self, step: Step, features: Iterable[Tensor]) -> Judged:
        """See :class:`GradientSource`."""
        tensors = step.shared if self._tensors is None else judged_by(self._tensors)
        with _differentiating_twice(self._method):
            self._rows = differentiable_rows(list(step.losses.values()), tensors, step.loss_scale)
            _refuse_dead_ends(self._rows)
        exact = torch.stack([row.detach().double() for row in self._rows])
        return step.tasks, (exact @ exact.T).cpu().numpy()

    def apply(self, step: Step, mix: Mix, weights: Float[Array, "K"], rows: Sequence[int]) -> int:
        """Add the total's gradient to ``.grad`` of all parameters, under the heads policy; see :class:`GradientSource`.

        Raises:
            MethodError: A part of the model cannot be differentiated twice.
            NonFiniteError: The term or its gradient is not finite.
        """
        part = step.keep(rows)
        own = {id(tensor): tensor for task in part.tasks for tensor in part.own[task] if part.heads != "none"}
        plain = part.heads == "plain" and not (weights == 1.0).all()
        groups = [(list(part.shared) + ([] if plain else list(own.values())), weights)]
        if plain:
            groups.append((list(own.values()), np.ones(len(weights))))
        found: list[tuple[Tensor, Tensor]] = []
        with _differentiating_twice(self._method):
            # A factor on all losses (mixed precision) is taken out of what the method sees, and put back afterwards.
            # Rows of tasks that take no part stay out of the graph, where a zero times an infinity is not a number.
            seen = [self._rows[row] for row in rows if self._rows[row].detach().any()]
            term = self._method.penalty(torch.stack(seen) / part.loss_scale) if seen else torch.zeros(())
            for position, (tensors, factors) in enumerate(groups):
                more = part.retain_graph or position < len(groups) - 1
                gradients = _gradients(part, term, tensors, factors, retain_graph=more)
                found += [(a, b) for a, b in zip(tensors, gradients, strict=True) if b is not None]
        for tensor, gradient in found:
            accumulate(tensor, gradient)
        return len(groups)

    def release(self) -> None:
        """See :class:`GradientSource`; drops the graph."""
        super().release()
        self._rows = []


def differentiable_rows(losses: Sequence[Tensor], tensors: Sequence[Tensor], loss_scale: float = 1.0) -> list[Tensor]:
    """The losses' gradients as vectors with a graph, one per loss; zeros where a loss does not reach.

    Args:
        losses: Scalars with a graph, which is kept.
        tensors: What is differentiated with respect to.
        loss_scale: Factor on every loss.
    """
    rows = []
    for loss in losses:
        # The seed asks for a gradient only so that functions without a second derivative leave a trace in the graph.
        seed = torch.full_like(loss, loss_scale).requires_grad_()
        found = torch.autograd.grad(loss, tensors, seed, create_graph=True, allow_unused=True) if tensors else ()
        parts = [torch.zeros_like(t) if g is None else g for t, g in zip(tensors, found, strict=True)]
        flat = [part.flatten().to(loss.device, torch.promote_types(part.dtype, torch.float32)) for part in parts]
        rows.append(torch.cat(flat) if flat else loss.new_zeros(0))
    return rows


def _gradients(
    step: Step, term: Tensor, tensors: Sequence[Tensor], factors: Float[Array, "K"], *, retain_graph: bool
) -> Sequence[Tensor | None]:
    """Gradient of Σ factor·L + term, times the loss scale; ``None`` where nothing reaches."""
    if not tensors:
        return ()
    outputs = list(step.losses.values())
    seeds = [torch.full_like(loss, f * step.loss_scale) for loss, f in zip(outputs, factors.tolist(), strict=True)]
    if term.requires_grad:  # it does not without a pair of tasks
        outputs, seeds = [*outputs, term], [*seeds, torch.full_like(term, step.loss_scale)]
    return torch.autograd.grad(outputs, tensors, seeds, retain_graph=retain_graph, allow_unused=True)


def _refuse_dead_ends(rows: Sequence[Tensor]) -> None:
    """Raise ``RuntimeError`` for functions without a second derivative, which autograd would take for constants."""
    stack = [row.grad_fn for row in rows if row.grad_fn is not None]
    seen = set(stack)
    while stack:
        node = stack.pop()
        if type(node).__name__ == "Error":
            raise RuntimeError("it has a function whose backward is once_differentiable")
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                stack.append(following)


@contextlib.contextmanager
def _differentiating_twice(method: Method) -> Iterator[None]:
    """Say what to do where autograd cannot differentiate a second time."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise MethodError(
            f"{type(method).__name__} differentiates the tasks' gradients again, which a part of this model does not "
            f"allow: {str(error).splitlines()[0]}. Leave the model uncompiled, checkpoint with use_reentrant=False and "
            "use attention of torch.nn.attention.SDPBackend.MATH; gcs, pcgrad and upgrad need first derivatives only"
        ) from error
