"""Online learning of auxiliary weights."""

from __future__ import annotations

from typing import ClassVar, Literal, final

import numpy as np

from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.balance.contract.options import Choice, Flag, Limits, Real, TaskName, Whole
from polytask.balance.engine.gradients import Heads

__all__ = ["OLAUX"]


@final
class OLAUX(GramianMethod):
    """Auxiliary weights that follow how well each auxiliary gradient served the primary task.

    The primary task's weight is 1, auxiliary weights start at 1. Every n steps w_i ← max(0, w_i + η·Σ g_mainᵀg_i),
    summed over these n steps: a gradient step on the primary loss that a step with weights w would leave, of which task
    i's part is −w_i·g_mainᵀg_i.

    Args:
        primary: Name of the task that matters.
        lr: η, the weights' step size times the network's; 5 · 1e-3 in the authors' code, on logarithms of losses.
        horizon: n, over how many steps the inner products are summed; 5 in the paper.
        similarity: ``"inner"`` (the paper's inner product) or ``"cosine"`` (indifferent to the losses' scale).
        nonnegative: Hold weights at zero or above, as the authors' code does. Without it a task that opposes the
            primary one gets a negative weight, and the step climbs its loss, which may have no upper end.

    Raises:
        ConfigError: An option is outside its limits.

    Examples:
        >>> import torch
        >>> OLAUX(primary="main").weights(torch.eye(2), tasks=["main", "aux"])
        tensor([1., 1.])

    Notes:
        The authors take the logarithm of every loss: use ``Chain("log", OLAUX(...))`` for that. Nothing bounds weights
        from above: what they gain in a step grows with the square of the losses' scale, and a task that agrees with the
        primary one for long comes to lead.
        In the authors' code the gradient that stands for the primary task's is that of the weighted sum of all losses;
        here, as in the paper, it is the primary task's own.
        Steps in which the primary or the auxiliary task is absent, or has no gradient, do not count.

    References:
        Lin, Baweja, Kantor, Held, "Adaptive auxiliary task weighting for reinforcement learning", NeurIPS 2019.
    """

    limits: ClassVar[Limits] = {
        "primary": TaskName(),
        "lr": Real(0, open_low=True),
        "horizon": Whole(1),
        "similarity": Choice(("inner", "cosine")),
        "nonnegative": Flag(),
    }
    heads: Heads = "weighted"
    card = Card(
        title="OL-AUX",
        paper="Lin et al., NeurIPS 2019",
        url="https://papers.nips.cc/paper/8724-adaptive-auxiliary-task-weighting-for-reinforcement-learning",
        idea="Raise the weight of auxiliary tasks whose gradients have pointed along the primary one.",
        cost="K through the shared part",
        invariances=("order of tasks",),
        verified=(
            "the recursion, by hand",
            "orthogonal gradients leave the weights alone",
            "the authors' quadratic problem",
            "the toy problem of the CAGrad paper ends at the primary task's optimum",
        ),
        notes="The step size depends on the losses' scale unless similarity='cosine'.",
        heads="the authors' code descends the weighted sum with all parameters",
    )

    def __init__(
        self,
        primary: str,
        lr: float = 5e-3,
        horizon: int = 5,
        similarity: Literal["inner", "cosine"] = "inner",
        nonnegative: bool = True,
    ) -> None:
        super().__init__()
        self.primary, self.lr, self.horizon, self.similarity = primary, lr, horizon, similarity
        self.nonnegative = nonnegative
        self.state.declare("weight", 1.0, reduce="same")
        self.state.declare("sum", 0.0, reduce="same")
        self.state.declare("count", 0.0, reduce="same")

    def solve(self, evidence: Evidence) -> Solution:
        """The weights learned so far; this step's inner products are added, and every n of them move the weights."""
        weights = self.state.read("weight", evidence.tasks)
        if self.primary not in evidence.tasks:
            return Solution(weights)
        main = evidence.tasks.index(self.primary)
        others = [i for i in range(evidence.size) if i != main]
        tasks, gain = tuple(evidence.tasks[i] for i in others), evidence.inner[main, others]
        if self.similarity == "cosine":
            squared = np.diag(evidence.inner)
            gain = gain / np.sqrt(squared[others]) / np.sqrt(squared[main])
        total = self.state.read("sum", tasks) + gain
        count = self.state.read("count", tasks) + 1
        due = count >= self.horizon
        moved = weights[others] + self.lr * np.where(due, total, 0.0)
        news = {
            "weight": np.maximum(moved, 0.0) if self.nonnegative else moved,
            "sum": np.where(due, 0.0, total),
            "count": np.where(due, 0.0, count),
        }
        return Solution(weights, remember=news, tasks=tasks)
