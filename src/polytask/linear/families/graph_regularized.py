"""Graph-regularised tasks: tasks joined by an edge have similar coefficients."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Real
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval

from polytask.errors import TaskError, unknown
from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import parameters
from polytask.linear.core.penalties import L1, Penalty
from polytask.linear.core.problem import Problem
from polytask.linear.core.spectral import Quadratic
from polytask.linear.penalised import PenalisedFamily
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor

__all__ = [
    "GraphRegularizedClassifier",
    "GraphRegularizedClassifierCV",
    "GraphRegularizedRegressor",
    "GraphRegularizedRegressorCV",
    "laplacian",
]

Array = NDArray[Any]


def laplacian(graph: Any, tasks: Array) -> Array:
    """Laplacian matrix (T, T) of a graph of tasks: tr(W Lap Wᵀ) = Σ_{edges {s,t}} a_st ‖w_s − w_t‖².

    Args:
        graph: ``"complete"`` (a_st = 1/T), ``"chain"`` (neighbours in sorted order), pairs ``(s, t)`` or triples
            ``(s, t, a_st)`` of task labels, or a symmetric non-negative matrix (T, T) in the order of ``tasks``.
        tasks: Labels (T,). Edges to labels that are not among them are an error for a list whose labels are all unknown
            and are left out otherwise (a task may be absent from a fold).

    Raises:
        TaskError: The graph does not fit the tasks.

    Examples:
        >>> import numpy as np
        >>> laplacian([("a", "b")], np.array(["a", "b"])).tolist()
        [[1.0, -1.0], [-1.0, 1.0]]
    """
    T = len(tasks)
    A = np.zeros((T, T))
    if isinstance(graph, str):
        if graph == "complete":
            A += 1 / T
        elif graph == "chain":
            A += np.eye(T, k=1) + np.eye(T, k=-1)
        else:
            raise TaskError(unknown("graph", graph, ["chain", "complete"]))
    elif isinstance(graph, np.ndarray) or _is_square(graph):
        A = np.array(graph, dtype=float)
        if A.shape != (T, T) or not np.allclose(A, A.T) or A.min(initial=0.0) < 0:
            raise TaskError(f"a graph matrix must be symmetric, non-negative and of shape ({T}, {T}), found {A.shape}")
    else:
        place = {label: i for i, label in enumerate(tasks.tolist())}
        edges = [(*edge, 1.0)[:3] for edge in graph]
        known = [(place[s], place[t], float(a)) for s, t, a in edges if s in place and t in place]
        if edges and not any(end in place for s, t, _ in edges for end in (s, t)):
            raise TaskError(unknown("task", str(edges[0][0]), map(str, place)) + " (in graph)")
        for s, t, a in known:
            if a < 0:
                raise TaskError(f"edge weights must be non-negative, found {a}")
            A[s, t] = A[t, s] = a
    np.fill_diagonal(A, 0)
    return np.diag(A.sum(axis=1)) - A


def _is_square(graph: Iterable[Any]) -> bool:
    rows = list(graph)
    return bool(rows) and all(isinstance(row, list) and len(row) == len(rows) for row in rows) and len(rows) > 3


@parameters
class GraphRegularized(PenalisedFamily):
    """(α/2) Σ_edges a_st ‖w_s − w_t‖² + l1‖W‖_1 + (ridge/2)‖W‖².

    Args:
        graph: Graph of the tasks.
        l1: Weight of ‖W‖_1 ≥ 0.
        ridge: Weight of ½‖W‖² > 0.
    """

    graph: Any = "complete"
    l1: float = 0.0
    ridge: float = 1e-3

    _alpha_scales_norm: ClassVar[bool] = False
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "graph": "no_validation",
        "l1": [Interval(Real, 0, None, closed="left")],
        "ridge": [Interval(Real, 0, None, closed="neither")],
    }

    def _matrix(self, alpha: float, problem: Problem) -> Array:
        return np.asarray(alpha * laplacian(self.graph, problem.tasks) + self.ridge * np.eye(problem.n_tasks))

    def _penalty(self, alpha: float, problem: Problem) -> Penalty:
        return L1(self.l1) if self.l1 > 0 else Quadratic(self._matrix(alpha, problem))

    def _coupling(self, alpha: float, problem: Problem) -> float | Array:
        return self._matrix(alpha, problem) if self.l1 > 0 else 0.0


@final
@parameters
class GraphRegularizedRegressor(GraphRegularized, FixedAlpha, MultiTaskRegressor):
    """Regression in which tasks joined by an edge of a given graph have similar coefficients.

    min over W, b of (1/n̄) Σ_t Σ_i ½(y_ti − x_ti·w_t − b_t)²
    + (α/2) Σ_{edges {s,t}} a_st ‖w_s − w_t‖² + l1 ‖W‖_1 + (ridge/2) ‖W‖_F²

    with a_st the edges' weights and n̄ the mean number of rows per task. α → ∞ makes the tasks of each connected
    component equal. The graph ``"complete"`` is :class:`MeanRegularizedRegressor`.

    Args:
        alpha: Weight α > 0 of the differences along edges.
        graph: ``"complete"``, ``"chain"``, a list of pairs (s, t) or triples (s, t, weight) of task labels, or a
            symmetric (T, T) array in the order of the sorted labels.
        l1: Weight of ‖W‖_1 ≥ 0.
        ridge: Weight of ½‖W‖² > 0. The default keeps the problem well posed and hardly shrinks standardised features.
        loss, fit_intercept, task_weight, tol, max_iter, warm_start, task_col, unseen: See :class:`LinearMultiTask`.

    Attributes:
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: See :class:`JointFeatureRegressor`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(50, 2))
        >>> Y = X @ np.array([[1.0, 2.0, 5.0], [0.0, 0.0, 0.0]])
        >>> model = GraphRegularizedRegressor(alpha=1e4, graph=[(0, 1)]).fit(X, Y)
        >>> model.coef_[:, 0].round(1).tolist()
        [1.5, 1.5, 5.0]

    References:
        Evgeniou, Micchelli & Pontil (2005), Learning multiple tasks with kernel methods.
    """


@final
@parameters
class GraphRegularizedClassifier(GraphRegularized, FixedAlpha, MultiTaskClassifier):
    """Binary classification in which tasks joined by an edge of a given graph have similar coefficients.

    As :class:`GraphRegularizedRegressor` with a loss of :class:`MultiTaskClassifier`.
    """


@final
@parameters
class GraphRegularizedRegressorCV(GraphRegularized, CrossValidated, MultiTaskRegressor):
    """:class:`GraphRegularizedRegressor` with α chosen by cross-validation; see :class:`CrossValidated`."""


@final
@parameters
class GraphRegularizedClassifierCV(GraphRegularized, CrossValidated, MultiTaskClassifier):
    """:class:`GraphRegularizedClassifier` with α chosen by cross-validation; see :class:`CrossValidated`."""
