"""Losses over the labels that are present, as functions of tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional

from polytask.errors import TaskError, unknown

__all__ = ["bce", "cross_entropy", "huber", "mae", "masked_loss", "mse", "poisson"]

REDUCTIONS = ("mean", "tasks", "none")


def masked_loss(
    loss: Callable[[Tensor, Tensor], Tensor],
    prediction: Float[Tensor, "..."],
    target: Shaped[Tensor, "..."],
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
) -> Tensor:
    """The weighted mean of a loss over the labels that are present.

        L = Σ_{i ∈ P} w_i ℓ(z_i, y_i) / Σ_{i ∈ P} w_i,

    with P the present labels. Labels outside P are dropped before ℓ is evaluated: their gradient is exactly zero,
    whatever they hold. A weight of 2 counts a label twice, and a weight of 0 is a missing label.

    Args:
        loss: ℓ, called with predictions (n, …) and targets (n,) of the present labels; gives one value per label
            (``reduction="none"`` in PyTorch's own). One that gives their mean will do where there are no weights.
        prediction: (B, …) or (B, T, …): the dimensions of ``target``, then those of one prediction, as in (B, T, C)
            logits of C classes. (B, 1) stands for (B,).
        target: (B,), or (B, T) for T tasks. Missing: NaN in float targets, −100 in integer ones.
        mask: True where a label is present, in the shape of ``target`` or (B,).
        weight: Weights from 0 on, in the shape of ``target`` or (B,).
        reduction: ``"mean"`` over all present labels; ``"tasks"``: (T,), the mean of each column; ``"none"``: in the
            shape of ``target``, weighted, 0 where missing.

    Returns:
        The loss. Where no label is present it is a zero that belongs to the graph.

    Raises:
        TaskError: Shapes do not fit, or a weight is negative or not finite.

    Examples:
        >>> z = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
        >>> value = masked_loss(torch.nn.MSELoss(), z, torch.tensor([0.0, float("nan"), 0.0]))
        >>> value.backward()
        >>> float(value.detach()), z.grad.tolist()
        (5.0, [1.0, 0.0, 3.0])
    """
    if reduction not in REDUCTIONS:
        raise TaskError(unknown("reduction", reduction, REDUCTIONS))
    if target.ndim == 1 and prediction.ndim == 2 and prediction.shape[1] == 1:
        prediction = prediction[:, 0]
    if target.ndim == 0 or prediction.shape[: target.ndim] != target.shape:
        raise TaskError(
            f"expected a prediction whose first dimensions are those of the target, {tuple(target.shape)}, found "
            f"{tuple(prediction.shape)}; reshape one of them, as in prediction.squeeze(1)"
        )
    present = _present(target, mask)
    weights = None if weight is None else _weights(weight, target)
    if weights is not None:
        present = present & (weights > 0)
    chosen = present.flatten().nonzero().squeeze(1)
    z = prediction.flatten(0, target.ndim - 1).index_select(0, chosen)
    if not len(chosen):
        zero = z.sum()
        return zero if reduction == "mean" else zero.expand(target.shape if reduction == "none" else target.shape[1:])
    entries = loss(z, target.flatten().index_select(0, chosen))
    if entries.shape != chosen.shape:
        if entries.ndim == 0 and weights is None and reduction == "mean":
            return entries
        raise TaskError(
            f"expected one loss for each of the {len(chosen)} present labels, found shape {tuple(entries.shape)}; "
            "weights and reductions other than the mean need a loss made with reduction='none'"
        )
    own = torch.ones_like(entries) if weights is None else weights.flatten()[chosen].to(entries.dtype)
    if reduction == "mean":
        return (own * entries).sum() / own.sum()
    spread = entries.new_zeros(target.numel()).index_add(0, chosen, own * entries).view(target.shape)
    if reduction == "none":
        return spread
    total = entries.new_zeros(target.numel()).index_add(0, chosen, own).view(target.shape).sum(0)
    return spread.sum(0) / total.where(total > 0, 1)


def _present(target: Tensor, mask: Tensor | None) -> Tensor:
    if target.is_floating_point():
        present = target.isnan().logical_not()
    elif target.dtype in (torch.bool, torch.uint8):  # −100 is no value of these
        present = torch.ones_like(target, dtype=torch.bool)
    else:
        present = target != -100
    if mask is None:
        return present
    if mask.dtype != torch.bool:
        raise TaskError(f"expected a mask of dtype bool, found {mask.dtype}; use mask.bool()")
    return present & _spread("mask", mask, target)


def _weights(weight: Tensor, target: Tensor) -> Tensor:
    weight = torch.as_tensor(weight, device=target.device)
    if not bool((torch.isfinite(weight) & (weight >= 0)).all()):
        raise TaskError("weights must be finite and from 0 on, 0 for a missing label; found another among them")
    return _spread("weight", weight, target)


def _spread(what: str, values: Tensor, target: Tensor) -> Tensor:
    """(B,) or the target's shape, as the target's shape."""
    if values.shape not in (target.shape, target.shape[:1]):
        raise TaskError(
            f"expected a {what} of shape {tuple(target.shape)} or ({len(target)},), found {tuple(values.shape)}"
        )
    return values.view(values.shape + (1,) * (target.ndim - values.ndim)).expand(target.shape)


def _ready(loss: Callable[..., Tensor], prediction: Tensor, target: Tensor, rest: dict[str, Any]) -> Tensor:
    def entries(z: Tensor, y: Tensor) -> Tensor:
        return loss(z, y.to(z.dtype), reduction="none")

    return masked_loss(entries, prediction, target, **rest)


def mse(prediction: Tensor, target: Tensor, **options: Any) -> Tensor:
    """Squared error (z − y)², over present labels.

    Args:
        prediction: z, in the shape of the target.
        target: (B,) or (B, T).
        **options: ``mask``, ``weight`` and ``reduction`` of :func:`masked_loss`.

    Examples:
        >>> float(mse(torch.tensor([1.0, 5.0]), torch.tensor([3.0, float("nan")])))
        4.0
    """
    return _ready(functional.mse_loss, prediction, target, options)


def mae(prediction: Tensor, target: Tensor, **options: Any) -> Tensor:
    """Absolute error |z − y|, over present labels; arguments as for :func:`mse`."""
    return _ready(functional.l1_loss, prediction, target, options)


def huber(prediction: Tensor, target: Tensor, *, delta: float = 1.0, **options: Any) -> Tensor:
    """Huber's loss: half the squared error up to ``delta``, linear beyond; other arguments as for :func:`mse`."""
    return _ready(partial(functional.huber_loss, delta=delta), prediction, target, options)


def bce(prediction: Tensor, target: Tensor, **options: Any) -> Tensor:
    """Cross-entropy −[y·log σ(z) + (1 − y)·log(1 − σ(z))] of logits z, over present labels.

    Labels are 0 and 1, or probabilities between; other arguments as for :func:`mse`.

    Examples:
        >>> round(float(bce(torch.zeros(2), torch.tensor([1, -100]))), 4)
        0.6931
    """
    return _ready(functional.binary_cross_entropy_with_logits, prediction, target, options)


def poisson(prediction: Tensor, target: Tensor, **options: Any) -> Tensor:
    """exp(z) − y·z, the Poisson likelihood of y events at the rate exp(z) but for log y!; arguments as for mse."""
    return _ready(functional.poisson_nll_loss, prediction, target, options)


def cross_entropy(prediction: Float[Tensor, "... C"], target: Tensor, **options: Any) -> Tensor:
    """Cross-entropy −log softmax(z)_y of C logits, over present labels.

    Args:
        prediction: (B, C), or (B, T, C) for T tasks of C classes.
        target: Classes 0 … C − 1, (B,) or (B, T); −100 is missing.
        **options: ``mask``, ``weight`` and ``reduction`` of :func:`masked_loss`.

    Examples:
        >>> round(float(cross_entropy(torch.zeros(2, 3), torch.tensor([2, -100]))), 4)
        1.0986
    """

    def entries(z: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(z, y.long(), reduction="none")

    return masked_loss(entries, prediction, target, **options)
