"""Losses of the user: functions, and PyTorch's loss modules with what each of them expects."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules import loss as modules

from polytask.errors import PolytaskError
from polytask.tasks.nature import Nature

if TYPE_CHECKING:
    from polytask.tasks.kind import Kind
    from polytask.tasks.task import LossFunction, Task

__all__ = ["check_loss", "row_losses"]

_BY_INDEX = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss, nn.MultiLabelMarginLoss)
"""Loss modules that read a class's number; all others of PyTorch compare numbers and want them as floats."""
_REFUSED: dict[type[nn.Module], str] = {
    nn.BCELoss: "wants probabilities, and the head gives logits; use nn.BCEWithLogitsLoss",
    nn.SoftMarginLoss: "wants labels of −1 and 1; use nn.BCEWithLogitsLoss, or a function that recodes them",
    nn.HingeEmbeddingLoss: "wants labels of −1 and 1; use nn.BCEWithLogitsLoss, or a function that recodes them",
}
"""Loss modules that would read the 0 and 1 of yes/no labels, or the logits, as something else without a word."""


def check_loss(rule: Kind, loss: LossFunction) -> None:
    """Refuse what cannot be a loss of this kind.

    Raises:
        TaskError: It cannot be called, it sums over the rows, or it would misread the kind's labels or outputs.
    """
    if not callable(loss):
        raise rule.fail(f"loss must be a function of predictions and targets, found {loss!r}")
    if isinstance(loss, type):
        raise rule.fail(f"loss must be a function of predictions and targets, found a class; write {loss.__name__}(…)")
    if getattr(loss, "reduction", None) == "sum":
        raise rule.fail(
            f"{type(loss).__name__} sums over the rows, so that the loss would grow with the batch; "
            "make it with reduction='mean' or reduction='none'"
        )
    if rule.nature in (Nature.YES_NO, Nature.SEVERAL_YES_NO):
        for refused, why in _REFUSED.items():
            if isinstance(loss, refused):
                raise rule.fail(f"{type(loss).__name__} {why}")


def row_losses(task: Task, prediction: Tensor, target: Tensor, *, weighed: bool = False) -> Tensor:
    """What the user's loss gives for some rows, one value each; a mean stands for each of its rows, if none is weighed.

    PyTorch's loss modules get targets in the type they want and are moved to where the predictions are.

    Raises:
        TaskError: The loss does not accept them, or returns something else.
    """
    rows = len(prediction)
    if rows == 0:
        return prediction.reshape(0, -1 if prediction.numel() else 1).sum(1)
    loss = task.loss_function
    assert loss is not None
    if isinstance(loss, nn.Module):
        _move(loss, prediction.device)
    if isinstance(loss, modules._Loss) and not isinstance(loss, _BY_INDEX) and not target.is_floating_point():
        target = target.to(prediction.dtype)
    try:
        value = loss(prediction, target)
    except (PolytaskError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        if "allocate memory" in str(error):  # on a CPU that is a plain RuntimeError
            raise
        raise task.rule.fail(
            f"loss= ({_name(loss)}) failed on predictions {_described(prediction)} and targets {_described(target)}: "
            f"{error}; wrap it in a function that gives it what it wants, as in lambda p, y: loss(p, y.float())"
        ) from error
    if not isinstance(value, Tensor) or (value.ndim and len(value) != rows):
        found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise task.rule.fail(
            f"loss= must return a tensor with one number, or one value for each of the {rows} rows, found {found}"
        )
    if weighed and value.ndim == 0 and rows > 1:
        raise task.rule.fail(
            f"loss= ({_name(loss)}) gives one number for {rows} rows, which leaves nothing to weigh; make it with "
            "reduction='none'"
        )
    return value.flatten(1).mean(1) if value.ndim > 1 else value.expand(rows)


def _move(loss: nn.Module, device: torch.device) -> None:
    for tensor in itertools.chain(loss.parameters(), loss.buffers()):
        if tensor.device != device:
            loss.to(device)
            return


def _name(loss: LossFunction) -> str:
    return getattr(loss, "__name__", type(loss).__name__)


def _described(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"
