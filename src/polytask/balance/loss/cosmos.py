"""Preference-conditioned scalarisation of COSMOS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float

from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.contract.options import Limits, PerTask, Real
from polytask.balance.toolbox.values import per_task

__all__ = ["COSMOS"]

Array = np.ndarray


@final
class COSMOS(LossMethod):
    """Descends rᵀL − λ·cos(r, L), with a ray r drawn anew from a Dirichlet distribution at every step.

    L are the losses. The weights are the gradient r − λ·(r/(‖r‖‖L‖) − (rᵀL)·L/(‖r‖‖L‖³)). The network is meant to be
    told r along with its inputs, and then holds the whole Pareto front: :meth:`ray` gives the same r beforehand.

    Args:
        alpha: Concentration of the Dirichlet distribution, for all tasks or by name. 1.2 for the paper's image
            problems, 0.5 for its tables.
        penalty: λ ≥ 0, how closely the losses should follow the ray. 2 for the paper's Multi-MNIST, 0.01 to 8
            elsewhere.

    Raises:
        ConfigError: A concentration is not positive, or ``penalty`` is negative.

    Examples:
        >>> import torch
        >>> method = COSMOS(penalty=0.0)
        >>> ray = method.ray(["a", "b"], step=3, seed=7)
        >>> w = method.weights(torch.tensor([0.5, 2.0]), tasks=["a", "b"], step=3, seed=7)
        >>> bool(np.allclose(w, ray))
        True

    Notes:
        In training: ``r = balancer.method.ray(tasks, step=balancer.step, seed=balancer.seed)`` before the forward
        pass, with the tasks that will be present (and their preference, if not equal). It depends on seed, step and
        names only. A weight may be negative where the losses stray far from the ray. Task weights multiply the
        concentrations. When all losses are zero the cosine is left out.

    References:
        Ruchte, Grabocka, "Scalable Pareto front approximation for deep multi-objective learning", ICDM 2021.
    """

    uses_preference = True
    limits: ClassVar[Limits] = {"alpha": PerTask(Real(0, open_low=True)), "penalty": Real(0)}
    card = Card(
        title="COSMOS",
        paper="Ruchte, Grabocka, ICDM 2021",
        url="https://arxiv.org/abs/2103.13392",
        idea="Train one network for all trade-offs: a random preference ray per step, which the network is told.",
        cost="1",
        invariances=("order of tasks",),
        verified=("the released objective, read, by automatic differentiation", "TorchJD's COSMOS for a given ray"),
        notes="Without feeding the ray to the network it is only a noisy weighted sum.",
        preference="scales the concentration of the task's part of the ray",
    )

    def __init__(self, alpha: float | Mapping[str, float] = 1.2, penalty: float = 2.0) -> None:
        super().__init__()
        self.alpha, self.penalty = alpha, penalty

    def ray(
        self, tasks: Sequence[str], *, step: int, seed: int, preference: Sequence[float] | None = None
    ) -> Float[Array, "K"]:
        """The ray of one step, in the order of ``tasks``; non-negative, summing to one."""
        liking = np.ones(len(tasks)) if preference is None else np.asarray(preference, dtype=np.float64)
        concentration = per_task(self.alpha, tasks, 1.2) * liking * len(tasks) / liking.sum()
        by_name = sorted(range(len(tasks)), key=tasks.__getitem__)
        ray = np.empty(len(tasks))
        ray[by_name] = np.random.default_rng([seed, step]).dirichlet(concentration[by_name])
        return ray

    def solve(self, evidence: Evidence) -> Solution:
        """The gradient of the objective for this step's ray."""
        liking = evidence.preference.tolist()
        ray = self.ray(evidence.tasks, step=evidence.step, seed=evidence.seed, preference=liking)
        length = np.linalg.norm(evidence.losses)
        if length == 0:
            return Solution(ray)
        toward = evidence.losses / length
        slope = (ray - (ray @ toward) * toward) / np.linalg.norm(ray)
        return Solution(ray - self.penalty * slope / length)
