"""Where α comes from: given, or chosen by cross-validation along warm-started paths."""

from __future__ import annotations

from dataclasses import field
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from polytask.errors import DataError, NonFiniteError
from polytask.linear.base import MEAN_TASK, parameters
from polytask.linear.core.engine import make_oracle
from polytask.linear.core.problem import Problem
from polytask.linear.folds import row_folds
from polytask.linear.penalised import PenalisedFamily
from polytask.linear.tables import Table

__all__ = ["CrossValidated", "FixedAlpha", "fold_means"]

Array = NDArray[Any]


@parameters
class FixedAlpha(PenalisedFamily):
    """Fit at one α.

    Args:
        alpha: Weight α > 0 of the penalty.
    """

    alpha: float = field(default=0.1, kw_only=False)

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "alpha": [Interval(Real, 0, None, closed="neither")],
    }

    def _fit_problem(self, table: Table, problem: Problem, init: Array | None) -> tuple[Array, Array]:
        start = None if init is None else self._start(problem, init)
        return self._finish(problem, self.alpha, self._solve(problem, self.alpha, start))

    def _start(self, problem: Problem, W: Array) -> tuple[Array, Array]:
        """A solver's variable from coefficients: the first block holds them."""
        blocks = self._penalty(self.alpha, problem).blocks
        V = W if blocks == 1 else np.stack([W, *[np.zeros_like(W)] * (blocks - 1)])
        return V, np.zeros(problem.n_tasks, W.dtype)


@parameters
class CrossValidated(PenalisedFamily):
    """Choose α by cross-validation along warm-started paths, then fit on all rows.

    Every fold runs the whole path once. The loss on the rows left out is averaged over each task's observed targets,
    then over the tasks, then over the folds. A task that a fold's training rows lack is judged by the mean task where
    the model has one, and left out of that fold otherwise; a fold that leaves nothing to judge is left out.

    Args:
        alphas: Values of α, or how many to space geometrically: from the smallest that makes all coefficients zero down
            by ``eps``; where none does, from 10 times the data's largest curvature down by ``eps``².
        eps: Smallest α over the largest one, when their number is given.
        cv: Number of folds (each holds its share of every task), or a splitter.
        rule: ``"min"``: smallest mean loss; ``"1se"``: largest α within one standard error of it.
        n_jobs: Folds fitted in parallel.

    Attributes:
        alpha_: Chosen α.
        alphas_: (A,), decreasing.
        loss_path_: Loss on the rows left out (A, folds); NaN in folds that leave nothing to judge.

    Raises:
        DataError: A fold is empty, or no fold judges.
    """

    alphas: Any = 30
    eps: float = 1e-2
    cv: Any = 5
    rule: str = "min"
    n_jobs: int | None = None

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "alphas": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "eps": [Interval(Real, 0, 1, closed="neither")],
        "cv": ["cv_object"],
        "rule": [StrOptions({"min", "1se"})],
        "n_jobs": [None, Integral],
    }

    def _select(self, table: Table, problem: Problem) -> None:
        self.alphas_ = self._grid(problem, self.alphas, self.eps)
        folds = row_folds(self.cv, table)
        losses = Parallel(n_jobs=self.n_jobs)(delayed(self._fold)(table, train, test) for train, test in folds)
        self.loss_path_ = np.stack(losses, axis=1)
        if np.isnan(self.loss_path_).all():
            mean_task = "" if self._shared == MEAN_TASK else f", and {type(self).__name__} has no mean task for others"
            raise DataError(
                f"none of the {len(folds)} folds leaves out a target of a task that its training rows have{mean_task}; "
                "split with a number of folds, or TaskStratifiedKFold"
            )
        mean, error = fold_means(self.loss_path_)
        best = int(np.argmin(mean))
        if not np.isfinite(mean[best]):
            raise NonFiniteError(
                "the losses of all alphas on the rows left out overflow; scale the features (StandardScaler), or give "
                "larger alphas"
            )
        if self.rule == "1se":
            best = int(np.flatnonzero(mean <= mean[best] + error[best])[0])
        self.alpha_ = float(self.alphas_[best])

    def _fold(self, table: Table, train: Array, test: Array) -> Array:
        """Loss of every α on the rows left out (A,); NaN if they hold no target that can be predicted."""
        part, kept = table.rows(train).seen()
        if not len(kept):
            return np.full(len(self.alphas_), np.nan)
        levels = self._fixed_levels(part)
        fixed = np.isfinite(levels)
        coefs, intercepts = np.zeros((len(self.alphas_), len(kept), table.X.shape[1])), np.zeros((1, len(kept)))
        if not fixed.all():
            result = self._path(self._problem(part.without(levels)), self.alphas_, rough=True)
            coefs, intercepts = result.coefs, result.intercepts
        mean_task = self._mean_task(table, kept, coefs, intercepts)
        intercepts = np.broadcast_to(np.where(fixed, levels, intercepts), coefs.shape[:2])
        place = {t: k for k, t in enumerate(kept.tolist())}
        left, loss, losses = table.rows(test), self._get_loss(), []
        for t in range(len(table.tasks)):
            rows, y = left.of_task(t)
            if not len(rows) or (t not in place and mean_task is None):
                continue
            coef, intercept = (coefs[:, place[t]], intercepts[:, place[t]]) if t in place else mean_task(t)
            z = np.asarray(left.X[rows] @ coef.T) + intercept
            losses.append(loss.value(y[:, None], z).mean(axis=0))
        return np.mean(losses, axis=0) if losses else np.full(len(self.alphas_), np.nan)

    def _mean_task(self, table: Table, kept: Array, coefs: Array, intercepts: Array) -> Any:
        """What predicts a task that the training rows lack, as :meth:`predict` would; None if nothing does."""
        if self._shared != MEAN_TASK:
            return None
        units = self._units(table)
        units = np.ones(len(table.tasks)) if units is None else units
        coef = np.mean(coefs * units[kept][:, None], axis=1)
        intercept = np.broadcast_to(np.mean(intercepts * units[kept], axis=1), len(coef))
        return lambda t: (coef / units[t], intercept / units[t])

    def _fit_problem(self, table: Table, problem: Problem, init: Array | None) -> tuple[Array, Array]:
        self._select(table, problem)
        # a warm start down the path to the chosen α is cheaper than from zero
        above = self.alphas_[: int(np.flatnonzero(self.alphas_ == self.alpha_)[0])]
        start: tuple[Array, Array] | None = None
        oracle = make_oracle(problem)
        for solution in self._descent(problem, above, oracle, rough=True):
            start = (solution.V, solution.b)
        return self._finish(problem, self.alpha_, self._solve(problem, self.alpha_, start, oracle))


def fold_means(losses: Array) -> tuple[Array, Array]:
    """Mean over the folds that judge, and its standard error (0 for one fold); infinite where a loss overflowed.

    Args:
        losses: (A, folds); NaN in the folds that do not judge.

    Examples:
        >>> import numpy as np
        >>> [part.tolist() for part in fold_means(np.array([[1.0, 3.0, np.nan]]))]
        [[2.0], [1.0]]
    """
    losses = losses[:, ~np.isnan(losses).all(axis=0)]
    losses = np.where(np.isnan(losses), np.inf, losses)
    mean, folds = losses.mean(axis=1), losses.shape[1]
    finite = np.isfinite(mean)
    error = np.zeros(len(mean))
    if folds > 1:
        error[finite] = losses[finite].std(axis=1, ddof=1) / np.sqrt(folds)
    return mean, error
