"""The engine: from a dictionary of losses to ``.grad``, by way of a method's weights."""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, final, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.balance.gradients import Heads, Step, accumulate, backward_weighted
from polytask.balance.method import Evidence, GramianMethod, Method, Solution
from polytask.balance.partition import Partition, declared_parameters
from polytask.balance.record import StepRecord
from polytask.balance.registry import get_method
from polytask.balance.sources import source_of
from polytask.errors import CheckpointError, MethodError, NonFiniteError, TaskError, unknown

__all__ = ["Balancer"]

Array = np.ndarray
Scale = Literal["native", "sum_to_k", "norm_of_mean"]
_SKIPS_IN_A_ROW = 10
_HEADS = ("auto", "plain", "weighted", "none")
_SCALES = ("native", "sum_to_k", "norm_of_mean")


@runtime_checkable
class _Weighted(Protocol):
    @property
    def weight(self) -> float: ...


@runtime_checkable
class _Scaler(Protocol):
    def get_scale(self) -> float: ...


@final
class Balancer:
    """Turns the losses of K tasks into gradients, weighing the tasks by a method; replaces ``loss.backward()``.

    Every step solves for weights w and fills ``.grad`` of the shared parameters with Σ_k w_k·∇L_k. The order of
    operations is: unscale, solve (float64), apply; clipping and the optimizer's step are the caller's, afterwards.
    Nothing is written to ``.grad`` or to the method's state unless the whole step succeeds.

    Args:
        method: A method or its registry name (``polytask methods`` lists them).
        tasks: Names of all tasks, or a mapping from names to tasks (their ``weight`` is then the default of
            ``task_weights``); names that are not in it are refused. Any name is accepted when it is left out.
        shared: What the tasks share: a module or its parameters. When left out, a parameter reached by at least two
            tasks is shared. All other parameters belong to the tasks that reach them.
        grads: What gradient methods judge by: ``"params"`` (exact), ``"features"`` (gradients at the shared
            representation, which ``backward`` then needs), or some of the shared parameters, e.g. of the last block.
        every: Solve for new weights every so many steps and reuse them in between.
        heads: What parameters of one task get: ``"plain"`` its own gradient, ``"weighted"`` the same times the task's
            weight, ``"none"`` nothing. ``"auto"`` is ``"weighted"`` for methods that look at losses only (one backward
            pass of the weighted sum) and ``"plain"`` for the others.
        scale: ``"native"`` leaves the weights as the method gives them, ``"sum_to_k"`` makes them sum to the number of
            tasks, ``"norm_of_mean"`` gives the step the length of the mean gradient. Learning rates are comparable
            between methods under the latter two only.
        nonfinite: ``"raise"`` an error on a NaN or infinite loss or gradient, or ``"skip"``: treat the task as absent
            from this step; the tenth skip in a row raises.
        task_weights: Fixed positive preference per task; 1 where not given.
        seed: Seed of methods that draw at random; draws depend on it and on the step's number only.
        announce: Called once with the parameter partition in words; ``None`` keeps silent.

    Raises:
        MethodError: The method and the options do not fit, or a name is unknown.

    Examples:
        >>> import torch
        >>> trunk, a, b = torch.nn.Linear(3, 4), torch.nn.Linear(4, 1), torch.nn.Linear(4, 1)
        >>> balancer = Balancer("upgrad", announce=None)
        >>> z = trunk(torch.ones(2, 3))
        >>> record = balancer.backward({"a": a(z).square().mean(), "b": (b(z) - 1).square().mean()})
        >>> sorted(record.weights)
        ['a', 'b']
        >>> trunk.weight.grad.shape
        torch.Size([4, 3])
    """

    def __init__(
        self,
        method: str | Method = "equal",
        *,
        tasks: Iterable[str] | Mapping[str, _Weighted] | None = None,
        shared: nn.Module | Iterable[Tensor] | None = None,
        grads: Literal["params", "features"] | Iterable[Tensor] = "params",
        every: int = 1,
        heads: Literal["auto"] | Heads = "auto",
        scale: Scale = "native",
        nonfinite: Literal["raise", "skip"] = "raise",
        task_weights: Mapping[str, float] | None = None,
        seed: int = 0,
        announce: Callable[[str], None] | None = print,
    ) -> None:
        self.method = get_method(method) if isinstance(method, str) else method
        self.tasks = None if tasks is None else tuple(tasks)
        self._preference = {name: task.weight for name, task in tasks.items()} if isinstance(tasks, Mapping) else {}
        self._preference |= dict(task_weights or {})
        self.partition = Partition(declared_parameters(shared))
        self._source = source_of(grads)
        self.every = every
        self.scale = scale
        self.nonfinite = nonfinite
        self.seed = seed
        self._check_options(heads)
        self.heads: Heads = (
            heads if heads != "auto" else ("plain" if isinstance(self.method, GramianMethod) else "weighted")
        )
        self._announce = announce
        self.step = 0
        self.epoch = 0
        self.last: StepRecord | None = None
        self._held: dict[str, float] = {}
        self._skips: collections.Counter[str] = collections.Counter()
        self._before: Evidence | None = None

    # -------------------------------------------------------------------------------------------- the step

    def backward(
        self,
        losses: Mapping[str, Tensor | None],
        features: Tensor | Sequence[Tensor] | None = None,
        *,
        scaler: _Scaler | None = None,
        retain_graph: bool = False,
    ) -> StepRecord:
        """Fill (add to) ``.grad`` of all parameters the losses reach.

        Args:
            losses: Scalar loss per task present in this batch; a task left out, or ``None``, is absent.
            features: The shared representation(s) the heads read, for ``grads="features"``.
            scaler: A ``torch.amp.GradScaler``: ``.grad`` is then scaled as ``scaler.scale(loss).backward()`` would, the
                method sees unscaled values, and an overflow is left for the scaler to handle (no state changes).
            retain_graph: Keep the graph for another backward pass.

        Returns:
            The step's record, also kept as :attr:`last`.

        Raises:
            TaskError: A name is unknown or a loss is not a scalar with a graph.
            MethodError: ``features`` is missing or a loss does not depend on it.
            NonFiniteError: A loss or gradient is not finite (see ``nonfinite``).
        """
        present, values, skipped = self._present(losses)
        if not present:
            return self._finish(StepRecord.empty(self.step, skipped))
        if self.partition.see(present) and self._announce is not None:
            self._announce(str(self.partition))
            self._announce = None
        own = {name: self.partition.own(name) for name in present}
        loss_scale = 1.0 if scaler is None else float(scaler.get_scale())
        step = Step(present, self.partition.shared, own, self.heads, retain_graph, loss_scale)
        if self.step % self.every != 0 and all(name in self._held for name in present):
            return self._reuse(step, values, skipped)
        if isinstance(self.method, GramianMethod):
            return self._gradient_step(
                self.method, step, values, skipped, features, overflow_allowed=scaler is not None
            )
        evidence = self._evidence(step.tasks, values, None)
        solution = self.method.solve(evidence)
        weights = self._final_weights(evidence, solution)
        return self._commit(evidence, solution, weights, backward_weighted(step, weights), skipped)

    def after_step(self, losses: Mapping[str, Tensor | None]) -> None:
        """Give the method the same batch's losses after the optimizer's step (see :attr:`needs_after_step`).

        Args:
            losses: Loss per task; tasks that were absent before, or are not finite now, are ignored.
        """
        if self._before is None:
            return
        values = {name: float(loss) for name, loss in losses.items() if loss is not None and name in self._before.tasks}
        finite = {name: value for name, value in values.items() if np.isfinite(value)}
        if finite:
            self.method.after_step(self._before, finite)
        self._before = None

    def end_epoch(self) -> None:
        """Tell the method that an epoch has ended."""
        self.method.end_epoch()
        self.epoch += 1

    @property
    def needs_after_step(self) -> bool:
        """Whether the method wants :meth:`after_step` to be called after every step."""
        return self.method.needs_after_step

    # ----------------------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes with steps, as plain values keyed by task."""
        return {
            "method": type(self.method).__name__,
            "state": self.method.state_dict(),
            "step": self.step,
            "epoch": self.epoch,
            "held": dict(self._held),
            "skips": dict(self._skips),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave; tasks added since then start from the method's defaults.

        Raises:
            CheckpointError: The state belongs to another method.
        """
        if state["method"] != type(self.method).__name__:
            raise CheckpointError(
                f"the saved balancer state is of {state['method']}, this balancer runs {type(self.method).__name__}; "
                "build the balancer with the same method, or start without the saved state"
            )
        self.method.load_state_dict(state["state"])
        self.step, self.epoch = int(state["step"]), int(state["epoch"])
        self._held = dict(state["held"])
        self._skips = collections.Counter(state["skips"])

    def reset(self) -> None:
        """Forget everything learned, as if no step had been taken; the partition is kept."""
        self.method.reset()
        self.step = self.epoch = 0
        self.last = self._before = None
        self._held.clear()
        self._skips.clear()

    # ---------------------------------------------------------------------------------------------- checks

    def _check_options(self, heads: str) -> None:
        if heads not in _HEADS:
            raise MethodError(unknown("heads policy", heads, _HEADS))
        if self.scale not in _SCALES:
            raise MethodError(unknown("scale", self.scale, _SCALES))
        if self.nonfinite not in ("raise", "skip"):
            raise MethodError(unknown("non-finite policy", self.nonfinite, ("raise", "skip")))
        if self.every < 1:
            raise MethodError(f"every must be a whole number of steps, at least 1; found {self.every}")
        if self.scale == "norm_of_mean" and not isinstance(self.method, GramianMethod):
            raise MethodError(
                f"scale='norm_of_mean' needs gradients, and {type(self.method).__name__} looks at losses only; "
                "use scale='sum_to_k'"
            )
        bad = {name: weight for name, weight in self._preference.items() if not (np.isfinite(weight) and weight > 0)}
        if bad:
            raise MethodError(f"task weights must be positive and finite, found {bad}; to drop a task, leave it out")
        if self.tasks is not None:
            for name in self._preference:
                if name not in self.tasks:
                    raise MethodError(unknown("task in task_weights", name, self.tasks))

    def _present(self, losses: Mapping[str, Tensor | None]) -> tuple[dict[str, Tensor], Float[Array, "K"], list[str]]:
        """Tasks that take part, their values, and those skipped for a loss that is not finite."""
        given = {name: loss for name, loss in losses.items() if loss is not None}
        for name, loss in given.items():
            if self.tasks is not None and name not in self.tasks:
                raise TaskError(f"losses has an {unknown('task', name, self.tasks)}. To skip a task, leave it out")
            if loss.numel() != 1 or not loss.requires_grad:
                raise TaskError(
                    f"loss of task {name!r} must be one number with a graph, found shape {tuple(loss.shape)}, "
                    f"requires_grad={loss.requires_grad}; average it over the batch and do not detach it"
                )
        if not given:
            return {}, np.zeros(0), []
        values = _values(given)
        if np.isfinite(values).all():
            return given, values, []
        broken = {name: value for name, value in zip(given, values.tolist(), strict=True) if not np.isfinite(value)}
        self._refuse("loss", broken)
        kept = {name: loss for name, loss in given.items() if name not in broken}
        return kept, values[np.isfinite(values)], list(broken)

    def _refuse(self, what: str, broken: Mapping[str, float]) -> None:
        """Raise for tasks that are not finite, or count the skip."""
        often = ""
        if self.nonfinite == "skip":
            self._skips.update(broken.keys())
            if all(self._skips[name] < _SKIPS_IN_A_ROW for name in broken):
                return
            often = f", skipped {_SKIPS_IN_A_ROW} times in a row"
        found = ", ".join(f"{name!r} is {value}" for name, value in broken.items())
        raise NonFiniteError(
            f"{what} of task {found} at step {self.step}{often}; parameters and method state are unchanged. Look for a "
            "mean over no labels, a logarithm of zero or a learning rate that is too high, or pass nonfinite='skip'"
        )

    # --------------------------------------------------------------------------------- the parts of a step

    def _evidence(self, names: tuple[str, ...], values: Array, gramian: Array | None) -> Evidence:
        liking = np.array([self._preference.get(name, 1.0) for name in names])
        return Evidence(names, values, liking / liking.sum(), gramian, self.step, self.epoch, self.seed)

    def _reuse(self, step: Step, values: Array, skipped: Sequence[str]) -> StepRecord:
        """Apply the weights of an earlier step."""
        weights = np.array([self._held[name] for name in step.tasks])
        passes = backward_weighted(step, weights)
        record = StepRecord(self.step, step.tasks, values, weights, None, 0, passes, True, tuple(skipped))
        return self._finish(record)

    def _gradient_step(
        self,
        method: GramianMethod,
        step: Step,
        values: Array,
        skipped: Sequence[str],
        features: Tensor | Sequence[Tensor] | None,
        *,
        overflow_allowed: bool,
    ) -> StepRecord:
        """Collect gradients, solve over the tasks whose gradient is finite, apply."""
        tensors = [] if features is None else [features] if isinstance(features, Tensor) else list(features)
        gramian = self._source.collect(step, tensors) / step.loss_scale**2
        finite = np.isfinite(np.diag(gramian))
        rows = np.flatnonzero(finite).tolist()
        if not finite.all():
            if overflow_allowed:
                return self._overflow(step, values)
            broken = {name: math.nan for name, good in zip(step.tasks, finite, strict=True) if not good}
            self._refuse("gradient", broken)
            skipped = [*skipped, *broken]
            if not rows:
                return self._finish(StepRecord.empty(self.step, skipped))
        names = tuple(step.tasks[row] for row in rows)
        evidence = self._evidence(names, values[rows], gramian[np.ix_(rows, rows)])
        solution = method.solve_present(evidence)
        weights = self._final_weights(evidence, solution)
        passes = len(step.tasks) + self._source.apply(step, weights, rows)
        self._source.apply_own(step, weights, rows)
        self._source.release()
        return self._commit(evidence, solution, weights, passes, skipped)

    def _overflow(self, step: Step, values: Array) -> StepRecord:
        """Hand an overflow to the gradient scaler: it finds it in ``.grad`` and skips the optimizer's step."""
        for parameter in step.shared:
            accumulate(parameter, torch.full_like(parameter, torch.nan))
        self._source.release()
        record = StepRecord(self.step, step.tasks, values, np.zeros(len(step.tasks)), skipped=step.tasks)
        return self._finish(record)

    def _final_weights(self, evidence: Evidence, solution: Solution) -> Float[Array, "K"]:
        """The method's weights, times the fixed preference it did not use itself, under the scale convention."""
        weights = solution.weights
        if not self.method.uses_preference:
            weights = weights * evidence.preference * evidence.size
        if not np.isfinite(weights).all():
            raise NonFiniteError(
                f"{type(self.method).__name__} gave weights {dict(zip(evidence.tasks, weights.tolist(), strict=True))} "
                f"for losses {evidence.losses.tolist()} at step {self.step}; parameters and method state are unchanged"
            )
        if self.scale == "sum_to_k" and weights.sum() > 0:
            return np.asarray(weights * evidence.size / weights.sum())
        if self.scale == "norm_of_mean":
            length = weights @ evidence.inner @ weights
            mean = evidence.preference @ evidence.inner @ evidence.preference
            return np.asarray(weights * np.sqrt(mean / length)) if length > 0 else weights
        return weights

    def _commit(
        self, evidence: Evidence, solution: Solution, weights: Array, passes: int, skipped: Sequence[str]
    ) -> StepRecord:
        """Let the method learn from the step, and record it."""
        self.method.observe(evidence, solution)
        self._held.update(zip(evidence.tasks, weights.tolist(), strict=True))
        self._before = evidence if self.needs_after_step else None
        for name in evidence.tasks:
            self._skips.pop(name, None)
        record = StepRecord(
            self.step,
            evidence.tasks,
            evidence.losses,
            weights,
            evidence.gramian,
            solution.iterations,
            passes,
            skipped=tuple(skipped),
        )
        return self._finish(record)

    def _finish(self, record: StepRecord) -> StepRecord:
        self.step += 1
        self.last = record
        return record


def _values(losses: Mapping[str, Tensor]) -> Float[Array, "K"]:
    """Loss values as float64, in one transfer where the losses live on one device."""
    tensors = [loss.detach().reshape(()) for loss in losses.values()]
    if len({tensor.device for tensor in tensors}) == 1:
        return torch.stack([tensor.double() for tensor in tensors]).cpu().numpy()
    return np.array([float(tensor) for tensor in tensors])
