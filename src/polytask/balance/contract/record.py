"""What one step of a balancer looked like, by task name."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

__all__ = ["StepRecord"]

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class StepRecord:
    """Diagnostics of one call of :meth:`Balancer.backward`; everything derived is computed when asked for.

    Attributes:
        step: Number of steps taken before this one.
        tasks: Names of the tasks that took part.
        raw_losses: Their losses, (K,), in the order of ``tasks`` and in the losses' own units.
        raw_weights: Weights applied to the tasks' shared gradients, (K,), in the order of ``tasks``.
        gramian: Inner products of the shared gradients (or feature gradients), (K, K); ``None`` when not computed.
        iterations: Iterations of the method's solver; 0 for closed forms and reused weights.
        backward_passes: Calls of autograd this step made.
        reused: Whether the weights of an earlier step were applied (``every > 1``).
        skipped: Tasks left out because their loss or gradient was not finite.
    """

    step: int
    tasks: tuple[str, ...]
    raw_losses: Float[Array, "K"]
    raw_weights: Float[Array, "K"]
    gramian: Float[Array, "K K"] | None = None
    iterations: int = 0
    backward_passes: int = 1
    reused: bool = False
    skipped: tuple[str, ...] = ()

    @classmethod
    def empty(cls, step: int, skipped: Sequence[str]) -> StepRecord:
        """The record of a step in which no task took part."""
        return cls(step, (), np.zeros(0), np.zeros(0), backward_passes=0, skipped=tuple(skipped))

    @property
    def losses(self) -> dict[str, float]:
        """Each task's loss."""
        return dict(zip(self.tasks, self.raw_losses.tolist(), strict=True))

    @property
    def weights(self) -> dict[str, float]:
        """Weight applied to each task's shared gradient."""
        return dict(zip(self.tasks, self.raw_weights.tolist(), strict=True))

    @property
    def norms(self) -> dict[str, float] | None:
        """Euclidean norm of each task's shared gradient; ``None`` without gradient evidence."""
        if self.gramian is None:
            return None
        return dict(zip(self.tasks, np.sqrt(np.diag(self.gramian)).tolist(), strict=True))

    @property
    def shares(self) -> dict[str, float]:
        """Effective share w_k·‖g_k‖ / Σ_j w_j·‖g_j‖ of each task; w_k / Σ_j w_j without gradient evidence."""
        size = np.abs(self.raw_weights)
        if self.gramian is not None:
            size = size * np.sqrt(np.diag(self.gramian))
        total = size.sum()
        return dict(zip(self.tasks, (size / total if total > 0 else size).tolist(), strict=True))

    @property
    def cosine_matrix(self) -> Float[Array, "K K"] | None:
        """Cosines between the tasks' shared gradients; NaN where a gradient is zero."""
        if self.gramian is None:
            return None
        norms = np.sqrt(np.diag(self.gramian))
        norms = np.where(norms > 0, norms, np.nan)
        return np.asarray(np.clip(self.gramian / np.outer(norms, norms), -1.0, 1.0))

    @property
    def cosines(self) -> dict[tuple[str, str], float] | None:
        """Cosine of each unordered pair of tasks; ``None`` without gradient evidence."""
        matrix = self.cosine_matrix
        if matrix is None:
            return None
        pairs = itertools.combinations(range(len(self.tasks)), 2)
        return {(self.tasks[i], self.tasks[j]): float(matrix[i, j]) for i, j in pairs}

    @property
    def conflicts(self) -> float | None:
        """Share of task pairs whose gradients point apart (negative cosine); ``None`` without gradient evidence."""
        if self.gramian is None:
            return None
        upper = self.gramian[np.triu_indices(len(self.tasks), k=1)]
        return float((upper < 0).mean()) if upper.size else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a log or a JSON file."""
        cosines = self.cosines
        return {
            "step": self.step,
            "losses": self.losses,
            "weights": self.weights,
            "shares": self.shares,
            "norms": self.norms,
            "cosines": None if cosines is None else {f"{a}|{b}": value for (a, b), value in cosines.items()},
            "conflicts": self.conflicts,
            "iterations": self.iterations,
            "backward_passes": self.backward_passes,
            "reused": self.reused,
            "skipped": list(self.skipped),
        }
