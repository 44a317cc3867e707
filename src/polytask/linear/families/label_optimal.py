"""Multi-task least-squares classifiers with optimised labels, and an error predicted without held-out data."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import ndtr
from sklearn.covariance import ledoit_wolf
from sklearn.utils._param_validation import Interval

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import parameters
from polytask.linear.core.engine import Solution
from polytask.linear.core.losses import Logistic, Loss
from polytask.linear.core.oracle import Oracle
from polytask.linear.core.problem import Problem
from polytask.linear.core.subproblem import task_rows
from polytask.linear.procedure import Procedure
from polytask.linear.supervised import MultiTaskClassifier

__all__ = ["LabelOptimalClassifier", "LabelOptimalClassifierCV"]

Array = NDArray[Any]


@parameters
class LabelOptimal(Procedure):
    """Multi-task least-squares support vector machine with one label per task and class.

    Args:
        sharing: ρ ≥ 0, variance of the shared part of the coefficients relative to the tasks' own parts.
        optimise_labels: Whether labels are optimised for every target task; otherwise they are ±1.
    """

    sharing: float = 1.0
    optimise_labels: bool = True

    _losses: ClassVar[dict[str, type[Loss]]] = {"logistic": Logistic}
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "loss": [str],
        "sharing": [Interval(Real, 0, None, closed="left")],
        "optimise_labels": ["boolean"],
    }

    def _solve(
        self, problem: Problem, alpha: float, init: tuple[Array, Array] | None, oracle: Oracle | None = None
    ) -> Solution:
        T = problem.n_tasks
        data = [task_rows(problem, t) for t in range(T)]
        X = np.concatenate([part[0] for part in data]).astype(float)
        y = np.concatenate([part[1] for part in data])
        weight = np.concatenate([part[2] for part in data]).astype(float)
        codes = np.repeat(np.arange(T), [len(part[1]) for part in data])
        kernel = (self.sharing + (codes[:, None] == codes[None, :])) * (X @ X.T)
        factor = cho_factor(kernel + np.diag(alpha / weight))
        Q = cho_solve(factor, np.eye(len(y)))
        if problem.free_intercept:
            alive = np.unique(codes)
            P = (codes[:, None] == alive[None, :]).astype(float)
            QP = Q @ P
            Q = Q - QP @ np.linalg.solve(P.T @ QP, QP.T)
        column = 2 * codes + (y > 0)
        indicator = np.zeros((len(y), 2 * T))
        indicator[np.arange(len(y)), column] = 1
        # score of every row by the model without it: y_j − (Qy)_j/Q_jj, linear in the labels and free of its own
        duals = Q @ indicator
        held_out = indicator - duals / np.diag(Q)[:, None]
        within = X - _class_means(X, column, weight)
        S = ledoit_wolf(within * np.sqrt(weight / weight.mean())[:, None], assume_centered=True)[0]
        W = np.zeros((problem.n_features, T))
        b = np.zeros(T)
        chosen, error = np.tile(np.tile([-1.0, 1.0], T), (T, 1)), np.full(T, np.nan)
        for t in np.unique(codes):
            share = (self.sharing + (codes == t))[:, None]
            maps = X.T @ (share * duals)
            means = [
                np.average(held_out[codes == t][rows], axis=0, weights=weight[codes == t][rows])
                for rows in (y[codes == t] < 0, y[codes == t] > 0)
            ]
            labels = chosen[t]
            if self.optimise_labels:
                labels = np.linalg.pinv(maps.T @ S @ maps, rcond=1e-10, hermitian=True) @ (means[1] - means[0])
                labels = labels / max(np.abs(labels).max(), 1e-300)
            low, high = (float(mean @ labels) for mean in means)
            scores = held_out[codes == t] @ labels
            centre = np.where(y[codes == t] > 0, high, low)
            w = maps @ labels
            variance = float(np.average((scores - centre) ** 2, weights=weight[codes == t]))
            variance = max(variance, float(w @ S @ w), 1e-12 * max(high**2, low**2), 1e-300)
            if high <= low:
                continue  # the task cannot be told apart: the score stays 0
            gain = (high - low) / variance
            W[:, t] = gain * w
            if problem.free_intercept:
                mine = codes == t
                a = duals @ labels
                # K a + (α/ω) a + b = y holds in every row
                level = np.mean((indicator @ labels - kernel @ a - alpha / weight * a)[mine])
                b[t] = gain * (level - 0.5 * (high + low))
            chosen[t] = labels
            error[t] = ndtr(-0.5 * (high - low) / np.sqrt(variance))
        W, b = np.asfortranarray(W.astype(problem.design.dtype)), b.astype(problem.design.dtype)
        value = float(np.mean(error[np.unique(codes)]))
        return Solution(W, b, W, value, 0.0, 1, np.zeros_like(W), True, state=(chosen, error))

    def _describe(self, problem: Problem, alpha: float, solution: Solution) -> None:
        self.task_labels_, self.expected_error_ = solution.state


def _class_means(X: Array, column: Array, weight: Array) -> Array:
    """Mean of every row's task and class, row by row."""
    out = np.empty_like(X)
    for label in np.unique(column):
        rows = column == label
        out[rows] = np.average(X[rows], axis=0, weights=weight[rows])
    return out


@final
@parameters
class LabelOptimalClassifier(LabelOptimal, FixedAlpha, MultiTaskClassifier):
    """Binary classification by least squares with optimised labels and a predicted error (after the MTL-LSSVM).

    For each target task τ and labels y with one value ỹ_tc per task and class,

    min over w_0, v_t, b of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·(w_0 + v_t) − b_t)² + (α/2) (‖w_0‖²/sharing + Σ_t ‖v_t‖²),

    whose score at a new sample of τ is linear in ỹ: mean m_c·ỹ in class c, variance ỹ·Vỹ. The labels
    ỹ = V⁺(m_2 − m_1) separate the classes of τ best, the threshold is midway between the means, and the error is
    Φ(−(m_2 − m_1)·ỹ / (2 √(ỹ·Vỹ))) for Gaussian scores. Scores are scaled to log odds.

    Args:
        alpha: Weight α > 0 of the squared coefficients.
        sharing: ρ ≥ 0; 0 makes the tasks independent.
        optimise_labels: False keeps labels ±1 (the multi-task LS-SVM of Xu et al.).
        loss: ``"logistic"``: how cross-validation judges the log odds.
        fit_intercept, task_weight, warm_start, task_col, unseen: See :class:`LinearMultiTask`; ``tol`` and
            ``max_iter`` have no effect, linear systems are solved directly.

    Attributes:
        task_labels_: Labels used for each target task (T, 2T): ỹ of task 0's two classes, of task 1's, …
        expected_error_: Predicted error of each task for balanced classes (T,); NaN for tasks that cannot be separated.
        objective_: Mean of ``expected_error_``; ``dual_gap_`` is 0.
        coef_, intercept_, tasks_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> Y = rng.integers(0, 2, size=(200, 1)) * [1, 1]
        >>> X = rng.normal(size=(200, 10)) + (2 * Y[:, :1] - 1) * 0.5
        >>> model = LabelOptimalClassifier(alpha=1.0).fit(X, Y)
        >>> bool(np.all(model.expected_error_ < 0.12))
        True

    Notes:
        The original takes means and variances from their limits for large random matrices with isotropic classes. Here
        the means are those of exact leave-one-out scores (in closed form for least squares) and V uses a shrunk
        covariance within classes: no limit, no isotropy. Memory is quadratic in the total number of rows.

    References:
        Tiomoko, Tiomoko Ali & Couillet (2021), Deciphering and optimizing multi-task learning: a random matrix
        approach.
        Xu, An, Qiao & Zhu (2014), Multi-task least-squares support vector machines.
    """


@final
@parameters
class LabelOptimalClassifierCV(LabelOptimal, CrossValidated, MultiTaskClassifier):
    """:class:`LabelOptimalClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
