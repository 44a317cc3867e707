"""The three ways of a step: weights kept from before, weights from the losses, weights from the tasks' gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch import Tensor

from polytask.balance.contract.asks import LOSSES_AFTER_STEP
from polytask.balance.contract.method import Evidence, Method, Solution
from polytask.balance.contract.record import StepRecord
from polytask.balance.engine.combination import Combination, Scale, combination_of, of_twins, own_factors, weighted
from polytask.balance.engine.gradients import Step, backward_weighted, poison
from polytask.balance.engine.guard import Guard
from polytask.balance.engine.partition import Partition
from polytask.balance.engine.source import GradientSource
from polytask.balance.engine.sources import Features, ParameterSource, feature_tensors
from polytask.balance.engine.transaction import BrokenGradientError

__all__ = ["Stepping"]

Array = np.ndarray


class Stepping:
    """What happens between admitted losses and a record; :class:`~polytask.balance.Balancer` is its public face.

    Whatever can fail comes before anything is written: gradients go to ``.grad`` in a transaction, and the method
    learns from the step as its last act.

    Attributes:
        method: Decides.
        partition: What the tasks share.
        scale: Length convention of the weights.
        seed: Seed of methods that draw at random.
        step: Number of steps taken.
        epoch: Number of epochs ended.
        last: Record of the last step.
    """

    method: Method
    partition: Partition
    scale: Scale
    seed: int
    step: int
    epoch: int
    last: StepRecord | None
    _source: GradientSource
    _guard: Guard
    _preference: dict[str, float]
    _held: dict[str, float]
    _gathered: dict[str, float]
    _applied: dict[str, float]
    _before: Evidence | None
    _shares: tuple[tuple[str, ...], Array]
    _same: tuple[tuple[str, ...], Solution, Array] | None = None  # of a method whose weights are always the same

    def _loss_step(self, step: Step, values: Mapping[str, float], skipped: Sequence[str], *, reuse: bool) -> StepRecord:
        """Weigh by the losses, or as before, and differentiate the weighted sum."""

        def once(tasks: Sequence[str], left_out: Sequence[str], settle: Callable[[], None]) -> StepRecord:
            seen, out = {name: values[name] for name in tasks}, [*skipped, *left_out]
            if not tasks and not self._applied:
                return self._finish(StepRecord.empty(self.step, out))
            if reuse:
                weights = np.array([self._held[name] for name in tasks])
                own = own_factors(step, self.method, self._evidence(seen, None), weights)
                passes = backward_weighted(step.only(tasks), weights, own)
                settle()
                losses = np.array(list(seen.values()))
                parts = (self.step, tuple(tasks), losses, weights)
                return self._finish(StepRecord(*parts, backward_passes=passes, reused=True, skipped=tuple(out)))
            passes = 0
            if tasks:
                evidence, combination = self._weigh(seen)
                own = own_factors(step, self.method, evidence, combination.weights)
                passes = backward_weighted(step.only(tasks), combination.weights, own)
            settle()
            if self._applied:
                whole = {name: self._applied.get(name, 0.0) + value for name, value in seen.items()}
                evidence, combination = self._weigh(dict.fromkeys(seen, 0.0) | self._applied | whole)
            record = self._commit(evidence, combination, passes, out)
            self._applied.clear()
            return record

        return self._guard.attempt(step, step.tasks, step.leaves, once, self.step, self._known_owners)

    def _known_owners(self, leaves: Sequence[Tensor]) -> set[str]:
        """Tasks that alone reach one of these leaves, where their losses are one vector and its graph cannot tell."""
        return set() if self._guard.skips_allowed else self.partition.owners(leaves)

    def _weigh(self, values: Mapping[str, float]) -> tuple[Evidence, Combination]:
        """What a method that looks at losses sees, and what it makes of it."""
        evidence = self._evidence(values, None)
        if self._same is not None and self._same[0] == evidence.tasks:
            solution, weights = self._same[1:]
            weights = weights.copy()
            return evidence, Combination(solution, weights, weighted(weights), list(range(evidence.size)))
        found = combination_of(self.method, evidence, self.scale)
        if self.method.constant:
            self._same = (evidence.tasks, found.solution, found.weights)
        return evidence, found

    def _apply_part(self, step: Step, values: Mapping[str, float]) -> Sequence[str]:
        """Add a micro-batch to ``.grad``; the tasks left out because their gradients are not finite."""

        def once(tasks: Sequence[str], left_out: Sequence[str], settle: Callable[[], None]) -> StepRecord:
            seen = {name: values[name] for name in tasks}
            if tasks:
                backward_weighted(step.only(tasks), self._weigh(seen)[1].weights)
            settle()
            self._applied |= {name: self._applied.get(name, 0.0) + value for name, value in seen.items()}
            return StepRecord.empty(self.step, left_out)

        try:
            return self._guard.attempt(step, step.tasks, step.leaves, once, self.step).skipped
        except BrokenGradientError:
            poison(step.leaves)
            return ()

    def _gather_part(self, step: Step, values: Mapping[str, float]) -> None:
        """Add a micro-batch to the window's rows; where that fails half-way, the window is dropped."""
        assert isinstance(self._source, ParameterSource)
        try:
            self._source.gather(step, capacity=len(self.partition.reach))
        except BaseException:
            self._source.release()
            self._gathered.clear()
            raise
        self._gathered |= {name: self._gathered.get(name, 0.0) + value for name, value in values.items()}

    def _gradient_step(
        self,
        step: Step,
        values: Mapping[str, float],
        skipped: Sequence[str],
        features: Features | None,
    ) -> StepRecord:
        """Collect gradients, solve over the tasks whose gradient is finite, apply."""
        source, tensors = self._source, feature_tensors(features)
        try:
            names, scaled = source.collect(step, tensors)
            gramian, cross = of_twins(scaled / step.loss_scale**2, paired=step.twin is not None)
            sums = {name: self._gathered.get(name, 0.0) + values.get(name, 0.0) for name in names}
            finite = dict(zip(names, np.isfinite(np.diag(gramian)).tolist(), strict=True))
            broken = {name: math.nan for name, good in finite.items() if not good}
            if broken:
                if step.scaled:
                    raise BrokenGradientError(step.shared)
                self._guard.refuse("gradient", broken, self.step)

            def once(tasks: Sequence[str], left_out: Sequence[str], settle: Callable[[], None]) -> StepRecord:
                out = [*skipped, *broken, *left_out]
                if not tasks:
                    return self._finish(StepRecord.empty(self.step, out))
                rows = [names.index(name) for name in tasks]
                kept = np.ix_(rows, rows)
                among = None if cross is None else cross[kept]
                evidence = self._evidence({name: sums[name] for name in tasks}, gramian[kept], among)
                combination = combination_of(
                    self.method,
                    evidence,
                    self.scale,
                    lambda chosen: source.blocks(step, [rows[i] for i in chosen]),
                    step.loss_scale,
                )
                mixed, weights = [rows[i] for i in combination.keep], combination.weights[combination.keep]
                passes = source.passes or len(step.tasks) + len(step.twin or ())
                passes += source.apply(step, combination.mix, weights, mixed)
                source.apply_own(step, evidence.tasks, own_factors(step, self.method, evidence, combination.weights))
                settle()
                return self._commit(evidence, combination, passes, out)

            leaves = [*step.leaves, *source.own_leaves]
            good = [name for name in names if finite[name]]
            return self._guard.attempt(step, good, leaves, once, self.step, source.broken_own)
        finally:
            source.release()
            self._gathered.clear()

    def _overflow(self, step: Step, values: Mapping[str, float]) -> StepRecord:
        """Hand an overflow to the gradient scaler: it finds it in ``.grad`` and skips the optimizer's step."""
        poison(step.leaves)
        self._applied.clear()
        seen = np.array(list(values.values()))
        record = StepRecord(self.step, tuple(values), seen, np.zeros(len(values)), skipped=tuple(values))
        return self._finish(record, counted=False)

    def _evidence(self, values: Mapping[str, float], gramian: Array | None, cross: Array | None = None) -> Evidence:
        tasks, losses = tuple(values), np.array(list(values.values()))
        if tasks != self._shares[0]:
            liking = np.array([self._preference.get(name, 1.0) for name in tasks])
            self._shares = (tasks, liking / liking.sum())
        share = self._shares[1].copy()
        return Evidence(tasks, losses, share, gramian, self.step, self.epoch, self.seed, cross=cross)

    def _commit(self, evidence: Evidence, combination: Combination, passes: int, skipped: Sequence[str]) -> StepRecord:
        """Let the method learn from the step, and record it."""
        if combination.memory:
            self._guard.check_memory(combination.memory, self.step)
        if combination.seen is not None and combination.seen[1].remember:
            with self.method.state.whole():
                self.method.remember(*combination.seen)
        for name, block, tasks, remembered in combination.memory:
            self.method.memory.write(name, block, tasks, remembered)
        self._held.update(zip(evidence.tasks, combination.weights.tolist(), strict=True))
        self._before = evidence if LOSSES_AFTER_STEP in self.method.asks else None
        record = StepRecord(
            self.step,
            evidence.tasks,
            evidence.losses,
            combination.weights,
            evidence.gramian,
            combination.solution.iterations,
            passes,
            skipped=tuple(skipped),
        )
        return self._finish(record)

    def _finish(self, record: StepRecord, *, counted: bool = True) -> StepRecord:
        if counted:
            self._guard.count(record.tasks, record.skipped)
        self.step += 1
        self.last = record
        return record
