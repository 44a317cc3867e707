"""Run a method by hand over drawn evidence, as the engine would."""

import numpy as np

from polytask.balance import Evidence, GramianMethod, Method, get_method
from polytask.balance.contract.asks import LOSSES_AFTER_STEP
from tests.solvers.draws import jacobian

NAMES = ("depth", "age", "sex", "tag", "zip")


def evidence(method, tasks, step, losses=None, seed=7, J=None):
    """Evidence about ``tasks`` at ``step``; what is known of a task depends on its name and the step only."""
    drawn = {name: np.random.default_rng([step, index]) for index, name in enumerate(NAMES)}
    if losses is None:
        losses = np.array([np.exp(drawn[name].normal()) for name in tasks])
    if J is None:
        J = np.array([np.exp(drawn[name].normal()) * drawn[name].standard_normal(12) for name in tasks])
    gramian = J @ J.T if isinstance(method, GramianMethod) else None
    return Evidence(tuple(tasks), losses, np.full(len(tasks), 1 / len(tasks)), gramian, step, step // 3, seed)


def solve(method, given):
    """Weights for this evidence, zero rows included."""
    solution = method.solve_present(given) if isinstance(method, GramianMethod) else method.solve(given)
    assert isinstance(solution.iterations, int)
    assert solution.weights.shape == (given.size,)
    assert solution.weights.dtype == np.float64
    return solution


def run(method: Method, steps: range, tasks=NAMES, seed=7) -> list[np.ndarray]:
    """Weights at each step, with everything the engine calls after it; an epoch is three steps."""
    history = []
    for step in steps:
        given = evidence(method, tasks, step, seed=seed)
        if any(ask.hook == "observe_metrics" for ask in method.asks) and step % 2:
            skill = dict(zip(NAMES, np.random.default_rng([step, 98]).uniform(0.2, 0.9, len(NAMES)), strict=True))
            method.observe_metrics({name: skill[name] for name in tasks})
        solution = solve(method, given)
        history.append(solution.weights)
        method.remember(given, solution)
        if LOSSES_AFTER_STEP in method.asks:
            factor = dict(zip(NAMES, np.random.default_rng([step, 99]).uniform(0.5, 1.1, len(NAMES)), strict=True))
            after = {name: loss * factor[name] for name, loss in zip(tasks, given.losses, strict=True)}
            method.after_step(given, after)
        if step % 3 == 2:
            method.end_epoch()
    return history


def make(entry):
    """A fresh method of this entry."""
    return get_method(entry.name, **entry.options)


def rows(kind, size, spread, seed):
    """Rows for tests of the mathematics, with K taken from the names."""
    return jacobian(kind, size, spread, seed)
