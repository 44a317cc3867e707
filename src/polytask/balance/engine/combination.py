"""From a method and the evidence of one step to weights, and to the rule that mixes the tasks' gradients."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balance.contract.method import Block, Evidence, GramianMethod, JacobianMethod, Method, Solution
from polytask.balance.engine.gradients import Step
from polytask.balance.engine.rows import Mix
from polytask.errors import NonFiniteError

__all__ = ["Combination", "Scale", "combination_of", "of_twins", "own_factors", "weighted"]

Array = np.ndarray
Scale = Literal["native", "sum_to_k", "norm_of_mean"]
Blocks = Callable[[Sequence[int]], Iterable[Block]]
"""From positions of tasks to their rows, one block per device and dtype."""
_CHUNK = 1 << 20


@dataclasses.dataclass
class Combination:
    """What one step applies.

    Attributes:
        solution: The method's own answer.
        weights: One weight per task of the evidence, after preference and scale convention.
        mix: The rule that mixes the rows of the tasks in ``keep``.
        keep: Positions, in the evidence, of the tasks whose rows are mixed.
        seen: The evidence solved for, and its solution, which says what to remember once all is applied; ``None`` where
            there was nothing.
        memory: What the method wants to remember: (quantity, block, tasks, values), to be stored once all is applied.
    """

    solution: Solution
    weights: Float[Array, "K"]
    mix: Mix
    keep: list[int]
    seen: tuple[Evidence, Solution] | None = None
    memory: list[tuple[str, str, tuple[str, ...], Tensor]] = dataclasses.field(default_factory=list)


def combination_of(
    method: Method, evidence: Evidence, scale: Scale, blocks: Blocks = lambda keep: (), loss_scale: float = 1.0
) -> Combination:
    """Solve for the weights of one step: what is to be applied, and what is to be remembered.

    Args:
        method: Decides.
        evidence: What it may look at.
        scale: Length convention.
        blocks: From positions in the evidence to those tasks' rows, for methods that look at coordinates.
        loss_scale: Factor in the rows that the method must not see (mixed precision); the result has it again.

    Raises:
        NonFiniteError: The method gave a weight that is not finite.
    """
    if isinstance(method, JacobianMethod):
        return _by_coordinates(method, evidence, blocks, loss_scale)
    solution = method.solve_present(evidence) if isinstance(method, GramianMethod) else method.solution(evidence)
    weights = _final(method, evidence, solution, scale)
    return Combination(solution, weights, weighted(weights), list(range(evidence.size)), (evidence, solution))


def of_twins(products: Float[Array, "R R"], *, paired: bool) -> tuple[Float[Array, "K K"], Float[Array, "K K"] | None]:
    """Gramian of ½(J₁ + J₂) and J₁J₂ᵀ, from the inner products of J₁'s rows followed by J₂'s; unchanged if not paired.

    Examples:
        >>> products = np.array([[4.0, 2.0], [2.0, 1.0]])
        >>> of_twins(products, paired=True)
        (array([[2.25]]), array([[2.]]))
    """
    if not paired:
        return products, None
    size = len(products) // 2
    cross = products[:size, size:]
    with np.errstate(invalid="ignore"):  # rows that are not finite are the caller's to find
        return (products[:size, :size] + products[size:, size:] + cross + cross.T) / 4, cross


def own_factors(step: Step, method: Method, evidence: Evidence, weights: Float[Array, "K"]) -> Float[Array, "K"]:
    """What the gradient of each task's own parameters is multiplied by, under the heads policy."""
    if step.heads == "weighted":
        return weights
    return method.loss_slopes(evidence) if step.heads == "transformed" else np.ones(evidence.size)


def weighted(weights: Float[Array, "K"]) -> Mix:
    """The rule Σ_k w_k·row_k; rows stored in half precision are summed in float32, piece by piece."""

    def mix(block: Block) -> Tensor:
        rows = block.rows
        dtype = torch.promote_types(rows.dtype, torch.float32)
        factors = torch.as_tensor(weights, dtype=dtype).to(rows.device)
        if rows.dtype == dtype:
            return factors @ rows
        return torch.cat([factors @ piece.to(dtype) for piece in rows.split(_CHUNK, dim=1)])

    return mix


def _by_coordinates(method: JacobianMethod, evidence: Evidence, blocks: Blocks, loss_scale: float) -> Combination:
    """A method that mixes coordinates by itself; tasks without a gradient keep their preference as nominal weight."""
    keep = np.flatnonzero(np.diag(evidence.inner) > 0).tolist()
    weights = evidence.preference.copy()
    if not keep:
        return Combination(Solution(weights), weights, lambda block: block.rows.new_zeros(block.rows.shape[1]), keep)
    part = evidence.subset(keep)
    measured = (_unscaled(block, loss_scale) for block in blocks(keep)) if _measures(method) else ()
    part, solution = method.solve_blocks(part, measured)
    weights[keep] = solution.weights
    solved = Solution(weights, solution.iterations)
    combination = Combination(solved, weights, weighted(weights), keep, (part, solution))

    def mix(block: Block) -> Tensor:
        combined = method.combine(_unscaled(block, loss_scale), part, solution)
        if not torch.isfinite(combined.gradient).all():
            raise NonFiniteError(
                f"{type(method).__name__} gave a gradient that is not finite at step {evidence.step} for tasks "
                f"{', '.join(part.tasks)}; parameters and method state are unchanged"
            )
        method.memory.check(combined.memory)
        combination.memory += [(name, block.name, part.tasks, values) for name, values in combined.memory.items()]
        return combined.gradient if loss_scale == 1.0 else combined.gradient * loss_scale

    combination.mix = mix
    return combination


def _measures(method: JacobianMethod) -> bool:
    return type(method).measure is not JacobianMethod.measure


def _unscaled(block: Block, loss_scale: float) -> Block:
    return block if loss_scale == 1.0 else dataclasses.replace(block, rows=block.rows / loss_scale)


def _final(method: Method, evidence: Evidence, solution: Solution, scale: Scale) -> Float[Array, "K"]:
    """The method's weights, with the fixed preference in them, under the scale convention."""
    weights = method.preferred(evidence, solution).weights
    if not all(map(math.isfinite, weights.tolist())):
        raise NonFiniteError(
            f"{type(method).__name__} gave weights {dict(zip(evidence.tasks, weights.tolist(), strict=True))} for "
            f"losses {evidence.losses.tolist()} at step {evidence.step}; parameters and method state are unchanged"
        )
    if scale == "sum_to_k" and weights.sum() > 0:
        return np.asarray(weights * evidence.size / weights.sum())
    if scale == "norm_of_mean":
        length = weights @ evidence.inner @ weights
        mean = evidence.preference @ evidence.inner @ evidence.preference
        return np.asarray(weights * np.sqrt(mean / length)) if length > 0 else weights
    return weights
