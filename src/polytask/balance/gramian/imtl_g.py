"""Impartial multi-task learning, gradient part."""

from __future__ import annotations

from typing import final

from polytask.balance.contract.method import Card, Evidence, GramianMethod, Solution
from polytask.solvers.spectral import equiangular

__all__ = ["IMTLG"]


@final
class IMTLG(GramianMethod):
    """The direction with equal positive projections on all unit gradients: w ∝ D⁻¹C⁻¹q, Σ|w_i| = 1.

    D holds the gradients' norms and C their cosines, so that (g_i/‖g_i‖)ᵀJᵀw is proportional to q_i for every task i.
    q are the task weights scaled to a mean of one; ones by default, which is the published method.

    Examples:
        >>> import torch
        >>> IMTLG().weights(torch.tensor([[1.0, 0.0], [0.0, 9.0]]))
        tensor([0.7500, 0.2500])

    Notes:
        The paper scales to Σw_i = 1, which turns the step uphill for every task when Σw_i of the solution is
        negative (it happens with nearly dependent gradients). Σ|w_i| = 1 is the same whenever all weights are positive,
        and the sign is always right.
        Where gradients are dependent, no vector may have such projections. The least-squares solution is taken, which
        may oppose a task; with two opposite gradients of equal weight that is w ∝ 1/‖g_i‖, for which the step is zero.

    References:
        Liu et al., "Towards impartial multi-task learning", ICLR 2021.
    """

    uses_preference = True
    card = Card(
        title="IMTL-G",
        paper="Liu et al., ICLR 2021",
        url="https://openreview.net/forum?id=IMPnRXEWpvr",
        idea="Step in the direction that makes the same angle with every gradient.",
        cost="K through the shared part",
        invariances=("order of tasks", "direction: a factor on each loss separately"),
        verified=("equal projections", "closed form for two tasks", "TorchJD where its sign is right"),
        notes="Nearly dependent gradients give weights of both signs; dependent ones may have no equal angles at all.",
        preference="proportion of the projections: u_iᵀd = c·q_i, u_i the unit gradient",
        heads=(
            "as in the paper, which leaves the heads to IMTL-L; a widely used reimplementation weighs them, "
            "which climbs a task's loss where its weight is negative"
        ),
    )

    def solve(self, evidence: Evidence) -> Solution:
        """The equiangular weights."""
        return Solution(equiangular(evidence.inner, evidence.emphasis))
