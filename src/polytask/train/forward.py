"""From a batch to each task's loss, whatever the model's form; and the numeric precision it runs in."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from polytask.balance import Aliases
from polytask.data import Batch, Inputs, Part
from polytask.data.batch import weights_of
from polytask.errors import ConfigError, TaskError, unknown
from polytask.share import Encoded, Representation, Seats
from polytask.tasks import Task, TaskSet
from polytask.tasks.labels import mass
from polytask.tasks.together import column_losses
from polytask.train.together import Together

if TYPE_CHECKING:
    from polytask.tasks import TaskMeter

__all__ = ["Forward", "Losses", "frozen_side_effects", "random_state", "set_random_state"]


class Losses(NamedTuple):
    """One batch's losses.

    Attributes:
        values: Mean loss over present labels, of every task that has at least one.
        counts: Labels present, of every task with targets in the batch.
        features: The shared tensors of all parts, when they were asked for.
        extra: Losses of the model's seats (mean over parts), outside the balancing; none without gradients.
    """

    values: dict[str, Tensor]
    counts: dict[str, int]
    features: list[Tensor] | Aliases | None
    extra: dict[str, Tensor]


class Forward:
    """Calls a model on a batch and turns predictions into losses.

    Args:
        model: Any module whose ``forward(inputs)`` returns a dictionary from task names to predictions. When its
            ``forward`` has a parameter ``tasks``, it is told which tasks to compute.
        tasks: The tasks to learn; other predictions and targets are ignored.
        device: Where the model is.
        precision: Type of the forward pass; losses are always computed in float32.
        features: Whether to go through ``model.encode`` and ``model.decode`` and hand out what is between.
        together: Evaluate heads and losses that are alike at once, so that losses are entries of one vector: ``"sum"``
            for one backward pass of their sum, ``"aliases"`` to tell the tasks apart by their heads' inputs.

    Raises:
        ConfigError: ``features`` is asked for and the model has no ``encode`` and ``decode``, or says that its tasks
            share no tensor.

    Attributes:
        seats: The model's seats.
        replaced: Tasks whose targets a seat has put on the loss's scale, with NaN where missing, in this step.
    """

    def __init__(
        self,
        model: nn.Module,
        tasks: TaskSet,
        *,
        device: torch.device,
        precision: Literal["fp32", "bf16", "fp16"] = "fp32",
        features: bool = False,
        together: Literal["sum", "aliases"] | None = None,
    ) -> None:
        self.model = model
        self.tasks = tasks
        self.device = device
        self.seats = Seats.of(model)
        self.replaced: frozenset[str] = frozenset()
        self._known = frozenset(tasks.names)
        self._on_scale: dict[str, Task] = {}
        self._dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        self._features = features
        self._double = any(p.dtype == torch.float64 for p in model.parameters())
        self._takes_tasks = _has_tasks(model.forward)
        self._together = None if together is None else Together(model, tasks, aliases=together == "aliases")
        if features:
            missing = [name for name in ("encode", "decode") if not hasattr(model, name)]
            if missing:
                raise ConfigError(
                    f'grads="features" needs model.encode(inputs) and model.decode(features); {type(model).__name__} '
                    "has no "
                    f'{" and no ".join(missing)}. Use polytask.share.HardSharing, add them, or use grads="params"'
                )
            self._representation().check(type(model).__name__)

    @functools.cached_property
    def meter(self) -> TaskMeter:
        """For evaluations, which take it empty and leave it empty."""
        return self.tasks.meter()

    def losses(self, batch: Batch) -> Losses:
        """Losses of every task with labels in the batch; a task in several parts is averaged over all its labels.

        Raises:
            TaskError: The batch has targets, but of none of the tasks; or a prediction or target does not fit its task.
        """
        found: dict[str, list[Tensor]] = {}
        counts: dict[str, int] = {}
        features: list[Tensor] = []
        extra: dict[str, list[Tensor]] = {}
        weights: dict[str, list[Tensor | None]] = {}
        values: dict[str, Tensor] = {}
        adds = self.seats.adds and torch.is_grad_enabled()
        weighed = any(part.weights for part in batch.parts)
        at_once = None if len(batch.parts) > 1 or self.replaced or weighed else self._together
        handed: list[Tensor] | Aliases | None = features if self._features else None
        for part in batch.parts:
            if at_once is None:
                predictions = self._call(part.inputs, part.targets, features if self._features else None)
            else:
                predictions, aliases = self._call_together(at_once, part, values, counts, features)
                handed = handed if aliases is None else aliases
            if adds and (predictions or values):
                for name, loss in self.seats.extra_losses().items():
                    extra.setdefault(name, []).append(loss)
            for name, prediction in predictions.items():
                weight = weights_of(part, (name,)).get(name)
                entries, own = self._task(name).weighted_losses(prediction, part.targets[name], None, weight)
                number = entries.numel()
                counts[name] = counts.get(name, 0) + number
                if number:
                    found.setdefault(name, []).append(entries)
                    weights.setdefault(name, []).append(own)
        if not counts:
            self._no_tasks(batch)
        values |= {name: _mean(entries, weights[name]) for name, entries in found.items()}
        means = {name: torch.stack(found).mean() for name, found in extra.items()}
        in_order = {name: values[name] for name in self.tasks.names if name in values}
        return Losses(in_order, counts, handed, means)

    def _call_together(
        self,
        together: Together,
        part: Part,
        values: dict[str, Tensor],
        counts: dict[str, int],
        features: list[Tensor],
    ) -> tuple[dict[str, Tensor], Aliases | None]:
        """Losses and label counts of the tasks that are alike; the predictions of the others are returned."""
        groups, known, others = together.columns({n: y for n, y in part.targets.items() if n in self._known})

        def call(names: Iterable[str]) -> dict[str, Tensor]:
            return self._call(part.inputs, names, features if self._features else None)

        if not groups:
            return call(part.targets), None
        with self.autocast():
            matrices, single, aliases = together.predict(self._in_the_models_type(part.inputs), groups, others, call)
        counts |= known
        for group, matrix in zip(groups, matrices, strict=True):
            losses = None if matrix is None else column_losses(group, _full_precision(matrix))
            if losses is not None:
                values |= zip((task.name for task in group.tasks), losses.unbind(), strict=True)
                continue
            for k, task in enumerate(group.tasks):  # by themselves, they say what does not fit
                del counts[task.name]
                if matrix is not None:
                    single[task.name] = matrix.chunk(len(group.tasks), -1)[k]
        rest = {name: _full_precision(prediction) for name, prediction in single.items() if name not in values}
        return rest, aliases

    def counts(self, batch: Batch) -> dict[str, tuple[int, float]]:
        """Labels present in the batch and the sum of their weights, by task, without calling the model."""
        found = dict.fromkeys(self.tasks.names, (0, 0.0))
        for part in batch.parts:
            for name, target in part.targets.items():
                if name in self._known:
                    weight = weights_of(part, (name,)).get(name)
                    number, own = mass(self._task(name), target, weight)
                    found[name] = (found[name][0] + number, found[name][1] + own)
        return found

    def _task(self, name: str) -> Task:
        """The task, or itself without shift, scale and missing value, for targets that are without them."""
        if name not in self.replaced:
            return self.tasks[name]
        if name not in self._on_scale:
            self._on_scale[name] = dataclasses.replace(self.tasks[name], shift=0.0, scale=1.0, missing=None)
        return self._on_scale[name]

    def predictions(self, inputs: Inputs, tasks: Iterable[str]) -> dict[str, Tensor]:
        """Predictions of those of ``tasks`` that are known, in float32."""
        return self._call(inputs, tasks, None)

    def to_device(self, part: Part) -> Part:
        """The same rows where the model is."""
        return part if self.device.type == "cpu" else Batch((part,), ("",)).to(self.device).parts[0]

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The forward pass's precision."""
        if self._dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self._dtype)

    def _call(self, inputs: Inputs, tasks: Iterable[str], features: list[Tensor] | None) -> dict[str, Tensor]:
        wanted = [name for name in tasks if name in self._known]
        if not wanted:
            return {}
        model: Any = self.model
        inputs = self._in_the_models_type(inputs)
        with self.autocast():
            if features is not None:
                encoded = model.encode(inputs)
                features += self._representation(encoded).tensors(encoded, type(model).__name__)
                found = model.decode(encoded, tasks=wanted)
            else:
                found = model(inputs, tasks=wanted) if self._takes_tasks else model(inputs)
        if not isinstance(found, Mapping):
            raise TaskError(
                f"{type(model).__name__} must return a dictionary from task names to predictions, found "
                f"{type(found).__name__}"
            )
        for name in wanted:
            if name not in found:
                raise TaskError(f"{type(model).__name__} predicted nothing for {unknown('task', name, found)}")
        return {name: _full_precision(found[name]) for name in wanted}

    def _representation(self, encoded: Encoded | None = None) -> Representation:
        """What the tasks share: as the model says, or, of one that says nothing, what it gave."""
        said = getattr(self.model, "representation", None)
        if isinstance(said, Representation):
            return said
        return Representation.ONE if encoded is None or isinstance(encoded, Tensor) else Representation.SEVERAL

    def _in_the_models_type(self, inputs: Inputs) -> Inputs:
        """Double precision, which NumPy gives unasked, as single, unless the model computes in it."""
        if self._double:
            return inputs
        if isinstance(inputs, Tensor):
            return inputs.float() if inputs.dtype == torch.float64 else inputs
        return {name: x.float() if x.dtype == torch.float64 else x for name, x in inputs.items()}

    def _no_tasks(self, batch: Batch) -> None:
        if batch.tasks:
            raise TaskError(
                f"a batch has targets of {', '.join(batch.tasks)}, but the tasks to train are "
                f"{', '.join(self.tasks.names)}; name targets and tasks alike"
            )


def _mean(entries: list[Tensor], weights: list[Tensor | None]) -> Tensor:
    """The mean of the entries of all parts, weighted where one of them is."""
    joined = entries[0] if len(entries) == 1 else torch.cat(entries)
    if all(weight is None for weight in weights):
        return joined.mean()
    own = [torch.ones_like(e) if w is None else w for e, w in zip(entries, weights, strict=True)]
    weight = own[0] if len(own) == 1 else torch.cat(own)
    return (weight * joined).sum() / weight.sum()


def _full_precision(prediction: Tensor) -> Tensor:
    return prediction.float() if prediction.dtype in (torch.bfloat16, torch.float16) else prediction


def _has_tasks(function: Any) -> bool:
    try:
        return "tasks" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


@contextlib.contextmanager
def frozen_side_effects(model: nn.Module, random: list[Tensor] | None = None) -> Iterator[None]:
    """A forward pass that leaves no trace: buffers (BatchNorm's statistics) and random state are put back afterwards.

    Args:
        model: The module whose buffers to keep.
        random: Random state to start from, as :func:`random_state` gave it, so that dropout masks repeat.
    """
    after = random_state()
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    if random is not None:
        set_random_state(random)
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
        set_random_state(after)


def random_state() -> list[Tensor]:
    """State of PyTorch's global generators: the CPU's, then every GPU's."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states += torch.cuda.get_rng_state_all()
    return states


def set_random_state(states: list[Tensor]) -> None:
    """Restore what :func:`random_state` gave."""
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state_all(states[1:])
