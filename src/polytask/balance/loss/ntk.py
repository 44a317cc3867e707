"""Neural-tangent-kernel weights for physics-informed networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balance.contract.asks import KERNEL_TRACES
from polytask.balance.contract.method import Card, Evidence, LossMethod, Solution
from polytask.errors import MethodError

__all__ = ["NTK", "ntk_trace"]


def ntk_trace(residuals: Float[Tensor, "N"], parameters: Iterable[Tensor], chunk: int = 64) -> float:
    """Trace Σ_n ‖∂r_n/∂θ‖² of the neural tangent kernel of N residuals r(θ).

    Args:
        residuals: What the task's loss is the mean square of, (N,), with a graph, which is kept.
        parameters: θ; those that need no gradient are left out.
        chunk: Residuals differentiated at once; memory grows with it.

    Returns:
        The trace.

    Examples:
        >>> theta = torch.tensor([2.0, 3.0], requires_grad=True)
        >>> ntk_trace(theta * torch.tensor([1.0, 2.0]), [theta])
        5.0
    """
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    picks = torch.eye(len(residuals), dtype=residuals.dtype, device=residuals.device)
    total = 0.0
    for rows in picks.split(chunk):
        grads = torch.autograd.grad(
            residuals, wanted, rows, retain_graph=True, allow_unused=True, is_grads_batched=True
        )
        total += sum(float(grad.double().square().sum()) for grad in grads if grad is not None)
    return total


@final
class NTK(LossMethod):
    """Weights Σ_j tr K_j / tr K_i, with K_i the neural tangent kernel of task i.

    tr K_i, the sum over task i's samples of the squared gradients of its residuals, is the mean speed at which
    gradient descent lowers them; the weights give all tasks the same speed. Their inverses sum to one.

    Examples:
        >>> method = NTK()
        >>> method.observe_metrics({"pde": 30.0, "boundary": 10.0})
        >>> method.weights(torch.tensor([0.5, 2.0]), tasks=["pde", "boundary"])
        tensor([1.3333, 4.0000])

    Notes:
        The traces are measured by the caller, every so many steps, and handed over with
        ``balancer.observe_metrics({task: trace})``; :func:`ntk_trace` measures one. A trace that is not positive and
        finite is refused with a ``MethodError`` that names the task. Until every task present has a trace, weights
        are one. Losses are means (or sums) of squares of the same residuals; other losses have no such reading.

    References:
        Wang, Yu, Perdikaris, "When and why PINNs fail to train: a neural tangent kernel perspective", Journal of
        Computational Physics 449, 2022.
    """

    asks = frozenset({KERNEL_TRACES})
    card = Card(
        title="NTK weights",
        paper="Wang, Yu, Perdikaris, JCP 2022",
        url="https://arxiv.org/abs/2007.14527",
        idea="Let the residuals of all tasks fall at the same speed, as their tangent kernels tell it.",
        cost="1, and one gradient per sample wherever traces are measured",
        invariances=("order of tasks", "losses"),
        verified=("the authors' notebook, read", "traces against explicit Jacobians", "inverses sum to one"),
        notes="For losses made of residuals; traces age as the network moves.",
    )

    def __init__(self) -> None:
        super().__init__()
        # Zero stands for a task without a trace.
        self.state.declare("trace", 0.0, reduce="same")

    def observe_metrics(self, values: Mapping[str, float]) -> None:
        """Take in the traces tr K of some tasks."""
        bad = [f"{task} = {value:g}" for task, value in values.items() if not 0 < value < np.inf]
        if bad:
            raise MethodError(f"NTK needs traces above zero, found {', '.join(bad)}; measure them with ntk_trace")
        self.state.write("trace", list(values), np.array(list(values.values()), dtype=np.float64))

    def solve(self, evidence: Evidence) -> Solution:
        """Σ tr K_j / tr K_i."""
        trace = self.state.read("trace", evidence.tasks)
        return Solution(trace.sum() / trace if (trace > 0).all() else np.ones(evidence.size))
