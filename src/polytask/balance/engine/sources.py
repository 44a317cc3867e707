"""The two main sources of gradient evidence, and the choice among all: shared parameters, representation, or less.

A source is an axis of its own, orthogonal to the method.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balance.contract.evidence import Block
from polytask.balance.contract.method import Method
from polytask.balance.contract.penalty import PenaltyMethod, PenaltySource
from polytask.balance.engine.aliases import Aliases, through_heads
from polytask.balance.engine.cheap_sources import LowMemorySource, SubBatchSource, SubsetSource
from polytask.balance.engine.combination import weighted
from polytask.balance.engine.gradients import Step, in_words
from polytask.balance.engine.graph import cut_at, reached
from polytask.balance.engine.rows import GradientRows, Mix
from polytask.balance.engine.source import Array, GradientSource, Judged, add_to, fitting
from polytask.errors import MethodError, unknown
from polytask.remedies import setting

__all__ = ["FeatureSource", "Features", "ParameterSource", "feature_tensors", "source_of"]

Features = Tensor | Sequence[Tensor] | Mapping[str, Tensor] | Aliases
"""What the heads read: one tensor, or several, with or without names."""


@final
class ParameterSource(GradientSource):
    """Exact gradients with respect to every shared parameter: K backward passes, K·P numbers.

    Several micro-batches can be gathered before the combination is asked for: rows add up by task.

    Args:
        row_dtype: What rows are stored in; the parameters' dtype by default.
    """

    has_coordinates = True
    passes_again = False

    def __init__(self, row_dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self._rows: GradientRows | None = None
        self._row_dtype = row_dtype
        self._window: dict[str, int] = {}
        self._shared: list[Tensor] = []

    def collect(self, step: Step, features: Iterable[Tensor]) -> Judged:
        """See :class:`GradientSource`; with a window open, over everything gathered since it was opened.

        With a twin, the inner products of 2K rows: the first batch's, then the twin's.
        """
        if step.twin is None:
            apart = through_heads(step, features) if isinstance(features, Aliases) and not self._window else None
            rows = self.gather(step) if apart is None else self._go_on(step, features, *apart)
            return tuple(self._window), rows.gramian(len(self._window))
        # Both batches may share a graph (one forward pass for both), so the first one's is kept.
        rows = self.gather(dataclasses.replace(step, retain_graph=True), capacity=2 * len(step.tasks))
        second = dataclasses.replace(step, losses=step.twin)
        self._fill(second, [(rows, step.shared)], retain_graph=step.retain_graph, first=len(step.tasks))
        return step.tasks, rows.gramian(2 * len(step.tasks))

    def _go_on(
        self,
        step: Step,
        features: Iterable[Tensor],
        rows: Mapping[str, Tensor],
        own: Mapping[str, Sequence[Tensor | None]],
    ) -> GradientRows:
        """From every task's gradient by the representation to that by the shared parameters, one pass for each."""
        (z,) = features
        self._rows = fitting(self._rows, step.shared, len(step.tasks), dtype=self._row_dtype)
        for row, task in enumerate(step.tasks):
            keep = step.retain_graph or row < len(step.tasks) - 1
            with in_words():
                gradients = (
                    torch.autograd.grad(z, step.shared, rows[task], retain_graph=keep, allow_unused=True)
                    if step.shared
                    else ()
                )
            self._rows.write(row, gradients)
            self._window[task] = row
            self._keep_own(step, task, own[task])
        self.passes = 1 + len(step.tasks)
        return self._rows

    def __getstate__(self) -> dict[str, Any]:
        """Rows are scratch, but for those of an open window."""
        return vars(self) | ({} if self._window else {"_rows": None})

    def gather(self, step: Step, capacity: int = 0) -> GradientRows:
        """Add one micro-batch's gradients to the open window, or open one for ``capacity`` tasks or more."""
        if not self._window:
            self._shared = list(step.shared)
            self._rows = fitting(self._rows, step.shared, max(capacity, len(step.tasks)), dtype=self._row_dtype)
        assert self._rows is not None
        same = list(map(id, step.shared)) == list(map(id, self._shared))
        if not same or len({*self._window, *step.tasks}) > self._rows.capacity:
            raise MethodError(
                "a task or shared parameter came up for the first time inside an accumulation window; let "
                "balancer.prepare(outputs) see every task's output once before training"
            )
        self._fill(step, [(self._rows, step.shared)], retain_graph=step.retain_graph, window=self._window)
        return self._rows

    def blocks(self, step: Step, rows: Sequence[int]) -> Iterable[Block]:
        """See :class:`GradientSource`."""
        assert self._rows is not None
        return self._rows.blocks(rows, tensors=step.shared)

    def apply(self, step: Step, mix: Mix, weights: Float[Array, "K"], rows: Sequence[int]) -> int:
        """See :class:`GradientSource`."""
        assert self._rows is not None
        if step.twin is not None:
            mix, rows = weighted(np.tile(weights, 2)), [*rows, *(len(step.tasks) + row for row in rows)]
        _add(step.shared, self._rows.mix(mix, rows, tensors=step.shared))
        return 0

    def release(self) -> None:
        """See :class:`GradientSource`; also closes the window."""
        super().release()
        self._window, self._shared = {}, []


@final
class FeatureSource(GradientSource):
    """Gradients at the shared representation: K passes through the heads, or one with aliases; one through the trunk.

    The representation is one tensor or several; of several, a task's row holds its gradients at all of them, so that
    inner products are sums over them. Shared parameters that a loss reaches past the features (an output matrix tied to
    the embedding, a head that also reads an earlier layer) get the weighted sum of what comes to them that way, too,
    and parameters of one task below the features get that task's own gradient, so that ``.grad`` is complete.
    """

    has_coordinates = True

    def __init__(self) -> None:
        super().__init__()
        self._rows: GradientRows | None = None
        self._past_rows: GradientRows | None = None
        self._features: list[Tensor] = []
        self._past: list[Tensor] = []
        self._upstream: list[Tensor] = []
        self._passes = 0

    def collect(self, step: Step, features: Iterable[Tensor]) -> Judged:
        """See :class:`GradientSource`."""
        given = list(features)
        if not given:
            raise MethodError(
                "grads='features' needs the shared representation: balancer.backward(losses, features=z), where z is "
                "the tensor the heads were applied to, or all of them; grads='params' needs nothing"
            )
        self._features = [z for z in {id(z): z for z in given}.values() if z.requires_grad]
        if step.shared and not self._features:
            raise MethodError(
                "features= has no graph, so nothing goes through it to the shared parameters; pass the tensor the "
                "heads were applied to, without detach()"
            )
        self._rows = fitting(self._rows, self._features, len(step.tasks))
        apart = through_heads(step, features) if isinstance(features, Aliases) else None
        if apart is not None:  # what is shared is reached through the features only
            self._past, self._upstream, self.passes, self._passes = [], list(step.shared), 1, 0
            for row, (task, own) in enumerate(apart[1].items()):
                self._rows.write(row, [apart[0][task]])
                self._keep_own(step, task, own)
            return step.tasks, self._rows.gramian(len(step.tasks))
        upstream = reached(*self._features)
        self._upstream = [tensor for tensor in step.shared if id(tensor) in upstream]
        past = reached(*step.losses.values(), past=self._features)
        self._past = [tensor for tensor in step.shared if id(tensor) in past]
        buffers = [(self._rows, self._features)]
        if self._past:
            self._past_rows = fitting(self._past_rows, self._past, len(step.tasks), label="late:")
            buffers.append((self._past_rows, self._past))
        below = {task: own for task, own in _among(step, upstream).items() if own and step.heads != "none"}
        # A pass to a parameter on both sides of the features, or to features below others, goes through layers that
        # the trunk's pass needs again.
        both = any(id(leaf) in past for leaf in itertools.chain(*below.values()))
        again = both or len(self._features) > 1 or any(id(tensor) in upstream for tensor in self._past)
        with cut_at(self._features):
            above = dataclasses.replace(step, own=_among(step, past)) if below else step
            self._fill(above, buffers, retain_graph=step.retain_graph or again, must_reach=self._features)
        self._passes = len(below)
        for task, leaves in below.items():
            gradients = self._through_features(self._rows.row(step.tasks.index(task)), leaves)
            add_to(self._own.setdefault(task, {}), leaves, gradients)
        return step.tasks, self._rows.gramian(len(step.tasks))

    def _through_features(self, row: Sequence[Tensor], leaves: Sequence[Tensor]) -> Sequence[Tensor | None]:
        """What comes to these leaves from one task's gradient at the features."""
        seeds = [gradient.to(tensor.dtype) for gradient, tensor in zip(row, self._features, strict=True)]
        with in_words():
            return torch.autograd.grad(self._features, leaves, seeds, retain_graph=True, allow_unused=True)

    def blocks(self, step: Step, rows: Sequence[int]) -> Iterable[Block]:
        """See :class:`GradientSource`."""
        assert self._rows is not None
        return self._rows.blocks(rows, self._features, self._features)

    def apply(self, step: Step, mix: Mix, weights: Float[Array, "K"], rows: Sequence[int]) -> int:
        """See :class:`GradientSource`."""
        assert self._rows is not None
        mixed = self._rows.mix(mix, rows, self._features, self._features)
        if self._past and self._past_rows is not None:
            _add(self._past, self._past_rows.mix(weighted(weights), rows))
        if not self._upstream:
            return self._passes
        seeds = [gradient.to(tensor.dtype) for gradient, tensor in zip(mixed, self._features, strict=True)]
        with in_words():
            torch.autograd.backward(self._features, seeds, inputs=self._upstream, retain_graph=step.retain_graph)
        return 1 + self._passes

    def release(self) -> None:
        """See :class:`GradientSource`."""
        super().release()
        self._features, self._past, self._upstream = [], [], []


def _among(step: Step, leaves: Mapping[int, Tensor]) -> dict[str, list[Tensor]]:
    """Of every task, its own parameters that are among these leaves."""
    return {task: [leaf for leaf in step.own.get(task, ()) if id(leaf) in leaves] for task in step.tasks}


def feature_tensors(features: Features | None) -> Iterable[Tensor]:
    """The tensors of a shared representation; none for ``None``. Aliases stay what they are.

    Raises:
        MethodError: It holds something that is no tensor.
    """
    if features is None:
        return []
    if isinstance(features, Tensor):
        return [features]
    if isinstance(features, Aliases):
        return features
    named = features.items() if isinstance(features, Mapping) else enumerate(features)
    found = []
    for name, tensor in named:
        if not isinstance(tensor, Tensor):
            raise MethodError(
                f"features= must be a tensor, or a sequence or dictionary of tensors; found {type(tensor).__name__} at "
                f"{name!r}"
            )
        found.append(tensor)
    return found


def source_of(
    grads: str | Iterable[Tensor],
    *,
    method: Method | None = None,
    low_memory: bool = False,
    row_dtype: torch.dtype | None = None,
) -> GradientSource:
    """The gradient evidence that ``grads=`` names: ``"params"``, ``"features"``, ``"sub_batch"`` or some parameters.

    With the graph it needs, where that can be had, for a ``method`` whose loss contains the gradients.
    """
    if (low_memory or row_dtype is not None) and grads != "params":
        raise MethodError(
            f"low_memory and row_dtype are ways to store exact gradients: use them with {setting('grads', 'params')}"
        )
    if low_memory and row_dtype is not None:
        raise MethodError("low_memory keeps no rows that row_dtype could store; choose one of them")
    whole = isinstance(grads, str) and grads == "params" and not low_memory and row_dtype is None
    if isinstance(method, PenaltyMethod) and (whole or not isinstance(grads, str)):
        return PenaltySource(method, None if isinstance(grads, str) else grads)
    if not isinstance(grads, str):
        return SubsetSource(grads)
    if grads == "params":
        return LowMemorySource() if low_memory else ParameterSource(row_dtype)
    if grads == "features":
        return FeatureSource()
    if grads == "sub_batch":
        return SubBatchSource()
    raise MethodError(unknown("gradient evidence", grads, ("params", "features", "sub_batch")))


@torch.no_grad()
def _add(parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """Add combined gradients, which nothing else refers to, to ``.grad``."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if parameter.grad is None:
            if gradient.stride() == parameter.stride():
                parameter.grad = gradient.to(parameter.dtype)
            else:
                parameter.grad = torch.empty_like(parameter).copy_(gradient)  # e.g. channels last
        else:
            parameter.grad.add_(gradient)
