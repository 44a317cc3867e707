"""Penalties on coefficients that change over ordered tasks: fused, sparse and grouped rows."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from polytask.errors import ConfigError
from polytask.linear.core.penalties import Penalty
from polytask.solvers import prox

__all__ = ["FusedRows", "order_of_tasks"]

Array = NDArray[Any]

#: least relative step of the gauge, beyond rounding
_STEP = 1e-12


def order_of_tasks(order: Any, tasks: Array) -> Array:
    """Positions of the tasks in time.

    Args:
        order: Labels from first to last, or None for sorted labels. Labels that are not among ``tasks`` are skipped: a
            task may be absent from a fold.
        tasks: Labels (T,).

    Raises:
        ConfigError: A task is missing from the order.

    Examples:
        >>> import numpy as np
        >>> order_of_tasks(["old", "new"], np.array(["new", "old"])).tolist()
        [1, 0]
    """
    if order is None:
        return np.arange(len(tasks))
    place = {label: i for i, label in enumerate(tasks.tolist())}
    listed = [place[label] for label in list(order) if label in place]
    missing = set(range(len(tasks))) - set(listed)
    if missing or len(listed) > len(tasks):
        raise ConfigError(f"order must name every task once; missing: {', '.join(str(tasks[i]) for i in missing)}")
    return np.array(listed, dtype=np.intp)


@final
class FusedRows(Penalty):
    """Σ_j (a_j ‖W_j‖_1 + f_j Σ_t |W_j,t+1 − W_jt| + g ‖W_j‖_2) over tasks in their order.

    Args:
        entry: a > 0, one number or one per row (d,).
        fused: f > 0, one number or one per row (d,).
        group: g ≥ 0.
        order: Positions of the tasks from first to last (T,).

    Raises:
        ConfigError: A weight has the wrong sign.

    Examples:
        >>> import numpy as np
        >>> FusedRows(1.0, 2.0, 0.0, np.array([0, 1])).value(np.array([[1.0, 3.0]]))
        8.0
    """

    def __init__(self, entry: float | Array, fused: float | Array, group: float, order: Array) -> None:
        if np.min(entry) < 0 or np.min(fused) < 0 or group < 0 or not np.min(entry) + group > 0:
            raise ConfigError("fused rows need weights >= 0, and entry or group > 0: equal tasks would cost nothing")
        self.entry, self.fused, self.group, self.order = entry, fused, group, order
        self.back = np.argsort(order)

    def value(self, V: Array) -> float:
        """The sum over the rows."""
        return float(_row_norms(V[:, self.order], self.entry, self.fused, self.group).sum())

    def prox(self, V: Array, step: float) -> Array:
        """Total variation first, then the soft threshold, then row shrinkage: their proximal maps compose."""
        return _shrink(V[:, self.order], step, self.entry, self.fused, self.group)[:, self.back]

    def gauge(self, G: Array) -> float:
        """Smallest c for which the proximal map of c·Ω sends every row of G to zero.

        From below: if the map leaves v of a row g, then c ≥ ⟨g, v⟩/Ω(v); v is about where the maximum is attained.
        """
        G = G[:, self.order]
        rows = np.flatnonzero(np.any(G != 0, axis=1))
        if not rows.size:
            return 0.0
        entry, fused = (np.broadcast_to(np.asarray(w, dtype=G.dtype), len(G)) for w in (self.entry, self.fused))
        sizes = np.sqrt(np.einsum("jt,jt->j", G, G))
        # Ω ≥ a‖·‖_1 + g‖·‖_2 ≥ (a + g)‖·‖_2, and Ω ≤ (√T a + 2 √T f + g)‖·‖_2
        root = np.sqrt(G.shape[1])
        high = float(np.max(sizes[rows] / (entry[rows] + self.group)))
        c = float(np.max(sizes[rows] / (root * (entry[rows] + 2 * fused[rows]) + self.group)))
        for _ in range(60):
            left = _shrink(G[rows], c, entry[rows], fused[rows], self.group)
            alive = np.any(left != 0, axis=1)
            if not alive.any():
                return c
            rows, left = rows[alive], left[alive]  # the others cannot decide the maximum
            norms = _row_norms(left, entry[rows], fused[rows], self.group)
            reached = float(np.max(np.einsum("jt,jt->j", G[rows], left) / norms))
            c = max(reached, c * (1 + _STEP))
        return high


def _row_norms(V: Array, entry: Any, fused: Any, group: float) -> Array:
    """Ω of every row (d,) in time order."""
    sizes = entry * np.abs(V).sum(axis=1) + fused * np.abs(np.diff(V, axis=1)).sum(axis=1)
    return np.asarray(sizes + group * np.sqrt(np.einsum("jt,jt->j", V, V)))


def _shrink(V: Array, step: float, entry: Any, fused: Any, group: float) -> Array:
    """The proximal map on rows in time order."""
    weight = np.broadcast_to(np.asarray(step * fused, dtype=V.dtype), len(V))
    if V.shape[1] > 1 and weight.any():
        scale = np.where(weight > 0, weight, 1)[:, None]
        smooth = scale * prox.total_variation_rows(V / scale, 1.0)
        V = np.where(weight[:, None] > 0, smooth, V)
    V = prox.shrink_entries(V, np.broadcast_to(np.asarray(step * entry, dtype=V.dtype), len(V))[:, None])
    return prox.shrink_rows(V, step * group) if group else V
