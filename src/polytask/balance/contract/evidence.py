"""What a method looks at, and what it answers: cards, evidence, solutions, blocks of rows."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balance.contract.seeding import generator
from polytask.balance.contract.state import Lesson
from polytask.errors import MethodError, NonFiniteError

__all__ = ["Block", "Card", "Combined", "Evidence", "Given", "Solution", "all_move", "evidence_of", "tensor_like"]

Array = np.ndarray
MULTIPLIES = "multiplies the task's weight by q"
_KINDS = {torch.float32: np.float32, torch.float64: np.float64}


@dataclasses.dataclass(frozen=True)
class Card:
    """What a reader should know of a method before using it; printed by ``polytask methods NAME``.

    Attributes:
        title: The method's name as the field writes it.
        paper: Authors, venue, year.
        url: Where the paper is.
        idea: One sentence.
        cost: Backward passes per step, in words (``"1"``, ``"K through the shared part"``).
        invariances: Changes of the problem that do not change the step.
        verified: What independent thing the implementation was checked against.
        notes: When it fails or surprises.
        preference: What a task weight does in this method; q stands for the weights scaled to a mean of one. The
            default is what the engine does for methods whose ``solve`` does not read the preference.
        heads: Where the rule for the parameters of one task (:attr:`Method.heads`) comes from, if not the obvious one.
    """

    title: str
    paper: str
    url: str
    idea: str
    cost: str
    invariances: tuple[str, ...]
    verified: tuple[str, ...]
    notes: str = ""
    preference: str = MULTIPLIES
    heads: str = ""


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a method may look at in one step; every array follows the order of ``tasks``.

    Attributes:
        tasks: Names of the tasks present in this step.
        losses: Their loss values, (K,).
        preference: Fixed task weights, positive, summing to 1, (K,).
        gramian: Inner products of the tasks' shared gradients, (K, K) float64, when the method needs it. With a twin
            batch, of the means of both batches' gradients.
        cross: J₁J₂ᵀ, inner products of the first batch's gradients (rows) with the twin's (columns), (K, K) float64.
        step: Number of steps taken before this one.
        epoch: Number of epochs ended before this one.
        seed: Seed of the run; :attr:`rng` depends on it and on ``step`` alone.
        measures: What :meth:`JacobianMethod.measure` found, merged over all blocks.
    """

    tasks: tuple[str, ...]
    losses: Float[Array, "K"]
    preference: Float[Array, "K"]
    gramian: Float[Array, "K K"] | None = None
    step: int = 0
    epoch: int = 0
    seed: int = 0
    measures: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    cross: Float[Array, "K K"] | None = None

    @property
    def size(self) -> int:
        """K, the number of tasks present."""
        return len(self.tasks)

    @property
    def emphasis(self) -> Float[Array, "K"]:
        """K times the preference: how much more than the average a task is to count; ones where none is preferred."""
        return self.size * self.preference

    @property
    def inner(self) -> Float[Array, "K K"]:
        """The Gramian; for methods that declared they need it."""
        assert self.gramian is not None
        return self.gramian

    @property
    def across(self) -> Float[Array, "K K"]:
        """J₁J₂ᵀ; the Gramian where there is no twin, as if it were the same batch again."""
        return self.inner if self.cross is None else self.cross

    @property
    def rng(self) -> np.random.Generator:
        """A fresh generator: the same on every process and after a resume, because it depends on seed and step only."""
        return generator(self.seed, self.step)

    def subset(self, keep: Sequence[int]) -> Evidence:
        """The same evidence about the tasks at positions ``keep``; the preference is renormalised."""
        index = np.asarray(keep, dtype=np.intp)
        preference = self.preference[index]
        return dataclasses.replace(
            self,
            tasks=tuple(self.tasks[i] for i in index),
            losses=self.losses[index],
            preference=preference / preference.sum(),
            gramian=None if self.gramian is None else self.gramian[np.ix_(index, index)],
            cross=None if self.cross is None else self.cross[np.ix_(index, index)],
        )


@dataclasses.dataclass(frozen=True)
class Solution:
    """Weights of the tasks' losses or gradients, and what the method is to know in the next step.

    Attributes:
        weights: One weight per task, (K,).
        iterations: What the solver needed.
        parts: Numbers for single parts of the gradient, by the part's name, from methods that weigh parts differently.
        remember: What to store if the step succeeds, by the name it was declared under: (K,) for a quantity per task,
            (K, K) per pair, for the tasks that were solved for; for an attached object what it takes; for a method
            inside its :meth:`lesson`. Nothing is stored where the step fails or its weights are reused.
        tasks: Whom ``remember`` is about, where that is not everyone in the evidence.
    """

    weights: Float[Array, "K"]
    iterations: int = 0
    parts: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    remember: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tasks: tuple[str, ...] | None = None

    def lesson(self, evidence: Evidence) -> Lesson:
        """What is to be stored, and for whom: all tasks in the evidence, or those that were solved for."""
        return Lesson(evidence.tasks if self.tasks is None else self.tasks, self.remember)


@dataclasses.dataclass(frozen=True)
class Block:
    """The part of the tasks' Jacobian that lives on one device, for methods that work coordinate by coordinate.

    Attributes:
        name: Names the block in a method's memory; the same from step to step.
        rows: One gradient per task, (K, P).
        slices: The columns of each parameter (or feature) tensor.
        values: The features' own values, (P,), where the rows are gradients at the shared representation.
        batch: Length of the features' first dimension; 1 for parameters.
        tensors: The parameters (or features) themselves, in the order of ``slices``.
    """

    name: str
    rows: Float[Tensor, "K P"]
    slices: tuple[slice, ...]
    values: Float[Tensor, "P"] | None = None
    batch: int = 1
    tensors: tuple[Tensor, ...] = ()


@dataclasses.dataclass(frozen=True)
class Combined:
    """A combined gradient, (P,), and what to remember once the step has succeeded: vectors per task, (K, M).

    M is P for methods that remember coordinates, and the number of parameters for those that remember one number each.
    """

    gradient: Float[Tensor, "P"]
    memory: Mapping[str, Float[Tensor, "K M"]] = dataclasses.field(default_factory=dict)


class Given(TypedDict, total=False):
    """What else ``weights`` and ``direction`` of a method can be told; whatever is left out has a default.

    Attributes:
        tasks: Names under which state was learned; ``"0"``, ``"1"``, … by default.
        preference: Positive task weights, (K,); equal by default.
        step: Steps taken before this one; 0 by default.
        epoch: Epochs ended before this one; 0 by default.
        seed: Seed for methods that draw at random; 0 by default.
    """

    tasks: Sequence[str] | None
    preference: Float[Tensor, "K"] | None
    step: int
    epoch: int
    seed: int


def evidence_of(
    losses: Tensor | None,
    gramian: Tensor | None,
    *,
    cross: Tensor | None = None,
    size: int | None = None,
    tasks: Sequence[str] | None = None,
    preference: Tensor | None = None,
    step: int = 0,
    epoch: int = 0,
    seed: int = 0,
) -> Evidence:
    """Evidence from plain tensors, checked; losses are ones where there is a Gramian, or the number of tasks, alone."""
    if size is None:
        given = losses if losses is not None else gramian
        assert given is not None
        size = given.shape[0]
    names = _numbered(size) if tasks is None else tuple(tasks)
    if len(names) != size:
        raise MethodError(f"expected one task name per row ({size}), found {len(names)}: {', '.join(names)}")
    if preference is None:
        share = _alike(size, 1 / size)
    else:
        liking = _plain("preference", preference, finite=False)
        if not (np.isfinite(liking).all() and (liking > 0).all()):
            raise MethodError(f"task weights must be positive and finite, found {liking.tolist()}")
        share = liking / liking.sum()
    values = _alike(size, 1.0) if losses is None else _plain("losses", losses)
    inner = None if gramian is None else _square("gramian", gramian, size)
    between = None if cross is None else _square("cross", cross, size)
    return Evidence(names, values, share, inner, step, epoch, seed, cross=between)


def all_move(gramian: Tensor) -> bool:
    """Whether the diagonal of J·Jᵀ is positive and finite: then the rows of J are finite, and so is all of it.

    ``False`` where a closer look is needed.
    """
    if gramian.dtype not in _KINDS or gramian.ndim != 2 or gramian.shape[0] != gramian.shape[1]:
        return False
    squared = gramian.numpy(force=True).diagonal()
    return bool(np.minimum.reduce(squared) > 0) and _finite(squared)


def tensor_like(weights: Array, like: Tensor) -> Tensor:
    """The weights in the dtype and on the device of ``like``; never a view."""
    kind = _KINDS.get(like.dtype)
    if kind is not None and like.is_cpu:  # several times faster than a conversion by torch
        return torch.from_numpy(weights.astype(kind))
    return torch.tensor(weights, dtype=like.dtype, device=like.device)


@functools.lru_cache(maxsize=64)
def _numbered(size: int) -> tuple[str, ...]:
    return tuple(map(str, range(size)))


@functools.lru_cache(maxsize=64)
def _alike(size: int, value: float) -> Array:
    array = np.full(size, value)
    array.setflags(write=False)  # one array for all callers
    return array


def _plain(what: str, tensor: Tensor, *, finite: bool = True) -> Array:
    """The tensor's values in float64.

    Raises:
        NonFiniteError: They have to be finite and are not.
    """
    array = (tensor if tensor.dtype in _KINDS else tensor.double()).numpy(force=True).astype(np.float64, copy=False)
    if finite and not _finite(array):
        raise NonFiniteError(f"{what} must be finite, found {array.tolist()}; leave the broken task out of this step")
    return array


def _square(what: str, tensor: Tensor, size: int) -> Array:
    """The values of a matrix of inner products, after a look at its shape."""
    if tensor.shape != (size, size):
        raise MethodError(
            f"{what} must hold the inner products of {size} tasks' gradients, shape ({size}, {size}), found shape "
            f"{tuple(tensor.shape)}; direction() takes the gradients themselves"
        )
    return _plain(what, tensor)


def _finite(array: Array) -> bool:
    """Whether every entry is; counting is quicker than ``all()`` for a few numbers."""
    return bool(np.count_nonzero(np.isfinite(array)) == array.size)
