"""Tasks with several indices (school by year, user by product): the coefficients are a tensor of low rank."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from polytask.errors import ConfigError, TaskError
from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution
from polytask.linear.core.newton import solve
from polytask.linear.core.oracle import Oracle
from polytask.linear.core.penalties import InfimalSum, Penalty
from polytask.linear.core.problem import Problem
from polytask.linear.core.spectral import TraceNorm
from polytask.linear.core.tensor_grid import Grid, UnfoldedTraceNorm, fill
from polytask.linear.penalised import RidgeFamily
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor
from polytask.linear.tables import Table

__all__ = [
    "TensorTasksClassifier",
    "TensorTasksClassifierCV",
    "TensorTasksRegressor",
    "TensorTasksRegressorCV",
]

Array = NDArray[Any]


@parameters
class TensorTasks(RidgeFamily):
    """α times the latent trace norm: W = Σ_k V_k, each part of low rank in an unfolding of its own.

    Args:
        shape: Grid of the task indices, or None to split the labels.
        separator: Between the indices in a task label.
        feature_part: Whether there is a part V_0.
    """

    shape: Any = None
    separator: str = "|"
    feature_part: bool | None = None

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "shape": [None, "array-like"],
        "separator": [str],
        "feature_part": [None, "boolean"],
    }

    _shared: ClassVar[str] = "completing the tensor"

    def _penalty(self, alpha: float, problem: Problem) -> Penalty:
        grid = Grid.of(problem.tasks, self.shape, self.separator)
        return self._latent_norm(alpha, grid.places(problem.tasks), grid.shape, problem.n_tasks)

    def _latent_norm(self, alpha: float, places: Array, shape: tuple[int, ...], seen: int) -> Penalty:
        if len(shape) == 1:
            return TraceNorm(alpha)
        features = seen == int(np.prod(shape)) if self.feature_part is None else self.feature_part
        modes = [UnfoldedTraceNorm(alpha, places, shape, k) for k in range(len(shape))]
        return InfimalSum([TraceNorm(alpha), *modes] if features else modes)

    def _solve(
        self, problem: Problem, alpha: float, init: tuple[Array, Array] | None, oracle: Oracle | None = None
    ) -> Solution:
        grid, T = Grid.of(problem.tasks, self.shape, self.separator), problem.n_tasks
        whole, places = fill(problem, grid.places(problem.tasks), grid.shape)
        if whole is problem:
            return super()._solve(problem, alpha, init, oracle)
        if init is not None:
            empty = whole.n_tasks - init[0].shape[-1]
            V = np.concatenate([init[0], np.zeros((*init[0].shape[:-1], empty))], axis=-1)
            init = V, np.concatenate([init[1], np.zeros(whole.n_tasks - len(init[1]))])
        found = solve(
            whole,
            self._latent_norm(alpha, places, grid.shape, T),
            coupling=self._coupling(alpha, problem),
            init=init,
            tol=self.tol,
            max_iter=self.max_iter,
        )
        return replace(found, W=found.W[:, :T], b=found.b[:T], G=found.G[:, :T])

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        self._grid_ = Grid.of(problem.tasks, self.shape, self.separator)
        self.task_shape_ = self._grid_.shape
        self.task_indices_ = self._grid_.places(problem.tasks)
        blocks = solution.V if solution.V.ndim == 3 else solution.V[None]
        self.mode_coefs_ = np.ascontiguousarray(blocks[..., : problem.n_tasks].transpose(0, 2, 1))
        places = fill(problem, self.task_indices_, self.task_shape_)[1]
        self.grid_coef_ = np.empty((*self.task_shape_, problem.n_features))
        self.grid_coef_[tuple(places.T)] = blocks.sum(axis=0).T

    def _store(self, table: Table, problem: Problem, W: Array, b: Array) -> None:
        super()._store(table, problem, W, b)
        if self.unseen == "shared" and getattr(self, "scale_y", False):
            raise ConfigError("scale_y=True leaves the scale of an empty cell's targets unknown; use unseen='error'")
        coef, intercept = np.atleast_2d(self.coef_), np.atleast_1d(self.intercept_)
        center = np.asarray(table.X.mean(axis=0)).ravel()
        # intercepts are not penalised: an empty cell's level at the mean inputs is the sum of its indices' effects
        names = [_one_hot(self.task_indices_[:, k], size) for k, size in enumerate(self.task_shape_)]
        effects = np.linalg.lstsq(np.hstack(names), intercept + coef @ center, rcond=None)[0]
        level = np.zeros(self.task_shape_)
        for k, part in enumerate(np.split(effects, np.cumsum(self.task_shape_)[:-1])):
            level += part.reshape([-1 if j == k else 1 for j in range(len(self.task_shape_))])
        self.grid_intercept_ = level - self.grid_coef_ @ center if self.fit_intercept else 0 * level
        self.grid_intercept_[tuple(self.task_indices_.T)] = intercept

    def _unseen_task(self, name: Any) -> tuple[Array, float]:
        if self.unseen == "error":
            return super()._unseen_task(name)
        place = self._grid_.place(name)
        lonely = [k for k, value in enumerate(place) if value not in self.task_indices_[:, k]]
        if len(place) == 1 or lonely:
            raise TaskError(f"task {name!r}: no task seen in fit shares its index {lonely[0] if lonely else 0}")
        return self.grid_coef_[place], float(self.grid_intercept_[place])


def _one_hot(codes: Array, size: int) -> Array:
    return np.eye(size)[codes]


@final
@parameters
class TensorTasksRegressor(TensorTasks, FixedAlpha, MultiTaskRegressor):
    """Regression with tasks on a grid of indices, whose coefficients form a tensor of low rank.

    min over V_0, …, V_m, b of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·w_t − b_t)² + α Σ_k ‖(V_k)_(k)‖_* + (ridge/2) ‖W‖_F²

    with W = Σ_k V_k the coefficient tensor (d, T_1, …, T_m), (·)_(k) its unfolding into a matrix along the features
    (k = 0) or the k-th index, ‖·‖_* the sum of singular values, n̄ the mean number of rows per task. With one index this
    is :class:`TraceNormRegressor`. Tasks need not fill the grid: the coefficients of empty cells are free, and the
    minimum completes them.

    Args:
        alpha: Weight α > 0 of the penalty; :meth:`alpha_max` is where all coefficients vanish.
        shape: Grid (T_1, …, T_m) whose cells the tasks 0 … T − 1 number in row-major order. None: task labels hold the
            indices, ``"north|2020"``.
        separator: Between the indices in a label.
        feature_part: Whether there is a part V_0 of low rank in the features, which is zero in empty cells. None: if no
            cell is empty.
        ridge: Weight of ½‖W‖² ≥ 0.
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col: See :class:`LinearMultiTask`.
        unseen: ``"error"``, or ``"shared"``: an empty cell of the grid is predicted by the coefficients found for
            it, its level at the mean inputs by effects of its indices.

    Attributes:
        task_shape_: (T_1, …, T_m).
        task_indices_: Position of each task on the grid (T, m).
        mode_coefs_: V_0, …, V_m, (m + 1, T, d); without V_0 (m, T, d).
        grid_coef_: Coefficients of every cell (T_1, …, T_m, d).
        grid_intercept_: (T_1, …, T_m).
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Raises:
        TaskError: Labels do not fit the grid; an unseen task shares no index with a seen one.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(50, 3))
        >>> W = np.einsum("j,a,b->jab", [1.0, 2.0, 0.0], [1.0, -1.0], [1.0, 0.5, 2.0])
        >>> TensorTasksRegressor(alpha=0.1, shape=(2, 3), unseen="shared").fit(X, X @ W.reshape(3, 6)).mode_coefs_.shape
        (3, 6, 3)

    Notes:
        The original penalises the sum of the trace norms of all unfoldings of W (every unfolding has low rank); this is
        the latent norm of Tomioka & Suzuki (W is a sum of parts, each of low rank in one unfolding).

    References:
        Romera-Paredes, Aung, Bianchi-Berthouze & Pontil (2013), Multilinear multitask learning.
        Tomioka & Suzuki (2013), Convex tensor decomposition via structured Schatten norm regularization.
    """


@final
@parameters
class TensorTasksClassifier(TensorTasks, FixedAlpha, MultiTaskClassifier):
    """Binary classification with tasks on a grid of indices, whose coefficients form a tensor of low rank.

    As :class:`TensorTasksRegressor` with a loss of :class:`MultiTaskClassifier`.
    """


@final
@parameters
class TensorTasksRegressorCV(TensorTasks, CrossValidated, MultiTaskRegressor):
    """:class:`TensorTasksRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class TensorTasksClassifierCV(TensorTasks, CrossValidated, MultiTaskClassifier):
    """:class:`TensorTasksClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
