"""What a balancing method is: pure mathematics with declared needs, from evidence about K tasks to K weights."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balance._params import Limits
from polytask.balance.state import CoordinateMemory, MethodState
from polytask.errors import MethodError, NonFiniteError
from polytask.solvers.prox import one_blas_thread

__all__ = [
    "Block",
    "Card",
    "Combined",
    "Evidence",
    "GramianMethod",
    "JacobianMethod",
    "LossMethod",
    "Method",
    "Need",
    "Solution",
]

Array = np.ndarray
_LARGE = 100
Need = Literal["losses", "gramian", "jacobian", "features"]


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
    """

    title: str
    paper: str
    url: str
    idea: str
    cost: str
    invariances: tuple[str, ...]
    verified: tuple[str, ...]
    notes: str = ""


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a method may look at in one step; every array follows the order of ``tasks``.

    Attributes:
        tasks: Names of the tasks present in this step.
        losses: Their loss values, (K,).
        preference: Fixed task weights, positive, summing to 1, (K,).
        gramian: Inner products of the tasks' shared gradients, (K, K) float64, when the method needs it.
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

    @property
    def size(self) -> int:
        """K, the number of tasks present."""
        return len(self.tasks)

    @property
    def inner(self) -> Float[Array, "K K"]:
        """The Gramian; for methods that declared they need it."""
        assert self.gramian is not None
        return self.gramian

    @property
    def rng(self) -> np.random.Generator:
        """A fresh generator: the same on every process and after a resume, because it depends on seed and step only."""
        return np.random.default_rng([self.seed, self.step])

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
        )


@dataclasses.dataclass(frozen=True)
class Solution:
    """Weights of the tasks' losses or gradients, and how many solver iterations they took.

    Attributes:
        weights: One weight per task, (K,).
        iterations: What the solver needed.
        parts: Weights of single parts of the gradient, by the part's name, from methods that weigh parts differently.
    """

    weights: Float[Array, "K"]
    iterations: int = 0
    parts: Mapping[str, Array] = dataclasses.field(default_factory=dict)


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


class Method(abc.ABC):
    """A rule that turns evidence about the present tasks into one weight per task.

    A concrete method sets :attr:`card`, declares its state in ``__init__`` through :attr:`state`, and implements
    :meth:`solve`. ``solve`` is pure: it reads state but never writes it. What changes with time is written in
    :meth:`observe`, :meth:`after_step` and :meth:`end_epoch`, which the engine calls only for steps that succeed.
    """

    needs: ClassVar[Need]
    card: ClassVar[Card]
    limits: ClassVar[Limits] = {}
    """What each option of ``__init__`` may be; checked by ``polytask.balance._params.check``."""
    needs_after_step: ClassVar[bool] = False
    """Whether the method wants the same batch's losses again after the optimizer's step."""
    needs_metrics: ClassVar[bool] = False
    """Whether the method wants numbers that it cannot compute itself, through :meth:`observe_metrics`."""
    constant: ClassVar[bool] = False
    """Whether the weights depend on nothing but the preference: a weighted sum."""
    uses_preference: ClassVar[bool] = False
    """Whether ``solve`` reads ``evidence.preference``; otherwise the engine multiplies the result by it."""

    def __init__(self) -> None:
        self.state = MethodState()
        self.memory = CoordinateMemory()

    @abc.abstractmethod
    def solve(self, evidence: Evidence) -> Solution:
        """Weights for the present tasks, whose evidence is finite and whose gradients are not zero."""

    def observe(self, evidence: Evidence, solution: Solution) -> None:
        """Take note of a step that is about to be applied."""

    def after_step(self, before: Evidence, losses: Mapping[str, float]) -> None:
        """Take note of the losses after the step; called when :attr:`needs_after_step` is set."""

    def observe_metrics(self, values: Mapping[str, float]) -> None:
        """Take note of a number per task, measured by the caller; what it has to be, the method's class says."""

    def end_epoch(self) -> None:
        """Take note of an epoch's end."""

    @final
    def reset(self) -> None:
        """Forget everything learned."""
        self.state.reset()
        self.memory.reset()

    @final
    def state_dict(self) -> dict[str, Any]:
        """Everything learned so far, keyed by task: floats, and tensors for methods that remember coordinates."""
        memory = self.memory.state_dict()
        return self.state.state_dict() | ({"memory": memory} if memory else {})

    @final
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.state.load_state_dict({name: value for name, value in state.items() if name != "memory"})
        self.memory.load_state_dict(state.get("memory", {}))

    def __repr__(self) -> str:
        hidden = ("state", "memory")
        public = {name: value for name, value in vars(self).items() if name[0] != "_" and name not in hidden}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in public.items())})"


class LossMethod(Method):
    """A method that looks at loss values only: the step descends Σ w_i·L_i with w held constant."""

    needs: ClassVar[Need] = "losses"

    @final
    def weights(
        self,
        losses: Float[Tensor, "K"],
        *,
        tasks: Sequence[str] | None = None,
        preference: Float[Tensor, "K"] | None = None,
        step: int = 0,
        epoch: int = 0,
        seed: int = 0,
    ) -> Float[Tensor, "K"]:
        """Weights for these loss values; nothing is remembered.

        Args:
            losses: Loss values, (K,).
            tasks: Names under which state was learned; ``"0"``, ``"1"``, … by default.
            preference: Positive task weights, (K,); equal by default.
            step: Steps taken before this one.
            epoch: Epochs ended before this one.
            seed: Seed for methods that draw at random.

        Returns:
            Weights, (K,), in the dtype and on the device of ``losses``.

        Raises:
            NonFiniteError: A loss is NaN or infinite.
        """
        evidence = _evidence(losses, None, tasks, preference, step, epoch, seed)
        return torch.as_tensor(self.solve(evidence).weights, dtype=losses.dtype, device=losses.device)


class GramianMethod(Method):
    """A method that looks at the inner products of the tasks' gradients and never at a vector of P numbers."""

    needs: ClassVar[Need] = "gramian"

    @final
    def weights(
        self,
        gramian: Float[Tensor, "K K"],
        *,
        losses: Float[Tensor, "K"] | None = None,
        tasks: Sequence[str] | None = None,
        preference: Float[Tensor, "K"] | None = None,
        step: int = 0,
        epoch: int = 0,
        seed: int = 0,
    ) -> Float[Tensor, "K"]:
        """Weights of the rows of a Jacobian J with J·Jᵀ = ``gramian``; nothing is remembered.

        Args:
            gramian: Symmetric positive semi-definite matrix, (K, K).
            losses: Loss values, (K,), for methods that use them; ones by default.
            tasks: Names under which state was learned; ``"0"``, ``"1"``, … by default.
            preference: Positive task weights, (K,); equal by default.
            step: Steps taken before this one.
            epoch: Epochs ended before this one.
            seed: Seed for methods that draw at random.

        Returns:
            Weights, (K,), in the dtype and on the device of ``gramian``. The combined gradient is Jᵀw. A task whose
            gradient is zero takes no part in the problem and gets its preference as weight.

        Raises:
            NonFiniteError: The Gramian holds a NaN or an infinity.
        """
        if losses is None:
            losses = gramian.new_ones(gramian.shape[0])
        evidence = _evidence(losses, gramian, tasks, preference, step, epoch, seed)
        return torch.as_tensor(self.solve_present(evidence).weights, dtype=gramian.dtype, device=gramian.device)

    @final
    def direction(self, jacobian: Float[Tensor, "K P"], **options: Any) -> Float[Tensor, "P"]:
        """The combined gradient Jᵀw for K task gradients given as the rows of ``jacobian``.

        Args:
            jacobian: One gradient per row, (K, P).
            **options: As for :meth:`weights`.

        Returns:
            Combined gradient, (P,).
        """
        rows = jacobian.double()
        return (self.weights(rows @ rows.T, **options) @ rows).to(jacobian.dtype)

    @final
    def solve_present(self, evidence: Evidence) -> Solution:
        """Solve over the tasks whose gradient is not zero; the others get the neutral weight, their preference.

        Where the caller applies the preference (:attr:`uses_preference` is not set), that is 1/K before it does.
        """
        keep = np.flatnonzero(np.diag(evidence.inner) > 0)
        if len(keep) == evidence.size:
            return self._solve_calmly(evidence)
        weights = evidence.preference.copy() if self.uses_preference else np.full(evidence.size, 1 / evidence.size)
        if len(keep) == 0:
            return Solution(weights)
        solution = self._solve_calmly(evidence.subset(keep.tolist()))
        weights[keep] = solution.weights
        return Solution(weights, solution.iterations)

    @final
    def _solve_calmly(self, evidence: Evidence) -> Solution:
        """Solve; on one BLAS thread where matrices are large enough for BLAS to use several, which slows it down."""
        if evidence.size < _LARGE:
            return self.solve(evidence)
        with one_blas_thread():
            return self.solve(evidence)


class JacobianMethod(Method):
    """A method that needs the gradients' coordinates: K·P numbers at once.

    ``solve`` gives the nominal weights, which the records show and ``heads="weighted"`` uses; :meth:`combine` gives the
    step itself, one device's block at a time. Both see only tasks with a gradient that is finite and not zero. What
    ``solve`` must know of the coordinates of all blocks together comes from :meth:`measure`. The engine applies neither
    preference nor scale to the result: a method multiplies by the preference where that makes sense for it.
    """

    needs: ClassVar[Need] = "jacobian"
    maxima: ClassVar[tuple[str, ...]] = ()
    """Names of measures of which the largest over all blocks is wanted, instead of the sum."""

    def measure(self, block: Block, evidence: Evidence) -> Mapping[str, Array]:
        """Statistics of one block, merged over blocks into ``evidence.measures`` before :meth:`solve`; pure."""
        return {}

    @final
    def solve_blocks(self, evidence: Evidence, blocks: Iterable[Block]) -> tuple[Evidence, Solution]:
        """Measure all blocks and solve; what was solved for, and the solution."""
        merged: dict[str, Array] = {}
        for block in blocks:
            for name, value in self.measure(block, evidence).items():
                if name not in merged:
                    merged[name] = value
                else:
                    merged[name] = np.maximum(merged[name], value) if name in self.maxima else merged[name] + value
        evidence = dataclasses.replace(evidence, measures=merged)
        return evidence, self.solve(evidence)

    @abc.abstractmethod
    def combine(self, block: Block, evidence: Evidence, solution: Solution) -> Combined:
        """The combined gradient of one block; pure, like :meth:`solve`."""

    @final
    def direction(
        self,
        jacobian: Float[Tensor, "K P"],
        *,
        slices: Sequence[slice] | None = None,
        values: Float[Tensor, "P"] | None = None,
        batch: int = 1,
        losses: Float[Tensor, "K"] | None = None,
        tasks: Sequence[str] | None = None,
        preference: Float[Tensor, "K"] | None = None,
        step: int = 0,
        epoch: int = 0,
        seed: int = 0,
    ) -> Float[Tensor, "P"]:
        """The combined gradient for K task gradients given as the rows of ``jacobian``; nothing is remembered.

        Args:
            jacobian: One gradient per row, (K, P).
            slices: Columns of each parameter, for methods that treat parameters separately; one slice by default.
            values: The features' values, (P,), where the rows are gradients at features.
            batch: Length of the features' first dimension.
            losses: Loss values, (K,); ones by default.
            tasks: Names under which state was learned; ``"0"``, ``"1"``, … by default.
            preference: Positive task weights, (K,); equal by default.
            step: Steps taken before this one.
            epoch: Epochs ended before this one.
            seed: Seed for methods that draw at random.

        Returns:
            Combined gradient, (P,).
        """
        if losses is None:
            losses = jacobian.new_ones(jacobian.shape[0])
        rows = jacobian.double()
        evidence = _evidence(losses, rows @ rows.T, tasks, preference, step, epoch, seed)
        keep = np.flatnonzero(np.diag(evidence.inner) > 0).tolist()
        if not keep:
            return torch.zeros_like(jacobian[0])
        evidence = evidence.subset(keep)
        columns = tuple(slices) if slices is not None else (slice(0, jacobian.shape[1]),)
        block = Block("block", jacobian[keep], columns, values, batch)
        return self.combine(block, *self.solve_blocks(evidence, [block])).gradient


def _evidence(
    losses: Tensor,
    gramian: Tensor | None,
    tasks: Sequence[str] | None,
    preference: Tensor | None,
    step: int,
    epoch: int,
    seed: int,
) -> Evidence:
    """Evidence from plain tensors, checked."""
    size = losses.shape[0]
    names = tuple(tasks) if tasks is not None else tuple(str(i) for i in range(size))
    if len(names) != size:
        raise MethodError(f"expected one task name per row ({size}), found {len(names)}: {', '.join(names)}")
    liking = np.ones(size) if preference is None else preference.detach().double().cpu().numpy()
    if not (np.isfinite(liking).all() and (liking > 0).all()):
        raise MethodError(f"task weights must be positive and finite, found {liking.tolist()}")
    values = losses.detach().double().cpu().numpy()
    inner = None if gramian is None else gramian.detach().double().cpu().numpy()
    for what, array in (("losses", values), ("gramian", inner)):
        if array is not None and not np.isfinite(array).all():
            raise NonFiniteError(
                f"{what} must be finite, found {array.tolist()}; leave the broken task out of this step"
            )
    return Evidence(names, values, liking / liking.sum(), inner, step, epoch, seed)
