"""Distributed multi-task lasso: one round of communication, support chosen from debiased local estimates (DSML)."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar, final

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.stats import chi2
from sklearn.utils._param_validation import Interval

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution, make_oracle
from polytask.linear.core.local_lasso import debiased_lasso, inverse_rows
from polytask.linear.core.losses import Logistic, Loss, Squared
from polytask.linear.core.oracle import Oracle
from polytask.linear.core.penalties import L1
from polytask.linear.core.problem import Problem
from polytask.linear.core.subproblem import task_rows
from polytask.linear.penalised import pull_at_zero
from polytask.linear.procedure import Procedure
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = [
    "DebiasedLassoClassifier",
    "DebiasedLassoClassifierCV",
    "DebiasedLassoRegressor",
    "DebiasedLassoRegressorCV",
]

Array = NDArray[Any]


@parameters
class DebiasedLasso(Procedure):
    """Lassos of the single tasks, debiased, and thresholded by feature.

    Args:
        threshold: Λ ≥ 0, or None for a test per feature.
        level: Chance of any false feature when ``threshold`` is None.
        n_jobs: Tasks fitted in parallel.
    """

    threshold: float | None = None
    level: float = 0.05
    n_jobs: int | None = None

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "loss": [str],
        "threshold": [None, Interval(Real, 0, None, closed="left")],
        "level": [Interval(Real, 0, 1, closed="neither")],
        "n_jobs": [None, Integral],
    }

    def _range(self, problem: Problem, eps: float) -> tuple[float, float]:
        top = L1(1.0).gauge(pull_at_zero(problem))
        return (top if top > 0 else 1.0), eps

    def _inverses(self, jobs: dict[int, tuple[Array, Array, Array]], oracle: Oracle) -> dict[int, Array]:
        """Every task's M where the curvature is that of the rows; kept with the oracle, as α does not enter."""
        if not oracle.problem.loss.quadratic or oracle.problem.free_intercept:
            return {}
        if "inverse_rows" not in oracle.kept:
            found = Parallel(n_jobs=self.n_jobs)(
                delayed(inverse_rows)(np.sqrt(weight / weight.mean())[:, None] * X) for X, _, weight in jobs.values()
            )
            oracle.kept["inverse_rows"] = dict(zip(jobs, found, strict=True))
        return dict(oracle.kept["inverse_rows"])

    def _solve(
        self, problem: Problem, alpha: float, init: tuple[Array, Array] | None, oracle: Oracle | None = None
    ) -> Solution:
        oracle = make_oracle(problem) if oracle is None else oracle
        jobs = {t: part for t in range(problem.n_tasks) if len((part := task_rows(problem, t))[1])}
        inverses = self._inverses(jobs, oracle)
        found = Parallel(n_jobs=self.n_jobs)(
            delayed(debiased_lasso)(
                X,
                y,
                alpha / float(weight.sum()),
                weight=weight / weight.mean(),
                loss=problem.loss,
                intercept=problem.free_intercept,
                inverse=inverses.get(t),
            )
            for t, (X, y, weight) in jobs.items()
        )
        B, variance = np.zeros((2, problem.n_features, problem.n_tasks))
        for t, (estimate, error) in zip(jobs, found, strict=True):
            B[:, t], variance[:, t] = estimate, error
        if self.threshold is None:
            known = variance > 1e-14 * max(float(variance.max(initial=0.0)), 1e-300)
            score = np.sum(np.divide(B**2, variance, out=np.zeros_like(B), where=known), axis=1)
            kept = score > chi2.ppf(1 - self.level / problem.n_features, np.maximum(known.sum(axis=1), 1))
            kept |= np.any((B != 0) & ~known, axis=1)
        else:
            kept = np.linalg.norm(B, axis=1) > self.threshold
        W = np.asfortranarray(np.where(kept[:, None], B, 0).astype(problem.design.dtype))
        b = np.zeros(problem.n_tasks, problem.design.dtype)
        image, b = oracle.refit(oracle.image(W, b), b)
        return Solution(W, b, W, oracle.value(W, image), float("nan"), 1, np.zeros_like(W), True, state=(B.T, kept))

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        debiased, kept = solution.state
        self.debiased_coef_ = np.ascontiguousarray(debiased)
        self.support_ = np.flatnonzero(kept)


@final
@parameters
class DebiasedLassoRegressor(DebiasedLasso, FixedAlpha, MultiTaskRegressor):
    """Regression on features that matter to some task, found with one round of communication (DSML).

    Every task, on its own machine: w = lasso, and its debiased w + M X'(y − X w)/n with M an approximate inverse of
    X'X/n. The estimates are sent once; a feature is kept for all tasks where its estimates over the tasks are large,
    ‖B_j‖_2 > Λ, and set to zero for all tasks elsewhere.

    Args:
        alpha: Weight α > 0 of the ℓ1 norm in every task's lasso, as in :class:`TaskLassoRegressor`.
        threshold: Λ ≥ 0. None: keep a feature if Σ_t (B_jt / its standard error)² exceeds the χ² quantile at
            ``level``/d.
        level: Chance of keeping any irrelevant feature when ``threshold`` is None.
        n_jobs: Tasks fitted in parallel through joblib; its backends reach clusters.
        loss: ``"squared"``.
        fit_intercept, task_weight, tol, max_iter, warm_start, task_col, unseen, scale_y: See :class:`LinearMultiTask`;
            the local lassos have tolerances of their own.

    Attributes:
        support_: Features kept.
        debiased_coef_: Estimates before the threshold (T, d).
        objective_: Loss at the coefficients; ``dual_gap_`` is NaN, as no joint objective is minimised.
        coef_, intercept_, tasks_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(100, 8))
        >>> Y = X[:, :2] @ rng.normal(size=(2, 5)) + 0.1 * rng.normal(size=(100, 5))
        >>> DebiasedLassoRegressor(alpha=0.1).fit(X, Y).support_.tolist()
        [0, 1]

    References:
        Wang, Kolar & Srebro (2016), Distributed multi-task learning.
    """

    _losses: ClassVar[dict[str, type[Loss]]] = {"squared": Squared}


@final
@parameters
class DebiasedLassoClassifier(DebiasedLasso, FixedAlpha, MultiTaskClassifier):
    """Binary classification on features that matter to some task, found with one round of communication.

    As :class:`DebiasedLassoRegressor` with ℓ1-penalised logistic regressions: w + M X'(ȳ − p)/n, p the fitted
    probabilities, ȳ = (1 + y)/2, and M an approximate inverse of X'diag(p(1 − p))X/n.
    """

    _losses: ClassVar[dict[str, type[Loss]]] = {"logistic": Logistic}


@final
@parameters
class DebiasedLassoRegressorCV(DebiasedLasso, CrossValidated, MultiTaskRegressor):
    """:class:`DebiasedLassoRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""

    _losses: ClassVar[dict[str, type[Loss]]] = {"squared": Squared}


@final
@parameters
class DebiasedLassoClassifierCV(DebiasedLasso, CrossValidated, MultiTaskClassifier):
    """:class:`DebiasedLassoClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""

    _losses: ClassVar[dict[str, type[Loss]]] = {"logistic": Logistic}
