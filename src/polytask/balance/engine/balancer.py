"""The engine: from a dictionary of losses to ``.grad``, by way of a method's weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor, nn

from polytask.balance.contract.asks import JUDGE_BATCH, LOSSES_AFTER_STEP, TWIN_BATCH, Ask
from polytask.balance.contract.method import Evidence, LossMethod, Method
from polytask.balance.contract.record import StepRecord
from polytask.balance.contract.state import check_owner
from polytask.balance.engine import checks
from polytask.balance.engine.cheap_sources import SubBatchSource
from polytask.balance.engine.combination import Scale
from polytask.balance.engine.compiled import CompiledGraphs
from polytask.balance.engine.gradients import Heads, Step
from polytask.balance.engine.guard import Guard
from polytask.balance.engine.partition import Meeting, Partition, declared_parameters
from polytask.balance.engine.sources import Features, FeatureSource, ParameterSource, source_of
from polytask.balance.engine.stepping import Stepping
from polytask.balance.engine.transaction import BrokenGradientError
from polytask.balance.registry import get_method

__all__ = ["Balancer"]

Array = np.ndarray


@final
class Balancer(Stepping):
    """Turns the losses of K tasks into gradients, weighing the tasks by a method; replaces ``loss.backward()``.

    Every step solves for weights w and fills ``.grad`` of the shared parameters with Σ_k w_k·∇L_k. The order of
    operations is: unscale, solve (float64), apply; clipping and the optimizer's step are the caller's, afterwards.
    Nothing is written to ``.grad`` or to the method's state unless the whole step succeeds, and neither ever gets a
    value that is not finite; only under ``scaler=`` is an overflow written to ``.grad``, for the scaler to find.

    Args:
        method: A method or its registry name (``polytask methods`` lists them). A method object that learns belongs to
            one balancer at a time.
        tasks: Names of all tasks, or a mapping from names to tasks (their ``weight`` is then the default of
            ``task_weights``); names that are not in it are refused. Any name is accepted when it is left out.
        shared: What the tasks share: a module, with what is added to it later, or parameters. When left out, an
            ``nn.Parameter`` reached by at least two tasks is shared. All other leaves belong to the tasks that reach
            them and have no say in the weights.
        grads: What gradient methods judge by: ``"params"`` (exact), ``"features"`` (gradients at the shared
            representation, which ``backward`` then needs), ``"sub_batch"`` (exact gradients of losses on part of the
            batch, ``judge=``), or some of the shared parameters, e.g. of the last block.
        every: Solve for new weights every so many steps and reuse them in between.
        heads: What parameters of one task get: ``"plain"`` its gradient, ``"weighted"`` that times the weight,
            ``"transformed"`` that times the slope of the loss descended (1/L for log L), ``"none"`` nothing. ``"auto"``
            is what was published: the method's card says which.
        scale: ``"native"`` leaves the weights as the method gives them, ``"sum_to_k"`` makes them sum to the number of
            tasks, ``"norm_of_mean"`` gives the step the length of the mean gradient. Learning rates are comparable
            between methods under the latter two only.
        nonfinite: ``"raise"`` an error on a NaN or infinite loss or gradient, or ``"skip"``: treat the task as absent
            from this step; the tenth skip in a row raises. To find the task, skipping keeps the losses' graph, and its
            memory, until they are dropped (``del losses``), except where all gradients are at hand (``"params"``).
        task_weights: Fixed positive preference per task; 1 where not given.
        low_memory: Hold one task's gradients at a time at the price of more backward passes (exact; ``"params"`` only).
        row_dtype: What the tasks' gradients are stored in, e.g. ``torch.bfloat16`` for half the memory; by default
            the parameters' dtype (``"params"`` only).
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
        tasks: Iterable[str] | Mapping[str, checks.Weighted] | None = None,
        shared: nn.Module | Iterable[Tensor] | None = None,
        grads: Literal["params", "features", "sub_batch"] | Iterable[Tensor] = "params",
        every: int = 1,
        heads: Literal["auto"] | Heads = "auto",
        scale: Scale = "native",
        nonfinite: Literal["raise", "skip"] = "raise",
        task_weights: Mapping[str, float] | None = None,
        low_memory: bool = False,
        row_dtype: torch.dtype | None = None,
        seed: int = 0,
        announce: Callable[[str], None] | None = print,
    ) -> None:
        self.method = get_method(method) if isinstance(method, str) else method
        self.tasks = None if tasks is None else tuple(tasks)
        self._preference = {name: task.weight for name, task in tasks.items()} if isinstance(tasks, Mapping) else {}
        self._preference |= dict(task_weights or {})
        self._source = source_of(grads, method=self.method, low_memory=low_memory, row_dtype=row_dtype)
        self.every = every
        self.scale: Scale = scale
        self.seed = seed
        checks.check_options(heads, scale, nonfinite, every)
        checks.check_task_weights(self._preference, self.tasks)
        checks.check_needs(self.method, self._source, scale, every)
        self._by_losses = isinstance(self.method, LossMethod)
        self.heads: Heads = checks.heads_of(self.method, heads)
        # With weighted heads and losses alone, one backward pass finds every leaf by itself.
        self._one_pass = self.heads == "weighted" and self._by_losses
        module = shared if isinstance(shared, nn.Module) else None
        self.partition = Partition(declared_parameters(shared), not self._one_pass, module)
        self.nonfinite: Literal["raise", "skip"] = nonfinite
        self._guard = Guard(self.tasks, nonfinite, self.method)
        self._compiled = CompiledGraphs()
        self._announce, self._announced = announce, False
        self.step = self.epoch = 0
        self.last: StepRecord | None = None
        self._held: dict[str, float] = {}
        self._gathered: dict[str, float] = {}  # losses of an open window whose gradients are kept as rows
        self._applied: dict[str, float] = {}  # losses of an open window whose gradients are in .grad already
        self._before: Evidence | None = None
        self._heard = False  # whether anybody has called after_step
        self._claim = object()  # copied with the balancer, so that a copy owns the copied method
        self._shares = ((), np.zeros(0))  # the tasks of the last step, and their parts of the preference
        if isinstance(shared, nn.Module):
            self.know(shared)

    def backward(
        self,
        losses: Mapping[str, Tensor | None],
        features: Features | None = None,
        *,
        twin: Mapping[str, Tensor | None] | None = None,
        judge: Mapping[str, Tensor] | None = None,
        scaler: checks.Scaler | None = None,
        retain_graph: bool = False,
    ) -> StepRecord:
        """Fill (add to) ``.grad`` of all parameters the losses reach.

        Args:
            losses: Scalar loss per task present in this batch; a task left out, or ``None``, is absent.
            features: The shared representation that the heads read, for ``grads="features"``: a tensor, or a sequence
                or dictionary of tensors, each read by two tasks or more; or its :class:`~polytask.balance.Aliases`,
                with which one pass through the heads is enough.
            twin: Losses of the same tasks on an independent batch, for methods that compare two (see
                :attr:`needs_twin`). ``.grad`` gets the mean over both batches; a task absent from one is absent.
            judge: Losses on part of the batch, from a forward pass of its own, for ``grads="sub_batch"``.
            scaler: A ``torch.amp.GradScaler``: ``.grad`` is then scaled as ``scaler.scale(loss).backward()`` would, the
                method sees unscaled values, and an overflow is left for the scaler to handle (no state changes). Never
                scale the losses by hand: a method would take the factor for their size.
            retain_graph: Keep the graph for another backward pass.

        Returns:
            The step's record, also kept as :attr:`last`.

        Raises:
            TaskError: A name is unknown, or a loss is not one real number with a graph that is still there.
            MethodError: ``features`` or ``twin`` is missing, a loss does not depend on ``features``, the losses are of
                another model (see :meth:`reset`), or several processes train together.
            NonFiniteError: A loss or gradient is not finite (see ``nonfinite``).
        """
        checks.check_batches(self.method, self._source, twin, judge)
        if not self._heard:
            checks.check_heard(self.method, self.step)
        scaler = checks.working(scaler, losses)
        self._guard.admit_judge(judge)
        present, second, values, skipped = self._guard.admit_twins(losses, twin, self.step)
        reuse = self._may_reuse(present) and not self._applied
        if second is not None and reuse:
            present, second = {name: (loss + second[name]) / 2 for name, loss in present.items()}, None
        if not present and not self._gathered and not self._applied:
            return self._finish(StepRecord.empty(self.step, skipped))
        by_gradients = bool(self._gathered) or not (self._by_losses or reuse)
        again = not by_gradients or self._source.passes_again
        keep = retain_graph or (again and self._guard.skips_allowed)
        step = self._begin(present, scaler, keep, second, judge, rows=by_gradients)
        if step.compiled and (by_gradients or step.heads in ("plain", "transformed") or self._guard.skips_allowed):
            self._compiled.check(step)
        try:
            if by_gradients:
                checks.check_real(step.shared, self.method)
                return self._gradient_step(step, values, skipped, features)
            return self._loss_step(step, values, skipped, reuse=reuse)
        except BrokenGradientError:
            return self._overflow(step, values)

    def accumulate(self, losses: Mapping[str, Tensor | None], *, scaler: checks.Scaler | None = None) -> None:
        """Gather the gradients of a micro-batch; the next :meth:`backward` solves once for the whole window.

        This is exact: a window's step equals that of one batch whose losses are the sums of what was passed (so divide
        by the number of micro-batches, as for plain accumulation). It holds one gradient per task, except for methods
        whose weights are constant. The cheap way is to call :meth:`backward` for every micro-batch: another algorithm,
        with weights of its own for each.

        Args:
            losses: As for :meth:`backward`.
            scaler: As for :meth:`backward`; the same for the whole window.

        Raises:
            MethodError: The gradient evidence is not ``"params"``, or the method compares two batches.
        """
        if not self.can_accumulate:
            checks.refuse_windows()
        scaler = checks.working(scaler, losses)
        present, values, skipped = self._guard.admit(losses, self.step)
        if present and self._constant:
            step = self._begin(present, scaler, self._guard.skips_allowed, rows=False)
            skipped += self._apply_part(step, values)
        elif present:
            step = self._begin(present, scaler, retain_graph=False, rows=True)
            checks.check_real(step.shared, self.method)
            self._gather_part(step, values)
        self._guard.count((), skipped)

    def prepare(self, outputs: Mapping[str, Tensor]) -> Partition:
        """Infer the parameter partition from one output (or loss) per task, before the first step.

        Args:
            outputs: Any tensor with a graph per task, e.g. the model's predictions for one batch.

        Returns:
            The partition, also kept as :attr:`partition`.
        """
        self._meet(outputs)
        return self.partition

    def _meet(self, outputs: Mapping[str, Tensor], *, glance: bool = False) -> Meeting:
        """Let the partition see the tasks' graphs, or no more of them than it has to."""
        meeting = self.partition.glance(outputs) if glance else self.partition.meet(outputs)
        if meeting.news and self._announce is not None and not self._announced:
            self._announce(str(self.partition))
            self._announced = True
        return meeting

    def know(self, model: nn.Module) -> None:
        """Tell the parameters' names: for groups by layer, and to resume exactly before every task has come once.

        Args:
            model: The whole model; ``Trainer`` does this. A module given as ``shared=`` is known by itself.
        """
        self.method.know(self.partition.know(model))

    def after_step(self, losses: Mapping[str, Tensor | None]) -> None:
        """Give the method the same batch's losses after the optimizer's step (see :attr:`needs_after_step`).

        Args:
            losses: Loss per task; tasks that were absent before, or are not finite now, are ignored.
        """
        before, self._before, self._heard = self._before, None, True
        known = {name: loss for name, loss in losses.items() if loss is not None and before and name in before.tasks}
        finite = {name: float(loss.detach()) for name, loss in known.items() if torch.isfinite(loss)}
        if before is not None and finite:
            with self.method.state.whole():
                self.method.after_step(before, finite)

    def observe_metrics(self, values: Mapping[str, float]) -> None:
        """Give the method a number per task that it asks for, such as an accuracy; its class says what it has to be."""
        self.method.claim(self._claim)
        self.method.observe_metrics(values)

    def end_epoch(self) -> None:
        """Tell the method that an epoch has ended."""
        self.method.claim(self._claim)
        self.method.end_epoch()
        self.epoch += 1

    @property
    def needs_features(self) -> bool:
        """Whether :meth:`backward` wants the shared representation."""
        return isinstance(self._source, FeatureSource) and not self._by_losses

    @property
    def asks(self) -> frozenset[Ask]:
        """What whoever runs this balancer has to give besides the losses; see :mod:`polytask.balance.contract.asks`."""
        judged = isinstance(self._source, SubBatchSource) and not self._by_losses
        return self.method.asks | ({JUDGE_BATCH} if judged else frozenset())

    @property
    def sums(self) -> bool:
        """Whether :meth:`backward` differentiates the weighted sum of the losses and never one of them by itself.

        The losses may then be entries of one vector at no loss, once the partition has seen each task's own graph.
        """
        return self._one_pass and not self._guard.skips_allowed

    @property
    def takes_aliases(self) -> bool:
        """Whether :meth:`backward` is shorter with :class:`~polytask.balance.Aliases` as ``features=``."""
        apart = self._by_losses or self.needs_twin or self._guard.skips_allowed  # to skip, every graph is looked into
        return type(self._source) in (FeatureSource, ParameterSource) and not apart

    @property
    def needs_judge(self) -> bool:
        """Whether :meth:`backward` wants losses on part of the batch."""
        return JUDGE_BATCH in self.asks

    @property
    def can_accumulate(self) -> bool:
        """Whether :meth:`accumulate` works with this method and evidence."""
        return self._constant or (isinstance(self._source, ParameterSource) and not self.needs_twin)

    @property
    def _constant(self) -> bool:
        """Whether every loss has the same weight in every batch, whichever tasks are present."""
        return self.method.constant and self.scale == "native" and set(self._preference.values()) <= {1.0}

    @property
    def needs_twin(self) -> bool:
        """Whether :meth:`backward` wants the losses of a second, independent batch."""
        return TWIN_BATCH in self.method.asks

    @property
    def needs_after_step(self) -> bool:
        """Whether the method wants :meth:`after_step` to be called after every step."""
        return LOSSES_AFTER_STEP in self.method.asks

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes with steps, as plain values keyed by task."""
        return {
            "method": type(self.method).__name__,
            "state": self.method.state_dict(),
            "step": self.step,
            "epoch": self.epoch,
            "held": dict(self._held),
            "skips": dict(self._guard.skips),
            "partition": self.partition.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave; tasks added since then start from the method's defaults.

        Raises:
            CheckpointError: The state belongs to another method.
        """
        check_owner(state["method"], type(self.method).__name__)
        self.method.load_state_dict(state["state"])
        self._same = None
        self.step, self.epoch = int(state["step"]), int(state["epoch"])
        self._held = dict(state["held"])
        self._guard.restore(state["skips"], self.step)
        self.partition.load_state_dict(state.get("partition", {}))

    def reset(self) -> None:
        """Make the balancer as new, e.g. for another model or fold: what it was told stays, all it learned is gone."""
        self.method.reset()
        self.partition.reset()
        self._same = None
        self._guard = Guard(self.tasks, self.nonfinite, self.method)
        self.step = self.epoch = 0
        self.last = self._before = None
        self._announced = self._heard = False
        for remembered in (self._held, self._gathered, self._applied):
            remembered.clear()
        self._source.release()

    def _begin(
        self,
        present: dict[str, Tensor],
        scaler: checks.Scaler | None,
        retain_graph: bool,
        twin: Mapping[str, Tensor] | None = None,
        judge: Mapping[str, Tensor] | None = None,
        *,
        rows: bool,
    ) -> Step:
        """What is differentiated; ``rows``: whether gradients of single tasks will be asked for."""
        checks.check_processes(self.method, alike=self._constant and self._one_pass)
        self.method.claim(self._claim)
        reached, _, compiled, plain = self._meet(present, glance=self.sums)
        aside = [] if plain else self.partition.aside
        if twin is not None:
            self._meet(twin)
            aside += self.partition.aside
        shared: list[Tensor] = []
        own: dict[str, list[Tensor]] = {}
        if rows or not self._one_pass:  # otherwise what the graphs reach is all there is to know
            shared, reached = self.partition.shared, []
            own = {name: [*found, *aside] for name, found in self.partition.owned_by(present).items()}
        others = [leaf for leaf in aside if not isinstance(leaf, nn.Parameter)]
        scale, scaled = 1.0 if scaler is None else float(scaler.get_scale()), scaler is not None
        scale /= 1 if twin is None else 2
        policy = (self.heads, retain_graph, scale, twin, judge, scaled, others, reached, compiled)
        return Step(present, shared, own, *policy)

    def _may_reuse(self, names: Iterable[str]) -> bool:
        return self.step % self.every != 0 and all(name in self._held for name in names)
