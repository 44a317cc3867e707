"""One multi-task fitting problem, ready for the solvers: design, targets, weights, loss."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polytask.linear.core.design import Design, SharedDesign, StackedDesign, is_sparse
from polytask.linear.core.losses import Loss

__all__ = ["Problem", "shared_problem", "stacked_problem"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Problem:
    """min over W (d, T) and b (T,) of Σ_i ω_i ℓ(y_i, x_i·w_t(i) + b_t(i)) plus a penalty on W.

    With an intercept the design is centred per task: for the squared loss b is then eliminated exactly, for other
    losses it decouples from W in the curvature bound.

    Attributes:
        design: The centred operator.
        y: Targets, (n, T) or (N,); 0 where missing. Centred for the squared loss.
        weight: ω ≥ 0, shaped like y; 0 where missing. Includes the normalisation (1/n̄ or 1/n_t).
        loss: ℓ.
        free_intercept: Whether b is a variable of the solver (intercept of a loss other than the squared one).
        center: What was subtracted from X, (d, 1) or (d, T); None without intercept.
        y_mean: What was subtracted from y (T,).
        tasks: Labels (T,), for penalties that know tasks by name; 0 … T − 1 by default.
    """

    design: Design
    y: Array
    weight: Array
    loss: Loss
    free_intercept: bool
    center: Array | None
    y_mean: Array
    tasks: Array = field(default_factory=lambda: np.arange(0))

    def __post_init__(self) -> None:
        if len(self.tasks) != self.design.n_tasks:
            object.__setattr__(self, "tasks", np.arange(self.design.n_tasks))

    @property
    def n_features(self) -> int:
        """The number of features d."""
        return self.design.n_features

    @property
    def n_tasks(self) -> int:
        """The number of tasks T."""
        return self.design.n_tasks

    def intercept(self, W: Array, b: Array) -> Array:
        """Intercepts (T,) in the coordinates of the user's X, from coefficients and the solver's b."""
        shift = 0 if self.center is None else np.sum(self.center * W, axis=0)
        return np.asarray(b + self.y_mean - shift)

    def select(self, index: Array) -> Problem:
        """The same problem on a subset of the features."""
        center = None if self.center is None else self.center[index]
        return replace(self, design=self.design.select(index), center=center)

    def zeros(self) -> Array:
        """Coefficients 0 (d, T) in Fortran order."""
        return np.zeros((self.n_tasks, self.n_features), dtype=self.design.dtype).T

    def start(self, blocks: int = 1) -> tuple[Array, Array]:
        """Coefficients 0, (d, T) or (blocks, d, T), and intercepts 0 (T,)."""
        W = self.zeros()
        return (W if blocks == 1 else np.stack([W] * blocks)), np.zeros(self.n_tasks, self.design.dtype)


def _normalise(weight: Array, sums: Array, expand: Any, task_weight: str) -> Array:
    """Divide by the mean total weight of the tasks, or by each task's own."""
    if task_weight == "equal":
        return np.asarray(weight / expand(np.where(sums > 0, sums, 1)))
    return np.asarray(weight / (sums.sum() / len(sums)))


def shared_problem(
    X: Any, Y: Array, weight: Array | None, loss: Loss, *, intercept: bool, task_weight: str = "samples"
) -> Problem:
    """Every task sees the same rows; NaN in ``Y`` is a missing target.

    Args:
        X: (n, d), dense or CSR, float32 or float64. Not changed; a dense X is copied.
        Y: (n, T) float.
        weight: Sample weights (n,) or None.
        loss: ℓ.
        intercept: Whether each task has one.
        task_weight: ``"samples"`` or ``"equal"``.

    Examples:
        >>> import numpy as np
        >>> from polytask.linear import Squared
        >>> shared_problem(np.eye(2), np.array([[1.0], [3.0]]), None, Squared(), intercept=True).y_mean.tolist()
        [2.0]
    """
    present = np.isfinite(Y)
    w = present.astype(X.dtype)
    if weight is not None:
        w *= weight[:, None].astype(X.dtype, copy=False)
    w = _normalise(w, w.sum(axis=0), lambda s: s[None, :], task_weight)
    y = np.where(present, Y, 0).astype(X.dtype, copy=False)
    T = Y.shape[1]
    if not intercept:
        return Problem(SharedDesign(_own(X, "F"), T), y, w, loss, False, None, np.zeros(T, X.dtype))
    total = w.sum(axis=0)
    total = np.where(total > 0, total, 1)
    means = np.asarray(X.T @ w) / total
    alike = bool(np.all(w == w[:, :1]))
    if is_sparse(X):
        offset = means[:, :1] if alike else means
        design, center = SharedDesign(X, T, offset), offset
    else:
        common = means.mean(axis=1, keepdims=True)
        data = np.subtract(X, common.T, order="F")
        rest = None if alike else means - common
        design, center = SharedDesign(data, T, rest), (common if alike else means)
    y_mean = np.zeros(T, X.dtype)
    if loss.quadratic:
        y_mean = np.sum(w * y, axis=0) / total
        y = np.where(present, y - y_mean, 0)
    return Problem(design, y, w, loss, not loss.quadratic, center, y_mean)


def stacked_problem(
    X: Any,
    y: Array,
    codes: Array,
    n_tasks: int,
    weight: Array | None,
    loss: Loss,
    *,
    intercept: bool,
    task_weight: str = "samples",
) -> Problem:
    """Every task has rows of its own.

    Args:
        X: (N, d), dense or CSR, float32 or float64. Not changed; copied unless its rows are sorted by task and there is
            no intercept.
        y: Targets (N,).
        codes: Task of each row, 0 … T − 1; every task occurs.
        n_tasks: T.
        weight: Sample weights (N,) or None.
        loss: ℓ.
        intercept: Whether each task has one.
        task_weight: ``"samples"`` or ``"equal"``.

    Examples:
        >>> import numpy as np
        >>> from polytask.linear import Squared
        >>> y, codes = np.array([1.0, 5.0, 3.0]), np.array([0, 1, 0])
        >>> problem = stacked_problem(np.eye(3), y, codes, 2, None, Squared(), intercept=True)
        >>> problem.y_mean.tolist()
        [2.0, 5.0]
    """
    if np.all(codes[1:] >= codes[:-1]):
        # already sorted: copied only to be centred
        data = X if is_sparse(X) or not intercept else np.array(X, order="C")
        data = data if is_sparse(X) else np.ascontiguousarray(data)
    else:
        order = np.argsort(codes, kind="stable")
        data, y, codes = X[order], y[order], codes[order]
        weight = None if weight is None else weight[order]
    starts = np.searchsorted(codes, np.arange(n_tasks + 1))
    y = y.astype(X.dtype, copy=False)
    w = np.ones(len(y), X.dtype) if weight is None else weight.astype(X.dtype, copy=False)
    plain = StackedDesign(data, starts)
    w = _normalise(w, plain.task_sum(w), plain.expand, task_weight)
    if not intercept:
        return Problem(plain, y, w, loss, False, None, np.zeros(n_tasks, X.dtype))
    total = plain.task_sum(w)
    total = np.where(total > 0, total, 1)
    center = plain.adjoint(w) / total
    design = plain
    if is_sparse(X):
        design = StackedDesign(data, starts, center)
    else:
        for t in range(n_tasks):
            data[starts[t] : starts[t + 1]] -= center[:, t]
    y_mean = np.zeros(n_tasks, X.dtype)
    if loss.quadratic:
        y_mean = plain.task_sum(w * y) / total
        y = y - plain.expand(y_mean)
    return Problem(design, y, w, loss, not loss.quadratic, center, y_mean)


def _own(X: Any, order: Any) -> Any:
    return X if is_sparse(X) else np.array(X, order=order)
