"""Is everything that a checkpoint would hold still finite?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from polytask.balance.engine.transaction import all_finite
from polytask.errors import NonFiniteError

__all__ = ["Health"]


@final
class Health:
    """Finds parameters, buffers and optimizer state that have become NaN or infinite since the start.

    The balancer lets no such gradient through, but an optimizer can make infinities of finite gradients (a learning
    rate or gradients that are too large), and a forward pass can write them into running statistics. What is infinite
    from the start, such as a mask, is meant to be.

    Args:
        model: Its parameters and buffers are looked at.
        optimizer: Its state is looked at.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self._model, self._optimizer = model, optimizer
        self._meant = {name for name, tensor in self._tensors() if not all_finite([tensor])}

    def check(self, step: int) -> None:
        """Look at everything; called before a validation, a checkpoint, and the end.

        Args:
            step: Optimizer steps taken, for the message.

        Raises:
            NonFiniteError: Something is not finite any more.
        """
        found = {name: tensor for name, tensor in self._tensors() if name not in self._meant}
        if all_finite(list(found.values())):
            return
        broken = [name for name, tensor in found.items() if not all_finite([tensor])]
        raise NonFiniteError(
            f"{', '.join(broken[:3])}{' and others' if len(broken) > 3 else ''} {'is' if len(broken) == 1 else 'are'} "
            f"not finite after step {step}, although every gradient was: the optimizer's steps or the inputs are too "
            "large. Nothing was saved since; lower lr=, set clip=, or look for extreme values in the data. The last "
            "checkpoint, if there is one, is as it was"
        )

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Names and values, without a graph."""
        for name, parameter in self._model.named_parameters():
            yield name, parameter.detach()
            for key, value in self._optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor) and torch.is_floating_point(value):
                    yield f"the optimizer's {key} of {name}", value.detach()
        for name, buffer in self._model.named_buffers():
            if torch.is_floating_point(buffer):
                yield name, buffer.detach()
