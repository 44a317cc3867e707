"""Uncertainty weighting with the uncertainties solved for instead of learned."""

from __future__ import annotations

from typing import ClassVar, Literal, final

from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.contract.options import Choice, Limits, Real
from polytask.balance.toolbox.values import positive, softmax

__all__ = ["UWSO"]


@final
class UWSO(LossMethod):
    """Weights softmax_i(1/(T·L_i)): the optimal weights 1/L_i of uncertainty weighting, tempered and normalised.

    L_i is the loss of task i, constant in the weights, and T the temperature. The weights sum to one.

    Args:
        temperature: T > 0. The paper tunes it per data set; 1 is only a place to start.
        form: ``"so"`` for the softmax above; ``"o"`` for the weights 1/L_i themselves (UW-O), whose weighted loss is 1
            for every task and whose step is that of Σ log L_i.

    Raises:
        ConfigError: ``temperature`` is not positive, or ``form`` is unknown.

    Examples:
        >>> import torch
        >>> UWSO(form="o").weights(torch.tensor([0.5, 2.0]))
        tensor([2.0000, 0.5000])
        >>> UWSO().weights(torch.tensor([0.5, 2.0]))
        tensor([0.8176, 0.1824])

    Notes:
        Every loss must be above zero; otherwise a ``MethodError`` names the task. T has the unit of an inverse loss,
        so it has to be tuned again when all losses are rescaled. Nothing is added to the losses before dividing.

    References:
        Kirchdorfer et al., "Analytical uncertainty-based loss weighting in multi-task learning", GCPR 2024.
    """

    limits: ClassVar[Limits] = {"temperature": Real(0, open_low=True), "form": Choice(("so", "o"))}
    card = Card(
        title="UW-SO",
        paper="Kirchdorfer et al., GCPR 2024",
        url="https://arxiv.org/abs/2408.07985",
        idea="The closed-form optimum of uncertainty weighting, through a softmax with temperature.",
        cost="1",
        invariances=("order of tasks",),
        verified=("another implementation's formula, read", "limits T → 0 and T → ∞"),
        notes="Hard to use untuned: when losses are far below 1/T the smallest one takes all the weight.",
    )

    def __init__(self, temperature: float = 1.0, form: Literal["so", "o"] = "so") -> None:
        super().__init__()
        self.temperature, self.form = temperature, form

    def solve(self, evidence: Evidence) -> Solution:
        """softmax(1/(T·L)), or 1/L."""
        positive(self, evidence)
        best = 1 / evidence.losses
        return Solution(best if self.form == "o" else softmax(best / self.temperature))
