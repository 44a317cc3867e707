"""Alternating directions for root losses: where tasks are fitted exactly, so that their losses have a kink."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polytask.linear.core.design import SharedDesign
from polytask.linear.core.problem import Problem
from polytask.linear.core.subproblem import task_rows

__all__ = ["Rotated", "alternate", "rotate", "turns_cheaply"]

Array = NDArray[np.float64]

#: operations of singular value decompositions that take about a second
_CHEAP = 1e9
#: how often steps follow their residuals; for ever, they need not converge, and may overflow
_ADAPTATIONS = 30
#: how far they may follow them
_FARTHEST = 1e8


@dataclass(frozen=True)
class Rotated:
    """Every task's rows √ω X_t, √ω y_t turned to be orthogonal: ‖r_t‖ stays, and at most d + 1 rows are left.

    Attributes:
        A: (T, k, d), or (1, k, d) where all tasks have the same rows; its columns divided by ``size``.
        square: Diagonal of A_t A_tᵀ, (T, k) or (1, k).
        c: Targets (T, k).
        size: Root mean squared norms of the columns over the tasks (d,); 1 where zero.
    """

    A: Array
    square: Array
    c: Array
    size: Array

    def forward(self, W: Array) -> Array:
        """A_t w_t, (T, k)."""
        if len(self.A) == 1:
            return np.asarray((self.A[0] @ W).T)
        return np.asarray(np.matmul(self.A, W.T[:, :, None])[:, :, 0])

    def adjoint(self, R: Array) -> Array:
        """A_tᵀ r_t, (d, T)."""
        if len(self.A) == 1:
            return np.asarray((R @ self.A[0]).T)
        return np.asarray(np.matmul(R[:, None, :], self.A)[:, 0, :].T)


def _alike(problem: Problem) -> bool:
    """Whether all tasks have the same rows."""
    design, weight = problem.design, problem.weight
    return isinstance(design, SharedDesign) and design.common(weight)


def turns_cheaply(problem: Problem) -> bool:
    """Whether turning the rows costs little beside a solve.

    Args:
        problem: Its rows, tasks and features count.
    """
    tasks = 1 if _alike(problem) else problem.n_tasks
    rows = float(np.count_nonzero(problem.weight)) / problem.n_tasks
    return tasks * rows * problem.n_features * min(rows, problem.n_features) <= _CHEAP


def rotate(problem: Problem) -> Rotated:
    """Turn a problem's rows; one singular value decomposition per task, or one for all that share their rows.

    Args:
        problem: Squared loss.
    """
    T = problem.n_tasks
    size = np.sqrt(np.mean(problem.design.square_norms(problem.weight), axis=1, dtype=float))
    size = np.where(size > 1e-14 * max(float(size.max(initial=0.0)), 1e-300), size, 1)
    weight = problem.weight
    alike = _alike(problem)
    parts = [task_rows(problem, t) for t in range(1 if alike else T)]
    k = min(max(len(part[1]) for part in parts), problem.n_features)
    A, square, c = (
        np.zeros((len(parts), k + 1, problem.n_features)),
        np.zeros((len(parts), k + 1)),
        np.zeros((T, k + 1)),
    )
    for t, (X, y, share) in enumerate(parts):
        root = np.sqrt(share.astype(float))[:, None]
        left, values, right = np.linalg.svd(root * X / size, full_matrices=False)
        rank = len(values)
        A[t, :rank], square[t, :rank] = values[:, None] * right, values**2
        targets = root * (problem.y[weight[:, 0] > 0] if alike else y[:, None])
        turned = left.T @ targets
        rows = slice(None) if alike else slice(t, t + 1)
        c[rows, :rank] = turned.T
        # what no coefficients reach is one more row, of zeros
        c[rows, k] = np.linalg.norm(targets - left @ turned, axis=0)
    return Rotated(A, square, c, size)


def alternate(
    data: Rotated,
    W: Array,
    alpha: float,
    ridge: float,
    certify: Callable[[Array, Array, Array, float], bool],
    left: int,
) -> int:
    """Alternating directions (ADMM) on r_t = c_t − A_t w_t and a copy Z of W, from W (d, T).

    Args:
        data: Turned rows.
        W: Start.
        alpha: Weight of Σ_j ‖W_j‖.
        ridge: Weight of ½‖W‖².
        certify: Called with coefficients, residual norms (T,), the dual matrix Xᵀθ and ⟨θ, √ω y⟩; true to stop.
        left: Iterations allowed.

    Returns:
        Iterations done.

    Notes:
        Iterates keep the scaled multipliers u of r = c − A W and v of W = Z. Every task has a step of its own, and so
        has the copy; both follow the ratio of their primal and dual residuals, relative to the iterates' sizes.
    """
    size, c = data.size[:, None], data.c
    scale = np.linalg.norm(c, axis=1)
    scale = np.maximum(scale, max(1e-3 * float(scale.max(initial=0.0)), 1e-150))  # a task may have no spread
    rho = 1 / scale
    Z, v = np.asfortranarray(W * size, dtype=float), np.zeros(W.shape)
    rho_z = 1.0 / max(float(np.linalg.norm(Z)) / np.sqrt(Z.shape[1]), float(np.median(scale)), 1e-150)
    first, first_z = rho, rho_z
    fit = data.forward(Z)
    r, u = c - fit, np.zeros_like(c)
    for k in range(left + 1):
        if k % 10 == 0:
            norms = np.linalg.norm(c - data.forward(Z), axis=1)
            theta = -rho[:, None] * u
            if certify(Z / size, norms, size * data.adjoint(theta), float(np.vdot(theta, c))) or k == left:
                return k
        q = Z - v
        inner = rho[:, None] / (rho[:, None] * data.square + rho_z) * (c - r - u - data.forward(q))
        new = q + data.adjoint(inner)
        # over-relaxed: 1.6 of the step
        fit = 1.6 * (c - data.forward(new)) - 0.6 * r
        old_r, pull = r, fit - u
        norm = np.linalg.norm(pull, axis=1)
        r = pull * (1 - 1 / np.maximum(rho * norm, 1))[:, None]
        u = r - pull
        fit_z = 1.6 * new - 0.6 * Z
        old_z, pull_z = Z, fit_z + v
        rows = np.linalg.norm(pull_z, axis=1, keepdims=True)
        level = alpha / (size * rho_z)
        Z = pull_z * (1 - level / np.maximum(rows, level)) / (1 + ridge / (size**2 * rho_z))
        v = pull_z - Z
        if k % 20 == 19 and k < 20 * _ADAPTATIONS:
            miss = np.linalg.norm(r - fit, axis=1) / np.maximum(np.linalg.norm(r, axis=1), scale)
            change = np.linalg.norm(r - old_r, axis=1) / np.maximum(np.linalg.norm(u, axis=1), 1e-300)
            ratio = np.clip(np.sqrt(miss / np.maximum(change, 1e-300)), 0.2, 5)
            ratio = np.clip(rho * ratio, first / _FARTHEST, first * _FARTHEST) / rho
            rho, u = rho * ratio, u / ratio[:, None]
            miss_z = float(np.linalg.norm(Z - fit_z)) / max(float(np.linalg.norm(Z)), 1e-300)
            change_z = float(np.linalg.norm(Z - old_z)) / max(float(np.linalg.norm(v)), 1e-300)
            ratio_z = float(np.clip(np.sqrt(miss_z / max(change_z, 1e-300)), 0.2, 5))
            ratio_z = float(np.clip(rho_z * ratio_z, first_z / _FARTHEST, first_z * _FARTHEST)) / rho_z
            rho_z, v = rho_z * ratio_z, v / ratio_z
    return left
