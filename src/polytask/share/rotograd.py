"""Rotations between trunk and heads that turn the tasks' gradients into one direction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.errors import ConfigError, TaskError, unknown

if TYPE_CHECKING:
    from polytask.balance import StepRecord

__all__ = ["Rotations"]


@final
class Rotations(nn.Module):
    """One rotation R_k of the shared representation per task: head k reads R_k·z, and R_k learns where it should look.

    With h_k = ∂L_k/∂(R_k·z) per sample and g_k = R_kᵀ·h_k the task's gradient at z, v is the mean over tasks of the
    g_k after each is scaled to the length of their plain mean (lengths over the whole batch). :meth:`step` lowers
    mean_b ‖R_k·v_b − h_kb‖² in R_k alone, so that all tasks' gradients at z come to point along v. The tasks' losses
    see R_k as a constant, and the rotations see nothing but this loss.

    R_k = exp(A_k − A_kᵀ) is orthogonal with determinant one whatever A_k is, and starts at the identity.

    Args:
        tasks: Names of the tasks.
        width: Length m of the representation along ``dim``.
        dim: The axis that is rotated: the last one, or 1 for the channels of images.
        lr: Learning rate of the rotations; the paper lets it be smaller than the network's, and fall faster.
        optimizer: From parameters and ``lr`` to an optimizer; Adam by default.

    Attributes:
        optimizer: The rotations' own optimizer, e.g. for a learning-rate schedule. Saved with the module.

    Raises:
        ConfigError: ``width`` or ``lr`` is not positive, or there are no tasks.

    Examples:
        >>> trunk, heads = nn.Linear(3, 4), nn.ModuleDict({"a": nn.Linear(4, 1), "b": nn.Linear(4, 1)})
        >>> rotations = Rotations(heads, width=4)
        >>> views = rotations(trunk(torch.ones(2, 3)))
        >>> losses = {name: heads[name](views[name]).square().mean() for name in heads}
        >>> sum(losses.values()).backward()
        >>> sorted(rotations.step())
        ['a', 'b']

    Notes:
        With ``Balancer("rotograd", grads="features")`` on z this is the whole method; with any other balancing it is
        its rotate-only form. :class:`~polytask.train.Trainer` moves the rotations in every step; in a loop of your own
        call :meth:`step` once after each backward pass, or after several that are accumulated.
        The orthogonal matrices are parametrised by the exponential from zero, without moving the base point.

    References:
        Javaloy, Valera, "RotoGrad: gradient homogenization in multitask learning", ICLR 2022.
    """

    def __init__(
        self,
        tasks: Iterable[str],
        width: int,
        *,
        dim: int = -1,
        lr: float = 5e-4,
        optimizer: Callable[[Iterable[Tensor], float], torch.optim.Optimizer] | None = None,
    ) -> None:
        super().__init__()
        self.names = tuple(tasks)
        if not self.names or width < 1 or not lr > 0:
            raise ConfigError(
                f"Rotations needs at least one task, a width ≥ 1 and lr > 0; found {len(self.names)} tasks, "
                f"width {width}, lr {lr}"
            )
        self.width, self.dim = width, dim
        self.angles = nn.ParameterList(nn.Parameter(torch.zeros(width, width)) for _ in self.names)
        make = optimizer or (lambda parameters, lr: torch.optim.Adam(parameters, lr=lr))
        self.optimizer = make(list(self.angles), lr)
        self._passes: list[dict[str, Tensor]] = []

    def rotation(self, task: str) -> Float[Tensor, "M M"]:
        """R of one task."""
        if task not in self.names:
            raise TaskError(unknown("task", task, self.names))
        lower = self.angles[self.names.index(task)].tril(-1)
        rotation: Tensor = torch.linalg.matrix_exp(lower - lower.mT)
        return rotation

    def forward(self, z: Float[Tensor, "..."], tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """What each head reads.

        Args:
            z: The shared representation, with ``width`` entries along ``dim``.
            tasks: The tasks wanted; all by default.

        Returns:
            R_k·z by task, in the shape of ``z``.
        """
        if z.shape[self.dim] != self.width:
            raise ConfigError(f"expected {self.width} features along axis {self.dim}, found shape {tuple(z.shape)}")
        caught: dict[str, Tensor] = {}
        views = {}
        for name in self.names if tasks is None else tasks:
            rotation = self.rotation(name).detach().to(z.dtype)
            view = (z.movedim(self.dim, -1) @ rotation.mT).movedim(-1, self.dim)
            if self.training and view.requires_grad:
                view.register_hook(self._catch(caught, name))
            views[name] = view
        if self.training and z.requires_grad:
            # Passes that were never differentiated have nothing to say.
            self._passes = [*filter(None, self._passes), caught]
        return views

    def step(self, loss_scale: float = 1.0) -> dict[str, float]:
        """Move the rotations by the gradients caught since the last call.

        Args:
            loss_scale: Factor the losses were multiplied by (mixed precision).

        Returns:
            The rotations' loss by task, before the move; empty when no gradient was caught.
        """
        losses: dict[str, Tensor] = {}
        for caught in self._passes:
            for name, loss in self._losses({task: g / loss_scale for task, g in caught.items()}).items():
                losses[name] = losses.get(name, loss.new_zeros(())) + loss
        self._passes = []
        finite = all(bool(torch.isfinite(loss)) for loss in losses.values())
        if losses and finite:
            for angles in self.angles:
                angles.grad = None
            torch.stack(list(losses.values())).sum().backward()
            self.optimizer.step()
            for angles in self.angles:
                angles.grad = None
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def own_parameters(self) -> Iterator[nn.Parameter]:
        """The angles: :attr:`optimizer` moves them."""
        return iter(self.angles)

    def before_losses(self, targets: Mapping[str, Tensor]) -> None:
        """A step begins: what an earlier one left behind because it failed is dropped."""
        self._passes = []

    def after_backward(self, record: StepRecord, *, loss_scale: float = 1.0) -> None:
        """Move the rotations by what the step's backward passes brought."""
        self.step(loss_scale)

    def _losses(self, caught: dict[str, Tensor]) -> dict[str, Tensor]:
        """mean_b ‖R_k·v_b − h_kb‖² by task, with a graph to the rotations."""
        rotations = {name: self.rotation(name) for name in caught}
        flat = {
            name: gradient.movedim(self.dim, -1).flatten(0, -2).to(rotations[name].dtype)
            for name, gradient in caught.items()
        }
        back = {name: gradient @ rotations[name].detach() for name, gradient in flat.items()}
        back = {name: gradient for name, gradient in back.items() if gradient.norm() > 0}
        if not back:
            return {}
        length = torch.stack(list(back.values())).mean(0).norm()
        common = torch.stack([gradient * (length / gradient.norm()) for gradient in back.values()]).mean(0)
        return {name: (common @ rotations[name].mT - flat[name]).square().sum(-1).mean() for name in back}

    @staticmethod
    def _catch(caught: dict[str, Tensor], name: str) -> Callable[[Tensor], None]:
        def hook(gradient: Tensor) -> None:
            caught[name] = caught[name] + gradient.detach() if name in caught else gradient.detach()

        return hook

    def get_extra_state(self) -> dict[str, Any]:
        """The optimizer's state, saved with the module."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` gave."""
        self.optimizer.load_state_dict(state)
