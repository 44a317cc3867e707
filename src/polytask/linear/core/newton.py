"""The solver of all convex estimators: the engine, inside Newton steps where these pay.

Counts (the Poisson loss), whose curvature has no bound, and logistic losses with a quadratic penalty, where the model's
problem is a linear system, are fitted by proximal Newton: the loss's quadratic model at the last point, a weighted
least-squares problem with the same penalty, is solved by the engine; a line search on the objective follows, and the
certificate is that of the problem itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polytask.linear.core import engine
from polytask.linear.core.design import Design, SharedDesign, StackedDesign
from polytask.linear.core.engine import Solution
from polytask.linear.core.losses import Logistic, Poisson, Squared
from polytask.linear.core.oracle import Certificate, DataOracle, Oracle, certify
from polytask.linear.core.penalties import Penalty
from polytask.linear.core.problem import Problem
from polytask.linear.core.spectral import Quadratic

__all__ = ["curvature", "solve"]

Array = NDArray[Any]

#: log of a rate that counts of zero only are given
_NO_RATE = -30.0


def curvature(problem: Problem) -> float:
    """Largest curvature of the loss in W; where it has no bound, that at W = 0 with the best intercepts.

    Args:
        problem: Data and loss.

    Examples:
        >>> import numpy as np
        >>> from polytask.linear import Squared, shared_problem
        >>> problem = shared_problem(np.diag([2.0, 1.0]), np.ones((2, 1)), None, Squared(), intercept=False)
        >>> round(curvature(problem), 6)
        2.0
    """
    if np.isfinite(problem.loss.curvature):
        return engine.make_oracle(problem).lipschitz
    oracle, W = DataOracle(problem), problem.zeros()
    image, _ = _level(oracle, W, np.zeros(problem.n_tasks, problem.design.dtype))
    return problem.design.lipschitz(problem.weight * problem.loss.second(problem.y, image), None)


def solve(
    problem: Problem,
    penalty: Penalty,
    *,
    coupling: float | Array = 0.0,
    init: tuple[Array, Array] | None = None,
    tol: float = 1e-4,
    max_iter: int = 10_000,
    oracle: Oracle | None = None,
    warn: bool = True,
    **options: Any,
) -> Solution:
    """Minimise a problem to a relative duality gap; arguments as in :func:`polytask.linear.core.engine.solve`.

    Examples:
        >>> import numpy as np
        >>> from polytask.linear import L1, Poisson, shared_problem
        >>> problem = shared_problem(np.eye(3), np.array([[1.0], [2.0], [6.0]]), None, Poisson(), intercept=True)
        >>> solution = solve(problem, L1(100.0))
        >>> problem.intercept(solution.W, solution.b).round(4).tolist()  # log 3
        [1.0986]
    """
    smooth = isinstance(penalty, Quadratic) and isinstance(problem.loss, Logistic)
    if np.isfinite(problem.loss.curvature) and not smooth:
        return engine.solve(
            problem,
            penalty,
            coupling=coupling,
            init=init,
            tol=tol,
            max_iter=max_iter,
            oracle=oracle,
            warn=warn,
            **options,
        )
    data = oracle if isinstance(oracle, DataOracle) else DataOracle(problem)
    V, b = (
        problem.start(penalty.blocks) if init is None else (np.array(part, dtype=problem.design.dtype) for part in init)
    )
    point = _look(data, penalty, coupling, V, b)
    dual, iterations, stuck = point.dual, 0, False
    history = [(0, point.primal, point.primal - dual)]
    while (gap := max(point.primal - dual, 0.0)) > tol * abs(point.primal) and iterations < max_iter and not stuck:
        share = gap / max(abs(point.primal), 1e-300)
        model = engine.solve(
            _model(data, penalty.matrix(V), point.b),
            penalty,
            coupling=coupling,
            init=(V, np.zeros_like(b)),
            tol=float(np.clip(0.05 * share, 1e-13, 1e-3)),
            max_iter=max_iter - iterations,
            warn=False,
        )
        iterations += max(model.n_iter, 1)
        stuck = True
        for halving in range(30):
            trial = V + 0.5**halving * (model.V - V)
            found = _look(data, penalty, coupling, trial, point.b)
            dual = max(dual, found.dual)
            if found.primal < point.primal:
                V, point, stuck = trial, found, False
                break
        history.append((iterations, point.primal, max(point.primal - dual, 0.0)))
    converged = bool(gap <= tol * abs(point.primal))
    if not converged and smooth and iterations < max_iter:  # steps too small to be seen in the objective
        rest = engine.solve(
            problem, penalty, coupling=coupling, init=(V, point.b), tol=tol, max_iter=max_iter - iterations, warn=warn
        )
        return replace(rest, n_iter=iterations + rest.n_iter)
    if not converged and warn:
        engine.warn_of_gap(gap, point.primal, tol, iterations)
    W = penalty.matrix(V)
    return Solution(W, point.b, V, point.primal, gap, iterations, point.scale * point.G, converged, history)


def _level(oracle: DataOracle, W: Array, b: Array) -> tuple[Array, Array]:
    """The image of W with the best intercepts: for counts those with which rates and counts have the same sum."""
    problem = oracle.problem
    image = oracle.image(W, b)
    if not problem.free_intercept:
        return image, b
    if not isinstance(problem.loss, Poisson):
        return oracle.refit(image, b)
    design, weight = problem.design, problem.weight
    top = image.max(initial=0.0)  # one shift for all rows: no overflow
    counts = design.task_sum(weight * problem.y)
    rates = design.task_sum(weight * np.exp(image - top))
    known = (counts > 0) & (rates > 0)
    shift = np.log(np.where(known, counts, 1) / np.where(known, rates, 1)) - top
    b_new = np.where(known, b + shift, _NO_RATE).astype(b.dtype)
    return image + design.expand(b_new - b), b_new


def _look(oracle: DataOracle, penalty: Penalty, coupling: float | Array, V: Array, b: Array) -> Certificate:
    """Certificate at coefficients with their best intercepts."""
    image, b = _level(oracle, penalty.matrix(V), b)
    return certify(oracle, penalty, coupling, V, b, image)


def _model(oracle: DataOracle, W: Array, b: Array) -> Problem:
    """Weighted least squares: the quadratic model of the loss, its intercepts eliminated by centring."""
    problem = oracle.problem
    design, loss = problem.design, problem.loss
    z = oracle.image(W, b)
    curve = np.maximum(loss.second(problem.y, z), np.finfo(z.dtype).tiny)
    target = z - loss.derivative(problem.y, z) / curve
    weight = problem.weight * curve
    if not problem.free_intercept:
        return replace(problem, y=target, weight=weight, loss=Squared())
    total = design.task_sum(weight)
    total = np.where(total > 0, total, 1)
    shift = design.adjoint(weight) / total
    offset = shift if design.offset is None else design.offset + shift
    new: Design
    if isinstance(design, StackedDesign):
        new = StackedDesign(design.X, design.starts, offset)
    else:
        new = SharedDesign(design.X, design.n_tasks, offset)
    level = design.task_sum(weight * target) / total
    centred = np.where(weight > 0, target - design.expand(level), 0)
    return replace(problem, design=new, y=centred, weight=weight, loss=Squared(), free_intercept=False)
