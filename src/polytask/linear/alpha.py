"""Where α comes from: given, or chosen by cross-validation along warm-started paths, with the ridge beside it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import field
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from polytask.errors import ConfigError, DataError, NonFiniteError
from polytask.linear.base import MEAN_TASK, parameters
from polytask.linear.core.engine import make_oracle
from polytask.linear.core.newton import curvature
from polytask.linear.core.problem import Problem
from polytask.linear.folds import row_folds
from polytask.linear.penalised import PenalisedFamily
from polytask.linear.tables import Table

__all__ = ["CrossValidated", "FixedAlpha", "fold_means"]

Array = NDArray[Any]

#: how far, in powers of ten of the data's largest curvature, the automatic ridges start and may be extended
_RIDGES = range(-3, 0)
_FARTHEST = (-6, 2)
#: how often the grid of alphas is extended beyond an end that wins, each time by two powers of ten
_EXTENSIONS = 2
_REACH = 1e-2
#: by what share of it the loss at an end must be smaller for the grid to be extended
_NEWS = 1e-3
#: alphas that ridges are compared at
_COARSE = 8


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
    """Choose α, and the family's ridge where it has one, by cross-validation along warm-started paths; fit on all rows.

    Every fold runs the whole path once. The loss on the rows left out is averaged over each task's observed targets,
    then over the tasks, then over the folds. A task that a fold's training rows lack is judged by the mean task where
    the model has one, and left out of that fold otherwise; a fold that leaves nothing to judge is left out.

    Ridges are compared along a coarse path that reaches far below the grid, to where the tasks are all but
    independent; the grid itself follows at the best of them. The grids that were made here are extended as long as
    their end wins: α by two powers of ten, twice at most; the ridge by one, down to 10⁻⁶ and up to 100 times the
    data's largest curvature.

    Args:
        alphas: Values of α, or how many to space geometrically: from the smallest that makes all coefficients zero down
            by ``eps``; where none does, from 10 times the data's largest curvature down by ``eps``².
        eps: Smallest α over the largest one, when their number is given.
        cv: Number of folds (each holds its share of every task), or a splitter.
        rule: ``"min"``: smallest mean loss; ``"1se"``: largest α within one standard error of it.
        n_jobs: Folds fitted in parallel.
        ridge: ``"auto"``: the family's own small value, and 10⁻³, 10⁻² and 10⁻¹ of the data's largest curvature; a
            number, which is kept; or values to choose from. Of families that have a ridge.

    Attributes:
        alpha_: Chosen α.
        alphas_: (A,), decreasing.
        alpha_end_: ``"largest"`` or ``"smallest"`` if the chosen α is that of ``alphas_``, so that a better one may lie
            beyond; ``""`` otherwise.
        loss_path_: Loss on the rows left out (A, folds); NaN in folds that leave nothing to judge.
        ridge_: Chosen ridge.
        ridges_: Ridges compared (R,), increasing.
        ridge_losses_: Their smallest mean losses on the rows left out (R,), along the coarse path.

    Raises:
        DataError: A fold is empty, or no fold judges.
    """

    alphas: Any = 30
    eps: float = 1e-2
    cv: Any = 5
    rule: str = "min"
    n_jobs: int | None = None

    #: the family's own ridge, kept where it is not tuned
    _own_ridge: ClassVar[float | None] = None
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "alphas": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "eps": [Interval(Real, 0, 1, closed="neither")],
        "cv": ["cv_object"],
        "rule": [StrOptions({"min", "1se"})],
        "n_jobs": [None, Integral],
    }

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """The ridge of a family that has one is tuned unless it is given."""
        super().__init_subclass__(**kwargs)
        own = getattr(cls, "ridge", None)
        if isinstance(own, Real) and cls._ridge_pays:
            cls._own_ridge, cls.ridge = float(own), "auto"
            cls.__annotations__ = {**inspect.get_annotations(cls), "ridge": Any}
            limits = [*cls._parameter_constraints["ridge"], StrOptions({"auto"}), "array-like"]
            cls._parameter_constraints = {**cls._parameter_constraints, "ridge": limits}

    def _at(self, ridge: float | None) -> CrossValidated:
        """The same estimator at one ridge."""
        if ridge is None:
            return self
        found = copy.copy(self)
        found.ridge = ridge
        return found

    def _probe(self) -> PenalisedFamily:
        probe, ridge = super()._probe(), getattr(self, "ridge", None)
        assert isinstance(probe, CrossValidated)
        return probe._at(float(ridge) if isinstance(ridge, Real) else self._own_ridge)

    # ---- choosing --------------------------------------------------------------------------------------------------

    def _select(self, table: Table, problem: Problem) -> CrossValidated:
        """Choose α and the ridge; the estimator at this ridge."""
        folds = row_folds(self.cv, table)

        def judge(ridge: float | None, alphas: Array) -> Array:
            judged = self._at(ridge)
            losses = Parallel(n_jobs=self.n_jobs)(
                delayed(judged._fold)(table, train, test, alphas) for train, test in folds
            )
            return self._judged(np.stack(losses, axis=1))

        grid = self._probe()._grid(problem, self.alphas, self.eps)
        ridge = self._choose_ridge(problem, grid, judge)
        self._choose_alpha(grid, lambda alphas: judge(ridge, alphas))
        return self._at(ridge)

    def _judged(self, losses: Array) -> Array:
        """The losses (A, folds), if a fold judges."""
        if np.isnan(losses).all():
            mean_task = "" if self._shared == MEAN_TASK else f", and {type(self).__name__} has no mean task for others"
            raise DataError(
                f"none of the {losses.shape[1]} folds leaves out a target of a task that its training rows have"
                f"{mean_task}; split with a number of folds, or TaskStratifiedKFold"
            )
        return losses

    def _choose_ridge(self, problem: Problem, grid: Array, judge: Callable[[float, Array], Array]) -> float | None:
        wanted = getattr(self, "ridge", None)
        if wanted is None or isinstance(wanted, Real):
            return None if wanted is None else float(wanted)
        near, far = self._coarse(grid)
        found: dict[float, float] = {}

        def look(ridge: float, alphas: Array = far) -> float:
            if ridge not in found:
                found[ridge] = float(fold_means(judge(ridge, alphas))[0].min())
            return found[ridge]

        if isinstance(wanted, str):
            assert self._own_ridge is not None
            look(self._own_ridge, near)  # so small a ridge far below the grid: slow, and of no use
            # where every loss overflows, so does the curvature
            powers = list(_RIDGES) if np.isfinite(found[self._own_ridge]) else []
            unit = max(curvature(problem), 1e-12) if powers else 1.0
            while powers:
                losses = [look(10.0**power * unit) for power in powers]
                if powers[0] > _FARTHEST[0] and _wins(losses[0], min(losses[1:])):
                    powers.insert(0, powers[0] - 1)
                elif powers[-1] < _FARTHEST[1] and _wins(losses[-1], min(losses[:-1])):
                    powers.append(powers[-1] + 1)
                else:
                    break
        else:
            for ridge in self._ridge_values(wanted):
                look(ridge)
        self.ridges_ = np.array(sorted(found))
        self.ridge_losses_ = np.array([found[ridge] for ridge in self.ridges_.tolist()])
        self.ridge_ = float(self.ridges_[np.argmin(self.ridge_losses_)])
        return self.ridge_

    def _ridge_values(self, wanted: Any) -> list[float]:
        values = np.asarray(wanted, dtype=float)
        if values.ndim != 1 or not values.size or not np.all(np.isfinite(values)) or values.min() < 0:
            raise ConfigError(f"ridge must be a number, 'auto' or non-negative values, found {wanted!r}")
        if values.min() == 0 and self._own_ridge:
            raise ConfigError(f"{type(self).__name__} needs a ridge > 0, found 0 among the values")
        return [float(value) for value in values]

    def _coarse(self, grid: Array) -> tuple[Array, Array]:
        """Few alphas of the grid, and few that reach beyond one that was made here: where ridges are compared."""
        near = grid[np.unique(np.linspace(0, len(grid) - 1, _COARSE).round().astype(int))]
        if not isinstance(self.alphas, Integral) or len(grid) == 1:
            return near, near
        return near, np.geomspace(grid[0], _REACH * grid[-1], _COARSE)

    def _choose_alpha(self, grid: Array, judge: Callable[[Array], Array]) -> None:
        losses = judge(grid)
        for _ in range(_EXTENSIONS if isinstance(self.alphas, Integral) and len(grid) > 1 else 0):
            mean, third = fold_means(losses)[0], 1 + len(grid) // 3
            best, steps = int(np.argmin(mean)), np.geomspace(1, _REACH, 1 + third)[1:]
            if best == len(grid) - 1 and _wins(mean[best], mean[:-third].min(initial=np.inf)):
                more = grid[-1] * steps
                grid, losses = np.append(grid, more), np.append(losses, judge(more), axis=0)
            elif best == 0 and not self._alpha_scales_norm and _wins(mean[0], mean[third:].min(initial=np.inf)):
                more = grid[0] / steps[::-1]
                grid, losses = np.append(more, grid), np.append(judge(more), losses, axis=0)
            else:
                break
        mean, error = fold_means(losses)
        best = int(np.argmin(mean))
        if not np.isfinite(mean[best]):
            raise NonFiniteError(
                "the losses of all alphas on the rows left out overflow; scale the features (StandardScaler), or give "
                "larger alphas"
            )
        if self.rule == "1se":
            best = int(np.flatnonzero(mean <= mean[best] + error[best])[0])
        self.alphas_, self.loss_path_, self.alpha_ = grid, losses, float(grid[best])
        ends = {0: "largest", len(grid) - 1: "smallest"} if len(grid) > 1 else {}
        self.alpha_end_ = ends.get(best, "")

    def _fold(self, table: Table, train: Array, test: Array, alphas: Array) -> Array:
        """Loss of every α on the rows left out (A,); NaN if they hold no target that can be predicted."""
        part, kept = table.rows(train).seen()
        if not len(kept):
            return np.full(len(alphas), np.nan)
        levels = self._fixed_levels(part)
        fixed = np.isfinite(levels)
        coefs, intercepts = np.zeros((len(alphas), len(kept), table.X.shape[1])), np.zeros((1, len(kept)))
        if not fixed.all():
            result = self._path(self._problem(part.without(levels)), alphas, rough=True)
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
        return np.mean(losses, axis=0) if losses else np.full(len(alphas), np.nan)

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
        chosen = self._select(table, problem)
        # a warm start down the path to the chosen α is cheaper than from zero
        above = self.alphas_[: int(np.flatnonzero(self.alphas_ == self.alpha_)[0])]
        start: tuple[Array, Array] | None = None
        oracle = make_oracle(problem)
        for solution in chosen._descent(problem, above, oracle, rough=True):
            start = (solution.V, solution.b)
        return self._finish(problem, self.alpha_, chosen._solve(problem, self.alpha_, start, oracle))


def _wins(loss: float, others: float) -> bool:
    """Whether a loss is smaller by more than its share that is no news."""
    return bool(loss < (1 - _NEWS) * others)


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
