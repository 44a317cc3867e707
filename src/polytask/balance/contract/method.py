"""What a balancing method is: pure mathematics with declared needs, from evidence about K tasks to K weights."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Unpack, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balance.contract.asks import ASKS, Ask, check_declared
from polytask.balance.contract.evidence import (
    Block,
    Card,
    Combined,
    Evidence,
    Given,
    Solution,
    all_move,
    evidence_of,
    tensor_like,
)
from polytask.balance.contract.options import Limits, checked
from polytask.balance.contract.state import CoordinateMemory, MethodState
from polytask.balance.engine.gradients import Heads
from polytask.blas import one_blas_thread
from polytask.errors import MethodError

__all__ = [
    "Block",
    "Card",
    "Combined",
    "Evidence",
    "Given",
    "GramianMethod",
    "JacobianMethod",
    "LossMethod",
    "Method",
    "Need",
    "Solution",
]

Array = np.ndarray
_LARGE = 100
Need = Literal["losses", "gramian", "jacobian", "features", "graph"]


def heads_in_words(method: type[Method]) -> str:
    """What a method's ``heads="auto"`` gives the parameters of one task, and where that comes from.

    Examples:
        >>> from polytask.balance import METHODS
        >>> heads_in_words(METHODS["db_mtl"])
        "the gradient of the transformed loss ('transformed': as in the authors' code, where each head descends log L)"
    """
    said = {
        "plain": "their task's own gradient",
        "weighted": "their task's gradient times its weight",
        "transformed": "the gradient of the transformed loss",
        "none": "nothing",
    }[method.heads]
    return f"{said} ({method.heads!r}" + (f": {method.card.heads})" if method.card.heads else ")")


class Method(abc.ABC):
    """A rule that turns evidence about the present tasks into one weight per task.

    A concrete method sets :attr:`card`, declares its state in ``__init__`` through :attr:`state`, and implements
    :meth:`solve`. ``solve`` is pure: it reads state but never writes it, and says with the weights what to remember,
    which the engine stores once the step has succeeded. What comes at another time is taken in by the hooks of what
    the method :attr:`asks` for, and by :meth:`end_epoch`.
    """

    needs: ClassVar[Need]
    card: ClassVar[Card]
    limits: ClassVar[Limits] = {}
    """What each option of ``__init__`` may be, by name; arguments are held against it before ``__init__`` runs."""
    asks: ClassVar[frozenset[Ask]] = frozenset()
    """What the method wants besides the evidence of a step; see :mod:`polytask.balance.contract.asks`."""
    constant: ClassVar[bool] = False
    """Whether the weights depend on nothing but the preference: a weighted sum."""
    uses_preference: ClassVar[bool] = False
    """Whether ``solve`` reads ``evidence.preference``; otherwise :meth:`preferred` multiplies its weights by it.

    A method that promises something of its step, such as descent for every task, must read it: a factor put on
    afterwards breaks the promise.
    """

    heads: Heads = "plain"
    """What ``heads="auto"`` stands for: what the published method gives the parameters of one task."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        hooks = {ask.hook for ask in (*ASKS, *cls.asks) if ask.hook}
        check_declared(cls, cls.asks, frozenset(h for h in hooks if getattr(cls, h, None) is getattr(Method, h, None)))
        if "__init__" in vars(cls):
            cls.__init__ = checked(cls.__init__)  # type: ignore[method-assign]

    def __init__(self) -> None:
        self.state = MethodState()
        self.memory = CoordinateMemory()

    @abc.abstractmethod
    def solve(self, evidence: Evidence) -> Solution | Array | Tensor:
        """Weights for the present tasks, whose evidence is finite and whose gradients are not zero.

        Plain numbers, (K,), or a :class:`~polytask.balance.Solution` that also says what to remember.
        """

    @final
    def solution(self, evidence: Evidence) -> Solution:
        """What :meth:`solve` answers, as a :class:`~polytask.balance.Solution`.

        Raises:
            MethodError: There is not one weight per task.
        """
        found = self.solve(evidence)
        if not isinstance(found, Solution):
            found = Solution(np.asarray(found, dtype=np.float64))
        if found.weights.shape != (evidence.size,):
            raise MethodError(
                f"{type(self).__name__}.solve must give one weight for each of {', '.join(evidence.tasks)}, shape "
                f"({evidence.size},), found shape {found.weights.shape}"
            )
        return found

    @final
    def remember(self, evidence: Evidence, solution: Solution) -> None:
        """Store what the solution says is to be remembered; the engine does this where a step succeeds."""
        lesson = solution.lesson(evidence)
        self.state.remember(lesson.tasks, lesson.news)

    def loss_slopes(self, evidence: Evidence) -> Float[Array, "K"]:
        """φ'(L_i), (K,), for methods that descend φ(L_i) in the place of L_i: the factor of ``heads="transformed"``.

        It may read the losses and the state, but no gradients: weights that are reused come without them.
        """
        return np.ones(evidence.size)

    @final
    def preferred(self, evidence: Evidence, solution: Solution) -> Solution:
        """The solution with the task weights in it: as it is, if ``solve`` has read them, or else times K·p."""
        if self.uses_preference:
            return solution
        weights = solution.weights * evidence.emphasis
        return Solution(weights, solution.iterations, solution.parts, solution.remember, solution.tasks)

    def after_step(self, before: Evidence, losses: Mapping[str, float]) -> None:
        """Take note of the losses after the step, for methods that ask for them."""

    def know(self, names: Mapping[str, Tensor]) -> None:
        """Take note of the model's parameters by name, before the first step; only where the balancer knows them."""

    def observe_metrics(self, values: Mapping[str, float]) -> None:
        """Take note of a number per task, for methods that ask for one; what it has to be, their class says."""

    def end_epoch(self) -> None:
        """Take note of an epoch's end."""

    @final
    def claim(self, owner: object) -> None:
        """Let ``owner`` alone use what is learned, until it is reset or loaded; a balancer does this in every step.

        Raises:
            MethodError: Another owner's steps are remembered.
        """
        self.state.claim(owner, more=bool(self.memory))

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
        hidden = ("state", "memory", "heads")
        public = {name: value for name, value in vars(self).items() if name[0] != "_" and name not in hidden}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in public.items())})"


class LossMethod(Method):
    """A method that looks at loss values only: the step descends Σ w_i·L_i with w held constant."""

    needs: ClassVar[Need] = "losses"
    heads: Heads = "weighted"

    @final
    def weights(self, losses: Float[Tensor, "K"], **given: Unpack[Given]) -> Float[Tensor, "K"]:
        """Weights for these loss values; nothing is remembered.

        Args:
            losses: Loss values, (K,).
            **given: Names of the tasks, their preference and so on: see :class:`~polytask.balance.Given`.

        Returns:
            Weights, (K,), in the dtype and on the device of ``losses``.

        Raises:
            NonFiniteError: A loss is NaN or infinite.
        """
        evidence = evidence_of(losses, None, **given)
        return tensor_like(self.preferred(evidence, self.solution(evidence)).weights, losses)


class GramianMethod(Method):
    """A method that looks at the inner products of the tasks' gradients and never at a vector of P numbers."""

    needs: ClassVar[Need] = "gramian"
    computes: ClassVar[bool] = True
    """Whether ``solve`` does linear algebra with the Gramian."""
    reads: ClassVar[bool] = True
    """Whether ``solve`` reads the Gramian at all; otherwise it only shows which gradients are zero or not finite."""

    @final
    def weights(
        self,
        gramian: Float[Tensor, "K K"],
        *,
        cross: Float[Tensor, "K K"] | None = None,
        losses: Float[Tensor, "K"] | None = None,
        **given: Unpack[Given],
    ) -> Float[Tensor, "K"]:
        """Weights of the rows of a Jacobian J with J·Jᵀ = ``gramian``; nothing is remembered.

        Args:
            gramian: Symmetric positive semi-definite matrix, (K, K).
            cross: J₁J₂ᵀ of two independent batches, (K, K), for methods that ask for a twin batch, whose ``gramian`` is
                that of ½(J₁ + J₂); by default ``gramian``, as if both batches were the same.
            losses: Loss values, (K,), for methods that use them; ones by default.
            **given: Names of the tasks, their preference and so on: see :class:`~polytask.balance.Given`.

        Returns:
            Weights, (K,), in the dtype and on the device of ``gramian``. The combined gradient is Jᵀw. A task whose
            gradient is zero takes no part in the problem and gets its preference as weight.

        Raises:
            NonFiniteError: The Gramian holds a NaN or an infinity.
        """
        if not self.reads and all_move(gramian):
            evidence = evidence_of(losses, None, size=gramian.shape[0], **given)
            return tensor_like(self.preferred(evidence, self.solution(evidence)).weights, gramian)
        evidence = evidence_of(losses, gramian, cross=cross, **given)
        return tensor_like(self.preferred(evidence, self.solve_present(evidence)).weights, gramian)

    @final
    def direction(
        self, jacobian: Float[Tensor, "K P"], twin: Float[Tensor, "K P"] | None = None, **options: Any
    ) -> Float[Tensor, "P"]:
        """The combined gradient Jᵀw for K task gradients given as the rows of ``jacobian``.

        Args:
            jacobian: One gradient per row, (K, P).
            twin: The same on another batch, for methods that ask for a twin batch; the result is ½(J₁ + J₂)ᵀw.
            **options: As for :meth:`weights`.

        Returns:
            Combined gradient, (P,).
        """
        rows = jacobian.double()
        if twin is not None:
            options["cross"] = rows @ twin.double().T
            rows = (rows + twin.double()) / 2
        return (self.weights(rows @ rows.T, **options) @ rows).to(jacobian.dtype)

    @final
    def solve_present(self, evidence: Evidence) -> Solution:
        """Solve over the tasks whose gradient is not zero; the others get the neutral weight, their preference.

        Where the caller applies the preference (:attr:`uses_preference` is not set), that is 1/K before it does.
        """
        squared = evidence.inner.diagonal()
        if np.minimum.reduce(squared) > 0:
            return self._solve_calmly(evidence)
        keep = np.flatnonzero(squared > 0)
        weights = evidence.preference.copy() if self.uses_preference else np.full(evidence.size, 1 / evidence.size)
        if len(keep) == 0:
            return Solution(weights)
        part = evidence.subset(keep.tolist())
        solution = self._solve_calmly(part)
        weights[keep] = solution.weights
        return Solution(weights, solution.iterations, solution.parts, solution.remember, solution.lesson(part).tasks)

    @final
    def _solve_calmly(self, evidence: Evidence) -> Solution:
        """Solve; on one BLAS thread where matrices are large enough for BLAS to use several, which slows it down."""
        if evidence.size < _LARGE or not self.computes:
            return self.solution(evidence)
        with one_blas_thread():
            return self.solution(evidence)


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
        return evidence, self.solution(evidence)

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
        **given: Unpack[Given],
    ) -> Float[Tensor, "P"]:
        """The combined gradient for K task gradients given as the rows of ``jacobian``; nothing is remembered.

        Args:
            jacobian: One gradient per row, (K, P).
            slices: Columns of each parameter, for methods that treat parameters separately; one slice by default.
            values: The features' values, (P,), where the rows are gradients at features.
            batch: Length of the features' first dimension.
            losses: Loss values, (K,); ones by default.
            **given: Names of the tasks, their preference and so on: see :class:`~polytask.balance.Given`.

        Returns:
            Combined gradient, (P,).
        """
        if losses is None:
            losses = jacobian.new_ones(jacobian.shape[0])
        rows = jacobian.double()
        evidence = evidence_of(losses, rows @ rows.T, **given)
        keep = np.flatnonzero(np.diag(evidence.inner) > 0).tolist()
        if not keep:
            return torch.zeros_like(jacobian[0])
        evidence = evidence.subset(keep)
        columns = tuple(slices) if slices is not None else (slice(0, jacobian.shape[1]),)
        block = Block("block", jacobian[keep], columns, values, batch)
        return self.combine(block, *self.solve_blocks(evidence, [block])).gradient
