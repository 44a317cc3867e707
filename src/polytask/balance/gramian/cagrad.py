"""Conflict-averse gradient descent."""

from __future__ import annotations

from typing import ClassVar, Literal, final

import numpy as np

from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.contract.options import Choice, Limits, Real, Whole
from polytask.balance.toolbox.draws import shuffled
from polytask.solvers.ball import max_min_in_ball

__all__ = ["CAGrad"]

_CANCELLED = 1e-14


@final
class CAGrad(GramianMethod):
    """The direction with the best worst-case gain within a ball around the mean gradient.

    Maximise min_i g_iᵀd over ‖d − g₀‖ ≤ c‖g₀‖, where g₀ = Σ p_i·g_i and p are the task weights, Σp_i = 1. The weights
    are p + v with v ≥ 0 from the dual problem. c = 0 is the mean; for c < 1 the method converges to a stationary point
    of the mean loss; c → ∞ turns towards MGDA's direction.

    Args:
        c: Radius of the ball relative to ‖g₀‖; 0.4 in the paper's NYUv2 and Cityscapes runs, 0.5 in its toy problem.
        rescale: ``"none"`` gives d itself, ``"1+c"`` and ``"1+c^2"`` divide it by that number.
        subset: CAGrad-Fast: draw ``subset − 1`` tasks in every step, and let all others take part as one task, their
            mean. ``None`` takes every task for itself.

    Raises:
        ConfigError: An option is outside its limits.

    Examples:
        >>> import torch
        >>> CAGrad(c=0.4).weights(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
        tensor([0.9472, 0.5000])

    Notes:
        The paper's algorithm has no division; its released code divides by 1 + c² by default.
        Solved exactly and without a constant under the square root, so that tiny gradients give the same weights as
        large ones, and the step is not lost when one task's gradient is zero.
        CAGrad-Fast needs all tasks' gradients here and saves only part of the small problem; its released code sums the
        others' losses before one backward pass, and loses one of them by an index.
        Where some convex combination of the gradients vanishes and the ball reaches directions that no task opposes,
        the one nearest to g₀ is taken; released code returns zero or an arbitrary point there.

    References:
        Liu et al., "Conflict-averse gradient descent for multi-task learning", NeurIPS 2021.
    """

    uses_preference = True
    limits: ClassVar[Limits] = {
        "c": Real(0),
        "rescale": Choice(("none", "1+c", "1+c^2")),
        "subset": Whole(2, optional=True),
    }
    card = Card(
        title="CAGrad",
        paper="Liu et al., NeurIPS 2021",
        url="https://arxiv.org/abs/2110.14048",
        idea="Stay near the mean gradient, but help the task that gains least.",
        cost="K through the shared part",
        invariances=("order of tasks", "one common factor on all losses"),
        verified=("duality gap to 1e-9", "closed form for two tasks", "cvxpy", "the paper's toy problem"),
        notes="With c ≥ 1 any Pareto-stationary point stops it.",
        preference="weight in the mean gradient g₀, the ball's centre",
        heads="as in the authors' code",
    )

    def __init__(
        self, c: float = 0.4, rescale: Literal["none", "1+c", "1+c^2"] = "none", subset: int | None = None
    ) -> None:
        super().__init__()
        self.c, self.rescale, self.subset = c, rescale, subset
        self._divisor = {"none": 1.0, "1+c": 1.0 + c, "1+c^2": 1.0 + c * c}[rescale]

    def solve(self, evidence: Evidence) -> Solution:
        """Preference plus the dual solution."""
        pull, iterations = self._pull(evidence)
        return Solution((evidence.preference + pull) / self._divisor, iterations)

    def _pull(self, evidence: Evidence) -> tuple[np.ndarray, int]:
        """The dual solution, over all tasks or over a few and the mean of the rest."""
        size, preference = evidence.size, evidence.preference
        if self.subset is None or self.subset >= size:
            return max_min_in_ball(evidence.inner, preference, self.c)
        order = shuffled(evidence)
        single, rest = order[: self.subset - 1], order[self.subset - 1 :]
        groups = np.zeros((self.subset, size))
        groups[np.arange(len(single)), single] = 1.0
        groups[-1, rest] = preference[rest] / preference[rest].sum()
        gramian = groups @ evidence.inner @ groups.T
        centre = np.append(preference[single], preference[rest].sum())
        # Where the others cancel, their mean takes no part.
        shown = np.diag(gramian) > _CANCELLED * (groups**2 @ np.diag(evidence.inner))
        kept = np.flatnonzero(shown)
        pull, iterations = max_min_in_ball(gramian[np.ix_(kept, kept)], centre[kept], self.c)
        return pull @ groups[kept], iterations
