"""A last layer that learns on normalised targets while its predictions in natural units stay put."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.errors import ConfigError, TaskError

if TYPE_CHECKING:
    from polytask.tasks import TaskSet

__all__ = ["PopArt"]

_FLOOR = 1e-6
"""Deviation relative to the root mean square below which targets are taken as constant: what float32 resolves."""


@final
class PopArt(nn.Module):
    """Preserving outputs precisely, while adaptively rescaling targets: a linear head on targets (y − μ)/σ.

    μ and σ are the running mean and standard deviation of the task's targets y, per output. Whenever they move to μ',
    σ', the layer is rewritten, w ← (σ/σ')·w and b ← (σ·b + μ − μ')/σ', so that the prediction in the units of y,
    σ·(w·z + b) + μ for features z, does not change. Tasks whose targets differ by orders of magnitude, or drift, then
    have losses and gradients of like size.

    The forward pass gives the normalised prediction, which belongs in the loss next to :meth:`normalize` of the
    targets; :meth:`denormalize` gives predictions in natural units. With ``task`` the head takes its seat in
    :class:`~polytask.train.Trainer`: before every step it takes the task's targets in and normalises them for the loss,
    and in evaluation mode the forward pass gives predictions on the task's own scale.

    Args:
        layer: The last linear layer; it is kept, not copied, and must have a bias.
        rate: Weight β of a new batch in the running moments, in (0, 1]; 3e-4 in the multi-task paper.
        task: Name of the task whose targets normalise it, a regression; without it ``Trainer`` refuses the head, and a
            loop of one's own calls :meth:`update`, :meth:`normalize` and :meth:`denormalize`.

    Raises:
        ConfigError: ``layer`` has no bias, or ``rate`` is outside (0, 1].

    Examples:
        >>> head, z = PopArt(nn.Linear(4, 1)), torch.ones(2, 4)
        >>> y = torch.tensor([[900.0], [1100.0]])
        >>> before = head.denormalize(head(z))
        >>> head.update(y)
        >>> torch.allclose(head.denormalize(head(z)), before, atol=1e-3)
        True
        >>> head.normalize(y)
        tensor([[-1.],
                [ 1.]])

    Notes:
        The moments are free of the bias towards their start (the first batch sets them), where the multi-task paper
        starts from μ = 0, σ = 1; with its β that start lasts thousands of steps. While
        targets vary by less than 1e-6 of their root mean square (a first batch of one row, constants), σ is that root
        mean square, in the place of absolute bounds, and 1 while all are zero. A target that is NaN is
        missing and left out. The optimizer's own moments are not rescaled. Each process keeps the moments of its share
        of the data.

    Reference:
        Van Hasselt et al., "Learning values across many orders of magnitude", NeurIPS 2016. Hessel et al., "Multi-task
        deep reinforcement learning with PopArt", AAAI 2019.
    """

    mean: Tensor
    variance: Tensor
    mass: Tensor

    def __init__(self, layer: nn.Linear, rate: float = 3e-4, *, task: str | None = None) -> None:
        super().__init__()
        if layer.bias is None:
            raise ConfigError(
                "PopArt moves the bias of its layer, found a layer without one; use nn.Linear(…, bias=True)"
            )
        if not 0 < rate <= 1:
            raise ConfigError(f"PopArt(rate=…) must be a number in (0, 1], found {rate}")
        self.layer, self.rate, self.task = layer, rate, task
        size = layer.out_features
        # In double precision: the layer is rewritten thousands of times, and errors would add up.
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(size, dtype=torch.float64))
        self.register_buffer("mass", torch.zeros(size, dtype=torch.float64))

    @property
    def out_features(self) -> int:
        """Number of outputs."""
        return self.layer.out_features

    @property
    def scale(self) -> Float[Tensor, "D"]:
        """σ, per output; the root mean square while targets do not vary, and 1 while they are zero."""
        square = self.variance + self.mean**2
        varies = self.variance > _FLOOR**2 * square
        return torch.where(varies, self.variance, torch.where(square > 0, square, 1.0)).sqrt()

    def forward(self, features: Float[Tensor, "*B F"]) -> Float[Tensor, "*B D"]:
        """The normalised prediction w·z + b; with ``task``, in evaluation mode, σ·(w·z + b) + μ."""
        output: Tensor = self.layer(features)
        return output if self.training or self.task is None else self.denormalize(output)

    def check_seat(self, model: nn.Module, tasks: TaskSet) -> None:
        """Whether the head can take its seat in this model, among these tasks.

        Raises:
            ConfigError: It does not know whose targets normalise it, they are no single real numbers, or another part
                of the model uses the layer that is rewritten.
        """
        if self.task is None:
            raise ConfigError(
                "PopArt does not know whose targets normalise it; write PopArt(layer, task='name of the task')"
            )
        inside = {id(module) for module in self.modules()}
        outside = [module for module in model.modules() if id(module) not in inside]
        if any(part is self.layer for module in outside for part in module.children()) or any(
            own is other
            for module in outside
            for other in module.parameters(recurse=False)
            for own in self.layer.parameters()
        ):
            raise ConfigError(
                f"PopArt rewrites the layer of task {self.task!r}, and another part uses it too; give each "
                "a layer of its own"
            )
        task = tasks.get(self.task)
        if task is not None and not (task.rule.affine and task.out_features == self.out_features == 1):
            raise ConfigError(
                f"PopArt normalises one real-valued target and has {self.out_features} outputs; task {self.task!r} is "
                f"{task.kind} with {task.out_features}: use it for regression, with nn.Linear(…, 1)"
            )

    def before_losses(self, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take the task's targets in, and give them normalised."""
        if self.task is None or self.task not in targets:
            return {}
        own = targets[self.task]
        self.update(own)
        return {self.task: self.normalize(own)}

    def normalize(self, targets: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Targets in natural units as (y − μ)/σ."""
        return ((targets - self.mean) / self.scale).to(targets.dtype)

    def denormalize(self, outputs: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Normalised predictions in natural units."""
        return (outputs * self.scale + self.mean).to(outputs.dtype)

    @torch.no_grad()
    def update(self, targets: Float[Tensor, "..."]) -> None:
        """Take a batch of targets in and rewrite the layer; call it before computing the batch's loss.

        Args:
            targets: In natural units, (B, D), or (B,) for a single output; NaN where missing.

        Raises:
            TaskError: The last dimension is not the number of outputs, or a target is infinite.
        """
        size = self.out_features
        rows = targets.detach().reshape(-1, 1) if size == 1 else targets.detach()
        if rows.ndim < 2 or rows.shape[-1] != size:
            raise TaskError(f"PopArt: expected targets of shape (B, {size}), found {tuple(targets.shape)}")
        rows = rows.reshape(-1, size).double()
        if rows.isinf().any():
            raise TaskError("PopArt: found an infinite target; mark missing ones as NaN")
        present = ~rows.isnan()
        count = present.sum(0)
        batch = rows.nansum(0) / count.clamp(min=1)
        spread = torch.where(present, rows - batch, 0.0).square().sum(0) / count.clamp(min=1)
        rate = torch.where(count > 0, self.rate / ((1 - self.rate) * self.mass + self.rate), 0.0)
        mean, scale = self.mean.clone(), self.scale
        step = batch - mean
        # The variance of the mixture, from deviations: E[y²] − E[y]² would lose digits where the mean is large.
        self.variance.mul_(1 - rate).add_(rate * spread + rate * (1 - rate) * step**2)
        self.mean.add_(rate * step)
        self.mass.copy_(torch.where(count > 0, (1 - self.rate) * self.mass + self.rate, self.mass))
        weight, bias = self.layer.weight, self.layer.bias
        weight.copy_((scale / self.scale)[:, None] * weight.double())
        bias.copy_((scale * bias.double() + mean - self.mean) / self.scale)

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return f"rate={self.rate:g}" + ("" if self.task is None else f", task={self.task!r}")
