"""Optimizers and schedulers by name, and the parameter groups they work on."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from polytask.errors import ConfigError, unknown
from polytask.share import Seats

if TYPE_CHECKING:
    from polytask.train.options import TrainOptions

__all__ = [
    "OPTIMIZERS",
    "SCHEDULERS",
    "build_optimizer",
    "build_scheduler",
    "check_optimizer",
    "check_scheduler",
    "clip_by_norm",
    "parameter_groups",
]

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adagrad": torch.optim.Adagrad,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}
"""Optimizers by name, all from ``torch.optim`` with its defaults, except that they run fused where PyTorch can."""
_FUSED = ("adagrad", "adam", "adamw", "sgd")
_SPARSE = ("adagrad", "sgd")  # what takes the gradients of an embedding with sparse=True
_REFUSED: dict[type[Optimizer], str] = {
    torch.optim.LBFGS: "evaluates the losses several times in one step, and a training step evaluates them once; "
    "use adamw, or call it with a closure in a loop of your own",
    torch.optim.SparseAdam: "takes sparse gradients only, and most parameters have dense ones; use adamw with "
    "nn.Embedding(…, sparse=False), or sgd or adagrad, which take both",
}


def parameter_groups(
    model: nn.Module, *, lr: float | None, task_lr: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """Optimizer groups: the parameters of tasks with a rate of their own, and all others.

    Args:
        model: The model; with ``task_lr`` it must offer ``task_parameters(name)``.
        lr: Learning rate of everything that ``task_lr`` does not name; ``None`` leaves it to the optimizer.
        task_lr: Learning rates of tasks' own parameters, by task name.

    Returns:
        The common group first, then one group per named task; each has ``params``, ``lr`` and ``name``. Frozen
        parameters, and those that a part of the model trains itself (``own_parameters()`` of a seat), are left out.

    Raises:
        ConfigError: The model cannot say which parameters are a task's own, or two tasks claim the same ones.

    Examples:
        >>> groups = parameter_groups(nn.Linear(2, 1), lr=0.1)
        >>> [(group["name"], group["lr"], len(group["params"])) for group in groups]
        [('shared', 0.1, 2)]
    """
    task_lr = task_lr or {}
    left_out = {id(p) for p in Seats.of(model).own_parameters()}
    owner: dict[int, str] = {}
    heads: list[dict[str, Any]] = []
    if task_lr and not hasattr(model, "task_parameters"):
        raise ConfigError(
            f"task_lr names {', '.join(task_lr)}, but {type(model).__name__} has no method task_parameters(name) that "
            "tells a task's own parameters; add one, or pass optimizer= as a factory that makes its own groups"
        )
    for task, rate in task_lr.items():
        own: Any = model.task_parameters
        parameters = [p for p in own(task) if p.requires_grad and id(p) not in left_out]
        for parameter in parameters:
            if id(parameter) in owner:
                raise ConfigError(f"tasks {owner[id(parameter)]!r} and {task!r} both claim a parameter as their own")
            owner[id(parameter)] = task
        heads.append({"params": parameters, "lr": rate, "name": task})
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in owner and id(p) not in left_out]
    common: dict[str, Any] = {"params": rest, "name": "shared"} | ({} if lr is None else {"lr": lr})
    groups = [common, *heads]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise ConfigError(
            f"{type(model).__name__} has no parameter that requires a gradient; there is nothing to train"
        )
    return groups


def check_optimizer(kind: type[Optimizer]) -> None:
    """Refuse an optimizer that a training step cannot serve.

    Raises:
        ConfigError: It wants the losses again within a step, or gradients of another form.
    """
    for refused, why in _REFUSED.items():
        if issubclass(kind, refused):
            raise ConfigError(f"{kind.__name__} {why}")


def build_optimizer(model: nn.Module, options: TrainOptions) -> Optimizer:
    """The optimizer that ``options`` describe, over the parameters of ``model``.

    Raises:
        ConfigError: An unknown optimizer option, a given optimizer that does not hold the model's parameters, or a
            factory whose learning rate differs from one given in the options.
    """
    given = options.optimizer
    if isinstance(given, Optimizer):
        held = {id(p) for group in given.param_groups for p in group["params"]}
        held |= {id(p) for p in Seats.of(model).own_parameters()}
        left = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in held]
        if left:
            raise ConfigError(
                f"the given optimizer does not hold {len(left)} of the model's parameters ({', '.join(left[:3])}…); "
                "they "
                "would not train; make it over model.parameters(), or freeze them with requires_grad_(False)"
            )
        return given
    if not isinstance(given, str):
        # a rate in the groups beats the one inside the factory, so that only a rate somebody asked for goes there
        asked = options.lr if "lr" in options.model_fields_set else None
        return _made(given, parameter_groups(model, lr=asked, task_lr=options.task_lr), asked)
    groups = parameter_groups(model, lr=options.lr, task_lr=options.task_lr)
    sparse = [name for name, module in model.named_modules() if getattr(module, "sparse", False) is True]
    if sparse and given not in _SPARSE:
        raise ConfigError(
            f"{sparse[0]} has sparse=True, and the optimizer {given!r} takes dense gradients only; build it with "
            f"sparse=False, or use {' or '.join(_SPARSE)}"
        )
    more = dict(options.optimizer_options)
    if given in _FUSED and not {"fused", "foreach", "differentiable"} & more.keys():
        # the same update in one kernel; on a small model the unfused loop over parameters is half of a step's time
        tensors = [p for group in groups for p in group["params"]]
        more["fused"] = not sparse and all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in tensors)
    try:
        return OPTIMIZERS[given](groups, lr=options.lr, weight_decay=options.weight_decay, **more)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer {given!r} does not accept these options: {error}") from error


def _made(factory: Callable[..., Optimizer], groups: list[dict[str, Any]], asked: float | None) -> Optimizer:
    """What a factory makes of the groups; ``asked`` is the learning rate given beside it."""
    made = factory(groups)
    if not isinstance(made, Optimizer):
        raise ConfigError(f"the optimizer factory must return a torch Optimizer, found {type(made).__name__}")
    check_optimizer(type(made))
    inside = made.defaults.get("lr")
    unset = inspect.signature(type(made)).parameters.get("lr")
    if asked is not None and inside not in (None, asked, None if unset is None else unset.default):
        raise ConfigError(
            f"the optimizer factory sets a learning rate of {inside:g} and lr= is {asked:g}; leave one of them out"
        )
    return made


def _warmup(steps: int) -> Callable[[int], float]:
    return lambda step: min(1.0, (step + 1) / (steps + 1))


def _cosine(optimizer: Optimizer, total: int, warmup: int) -> LRScheduler:
    rise = _warmup(warmup)
    span = max(1, total - warmup)
    return LambdaLR(
        optimizer,
        lambda step: rise(step) if step < warmup else 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / span))),
    )


def _linear(optimizer: Optimizer, total: int, warmup: int) -> LRScheduler:
    rise = _warmup(warmup)
    span = max(1, total - warmup)
    return LambdaLR(optimizer, lambda step: rise(step) if step < warmup else max(0.0, 1 - (step - warmup) / span))


def _step(optimizer: Optimizer, total: int, warmup: int) -> LRScheduler:
    rise = _warmup(warmup)
    return LambdaLR(optimizer, lambda step: rise(step) * 0.1 ** ((step >= total / 2) + (step >= total * 3 / 4)))


def _onecycle(optimizer: Optimizer, total: int, warmup: int) -> LRScheduler:
    defaults = optimizer.defaults
    return OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        # one spare step: the scheduler also counts its construction, and must not run out on the last real step
        total_steps=total + 1,
        pct_start=min(0.9, warmup / total) if warmup else 0.3,
        cycle_momentum="betas" in defaults or defaults.get("momentum", 0) > 0,
    )


def _constant(optimizer: Optimizer, total: int, warmup: int) -> LRScheduler:
    return LambdaLR(optimizer, _warmup(warmup))


SCHEDULERS: dict[str, Callable[[Optimizer, int, int], LRScheduler]] = {
    "constant": _constant,
    "cosine": _cosine,
    "linear": _linear,
    "onecycle": _onecycle,
    "step": _step,
}
"""Schedulers by name: after the warm-up the rate stays (``constant``), falls to zero along half a cosine (``cosine``)
or a line (``linear``), or falls tenfold at one half and three quarters of the steps (``step``); ``onecycle`` rises
over the warm-up (30 % of the steps unless given) and falls to nearly nothing, with momentum moving the other way."""


def check_scheduler(scheduler: LRScheduler) -> None:
    """Refuse a ``ReduceLROnPlateau`` that would misread the validation score, the number it is given.

    Raises:
        ConfigError: It waits for a number that falls, or measures changes relative to one that may be zero.
    """
    if isinstance(scheduler, ReduceLROnPlateau) and (scheduler.mode, scheduler.threshold_mode) != ("max", "abs"):
        raise ConfigError(
            "ReduceLROnPlateau is given the validation score of each epoch, a gain that starts at zero and rises: "
            f"make it with mode='max', threshold_mode='abs', found {scheduler.mode!r}, {scheduler.threshold_mode!r}"
        )


def build_scheduler(optimizer: Optimizer, options: TrainOptions, steps: int) -> LRScheduler | None:
    """The scheduler that ``options`` describe, for a run of ``steps`` optimizer steps; ``None``: a constant rate.

    Raises:
        ConfigError: A scheduler object made for another optimizer, or one that does not fit the loop.
    """
    given = options.scheduler
    if isinstance(given, LRScheduler):
        if given.optimizer is not optimizer:
            raise ConfigError(
                "the given scheduler steps another optimizer than the one in use; pass the optimizer it was made for "
                "as "
                "optimizer=, or pass a factory: scheduler=lambda optimizer, steps: ..."
            )
        return given
    warmup = round(options.warmup * steps) if 0 < options.warmup < 1 else int(options.warmup)
    if given is None:
        return _constant(optimizer, steps, warmup) if warmup else None
    if not isinstance(given, str):
        made = given(optimizer, steps)
        if not isinstance(made, LRScheduler):
            raise ConfigError(f"the scheduler factory must return a torch LRScheduler, found {type(made).__name__}")
        check_scheduler(made)
        return made
    if given not in SCHEDULERS:
        raise ConfigError(unknown("scheduler", given, SCHEDULERS))
    return SCHEDULERS[given](optimizer, steps, warmup)


@torch.no_grad()
def clip_by_norm(parameters: Iterable[Tensor], limit: float) -> None:
    """Scale all gradients together down to a norm of ``limit``, also where its square is beyond their dtype.

    ``clip_grad_norm_`` would find an infinite norm there and make a gradient of zeros. Gradients that are not finite
    themselves are left to whoever looks for them, such as a gradient scaler.
    """
    parameters = list(parameters)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = get_total_norm(gradients)
    if not torch.isfinite(norm):
        norm = get_total_norm([gradient.double() for gradient in gradients])
    clip_grads_with_norm_(parameters, limit, norm)
