"""The multiple-gradient descent algorithm."""

from __future__ import annotations

from typing import ClassVar, final

from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.contract.options import Choice, Limits
from polytask.balance.engine.gradients import Heads
from polytask.balance.toolbox.scales import SCALES, RowScale, rescaled, row_scales
from polytask.solvers.simplex import min_norm

__all__ = ["MGDA"]


@final
class MGDA(GramianMethod):
    """The shortest convex combination of the gradients: minimise ‖Jᵀw‖² over w ≥ 0, Σw_i = 1.

    With d = Jᵀw the solution, g_iᵀd ≥ ‖d‖² for every task i, with equality for those of positive weight: no loss rises
    to first order, and d = 0 only where no direction lowers all of them. With a normalisation s the same is done for
    the rows s_i·g_i, and the weights are s_i·w_i.

    At the shared representation instead of the parameters, ``Balancer("mgda", grads="features")``, this is MGDA-UB: an
    upper bound of the same problem, for one backward pass through the trunk.

    Task weights, scaled to a mean of one, are scales q of what tasks gain: the rows are g_i/q_i, so that
    g_iᵀd ≥ q_i·‖d‖² and Σ q_i·w_i = 1. A task of twice the weight is promised twice the gain.

    Args:
        normalise: ``"none"`` (the paper's), ``"l2"`` s_i = 1/‖g_i‖, ``"loss"`` s_i = 1/L_i, or ``"loss+"``
            s_i = 1/(L_i·‖g_i‖).

    Raises:
        ConfigError: ``normalise`` is not one of the words.

    Examples:
        >>> import torch
        >>> MGDA().weights(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
        tensor([0.8000, 0.2000])
        >>> MGDA("l2").weights(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
        tensor([0.5000, 0.2500])

    Notes:
        The quadratic program is solved to rounding, not by a fixed number of Frank–Wolfe steps as in public code, and
        the two-task formula is not clamped away from 0 and 1.
        The normalisations are an addition of the released code, which solves for the normalised rows and then applies
        the weights to the others, so that losses may rise; here the step is the one that was solved for.
        A task whose gradient is zero is left out; the definition would stop every other task.
        Scales q are those of Désidéri's second version of the algorithm. Multiplying the solution by task weights
        instead, as is sometimes done, gives up descent for all tasks; rows q_i·g_i would give a task of larger weight
        less to say.

    References:
        Désidéri, "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", C. R. Math. 350 (2012).
        Désidéri, "MGDA II: a direct method for calculating a descent direction common to several criteria", INRIA
        RR-7922 (2012).
        Sener, Koltun, "Multi-task learning as multi-objective optimization", NeurIPS 2018.
    """

    uses_preference = True
    limits: ClassVar[Limits] = {"normalise": Choice(SCALES)}
    heads: Heads = "weighted"
    card = Card(
        title="MGDA",
        paper="Désidéri 2012; Sener, Koltun, NeurIPS 2018",
        url="https://arxiv.org/abs/1810.04650",
        idea="Step along the shortest vector in the convex hull of the gradients (MGDA-UB: with grads='features').",
        cost="K through the shared part",
        invariances=("order of tasks", "one common factor on all losses"),
        verified=(
            "KKT conditions to 1e-9",
            "closed form for two tasks",
            "scipy SLSQP",
            "the CAGrad paper's toy problem",
        ),
        notes="Favours tasks with small gradients: a task near its optimum slows down everyone.",
        preference="promised gain: g_iᵀd ≥ q_i·‖d‖², from rows g_i/q_i; no task's loss rises whatever the weights",
        heads="the authors' code descends Σ w_i·L_i with all parameters",
    )

    def __init__(self, normalise: RowScale = "none") -> None:
        super().__init__()
        self.normalise: RowScale = normalise

    def solve(self, evidence: Evidence) -> Solution:
        """The minimiser, exactly."""
        scales = row_scales(self.normalise, evidence) / evidence.emphasis
        weights, iterations = min_norm(rescaled(evidence.inner, scales))
        return Solution(scales * weights, iterations)
