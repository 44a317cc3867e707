"""Smooth part of a problem as the solver sees it, and the duality gap computed from it.

Both oracles work on *images*, linear in the coefficients, so that the image of an extrapolated point costs nothing:
H W when Gram matrices are kept, predictions otherwise.

With ω the weights, ½tr(W M Wᵀ) the coupling of the tasks, θ_i = −s ω_i ℓ'(z_i) for a scale s and G = X'θ − s W M, weak
duality reads P ≥ D = −Σ ω_i ℓ*(s ℓ'(z_i)) − (s²/2) tr(W M Wᵀ) − Ω*(G), and Ω*(G) = 0 for a norm with gauge(G) ≤ 1.
A free intercept asks for Σ θ_i = 0 in its task: intercepts are refitted first, and what rounding leaves is balanced.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from polytask.linear.core.design import _times
from polytask.linear.core.penalties import Penalty
from polytask.linear.core.problem import Problem

__all__ = ["Certificate", "DataOracle", "GramOracle", "Oracle", "certify", "couple", "tie"]

Array = NDArray[Any]


def couple(W: Array, coupling: float | Array) -> Array | float:
    """W M for a matrix M (T, T) or a multiple of the identity."""
    if isinstance(coupling, np.ndarray):
        return np.asarray(W @ coupling)
    return coupling * W if coupling else 0.0


def tie(W: Array, coupling: float | Array) -> float:
    """tr(W M Wᵀ)."""
    coupled = couple(W, coupling)
    return float(np.vdot(W.T, coupled.T)) if isinstance(coupled, np.ndarray) else 0.0


class Oracle(ABC):
    """Value, gradient and dual quantities of Σ ω ℓ(y, XW + b)."""

    problem: Problem

    @cached_property
    def lipschitz(self) -> float:
        """Largest curvature of the loss; computed when first needed, as working sets may not need it."""
        return self._curvature()

    @cached_property
    def kept(self) -> dict[str, Any]:
        """What solves of this problem share beyond the oracle, by name: factorisations, common starts."""
        return {}

    @abstractmethod
    def _curvature(self) -> float: ...

    def advance(self, W: Array, b: Array, image: Array, beta: float) -> tuple[Array, Array, Array, Array | float]:
        """Image of a new point, of its extrapolation by β away from ``image``, and the gradient there."""
        new = self.image(W, b)
        ahead = new + beta * (new - image) if beta else new
        return new, ahead, *self.gradient(ahead)

    @abstractmethod
    def image(self, W: Array, b: Array) -> Array:
        """Linear image of a point."""

    @abstractmethod
    def gradient(self, image: Array) -> tuple[Array, Array | float]:
        """Gradient in W (d, T) and b (T,)."""

    @abstractmethod
    def bend(self, D: Array, image: Array) -> float:
        """Bound on the curvature of the loss along a step D (d, T) with this image: ⟨D, HD⟩ if the loss is squared."""

    @abstractmethod
    def value(self, W: Array, image: Array) -> float:
        """Loss."""

    @abstractmethod
    def moments(self, W: Array, image: Array) -> tuple[float, float]:
        """⟨ωy, r⟩ and Σ ω r² of the residual r (squared loss)."""

    def multipliers(self, image: Array) -> Array:
        """u_i = ℓ'(z_i), changed so that Σ ω u = 0 in every task with a free intercept (not for the squared loss)."""
        raise NotImplementedError

    def adjoint(self, u: Array) -> Array:
        """X'(ω u), (d, T)."""
        return self.problem.design.adjoint(self.problem.weight * u)

    def dual_loss(self, u: Array) -> float:
        """−Σ ω ℓ*(u)."""
        raise NotImplementedError

    def refit(self, image: Array, b: Array) -> tuple[Array, Array]:
        """Best intercepts for fixed W, and the image with them."""
        return image, b


@final
class GramOracle(Oracle):
    """Squared loss through H_t = X_t' diag(ω_t) X_t and q = X' ω y."""

    def __init__(self, problem: Problem, gram: Array) -> None:
        self.problem, self.gram = problem, gram
        self.q = problem.design.adjoint(problem.weight * problem.y)
        self.yy = float(np.vdot(problem.weight * problem.y, problem.y))

    def _curvature(self) -> float:
        return self.problem.design.lipschitz(self.problem.weight, self.gram)

    def image(self, W: Array, b: Array) -> Array:
        """H W."""
        return _times(self.gram, W)

    def gradient(self, image: Array) -> tuple[Array, Array | float]:
        """H W − q."""
        return image - self.q, 0.0

    def bend(self, D: Array, image: Array) -> float:
        """⟨D, HD⟩."""
        return float(np.vdot(D.T, image.T))

    def value(self, W: Array, image: Array) -> float:
        """½y'y − ⟨W, q⟩ + ½⟨W, HW⟩."""
        return 0.5 * self.yy + float(np.vdot(W.T, (0.5 * image - self.q).T))

    def moments(self, W: Array, image: Array) -> tuple[float, float]:
        """From the same three scalars."""
        fit = float(np.vdot(W.T, self.q.T))
        return self.yy - fit, max(self.yy - 2 * fit + float(np.vdot(W.T, image.T)), 0.0)


@final
class DataOracle(Oracle):
    """Any loss, through passes over the data."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def _curvature(self) -> float:
        return self.problem.loss.curvature * self.problem.design.lipschitz(self.problem.weight, None)

    def advance(self, W: Array, b: Array, image: Array, beta: float) -> tuple[Array, Array, Array, Array | float]:
        """As above, reading the data once where that pays."""
        problem = self.problem
        y, weight = problem.y, problem.weight
        free = problem.free_intercept
        levels = problem.design.expand(b) if free else None

        def slopes(Z: Array, rows: slice) -> Array:
            if levels is not None:
                Z += levels[rows]
            ahead = Z + beta * (Z - image[rows]) if beta else Z
            return weight[rows] * problem.loss.derivative(y[rows], ahead)

        swept = problem.design.sweep(W, slopes)
        if swept is None:
            return super().advance(W, b, image, beta)
        new, gradient = swept
        ahead = new + beta * (new - image) if beta else new
        return new, ahead, gradient, (problem.design.task_sum(self._slopes(ahead)) if free else 0.0)

    def image(self, W: Array, b: Array) -> Array:
        """Predictions."""
        Z = self.problem.design.forward(W)
        if self.problem.free_intercept:
            Z += self.problem.design.expand(b)
        return Z

    def _slopes(self, Z: Array) -> Array:
        return self.problem.weight * self.problem.loss.derivative(self.problem.y, Z)

    def gradient(self, image: Array) -> tuple[Array, Array | float]:
        """X'(ω ℓ') and its sums per task."""
        R = self._slopes(image)
        design = self.problem.design
        return design.adjoint(R), (design.task_sum(R) if self.problem.free_intercept else 0.0)

    def bend(self, D: Array, image: Array) -> float:
        """Curvature bound times Σ ω z² of the step's predictions z."""
        return self.problem.loss.curvature * float(np.vdot(self.problem.weight * image, image))

    def value(self, W: Array, image: Array) -> float:
        """Σ ω ℓ."""
        return float(np.sum(self.problem.weight * self.problem.loss.value(self.problem.y, image), dtype=np.float64))

    def moments(self, W: Array, image: Array) -> tuple[float, float]:
        """From the residuals."""
        r = self.problem.y - image
        weighted = self.problem.weight * r
        return (
            float(np.sum(weighted * self.problem.y, dtype=np.float64)),
            float(np.sum(weighted * r, dtype=np.float64)),
        )

    def multipliers(self, image: Array) -> Array:
        """ℓ'(z); the side whose sum is larger is scaled down, which keeps every u in the domain of ℓ*."""
        problem = self.problem
        u = problem.loss.derivative(problem.y, image)
        if not problem.free_intercept:
            return u
        design = problem.design
        up, down = (design.task_sum(problem.weight * np.maximum(sign * u, 0)) for sign in (1, -1))
        smaller = np.minimum(up, down)
        scale_up, scale_down = (np.divide(smaller, x, out=np.zeros_like(x), where=x > 0) for x in (up, down))
        return np.where(u > 0, u * design.expand(scale_up), u * design.expand(scale_down))

    def dual_loss(self, u: Array) -> float:
        """−Σ ω ℓ*(u)."""
        return -float(np.sum(self.problem.weight * self.problem.loss.conjugate(self.problem.y, u), dtype=np.float64))

    def refit(self, image: Array, b: Array) -> tuple[Array, Array]:
        """Newton steps on every task's intercept at once, kept inside a shrinking bracket of its root."""
        problem = self.problem
        if not problem.free_intercept:
            return image, b
        design, loss = problem.design, problem.loss
        start, b = b, b.copy()
        total = design.task_sum(problem.weight)
        bound = np.where(total > 0, loss.curvature * total, 1)
        level = (1e-12 if image.dtype == np.float64 else 1e-6) * total
        low, high = np.full_like(b, -np.inf), np.full_like(b, np.inf)
        Z = image
        for _ in range(50):
            slope = design.task_sum(self._slopes(Z))
            if np.all(np.abs(slope) <= level):
                break
            low, high = np.where(slope < 0, b, low), np.where(slope > 0, b, high)
            curve = design.task_sum(problem.weight * loss.second(problem.y, Z))
            trial = b - slope / np.clip(curve, 0.05 * bound, bound)
            outside = (trial <= low) | (trial >= high)
            bisect = outside & np.isfinite(low) & np.isfinite(high)
            trial[bisect] = 0.5 * (low[bisect] + high[bisect])
            b = np.where(np.abs(slope) <= level, b, trial)
            Z = image + design.expand(b - start)
        return Z, b


@dataclass(frozen=True)
class Certificate:
    """Primal value, lower bound and the dual matrix behind it.

    Attributes:
        primal: P.
        dual: D ≤ min P.
        G: Dual matrix X'θ − sWM before scaling (d, T).
        scale: s.
        b: Intercepts at which the primal was taken.
    """

    primal: float
    dual: float
    G: Array
    scale: float
    b: Array

    @property
    def gap(self) -> float:
        """P − D, at least the distance of P from the minimum."""
        return max(self.primal - self.dual, 0.0)


def certify(oracle: Oracle, penalty: Penalty, coupling: float | Array, V: Array, b: Array, image: Array) -> Certificate:
    """Duality gap at a point.

    Args:
        oracle: Smooth part.
        penalty: Ω.
        coupling: M.
        V: Variable, (d, T) or (blocks, d, T).
        b: Intercepts (T,).
        image: Image of the point.
    """
    W = penalty.matrix(V)
    image, b = oracle.refit(image, b)
    quadratic = oracle.problem.loss.quadratic
    u = None if quadratic else oracle.multipliers(image)
    pull = -oracle.gradient(image)[0] if u is None else -oracle.adjoint(u)
    G = pull - couple(W, coupling)
    tied = tie(W, coupling)
    primal = oracle.value(W, image) + 0.5 * tied + penalty.value(V)
    if u is None:
        fit, square = oracle.moments(W, image)
        square += tied
        if penalty.homogeneous:
            size = penalty.gauge(G)
            most = 1 / size if size > 0 else np.inf
        else:
            square += 2 * penalty.conjugate(G)
            most = np.inf
        scale = min(max(fit, 0.0) / square, most) if square > 0 else 0.0
        dual = scale * fit - 0.5 * scale**2 * square
    else:
        if penalty.homogeneous:
            scale, conjugate = 1 / max(1.0, penalty.gauge(G)), 0.0
        else:
            scale, conjugate = 1.0, penalty.conjugate(G)
        dual = oracle.dual_loss(scale * u) - 0.5 * scale**2 * tied - conjugate
        price = 0.5 * tied + conjugate
        if dual < 0 and not penalty.homogeneous and 0 < price < np.inf:
            # D(s) = L(su) − s² price, and L is concave: the best s for its chord bounds any further from below
            shrunk = min(max(0.5 * oracle.dual_loss(u) / price, 0.0), 1.0)
            better = oracle.dual_loss(shrunk * u) - shrunk**2 * price
            scale, dual = (shrunk, better) if better > dual else (scale, dual)
    return Certificate(primal, dual, G, scale, b)
