"""Which labels count, and what the loss and the metrics are given of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from polytask.tasks.losses import row_losses

if TYPE_CHECKING:
    from polytask.tasks.task import Task

__all__ = ["Entries", "entry_losses", "entry_weights", "known", "mass", "match", "metric_inputs", "weighed"]


class Entries(NamedTuple):
    """Predictions and labels whose shapes fit.

    Attributes:
        prediction: Arranged by the kind: the target's dimensions first; float32 at least.
        target: One entry per label.
        present: Which entries have a label; (B,) for losses of the user, which see whole rows.
        weight: Weights of the entries in the shape of ``present``, positive where a label is; None: all 1.
    """

    prediction: Tensor
    target: Tensor
    present: Tensor
    weight: Tensor | None = None


def known(task: Task, target: Tensor, mask: Tensor | None) -> Tensor:
    """Which entries have a label, in the shape of the target; whole rows, where the loss is the user's."""
    if task.missing is not None and not math.isnan(task.missing):
        present = target != task.missing
    elif task.missing is not None or target.is_floating_point() or target.is_complex():
        present = target.isnan().logical_not()
    elif target.dtype in (torch.bool, torch.uint8):
        # −100 is no value of these types, and comparing would wrap it to 156.
        present = torch.ones_like(target, dtype=torch.bool)
    else:
        present = target != -100
    if mask is not None:
        if mask.dtype != torch.bool:
            raise task.rule.fail(f"expected a mask of dtype bool, found {mask.dtype}; use mask.bool()")
        if mask.shape not in (present.shape, present.shape[:1]):
            raise task.rule.fail(
                f"expected a mask of shape {tuple(present.shape)} or ({len(present)},), found {tuple(mask.shape)}"
            )
        present = present & mask.view(mask.shape + (1,) * (present.ndim - mask.ndim))
    by_row = task.loss_function is not None or task.rule.target_dims == 0
    return present.flatten(1).all(1) if by_row and present.ndim > 1 else present


def match(task: Task, prediction: Tensor, target: Tensor, mask: Tensor | None, weight: Tensor | None = None) -> Entries:
    """Arrange the prediction, compare shapes and find the present entries; a weight of 0 is a missing label."""
    if not prediction.is_floating_point():
        raise task.rule.fail(f"expected a floating-point prediction, found {prediction.dtype}")
    if prediction.dtype in (torch.float16, torch.bfloat16):
        prediction = prediction.float()
    arranged = task.rule.arrange(prediction)
    dims = task.rule.target_dims
    if dims == 1 and target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
        mask = mask[:, 0] if mask is not None and mask.ndim == 2 and mask.shape[1] == 1 else mask
    expected = tuple(arranged.shape[: dims or 1])
    if (dims and target.ndim != dims) or tuple(target.shape[: dims or 1]) != expected:
        raise task.rule.fail(
            f"expected a target of shape {expected}{'' if dims else ', or with more dimensions,'} for a prediction of "
            f"shape {tuple(prediction.shape)}, found {tuple(target.shape)}"
        )
    return weighed(task, target, weight, mask)._replace(prediction=arranged)


def weighed(task: Task, target: Tensor, weight: Tensor | None = None, mask: Tensor | None = None) -> Entries:
    """The present entries, with no prediction beside them (the targets stand in its place)."""
    present = known(task, target, mask)
    if weight is None:
        return Entries(target, target, present)
    weight = _spread(task, weight, present)
    return Entries(target, target, present & (weight > 0), weight)


def mass(task: Task, target: Tensor, weight: Tensor | None = None) -> tuple[int, float]:
    """Number of present labels, and the sum of their weights (of rows and classes): what the loss divides by."""
    entries = weighed(task, target, weight)
    found = entry_weights(task, entries)
    number = int(entries.present.sum())
    return number, float(number if found is None else found.sum())


def _spread(task: Task, weight: Tensor, present: Tensor) -> Tensor:
    """Weights in the shape of the entries."""
    weight = weight.to(present.device)
    if weight.ndim == 2 and weight.shape[1] == 1 and present.ndim == 1:
        weight = weight[:, 0]
    if weight.shape not in (present.shape, present.shape[:1]):
        raise task.rule.fail(
            f"expected weights of shape {tuple(present.shape)} or ({len(present)},), found {tuple(weight.shape)}"
        )
    if not bool((torch.isfinite(weight) & (weight >= 0)).all()):
        raise task.rule.fail("weights must be finite and from 0 on, 0 for a missing label; found another among them")
    return weight.view(weight.shape + (1,) * (present.ndim - weight.ndim)).expand(present.shape)


def entry_weights(task: Task, entries: Entries, *, classes: bool = True) -> Tensor | None:
    """The weights of the present entries, (n,): those of the rows times those of their classes; None: all 1.

    Args:
        task: The task.
        entries: Its labels.
        classes: Whether weights of classes count: where something is learned, not where it is judged.
    """
    found = None if entries.weight is None else entries.weight[entries.present]
    if not classes or task.class_weight is None:
        return found
    if isinstance(task.class_weight, str):
        raise task.rule.fail(
            "class_weight='balanced' needs the numbers of labels; write tasks = tasks.balanced(labels of the training "
            "rows), as Trainer and compare do"
        )
    target = task.rule.check(entries.target[entries.present])
    of_classes = torch.tensor(task.class_weight, dtype=torch.float64, device=target.device)[target.long()]
    return of_classes if found is None else of_classes * found


def entry_losses(task: Task, entries: Entries) -> Tensor:
    """One loss per present entry, (n,).

    Absent entries are dropped before the loss is evaluated: multiplying by a mask instead would turn a NaN label into
    a NaN gradient, since 0·NaN is NaN.
    """
    prediction, target, present, _ = entries
    if present.ndim > 1:
        prediction, target = prediction.flatten(0, present.ndim - 1), target.flatten(0, present.ndim - 1)
        present = present.flatten()
    rows = present.nonzero().squeeze(1)  # once for both, where a mask would be searched twice
    if rows.numel() < present.numel():
        prediction, target = prediction.index_select(0, rows), target.index_select(0, rows)
    target = task.rule.check(target)
    if task.rule.affine:
        exact = target if target.is_floating_point() else target.to(prediction.dtype)
        if (task.shift, task.scale) != (0.0, 1.0):
            exact = (exact - task.shift) / task.scale
        target = exact.to(prediction.dtype)
    if task.loss_function is None:
        return task.rule.loss(prediction, target)
    weighed = entries.weight is not None or task.class_weight is not None
    return row_losses(task, prediction, target, weighed=weighed)


def metric_inputs(task: Task, entries: Entries) -> tuple[Tensor, Tensor]:
    """Decoded predictions in float64 and checked targets in natural units, of the present entries."""
    prediction, target, present, _ = entries
    decoded = task.rule.point(decode(task, prediction.double()))
    if task.rule.whole_rows and present.ndim > 1:
        filled = torch.full(target.shape, -1, dtype=torch.long, device=target.device)
        filled[present] = task.rule.check(target[present])
        rows = present.any(1)
        return decoded[rows], filled[rows]
    checked = task.rule.check(target[present])
    is_number = task.rule.levels is None and task.rule.target_dims > 0
    return decoded[present], checked.double() if is_number else checked


def decode(task: Task, arranged: Tensor) -> Tensor:
    """An arranged prediction in natural terms and units."""
    return task.rule.decode(arranged * task.scale + task.shift if task.rule.affine else arranged)
