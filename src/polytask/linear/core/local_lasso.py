"""What one machine does in the distributed lasso: its own lasso, debiased."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso

from polytask.linear.core.losses import Loss, Squared
from polytask.linear.core.newton import solve
from polytask.linear.core.penalties import L1
from polytask.linear.core.problem import shared_problem

__all__ = ["debiased_lasso", "inverse_rows"]

Array = NDArray[Any]


def inverse_rows(X: Array) -> Array:
    """Sparse M (d, d) with M X'X/n close to the identity: row j from the lasso of feature j on the others.

    Their weights are sd_j·√(2 log d / n); rows and columns of constant features are 0.

    Args:
        X: (n, d), its columns' means taken out.
    """
    n, d = X.shape
    spread = np.sqrt(np.mean(X**2, axis=0))
    alive = np.flatnonzero(spread > 1e-10 * max(spread.max(initial=0.0), 1e-300))
    M = np.zeros((d, d))
    for j in alive:
        others = alive[alive != j]
        use = np.zeros(0)
        if others.size:
            level = float(spread[j]) * np.sqrt(2 * np.log(max(d, 2)) / n)
            model = Lasso(alpha=max(level, 1e-12), fit_intercept=False, max_iter=5000, tol=1e-6)
            with warnings.catch_warnings():
                # the debiasing step forgives a rough lasso: it removes its bias to first order
                warnings.simplefilter("ignore", ConvergenceWarning)
                use = model.fit(X[:, others] / spread[others], X[:, j]).coef_ / spread[others]
        # X_j'(X_j − X_{-j} γ)/n: with it M X'X/n has a diagonal of ones
        size = float(X[:, j] @ (X[:, j] - X[:, others] @ use)) / n
        M[j, j], M[j, others] = 1 / size, -use / size
    return M


def debiased_lasso(
    X: Array,
    y: Array,
    alpha: float,
    *,
    weight: Array | None = None,
    loss: Loss | None = None,
    intercept: bool = False,
    tol: float = 1e-6,
    inverse: Array | None = None,
) -> tuple[Array, Array]:
    """One machine's work: w = lasso, and w − M X'ℓ'(y, Xw)/n with M a sparse inverse of the curvature X'diag(ℓ'')X/n.

    Args:
        X: Inputs (n, d); centred for the squared loss unless ``intercept``.
        y: Targets (n,), ±1 for the logistic loss.
        alpha: Weight of ‖w‖_1 against the mean loss.
        weight: Weights of the rows (n,) of mean 1, or None.
        loss: Squared by default.
        intercept: Whether there is an unpenalised intercept.
        tol: Relative duality gap of the lasso.
        inverse: M (d, d) if it is known: of the squared loss without an intercept it does not depend on ``alpha``.

    Returns:
        Debiased estimate (d,) and its squared standard errors (d,); both 0 for constant features.

    Examples:
        >>> import numpy as np
        >>> X = np.linalg.qr(np.random.default_rng(0).normal(size=(20, 3)))[0] * np.sqrt(20)
        >>> y = X @ [1.0, 0.0, -1.0]
        >>> bool(np.allclose(debiased_lasso(X, y, 0.5)[0], [1.0, 0.0, -1.0]))
        True
    """
    loss = Squared() if loss is None else loss
    n = len(X)
    problem = shared_problem(X.astype(float), y[:, None].astype(float), weight, loss, intercept=intercept)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # forgiven, as above
        found = solve(problem, L1(alpha), tol=tol)
    z = X @ found.W[:, 0] + float(problem.intercept(found.W, found.b)[0])
    v = np.ones(n) if weight is None else weight
    curve = v * loss.second(y, z)
    rows = X - np.average(X, axis=0, weights=curve) if intercept else X
    M = inverse_rows(np.sqrt(curve)[:, None] * rows) if inverse is None else inverse
    slopes = loss.derivative(y, z)
    estimate = np.where(M.diagonal() > 0, found.W[:, 0], 0) - M @ (rows.T @ (v * slopes)) / n
    spread = np.sum(((v * np.sqrt(loss.second(y, z)))[:, None] * rows @ M.T) ** 2, axis=0) / n**2
    if loss.quadratic:  # the noise is unknown; a probability knows its own
        spread *= float(v @ slopes**2) / max(n - int(np.count_nonzero(found.W)), 1)
    return estimate, spread
