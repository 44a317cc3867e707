"""Multi-objective gradient correction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balance.contract.method import Block, Card, Combined, Evidence, JacobianMethod, Solution
from polytask.balance.contract.options import Choice, Limits, Real
from polytask.balance.toolbox.coordinates import mass, weighted_sum, wide
from polytask.errors import MethodError
from polytask.solvers.simplex import project_simplex

__all__ = ["MoCo"]

Array = np.ndarray


@final
class MoCo(JacobianMethod):
    """A running mean of every task's gradient, combined by weights that take one step per iteration.

    Y ← Y − β(Y − J) from Y = 0; λ ← Π(λ − γ(NNᵀλ + ρλ)) from λ = 1/K, Π the projection onto the simplex and N = Y with
    rows divided by ``normalise`` and by q, the task weights scaled to a mean of one; the step is Nᵀλ. For small γ,
    β ≫ γ this follows the min-norm direction of the mean gradients instead of that of one noisy batch.

    Args:
        beta: β, rate of the gradients' mean; 0.1 in the authors' code. 1 takes the batch's gradients.
        gamma: γ, step size of λ; 0.1 in the authors' code. 0 keeps λ.
        rho: ρ, pull of λ towards equal weights; 0.1 in the authors' code.
        normalise: Divisor of the rows of Y: ``"none"``, ``"l2"`` their norm, ``"loss"`` the loss, ``"loss+"`` both.

    Raises:
        ConfigError: An option is outside its limits.
        MethodError: A loss is not positive and ``normalise`` divides by it.

    Examples:
        >>> MoCo(beta=1.0, rho=0.0).direction(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
        tensor([0.7000, 0.9000])

    Notes:
        Weights sum to one over the present tasks; an absent task keeps its part of the total, and its row of Y.
        The constants are those of the authors' code for a later paper (their comparison with MoDo). The code they
        shared with LibMTL has β = 0.5/√t, γ = 0.1/√t and ρ = 0, gives every gradient the length of its loss before it
        enters Y, and replaces Π by a softmax, which drives λ towards equal weights in every step.
        Needs K·P numbers of memory.

    References:
        Fernando et al., "Mitigating gradient bias in multi-objective learning", ICLR 2023.
    """

    uses_preference = True
    limits: ClassVar[Limits] = {
        "beta": Real(0, 1, open_low=True),
        "gamma": Real(0),
        "rho": Real(0),
        "normalise": Choice(("none", "l2", "loss", "loss+")),
    }
    card = Card(
        title="MoCo",
        paper="Fernando et al., ICLR 2023",
        url="https://openreview.net/forum?id=dLAYGdKTi2",
        idea="Track every task's mean gradient, and let the weights follow the min-norm problem slowly.",
        cost="K through the shared part, K·P numbers of memory",
        invariances=("order of tasks",),
        verified=("the authors' recursion, step by step", "γ = 0 keeps λ", "converges to MGDA's weights"),
        notes="The step size of λ depends on the scale of the gradients. The first steps are short: Y starts at zero.",
        preference="divides the gradients: in the limit MGDA's promise g_iᵀd ≥ q_i·‖d‖² for the mean gradients",
        heads="as in the authors' code",
    )

    def __init__(
        self,
        beta: float = 0.1,
        gamma: float = 0.1,
        rho: float = 0.1,
        normalise: Literal["none", "l2", "loss", "loss+"] = "none",
    ) -> None:
        super().__init__()
        self.beta, self.gamma, self.rho, self.normalise = beta, gamma, rho, normalise
        self.state.declare("mass", 1.0, reduce="same")
        self.memory.declare("tracked", reduce="mean")

    def measure(self, block: Block, evidence: Evidence) -> Mapping[str, Array]:
        """Y·Yᵀ after this step's update."""
        tracked = self._tracked(block, evidence).double()
        return {"tracked": (tracked @ tracked.T).cpu().numpy()}

    def solve(self, evidence: Evidence) -> Solution:
        """λ, over the divisors of the rows."""
        weights, total = mass(self.state, "mass", evidence.tasks)
        divisors = self._divisors(evidence)
        pull = evidence.measures["tracked"] / np.outer(divisors, divisors) @ weights + self.rho * weights
        moved = project_simplex(weights - self.gamma * pull)
        return Solution(moved / divisors, remember={"mass": total * moved})

    def combine(self, block: Block, evidence: Evidence, solution: Solution) -> Combined:
        """Yᵀλ, and the new Y."""
        tracked = self._tracked(block, evidence)
        return Combined(weighted_sum(solution.weights, tracked), {"tracked": tracked})

    def _tracked(self, block: Block, evidence: Evidence) -> Float[Tensor, "K P"]:
        rows = wide(block.rows)
        return torch.lerp(self.memory.read("tracked", block.name, evidence.tasks, rows), rows, self.beta)

    def _divisors(self, evidence: Evidence) -> Float[Array, "K"]:
        divisors = evidence.emphasis
        if self.normalise in ("loss", "loss+"):
            if (evidence.losses <= 0).any():
                raise MethodError(f"MoCo divides by the losses, which must be positive; found {evidence.losses}")
            divisors = divisors * evidence.losses
        if self.normalise in ("l2", "loss+"):
            norms = np.sqrt(np.diag(evidence.measures["tracked"]))
            divisors = divisors * np.where(norms > 0, norms, 1.0)
        return divisors
