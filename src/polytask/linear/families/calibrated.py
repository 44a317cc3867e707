"""Calibrated multivariate regression: every task's penalty is measured by its own noise."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from polytask.errors import ConfigError
from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution, warn_of_gap
from polytask.linear.core.oracle import Oracle
from polytask.linear.core.penalties import L21, Penalty
from polytask.linear.core.problem import Problem
from polytask.linear.core.root_loss import RootLoss, residual_norms
from polytask.linear.core.root_split import rotate, turns_cheaply
from polytask.linear.penalised import RidgeFamily
from polytask.linear.supervised import MultiTaskRegressor

__all__ = ["CalibratedRegressor", "CalibratedRegressorCV"]

Array = NDArray[Any]

#: iterations of alternating directions that are worth trying first
_FEW = 1000


@parameters
class Calibrated(RidgeFamily):
    """Root losses with α‖W‖_{2,1} + ½·ridge‖W‖²."""

    def _penalty(self, alpha: float, problem: Problem) -> Penalty:
        return L21(alpha)

    def _alpha_max(self, problem: Problem) -> float:
        sizes = residual_norms(problem, problem.y)
        unit = problem.y / problem.design.expand(np.where(sizes > 0, sizes, 1))
        return L21(1.0).gauge(problem.design.adjoint(problem.weight * unit))

    def _solve(
        self, problem: Problem, alpha: float, init: tuple[Array, Array] | None, oracle: Oracle | None = None
    ) -> Solution:
        if not problem.loss.quadratic:
            raise ConfigError(f"calibrated regression takes roots of squared losses, found loss={self.loss!r}")
        b = np.zeros(problem.n_tasks, problem.design.dtype)
        run = RootLoss(problem, float(alpha), float(self.ridge))
        W = problem.zeros() if init is None else init[0]
        kept: dict[str, Any] = {} if oracle is None else oracle.kept
        small = turns_cheaply(problem)
        for step in ("split", "reweigh", "split") if small else ("reweigh", "split"):
            if step == "reweigh":
                W = run.reweigh(W, self.tol, self.max_iter)
            else:
                if "rotated" not in kept:
                    kept["rotated"] = rotate(problem)
                # where the rows are cheap to turn this is mostly all; many digits are a matter of reweighing
                most = min(_FEW, self.max_iter) if small and not run.iterations else self.max_iter
                W = run.split(kept["rotated"], W, self.tol, most)
            if run.gap <= self.tol * run.primal or run.iterations >= self.max_iter:
                break
        converged = bool(run.gap <= self.tol * run.primal)
        if not converged:
            warn_of_gap(run.gap, run.primal, self.tol, run.iterations)
        assert run.W is not None
        assert run.G is not None
        W = np.asfortranarray(run.W, dtype=problem.design.dtype)
        return Solution(W, b, W, run.primal, run.gap, run.iterations, run.G, converged)

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        self.selected_ = np.flatnonzero(np.any(solution.W != 0, axis=1))
        total = problem.design.task_sum(problem.weight)
        norms = residual_norms(problem, problem.y - problem.design.forward(solution.W))
        self.noise_ = norms / np.sqrt(np.where(total > 0, total, 1))


@final
@parameters
class CalibratedRegressor(Calibrated, FixedAlpha, MultiTaskRegressor):
    """Joint feature selection with the root of every task's loss, so that noisy tasks weigh less (CMR, MTFLC).

    min over W, b of Σ_t √((1/n̄) Σ_i (y_ti − x_ti·w_t − b_t)²) + α Σ_j ‖W_j‖_2 + (ridge/2) ‖W‖_F²

    with n̄ the mean number of rows per task. At the minimum it is :class:`JointFeatureRegressor` with task t's loss
    divided by the task's residual norm, so that one α suits tasks whose noise differs: multiplying all targets by a
    number multiplies the coefficients (without ridge) by it.

    Args:
        alpha: Weight α > 0 of the penalty; :meth:`alpha_max` is where all coefficients vanish.
        ridge: Weight of ½‖W‖² ≥ 0.
        loss: ``"squared"`` (``"auto"``): what stands under the root.
        fit_intercept, task_weight, tol, max_iter, warm_start, task_col, unseen: See :class:`LinearMultiTask`.

    Attributes:
        selected_: Indices of the features in use.
        noise_: Root mean squared residual of every task (T,).
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(100, 6))
        >>> Y = X[:, [2]] * [1.0, -1.0, 1.0] + rng.normal(size=(100, 3)) * [0.1, 1.0, 0.1]
        >>> model = CalibratedRegressor(alpha=0.3).fit(X, Y)
        >>> model.selected_.tolist(), model.noise_.round(1).tolist()
        ([2], [0.1, 0.9, 0.1])

    Notes:
        Solved by alternating directions on rows that are made orthogonal once for a whole path, and where these are
        too many or digits are missing by alternation between the residual norms and a weighted problem; the duality gap
        is that of the problem above.

    References:
        Liu, Wang & Zhao (2015), Calibrated multivariate regression with application to neural semantic basis discovery;
        Gong, Zhou, Fan & Ye (2014), Efficient multi-task feature learning with calibration.
    """


@final
@parameters
class CalibratedRegressorCV(Calibrated, CrossValidated, MultiTaskRegressor):
    """:class:`CalibratedRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""
