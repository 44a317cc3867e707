"""How a model is trained, as one frozen, validated, printable value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import pydantic
import torch

from polytask.balance.section import ENGINE_OPTIONS
from polytask.errors import ConfigError, unknown
from polytask.remedies import worded
from polytask.train.optim import OPTIMIZERS, SCHEDULERS, check_optimizer, check_scheduler

__all__ = ["TrainOptions"]

STOP_RULES = ("mean_delta", "all", "any")


class TrainOptions(pydantic.BaseModel):
    """Everything the training loop can be told; unknown names are errors that say the nearest known one.

    Attributes:
        epochs: Most epochs to train; what one epoch is, the loader says (``loader.describe_epoch()``). 20 is enough for
            the bundled data.
        batch_size: Rows per source and step, when the trainer builds the loader itself. Methods that compare two
            independent batches (``modo``, ``pike``, …) get the halves of each, in two forward passes: the cost and the
            data of a step stay the same, and a task needs labels in both halves to take part.
        optimizer: A name (``adamw``, ``adam``, ``sgd``, …), a factory called with the parameter groups, or a
            ``torch.optim.Optimizer`` over the model's parameters, which is used as it is, with its rates and its state.
            AdamW because its step does not depend on the common scale of the losses, which differs between balancing
            methods. ``LBFGS`` and ``SparseAdam`` do not fit the loop and are refused.
        optimizer_options: More keyword arguments for a named optimizer, such as ``{"momentum": 0.9}`` for ``sgd``.
        lr: Learning rate of the shared parameters, and of every head that ``task_lr`` does not name. A factory's own
            rate holds unless this is given; to give both, with different values, is an error.
        weight_decay: Weight decay of a named optimizer, on every parameter. 0, so that comparisons of methods are not
            blurred by a second force which acts more strongly where gradients are small.
        task_lr: Learning rates of single tasks' own parameters, by task name.
        scheduler: ``None`` (constant), a name (``cosine``, ``linear``, ``step``, ``onecycle``), a factory called with
            the optimizer and the planned number of steps, or a scheduler made for the given optimizer object. It
            advances once per optimizer step; a ``ReduceLROnPlateau`` once per validation, by its score (see
            :class:`EarlyStopping`).
        warmup: Steps (a whole number) or share of all steps (below 1) over which the rate rises linearly from zero.
        precision: ``fp32``, or the forward pass in ``bf16`` or ``fp16``. Parameters, losses and weights are
            always float32; ``fp16`` uses a dynamic loss scale that the balancing method never sees.
        clip: Largest norm of the combined gradient over all parameters; larger ones are scaled down. ``None``: no
        limit.
        accumulate: Micro-batches per optimizer step.
        accumulation: ``exact``: one step is that of one large batch, with missing labels too; the tasks' gradients are
            summed over the window and the method solves once, which holds one gradient per task (constant weights
            excepted). ``per_micro_batch``: the method solves for every micro-batch and the combined gradients are
            averaged, which is cheaper and another algorithm; the only way when weights are judged by features.
        stop: Whose validation gain ends training early: ``mean_delta`` (the mean over tasks), ``all`` (every task has
            stalled), ``any`` (one task has stalled), or a task's name. Unless it is a task's name, the best epoch is
            the one with the best mean.
        patience: Epochs without progress before stopping; ``None``: never stop early.
        min_delta: Smallest gain that counts as progress, as a fraction of the task's first validation value.
        restore: Parameters kept at the end: those of the ``best`` epoch on validation data, or of the ``last`` one.
        seed: Seed of everything random in training: order of rows, dropout, random methods.
        threads: Number of PyTorch's CPU threads during ``fit``; ``None`` leaves it alone. Bit-equal results
            need an equal number.
        device: ``auto`` (what accelerate finds) or ``cpu``.
        eval_batch_size: Rows per forward pass of evaluation and prediction, where no gradient is stored.
        checkpoint_every: Steps between checkpoints within an epoch, besides the one at each epoch's end; ``None``: only
            at epochs' ends.
        trackers: Experiment trackers of accelerate, such as ``("tensorboard",)`` or ``("mlflow",)``.

    Raises:
        ConfigError: An unknown option or name, or a value out of range.

    Examples:
        >>> TrainOptions(epochs=3, scheduler="cosine").lr
        0.001
        >>> TrainOptions(epoch=3)
        Traceback (most recent call last):
        ...
        polytask.errors.ConfigError: unknown training option 'epoch'; did you mean 'epochs'? Known: ...
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    epochs: int = pydantic.Field(20, ge=1)
    batch_size: int = pydantic.Field(64, ge=1)
    optimizer: str | torch.optim.Optimizer | Callable[..., torch.optim.Optimizer] = "adamw"
    optimizer_options: Mapping[str, Any] = pydantic.Field(default_factory=dict)
    lr: float = pydantic.Field(1e-3, gt=0)
    weight_decay: float = pydantic.Field(0.0, ge=0)
    task_lr: Mapping[str, float] = pydantic.Field(default_factory=dict)
    scheduler: str | torch.optim.lr_scheduler.LRScheduler | Callable[..., Any] | None = None
    warmup: int | float = pydantic.Field(0, ge=0)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    clip: float | None = pydantic.Field(None, gt=0)
    accumulate: int = pydantic.Field(1, ge=1)
    accumulation: Literal["exact", "per_micro_batch"] = "exact"
    stop: str | None = "mean_delta"
    patience: int | None = pydantic.Field(None, ge=1)
    min_delta: float = pydantic.Field(0.0, ge=0)
    restore: Literal["best", "last"] = "best"
    seed: int = pydantic.Field(0, ge=0)
    threads: int | None = pydantic.Field(None, ge=1)
    device: Literal["auto", "cpu"] = "auto"
    eval_batch_size: int = pydantic.Field(512, ge=1)
    checkpoint_every: int | None = pydantic.Field(None, ge=1)
    trackers: tuple[str, ...] = ()

    def __init__(self, **values: Any) -> None:
        for name in values:
            if name not in type(self).model_fields:
                raise ConfigError(_foreign(name) or unknown("training option", name, type(self).model_fields))
        try:
            super().__init__(**values)
        except pydantic.ValidationError as error:
            raise ConfigError(_readable(error)) from None

    @pydantic.field_validator("optimizer")
    @classmethod
    def _known_optimizer(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in OPTIMIZERS:
            raise ValueError(unknown("optimizer", value, OPTIMIZERS))
        kind = value if isinstance(value, type) else type(value)
        if issubclass(kind, torch.optim.Optimizer):
            check_optimizer(kind)
        return value

    @pydantic.field_validator("scheduler")
    @classmethod
    def _known_scheduler(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in SCHEDULERS:
            raise ValueError(unknown("scheduler", value, SCHEDULERS))
        if isinstance(value, torch.optim.lr_scheduler.LRScheduler):
            check_scheduler(value)
        return value

    @pydantic.field_validator("task_lr")
    @classmethod
    def _positive_rates(cls, value: Mapping[str, float]) -> dict[str, float]:
        for task, rate in value.items():
            if not rate > 0:
                raise ValueError(f"the learning rate of task {task!r} must be positive, found {rate}")
        return dict(value)

    @pydantic.field_validator("warmup")
    @classmethod
    def _steps_or_share(cls, value: float) -> float:
        if value != int(value) and value > 1:
            raise ValueError(f"warmup is a whole number of steps or a share below 1, found {value}")
        return value

    @pydantic.model_validator(mode="after")
    def _nothing_is_ignored(self) -> TrainOptions:
        """An option that would have no effect, because an object says the same, is an error."""
        said = {name for name in self.model_fields_set if getattr(self, name)}
        if isinstance(self.optimizer, torch.optim.Optimizer):
            _ignored(said & {"lr", "task_lr", "weight_decay", "optimizer_options"}, "the given optimizer")
        elif not isinstance(self.optimizer, str):
            _ignored(said & {"weight_decay", "optimizer_options"}, "the optimizer factory")
        if not isinstance(self.scheduler, str | None):
            _ignored(said & {"warmup"}, "the given scheduler")
        return self

    def replace(self, **values: Any) -> TrainOptions:
        """The same options with some changed; checked like new ones.

        Examples:
            >>> TrainOptions().replace(epochs=5).epochs
            5
        """
        return type(self)(**{**{name: getattr(self, name) for name in self.model_fields_set}, **values})

    def to_dict(self) -> dict[str, Any]:
        """Every option as plain JSON values; factories and objects appear under their qualified name.

        Examples:
            >>> TrainOptions(optimizer=torch.optim.Rprop).to_dict()["optimizer"]
            'torch.optim.rprop.Rprop'
        """
        plain: dict[str, Any] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name in ("optimizer", "scheduler") and not isinstance(value, str | None):
                value = f"{value.__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"
            plain[name] = dict(value) if isinstance(value, Mapping) else list(value) if name == "trackers" else value
        return plain


def _foreign(name: str) -> str:
    """Where an option of the engine belongs; empty for any other name."""
    if name not in ENGINE_OPTIONS:
        return ""
    places = f"a Trainer takes it with its balancer, Balancer(method, {name}=…); compare, as balancer={{'{name}': …}}"
    return f"{name} is an option of the balancer, not of training: {worded(places, f'[method] {name}')}"


def _ignored(names: set[str], where: str) -> None:
    if names:
        raise ConfigError(f"{', '.join(sorted(names))} would be ignored: {where} decides it; set it there")


def _readable(error: pydantic.ValidationError) -> str:
    """Pydantic's findings, one clause each: the option, what was expected, what was found."""
    clauses: dict[str, str] = {}
    for finding in error.errors():
        option = str(finding["loc"][0]) if finding["loc"] else "options"
        # What a validator here raises says itself what was found; pydantic's own findings do not.
        own = finding["type"] == "value_error"
        message = str(finding["msg"]).removeprefix("Value error, ")
        words = message if own else f"{message[:1].lower()}{message[1:]}, found {finding['input']!r}"
        clauses.setdefault(option, f"{option}: {words}")
    return "; ".join(clauses.values())
