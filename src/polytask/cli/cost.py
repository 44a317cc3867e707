"""What a training step costs: backward passes, time and memory, by method and by way to collect gradients."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import statistics
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any, final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from polytask.balance import Balancer, Method, get_method
from polytask.data import Batch, Part, halves
from polytask.errors import MethodError
from polytask.share import MultiTaskModel
from polytask.tasks import TaskSet

__all__ = ["EVIDENCE", "Bench", "PeakMemory"]

REPEATS = 3
"""Timed steps, after one that is not counted, unless they take long; the median is reported."""
LONG = 1.0
"""Seconds after which no further steps are timed, if one has been."""
REUSED = 10
EVIDENCE = {
    "params": 'grads="params"',
    "features": 'grads="features"',
    "last_layer": "grads= last shared layer",
    "sub_batch": 'grads="sub_batch", half',
    "every": f"every={REUSED}",
    "low_memory": "low_memory=True",
    "row_dtype": "row_dtype=bfloat16",
}
"""Ways to collect gradients, as they are asked for."""


@final
class PeakMemory(TorchDispatchMode):
    """Counts the bytes of tensors created inside the context, and the most that were alive at once.

    Examples:
        >>> with PeakMemory() as memory:
        ...     a = torch.zeros(1000)
        ...     a = torch.zeros(10)
        >>> memory.peak
        4040
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._alive = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count what it allocated."""
        result = func(*args, **(kwargs or {}))
        inputs: set[int] | None = None
        for leaf in (result,) if isinstance(result, Tensor) else tree_leaves(result):
            if isinstance(leaf, Tensor) and _key(leaf) not in self._seen:
                if inputs is None:
                    inputs = {_key(given) for given in tree_leaves((args, kwargs)) if isinstance(given, Tensor)}
                if _key(leaf) not in inputs:
                    self._count(leaf)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = _key(tensor), storage.nbytes()
        self._seen.add(key)
        self._alive += size
        self.peak = max(self.peak, self._alive)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self._alive -= size


@final
@dataclasses.dataclass(frozen=True)
class Bench:
    """One batch on which steps are taken, and what the plain sum's step costs on it.

    Attributes:
        model: The model.
        tasks: The tasks.
        inputs: The batch's inputs.
        targets: The batch's targets.
    """

    model: MultiTaskModel
    tasks: TaskSet
    inputs: Any
    targets: Mapping[str, Tensor]

    def plain(self) -> dict[str, Any]:
        """Cost of the plain sum, the measure of all others."""
        return self.cost(functools.partial(self.start, functools.partial(get_method, "equal"), {}))

    def single(self) -> dict[str, Any]:
        """Cost of one step of each single-task model, together: each task pays a whole pass through its own trunk."""

        def steps() -> int:
            for task in self.tasks:
                losses = self.tasks.losses(self.model(self.inputs, tasks=[task]), self.targets, tasks=[task])
                for loss in losses.values():
                    loss.backward()
            return len(self.tasks)

        return self.cost(lambda: steps)

    def evidence(
        self, build: Callable[[], Method], engine: Mapping[str, Any], deadline: float = math.inf
    ) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """Cost of a method's step under each way to collect gradients that it can work with.

        Args:
            build: Makes the method.
            engine: Options of the balancer that stay as they are.
            deadline: Reading of :func:`time.perf_counter` after which no further way is begun.

        Returns:
            The costs, and the ways that were not tried.
        """
        kept = {key: value for key, value in engine.items() if key not in ("grads", "every", "low_memory", "row_dtype")}
        found: dict[str, dict[str, Any]] = {}
        for place, name in enumerate(EVIDENCE):
            if time.perf_counter() > deadline:
                return found, list(EVIDENCE)[place:]
            if name == "features" and not self.model.representation.is_shared:
                continue
            options, steps = self._options(name), REUSED if name == "every" else 1
            make = functools.partial(self.start, build, {**kept, **options}, judged=name == "sub_batch")
            with contextlib.suppress(MethodError):  # the method cannot work with it
                found[name] = self.cost(make, steps)
        return found, []

    def cost(self, make: Callable[[], Callable[[], int]], steps: int = 1) -> dict[str, Any]:
        """Median milliseconds, peak memory (gradients included, parameters not) and backward passes of a step.

        Args:
            make: Makes something that takes steps and returns their backward passes; the rows it keeps are its own.
            steps: How many steps make up a round, of which the mean is given.
        """
        times: list[float] = []
        passes: list[int] = []
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as in the trials of a study
        try:
            step = make()
            began = time.perf_counter()
            for _ in range((REPEATS + 1) * steps):
                if len(times) >= 2 * steps and len(times) % steps == 0 and time.perf_counter() - began > LONG:
                    break
                self.model.zero_grad(set_to_none=True)
                start = time.perf_counter()
                passes.append(step())
                times.append(1000 * (time.perf_counter() - start))
        finally:
            torch.set_num_threads(threads)
        self.model.zero_grad(set_to_none=True)
        # A new one, so that what is allocated once and kept is counted.
        step = make()
        with PeakMemory() as memory:
            step()
        self.model.zero_grad(set_to_none=True)
        rounds = [statistics.mean(times[at : at + steps]) for at in range(steps, len(times), steps)]
        return {
            "milliseconds": statistics.median(rounds),
            "megabytes": memory.peak / 1e6,
            "backward_passes": whole(statistics.mean(passes[steps:])),
        }

    def start(
        self, build: Callable[[], Method], engine: Mapping[str, Any], *, judged: bool = False
    ) -> Callable[[], int]:
        """A function that takes a step as training would and returns its backward passes.

        Args:
            build: Makes the method.
            engine: Options of the balancer.
            judged: Whether the balancer looks at the losses of half of the batch.
        """
        balancer = Balancer(build(), tasks=self.tasks, announce=None, **engine)
        balancer.know(self.model)
        if balancer.needs_features:
            self.model.representation.check(type(self.model).__name__)

        def step() -> int:
            if balancer.needs_twin:
                one, two = (self._losses(part) for part in self._halves())
                return balancer.backward(one, twin=two).backward_passes
            features = self.model.encode(self.inputs)
            losses = self.tasks.losses(self.model.decode(features), self.targets)
            judge = self._losses(self._halves()[0]) if judged else None
            record = balancer.backward(losses, features=features, judge=judge)
            if balancer.needs_after_step:
                with torch.no_grad():
                    balancer.after_step(self.tasks.losses(self.model(self.inputs), self.targets))
            return record.backward_passes

        return step

    def _losses(self, part: Part) -> dict[str, Tensor]:
        return self.tasks.losses(self.model(part.inputs), part.targets)

    def _halves(self) -> list[Part]:
        return [half.parts[0] for half in halves(Batch((Part(self.inputs, dict(self.targets)),), ("",)))]

    def _options(self, name: str) -> dict[str, Any]:
        """The balancer's options for one way to collect gradients."""
        if name == "last_layer":
            return {"grads": self._last_shared_layer()}
        own: dict[str, dict[str, Any]] = {
            "every": {"every": REUSED},
            "low_memory": {"low_memory": True},
            "row_dtype": {"row_dtype": torch.bfloat16},
        }
        return own.get(name, {"grads": name})

    def _last_shared_layer(self) -> list[Tensor]:
        """The parameters of the module that holds the last shared one."""
        shared = {id(tensor) for tensor in self.model.shared_parameters()}
        names = [name for name, tensor in self.model.named_parameters() if id(tensor) in shared]
        layer = self.model.get_submodule(names[-1].rpartition(".")[0])
        return [tensor for tensor in layer.parameters(recurse=False) if id(tensor) in shared]


def whole(number: float) -> float:
    """The same as a whole number where it is one."""
    return int(number) if number == int(number) else number


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
