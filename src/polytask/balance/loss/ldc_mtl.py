"""Loss discrepancy control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, final

import numpy as np
from jaxtyping import Float

from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.balance.contract.options import Choice, Limits, Real
from polytask.balance.toolbox.adam import TaskAdam
from polytask.balance.toolbox.values import positive

__all__ = ["LDCMTL"]

Array = np.ndarray
_ALIKE = 1e-12


@final
class LDCMTL(LossMethod):
    """Descends Σ σ_i·l_i/Σσ + λ·Σ |σ_i·l_i − σ_{i+1}·l_{i+1}|, in the network and in the shares σ = sigmoid(v).

    l_i is the loss of task i, normalised; the second sum runs over neighbours. In the network this is the weighted sum
    with weights σ_i/Σσ + λ·σ_i·(s_i − s_{i−1}), s_i = sign(σ_i·l_i − σ_{i+1}·l_{i+1}); v takes an Adam step along the
    same objective's gradient, in which the sum Σσ under the fraction counts as constant. It is the penalised form of a
    bilevel problem: σ such that all weighted losses are alike at the minimum of their sum.

    Args:
        lam: λ ≥ 0; 0.01 in the authors' code for CelebA, 0.05 for NYUv2 and QM9, 0.1 for Cityscapes.
        lr: Adam's learning rate for v, which starts at ones; 1e-3 in the authors' code for CelebA.
        normalise: ``"none"`` l = L (CelebA); ``"initial"`` l_i = L_i·min_j L_j⁰/L_i⁰ with L⁰ the first loss (NYUv2);
            ``"log"`` l_i = log(L_i/L_i⁰) (QM9).

    Raises:
        ConfigError: An option is outside its limits.
        MethodError: A loss is not positive and ``normalise`` divides by it or takes its logarithm.

    Examples:
        >>> import torch
        >>> LDCMTL(lam=0.1).weights(torch.tensor([0.5, 2.0]))
        tensor([0.4269, 0.5731])

    Notes:
        v is a vector, as in the authors' code for CelebA and QM9; for NYUv2 and Cityscapes it computes σ by a linear
        layer from the shared features, and that router is not included. Neighbours are those in alphabetical order of
        the tasks' names, so that the order in which losses are given does not matter. A weight is negative where
        λ·Σσ·|s_i − s_{i−1}| exceeds one: keep λ below about 1/(2K). Nothing in the objective holds the shares up: once
        their products are alike they sink together, and the penalty fades. The authors' code for QM9 takes new first
        losses in every epoch; here they are the first ever seen.

    References:
        Xiao, Dong, Zou, Ji, "LDC-MTL: balancing multi-task learning through scalable loss discrepancy control",
        arXiv 2502.08585, 2025.
    """

    limits: ClassVar[Limits] = {
        "lam": Real(0),
        "lr": Real(0, open_low=True),
        "normalise": Choice(("none", "initial", "log")),
    }
    card = Card(
        title="LDC-MTL",
        paper="Xiao, Dong, Zou, Ji, arXiv 2025",
        url="https://arxiv.org/abs/2502.08585",
        idea="Learn the weights that bring all weighted losses together, at the price of a plain sum.",
        cost="1",
        invariances=("order of tasks",),
        verified=(
            "the authors' code for CelebA and QM9, read: its objective by automatic differentiation and torch's Adam",
            "λ = 0 starts as the mean",
        ),
        notes="Who is compared with whom depends on the tasks' names.",
    )

    def __init__(
        self, lam: float = 0.01, lr: float = 1e-3, normalise: Literal["none", "initial", "log"] = "none"
    ) -> None:
        super().__init__()
        self.lam, self.lr, self.normalise = lam, lr, normalise
        self._adam = TaskAdam(self.state, "logit", start=1.0, lr=lr)
        # Zero stands for a task that has shown no loss yet.
        self.state.declare("first", 0.0, reduce="mean")

    def solve(self, evidence: Evidence) -> Solution:
        """Derivatives of the objective with respect to the losses; one Adam step on v follows."""
        shares = 1 / (1 + np.exp(-self.state.read("logit", evidence.tasks)))
        losses, slopes, first = self._normalised(evidence)
        pull = self._pull(evidence.tasks, shares * losses, shares.sum())
        news = self._adam.step(evidence.tasks, shares * (1 - shares) * losses * pull)
        return Solution(shares * slopes * pull, remember=news | first)

    def _pull(self, tasks: Sequence[str], products: Float[Array, "K"], total: float) -> Float[Array, "K"]:
        """Derivatives of the objective with respect to the products σ_i·l_i: 1/Σσ + λ(s_i − s_{i−1})."""
        order = np.argsort(tasks)
        products = products[order]
        # Equal but for rounding, as all are after normalisation in the first step, counts as equal.
        size = np.maximum(abs(products[:-1]), abs(products[1:]))
        gaps = -np.diff(products)
        signs = np.where(abs(gaps) > _ALIKE * size, np.sign(gaps), 0.0)
        pull = np.full(len(tasks), 1 / total)
        pull[order[:-1]] += self.lam * signs
        pull[order[1:]] -= self.lam * signs
        return pull

    def _normalised(self, evidence: Evidence) -> tuple[Array, Array, dict[str, Array]]:
        """l, its derivative with respect to L, and the first losses, to be remembered where they are needed."""
        losses = evidence.losses
        if self.normalise == "none":
            return losses, np.ones(evidence.size), {}
        positive(self, evidence)
        first = self.state.read("first", evidence.tasks)
        first = np.where(first > 0, first, losses)
        if self.normalise == "log":
            return np.log(losses / first), 1 / losses, {"first": first}
        return losses * first.min() / first, first.min() / first, {"first": first}
