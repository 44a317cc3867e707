"""Solver of calibrated regression: min over W of Σ_t ‖r_t‖ + α‖W‖_{2,1} + ½·ridge‖W‖², r_t = √ω (y_t − X_t w_t)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polytask.linear.core.engine import make_oracle
from polytask.linear.core.newton import solve
from polytask.linear.core.penalties import L21
from polytask.linear.core.problem import Problem
from polytask.linear.core.root_split import Rotated, alternate

__all__ = ["RootLoss", "residual_norms"]

Array = NDArray[Any]


def residual_norms(problem: Problem, residual: Array) -> Array:
    """√(Σ_i ω_i r_i²) of every task, (T,)."""
    return np.asarray(np.sqrt(problem.design.task_sum(problem.weight * residual**2)))


def _row_norms(W: Array) -> Array:
    return np.asarray(np.sqrt(np.einsum("jt,jt->j", W, W)))


@dataclass
class RootLoss:
    """A problem, the best lower bound of its minimum so far, and two ways down.

    Attributes:
        problem: Squared loss; its roots are taken per task.
        alpha: α > 0.
        ridge: ≥ 0.
        dual: Largest dual value seen.
        primal: Smallest objective seen.
        W: Coefficients there (d, T).
        G: Dual matrix of the largest dual value (d, T), feasible.
        iterations: Done so far.
    """

    problem: Problem
    alpha: float
    ridge: float
    dual: float = -np.inf
    primal: float = np.inf
    W: Array | None = None
    G: Array | None = None
    iterations: int = 0

    @property
    def gap(self) -> float:
        """Certified distance from the minimum."""
        return max(self.primal - self.dual, 0.0)

    def certify(self, W: Array, norms: Array, G: Array, fit: float) -> None:
        """Update the bounds.

        Args:
            W: Coefficients (d, T).
            norms: Their residual norms (T,).
            G: X'θ for multipliers θ whose tasks' norms are at most 1 (d, T).
            fit: ⟨θ, √ω y⟩.
        """
        rows, pulls = _row_norms(W), _row_norms(G)
        primal = float(norms.sum() + self.alpha * rows.sum() + 0.5 * self.ridge * (rows**2).sum())
        if primal < self.primal:
            self.primal, self.W = primal, W
        scale = 1.0 if self.ridge else 1 / max(1.0, float(pulls.max(initial=0.0)) / self.alpha)
        charge = float(np.sum(np.maximum(pulls - self.alpha, 0) ** 2)) / (2 * self.ridge) if self.ridge else 0.0
        dual = scale * fit - charge
        if dual > self.dual:
            self.dual, self.G = dual, scale * G

    def reweigh(self, W: Array, tol: float, max_iter: int) -> Array:
        """Alternate between σ_t = ‖r_t‖, the best in Σ_t (‖r_t‖²/(2σ_t) + σ_t/2), and W given σ.

        Fast while no task is fitted exactly; stops when one is.
        """
        problem, penalty = self.problem, L21(self.alpha)
        design, b = problem.design, np.zeros(problem.n_tasks, problem.design.dtype)
        sizes = residual_norms(problem, problem.y)
        floor = np.where(sizes > 0, 1e-6 * sizes, 1)
        while True:
            residual = problem.y - design.forward(W)
            norms = residual_norms(problem, residual)
            weight = problem.weight / design.expand(np.maximum(norms, floor))
            theta = weight * residual
            self.certify(W, norms, design.adjoint(theta), float(np.vdot(theta, problem.y)))
            exact = bool(np.any((sizes > 0) & (norms < 1e-3 * sizes)))
            if exact or self.gap <= tol * self.primal or self.iterations >= max_iter:
                return W
            part = replace(problem, weight=weight)
            # a pull that is off by δ costs the gap above δ, and the weighted problem's own gap δ²
            accuracy = min(0.1 * (self.gap / self.primal) ** 2, 1e-2)
            left, before = max_iter - self.iterations, self.iterations
            if accuracy > 1e-13:
                inner = solve(part, penalty, coupling=self.ridge, init=(W, b), tol=accuracy, max_iter=left, warn=False)
                W, self.iterations = inner.W, self.iterations + inner.n_iter
            if self.iterations == before:  # below the rounding of that gap: plain proximal steps
                oracle = make_oracle(part)
                step = 1 / max(oracle.lipschitz + self.ridge, np.finfo(design.dtype).tiny)
                for _ in range(20):
                    W = penalty.prox(W - step * (oracle.gradient(oracle.image(W, b))[0] + self.ridge * W), step)
                self.iterations += 20

    def split(self, data: Rotated, W: Array, tol: float, max_iter: int) -> Array:
        """Alternating directions: quick while the rows are few, and where tasks are fitted exactly.

        Args:
            data: The problem's rows, turned.
            W: Start (d, T).
            tol: Relative gap to stop at.
            max_iter: Iterations in all.

        Returns:
            The best coefficients so far.
        """

        def done(W: Array, norms: Array, G: Array, fit: float) -> bool:
            self.certify(W, norms, G, fit)
            return self.gap <= tol * self.primal

        left = max(max_iter - self.iterations, 0)
        self.iterations += alternate(data, W, self.alpha, self.ridge, done, left)
        assert self.W is not None
        return self.W
