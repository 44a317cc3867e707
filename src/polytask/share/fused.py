"""Linear heads of one representation as one product."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module

from polytask.share.hard import HardSharing

__all__ = ["each_on_its_own", "linear_heads", "side_by_side"]


def linear_heads(model: nn.Module, names: Iterable[str]) -> dict[str, nn.Linear]:
    """The heads that are W·z + b and nothing else, of those tasks.

    None of them where the model is not :class:`HardSharing`, or somebody listens to it. A head is left out that is of
    another class (a user's, parametrised, wrapped), that somebody listens to, that is compiled, or without b. None of
    them, too, where they are of several types, widths or devices.

    Args:
        model: The model.
        names: Names of tasks that it has.

    Examples:
        >>> model = HardSharing(nn.Linear(3, 4), {"a": "regression", "b": "binary"})
        >>> list(linear_heads(model, ["a", "b"]))
        ['a', 'b']
        >>> _ = model.heads["a"].register_forward_hook(lambda *_: None)
        >>> list(linear_heads(model, ["a", "b"]))
        ['b']
    """
    if not isinstance(model, HardSharing) or _heard(model) or _heard_everywhere():
        return {}
    heads = model.heads
    found: dict[str, nn.Linear] = {}
    kinds = set()
    for name in names:
        if name not in heads:
            continue
        head = heads[name]
        if type(head) is nn.Linear and not _heard(head) and head._parameters["bias"] is not None:
            weight: Any = head._parameters["weight"]
            found[name] = head
            kinds.add((weight.dtype, weight.device, head.in_features))
    return found if len(kinds) == 1 else {}


def side_by_side(
    heads: Sequence[Sequence[nn.Linear]], features: Float[Tensor, "B width"]
) -> tuple[Float[Tensor, "B outs"], ...]:
    """The outputs of several groups of heads by one matrix product; those of a group come side by side.

    The parameters stay the heads' own: the gradient reaches each of them through the concatenation.

    Examples:
        >>> one, two, wide = nn.Linear(4, 1), nn.Linear(4, 1), nn.Linear(4, 3)
        >>> narrow, wider = side_by_side([[one, two], [wide]], torch.ones(5, 4))
        >>> narrow.shape, torch.allclose(narrow[:, 1:], two(torch.ones(5, 4)))
        (torch.Size([5, 2]), True)
    """
    weights, biases = _parameters([head for group in heads for head in group])
    both = functional.linear(features, torch.cat(weights), torch.cat(biases))
    pieces: tuple[Tensor, ...] = both.split([sum(head.out_features for head in group) for group in heads], -1)
    return pieces


def each_on_its_own(heads: Sequence[nn.Linear], features: Float[Tensor, "heads B width"]) -> Float[Tensor, "B outs"]:
    """The outputs of heads of one width side by side, each of features of its own, by one batched product."""
    weights, biases = map(torch.stack, _parameters(heads))
    both = torch.baddbmm(biases[:, None], features, weights.transpose(1, 2))
    return both.transpose(0, 1).flatten(1)


def _parameters(heads: Iterable[nn.Linear]) -> tuple[list[Tensor], list[Tensor]]:
    """Weights and biases, without ``nn.Module``'s slow search for attributes."""
    every: list[Any] = [head._parameters for head in heads]
    return [own["weight"] for own in every], [own["bias"] for own in every]


def _heard(module: nn.Module) -> bool:
    """Whether a call of the module is more than its ``forward``, or its ``forward`` not that of its class."""
    own = module.__dict__
    return bool(
        own["_forward_hooks"]  # one by one: this is asked of every head in every step
        or own["_forward_pre_hooks"]
        or own["_backward_hooks"]
        or own["_backward_pre_hooks"]
        or own.get("_compiled_call_impl")
        or "forward" in own
    )


def _heard_everywhere() -> bool:
    """Whether somebody listens to all modules."""
    every = vars(module)
    return any(map(every.get, _LISTENERS_TO_ALL))


_LISTENERS_TO_ALL = tuple(f"_global_{when}_hooks" for when in ("forward", "forward_pre", "backward", "backward_pre"))
