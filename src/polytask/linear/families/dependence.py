"""Dependence maximisation: predictors of related tasks are refined to depend on each other more (HSIC)."""

from __future__ import annotations

from dataclasses import replace
from numbers import Real
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import parameters
from polytask.linear.core.design import StackedDesign
from polytask.linear.core.engine import Solution, make_oracle
from polytask.linear.core.hsic import mixing
from polytask.linear.core.oracle import Oracle
from polytask.linear.core.problem import Problem
from polytask.linear.procedure import Procedure, single_tasks
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = [
    "DependenceClassifier",
    "DependenceClassifierCV",
    "DependenceRegressor",
    "DependenceRegressorCV",
]

Array = NDArray[Any]


@parameters
class Dependence(Procedure):
    """Ridge predictors of the single tasks, mixed so that they depend on each other more.

    Args:
        ridge: Weight of ½‖W‖² > 0 of the single tasks' fits.
    """

    ridge: float = 1e-2

    _parameter_constraints: ClassVar[dict[str, Any]] = {"ridge": [Interval(Real, 0, None, closed="neither")]}

    def _range(self, problem: Problem, eps: float) -> tuple[float, float]:
        return 10.0, eps**2

    def _solve(
        self, problem: Problem, alpha: float, init: tuple[Array, Array] | None, oracle: Oracle | None = None
    ) -> Solution:
        oracle = make_oracle(problem) if oracle is None else oracle
        single = single_tasks(problem, self.ridge, self.tol, self.max_iter, oracle)
        A = mixing(_covariance(problem, single.W), alpha)
        W = np.asfortranarray((single.W @ A).astype(single.W.dtype))
        b = oracle.refit(oracle.image(W, single.b), single.b)[1]
        return replace(single, W=W, b=b, V=W, history=[], state=A)

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        self.mixing_ = solution.state


def _covariance(problem: Problem, W: Array) -> Array:
    """Covariance (T, T) of all tasks' predictions within the rows of each task, by weight."""
    design, weight = problem.design, problem.weight.astype(float)
    F = np.asarray(design.X @ W).astype(float)
    if isinstance(design, StackedDesign):
        sums = np.add.reduceat(weight[:, None] * F, design.starts[:-1], axis=0)
        rows, totals = weight, design.task_sum(weight)
    else:
        sums, rows, totals = weight.T @ F, weight.sum(axis=1), weight.sum(axis=0)
    means = sums / np.where(totals > 0, totals, 1)[:, None]
    C = (F * rows[:, None]).T @ F - (means * totals[:, None]).T @ means
    return np.asarray(0.5 * (C + C.T) / totals.sum())


@final
@parameters
class DependenceRegressor(Dependence, FixedAlpha, MultiTaskRegressor):
    """Regression per task, refined so that the tasks' predictions depend on each other more.

    W⁰, b⁰ = ridge regressions per task; W = W⁰A with A (T, T) the maximiser of

    α Σ_{s<t} corr²(X w_s, X w_t) − ½ Σ_t ‖X(w_t − w⁰_t)‖² / ‖X w⁰_t‖²

    over the rows of all tasks, each task's inputs centred. The squared correlation is the normalised Hilbert-Schmidt
    independence criterion with linear kernels. :func:`maximise_dependence` refines the predictions of any models.

    Args:
        alpha: Weight α > 0 of the dependence; α → 0 leaves the single tasks' regressions.
        ridge: Weight of ½‖W‖² > 0 of the single tasks' fits.
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col, unseen: See :class:`LinearMultiTask`.

    Attributes:
        mixing_: A (T, T).
        dual_gap_, objective_: Of the single tasks' fits.
        coef_, intercept_, tasks_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(30, 5))
        >>> Y = X[:, [0, 0]] + rng.normal(size=(30, 2))
        >>> weak, strong = (DependenceRegressor(alpha).fit(X, Y).predict(X) for alpha in (1e-6, 1.0))
        >>> bool(np.corrcoef(strong.T)[0, 1] > np.corrcoef(weak.T)[0, 1])
        True

    Notes:
        The original maximises the finite-set independence criterion on unlabelled points; HSIC is its kernel ancestor.
        Normalised, it cannot be raised by larger predictions.

    References:
        Alami Mejjati, Cosker & Kim (2018), Multi-task learning by maximizing statistical dependence.
        Gretton, Bousquet, Smola & Schölkopf (2005), Measuring statistical dependence with Hilbert-Schmidt norms.
    """


@final
@parameters
class DependenceClassifier(Dependence, FixedAlpha, MultiTaskClassifier):
    """Binary classification per task, refined so that the tasks' scores depend on each other more.

    As :class:`DependenceRegressor` with a loss of :class:`MultiTaskClassifier`.
    """


@final
@parameters
class DependenceRegressorCV(Dependence, CrossValidated, MultiTaskRegressor):
    """:class:`DependenceRegressor` with α chosen by cross-validation; see :class:`CrossValidated`.

    The automatic grid reaches from 10 down by ``eps``².
    """


@final
@parameters
class DependenceClassifierCV(Dependence, CrossValidated, MultiTaskClassifier):
    """:class:`DependenceClassifier` with α chosen by cross-validation; see :class:`CrossValidated`.

    The automatic grid reaches from 10 down by ``eps``².
    """
