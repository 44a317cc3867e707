"""Seats in the training loop: what a part of a model may do around a step, without the loop knowing what it is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, final

import torch
from torch import Tensor, nn

from polytask.errors import ConfigError

if TYPE_CHECKING:
    from polytask.balance import StepRecord
    from polytask.tasks import TaskSet

__all__ = ["Seat", "Seats"]


class Seat(Protocol):
    """What any submodule of a model may fill; each method is optional, and found by its name.

    In every step :class:`~polytask.train.Trainer` calls, in this order: :meth:`before_losses`, the forward pass,
    :meth:`extra_losses`, the backward passes, :meth:`after_backward`, the optimizer. Before the first step it calls
    :meth:`check_seat`. Nothing is called in evaluation, prediction and the second look of methods that want one.
    """

    def check_seat(self, model: nn.Module, tasks: TaskSet) -> None:
        """Refuse a model or tasks the module does not fit, with a :class:`~polytask.errors.ConfigError`."""

    def own_parameters(self) -> Iterable[nn.Parameter]:
        """Parameters the module trains itself; the optimizer leaves them out."""

    def before_losses(self, targets: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
        """See the step's targets before the forward pass, and return those to be used in their place, if any.

        Args:
            targets: Task → targets of all micro-batches of the step, as the loss sees them: (y − shift)/scale with NaN
                where a label is missing, for kinds that have a shift and a scale; as they came for all others.

        Returns:
            Replacements of the same length, on the same scale, NaN where missing. Parameters and buffers of the module
            that were changed here are put back when the step fails.
        """

    def extra_losses(self) -> Mapping[str, Tensor]:
        """Losses of the forward pass just made, by a name of their own; they stay outside the balancing.

        Each is one number with a graph; those of the same name add up. They count once per step: over several
        micro-batches their mean.
        """

    def after_backward(self, record: StepRecord, *, loss_scale: float = 1.0) -> None:
        """Act after the step's gradients have been collected, and before the optimizer moves.

        Args:
            record: What the balancer did.
            loss_scale: Factor of every gradient that passed through the module (fp16; 1 otherwise).
        """


@final
class Seats:
    """The seats among a model's modules.

    Examples:
        >>> class Penalty(nn.Linear):
        ...     def extra_losses(self):
        ...         return {"size": self.weight.square().sum()}
        >>> seats = Seats.of(nn.Sequential(Penalty(2, 1), nn.ReLU(), Penalty(1, 1)))
        >>> sorted(seats.extra_losses())
        ['size']
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._modules = [
            module for module in modules if any(callable(getattr(module, name, None)) for name in _METHODS)
        ]
        self._before = self._filled("before_losses")
        self._extra = self._filled("extra_losses")
        self._after = self._filled("after_backward")

    @classmethod
    def of(cls, model: nn.Module) -> Seats:
        """Those of all modules of ``model``."""
        return cls(model.modules())

    def _filled(self, name: str) -> list[Callable[..., Any]]:
        return [getattr(module, name) for module in self._modules if callable(getattr(module, name, None))]

    @property
    def listens(self) -> bool:
        """Whether a seat wants the targets."""
        return bool(self._before)

    @property
    def adds(self) -> bool:
        """Whether a seat has losses of its own."""
        return bool(self._extra)

    def check(self, model: nn.Module, tasks: TaskSet) -> None:
        """See :meth:`Seat.check_seat`."""
        for check in self._filled("check_seat"):
            check(model, tasks)

    def own_parameters(self) -> list[nn.Parameter]:
        """See :meth:`Seat.own_parameters`."""
        return [parameter for own in self._filled("own_parameters") for parameter in own()]

    def before_losses(self, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See :meth:`Seat.before_losses`."""
        replaced: dict[str, Tensor] = {}
        for before in self._before:
            replaced |= before(targets) or {}
        for name, value in replaced.items():
            if name not in targets or len(value) != len(targets[name]):
                raise ConfigError(
                    f"before_losses() may replace the targets it was given, row by row; found {tuple(value.shape)} for "
                    f"{name!r}" + (f" in the place of {tuple(targets[name].shape)}" if name in targets else "")
                )
        return replaced

    def extra_losses(self) -> dict[str, Tensor]:
        """See :meth:`Seat.extra_losses`."""
        found: dict[str, Tensor] = {}
        for extra in self._extra:
            for name, loss in extra().items():
                if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
                    raise ConfigError(
                        f"extra_losses() must give one number with a graph for {name!r}, found "
                        + (f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__)
                    )
                found[name] = found[name] + loss.reshape(()) if name in found else loss.reshape(())
        return found

    def after_backward(self, record: StepRecord, *, loss_scale: float = 1.0) -> None:
        """See :meth:`Seat.after_backward`."""
        for after in self._after:
            after(record, loss_scale=loss_scale)

    @contextlib.contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Put back what ``before_losses`` changed when the step inside fails."""
        own = {id(parameter) for parameter in self.own_parameters()} if self._before else set()
        kept = [
            (tensor, tensor.detach().clone())
            for module in self._modules
            if callable(getattr(module, "before_losses", None))
            for tensor in (*module.parameters(), *module.buffers())
            if id(tensor) not in own
        ]
        try:
            yield
        except BaseException:
            with torch.no_grad():
                for tensor, value in kept:
                    tensor.copy_(value)
            raise


_METHODS = ("check_seat", "own_parameters", "before_losses", "extra_losses", "after_backward")
