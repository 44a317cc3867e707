"""One figure per method: what it found about the tasks, in the title, and where to see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from polytask.linear.plots import feature_names, new_axes, plot_coefficients

__all__ = ["plot"]

Array = NDArray[Any]


def plot(estimator: Any, ax: Any = None) -> Any:
    """Draw what a fitted estimator found: groups, covariance, outlier tasks, transfer, directions or changes in time.

    The title states the finding. Methods whose structure is the coefficients themselves get their map.

    Args:
        estimator: Any fitted estimator of this package.
        ax: Axes; new ones by default.

    Returns:
        The axes.

    Examples:
        >>> import numpy as np
        >>> from polytask.linear import TaskRelationshipRegressor
        >>> X = np.random.default_rng(0).normal(size=(40, 3))
        >>> y = X @ np.ones(3)
        >>> plot(TaskRelationshipRegressor(0.1).fit(X, np.stack([y, -y], axis=1))).get_title()
        'strongest relation: 0 and 1, correlation -1.00'
    """
    check_is_fitted(estimator)
    ax = new_axes(ax)
    for attribute, draw in _FIGURES.items():
        if hasattr(estimator, attribute):
            draw(estimator, ax)
            return ax
    return plot_coefficients(estimator, ax)


# ---- what the figures are made of ----


def _coef(estimator: Any) -> Array:
    return np.atleast_2d(estimator.coef_)


def _tasks(estimator: Any) -> list[str]:
    return [str(label) for label in estimator.tasks_.tolist()]


def _map(ax: Any, values: Array, rows: list[str], columns: list[str], label: str, *, signed: bool = True) -> None:
    limit = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    colours = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit} if signed else {"cmap": "Blues", "vmin": 0}
    image = ax.imshow(values, aspect="auto", interpolation="nearest", **colours)
    ax.figure.colorbar(image, ax=ax, label=label)
    for names, axis in ((rows, ax.yaxis), (columns, ax.xaxis)):
        if len(names) <= 40:
            axis.set_ticks(np.arange(len(names)), names)
    if len(columns) <= 40 and max(map(len, columns), default=0) > 3:
        ax.tick_params(axis="x", rotation=90)


def _bars(ax: Any, parts: dict[str, Array], names: list[str], ylabel: str) -> None:
    base = np.zeros(len(names))
    for label, sizes in parts.items():
        ax.bar(np.arange(len(names)), sizes, bottom=base, label=label)
        base = base + np.nan_to_num(sizes)
    if len(names) <= 40:
        ax.set_xticks(np.arange(len(names)), names, rotation=90 if max(map(len, names), default=0) > 3 else 0)
    if len(parts) > 1:
        ax.legend(frameon=False)
    ax.set(xlabel="task", ylabel=ylabel)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _extremes(values: Array, names: list[str], form: str) -> str:
    low, high = int(np.nanargmin(values)), int(np.nanargmax(values))
    return f"from {values[low]:{form}} ({names[low]}) to {values[high]:{form}} ({names[high]})"


# ---- the methods' figures ----


def _relationship(estimator: Any, ax: Any) -> None:
    C, names = estimator.task_correlation_, _tasks(estimator)
    _map(ax, C, names, names, "correlation")
    title = "one task: nothing to relate"
    if len(C) > 1:
        s, t = np.unravel_index(np.argmax(np.abs(np.triu(C, 1))), C.shape)
        title = f"strongest relation: {names[s]} and {names[t]}, correlation {C[s, t]:.2f}"
    ax.set(title=title)


def _groups(estimator: Any, ax: Any) -> None:
    labels = np.asarray(estimator.task_groups_)
    order = np.argsort(labels, kind="stable")
    names = _tasks(estimator)
    _map(ax, _coef(estimator)[order], [names[t] for t in order], feature_names(estimator), "coefficient")
    for edge in np.flatnonzero(np.diff(labels[order])):
        ax.axhline(edge + 0.5, color="black", linewidth=1)
    sizes = sorted(np.unique(labels, return_counts=True)[1].tolist(), reverse=True)
    ax.set(
        xlabel="feature",
        ylabel="task, by group",
        title=f"{_count(len(sizes), 'group')} of tasks, sizes {', '.join(map(str, sizes))}",
    )


def _transfer(estimator: Any, ax: Any) -> None:
    B, names = estimator.transfer_, _tasks(estimator)
    _map(ax, B, names, names, "transfer", signed=False)
    s, t = np.unravel_index(np.argmax(B), B.shape)
    title = f"{names[s]} lends most, to {names[t]}: {B[s, t]:.2f}" if B[s, t] > 0 else "no task lends to another"
    ax.set(xlabel="borrower", ylabel="lender", title=title)


def _mixing(estimator: Any, ax: Any) -> None:
    A, names = estimator.mixing_, _tasks(estimator)
    _map(ax, A - np.diag(np.diag(A)), names, names, "share mixed in")
    inflow = np.abs(A).sum(axis=0) - np.abs(np.diag(A))
    t = int(np.argmax(inflow))
    ax.set(
        xlabel="refined task",
        ylabel="mixed in",
        title=f"{names[t]} takes most from the others: {inflow[t]:.2f} beside its own {A[t, t]:.2f}",
    )


def _outliers(estimator: Any, ax: Any) -> None:
    shared = estimator.coef_low_rank_ if hasattr(estimator, "coef_low_rank_") else estimator.coef_shared_
    parts = {"shared": np.linalg.norm(shared, axis=1), "own": np.linalg.norm(estimator.coef_outlier_, axis=1)}
    _bars(ax, parts, _tasks(estimator), "size of the coefficients")
    odd = [str(label) for label in np.asarray(estimator.outlier_tasks_).tolist()]
    named = f": {', '.join(odd[:4])}{' …' if len(odd) > 4 else ''}" if odd else ""
    every = len(odd) == len(shared)
    ax.set(title="every task has a part of its own" if every else f"{_count(len(odd), 'outlier task')}{named}")


def _parts(first: str, second: str, name: str, other: str) -> Callable[[Any, Any], None]:
    def draw(estimator: Any, ax: Any) -> None:
        sizes = {
            name: np.abs(np.atleast_2d(getattr(estimator, first))).sum(axis=1),
            other: np.abs(np.atleast_2d(getattr(estimator, second))).sum(axis=1),
        }
        _bars(ax, sizes, _tasks(estimator), "sum of the coefficients' sizes")
        total = sum(float(part.sum()) for part in sizes.values())
        share = float(sizes[name].sum()) / total if total > 0 else 0.0
        ax.set(title=f"{share:.0%} of the coefficients' size is {name}")

    return draw


def _directions(estimator: Any, ax: Any) -> None:
    loadings = estimator.task_loadings_
    k = loadings.shape[1]
    _map(ax, loadings, _tasks(estimator), [str(i + 1) for i in range(k)], "coordinate")
    sizes = np.sum(loadings**2, axis=0)
    share = f"; the first holds {sizes.max() / sizes.sum():.0%}" if k > 1 and sizes.sum() > 0 else ""
    count = f"{_count(loadings.shape[0], 'task')} in {_count(k, 'direction')}"
    ax.set(xlabel="direction", ylabel="task", title=count + share)


def _metric(estimator: Any, ax: Any) -> None:
    D, names = estimator.feature_covariance_, feature_names(estimator)
    _map(ax, D, names, names, "metric")
    j = int(np.argmax(np.diag(D)))
    ax.set(title=f"largest weight: feature {names[j]}, {D[j, j]:.0%} of the trace")


def _tensor(estimator: Any, ax: Any) -> None:
    sizes = np.linalg.norm(estimator.grid_coef_, axis=-1)
    flat = sizes.reshape(sizes.shape[0], -1)
    names = [[str(value) for value in values] for values in estimator._grid_.names]
    columns = [str(i) for i in range(flat.shape[1])] if sizes.ndim != 2 else names[1]
    _map(ax, flat, names[0], columns, "size of the coefficients", signed=False)
    empty = sizes.size - len(estimator.task_indices_)
    grid = " × ".join(map(str, sizes.shape))
    rest = f"; {_count(empty, 'empty cell')} (×) completed" if empty else ""
    seen = np.zeros(sizes.shape, dtype=bool)
    seen[tuple(estimator.task_indices_.T)] = True
    rows, places = np.nonzero(~seen.reshape(flat.shape))
    ax.plot(places, rows, "x", color="black", linestyle="none")
    ax.set(
        xlabel="second index" if sizes.ndim == 2 else "other indices", ylabel="first index", title=f"{grid} tasks{rest}"
    )


def _progression(estimator: Any, ax: Any) -> None:
    from polytask.linear.core.fused import order_of_tasks

    order = order_of_tasks(estimator.order, estimator.tasks_)
    coef, names, tasks = _coef(estimator)[order], feature_names(estimator), _tasks(estimator)
    used = np.flatnonzero(np.any(coef != 0, axis=0))
    for j in used[np.argsort(-np.abs(coef[:, used]).max(axis=0, initial=0.0), kind="stable")][:12]:
        ax.plot(np.arange(len(order)), coef[:, j], marker="o", markersize=3, label=names[j])
    if used.size:
        ax.legend(frameon=False, fontsize="small")
    spread = 1e-6 * max(float(np.abs(coef).max(initial=0.0)), 1e-300)
    moving = int(np.sum(np.ptp(coef[:, used], axis=0) > spread))
    ax.set_xticks(np.arange(len(order)), [tasks[t] for t in order])
    ax.set(
        xlabel="task, in order",
        ylabel="coefficient",
        title=f"{len(used)} of {coef.shape[1]} features in use, {moving} of them change",
    )


def _noise(estimator: Any, ax: Any) -> None:
    _bars(ax, {"noise": estimator.noise_}, _tasks(estimator), "root mean squared residual")
    ax.set(title="noise " + _extremes(estimator.noise_, _tasks(estimator), ".2g"))


def _expected_error(estimator: Any, ax: Any) -> None:
    error, names = estimator.expected_error_, _tasks(estimator)
    _bars(ax, {"error": error}, names, "expected error")
    known = not np.isnan(error).all()
    ax.set(title="expected error " + _extremes(error, names, ".0%") if known else "no task can be separated")


def _patterns(estimator: Any, ax: Any) -> None:
    have = np.zeros(_coef(estimator).shape, dtype=bool)
    for s, columns in enumerate(estimator.sources_):
        have[:, columns] = estimator.patterns_[:, [s]]
    names = [f"sources {label}" for label in estimator.tasks_.tolist()]
    _map(ax, np.where(have, _coef(estimator), np.nan), names, feature_names(estimator), "coefficient")
    ax.set_facecolor("0.85")
    title = f"{_count(len(have), 'pattern')} of {_count(len(estimator.sources_), 'source')}"
    ax.set(xlabel="feature (grey: missing)", title=f"{title}, {len(estimator.selected_)} features in use")


def _support(estimator: Any, ax: Any) -> None:
    sizes = np.linalg.norm(np.atleast_2d(estimator.debiased_coef_), axis=0)
    kept = np.isin(np.arange(len(sizes)), estimator.support_)
    _bars(ax, {"kept": np.where(kept, sizes, 0), "left out": np.where(kept, 0, sizes)}, feature_names(estimator), "")
    ax.set(xlabel="feature", ylabel="size of debiased coefficients", title=f"{kept.sum()} of {len(kept)} features kept")


def _capped(estimator: Any, ax: Any) -> None:
    order = 1 if estimator.norm == "l1" else 2
    sizes = np.linalg.norm(_coef(estimator), ord=order, axis=0)
    _bars(ax, {"size": sizes}, feature_names(estimator), "size of a feature's coefficients")
    ax.axhline(estimator.cap_, linestyle="--", linewidth=1, color="black")
    ax.set(xlabel="feature", title=f"{len(estimator.free_)} of {len(sizes)} features beyond the cap, not shrunk")


def _distances(estimator: Any, ax: Any) -> None:
    coef, names = _coef(estimator), _tasks(estimator)
    gaps = np.linalg.norm(coef[:, None] - coef[None], axis=-1)
    _map(ax, gaps, names, names, "distance of the coefficients", signed=False)
    title = "one task: nothing to compare"
    if len(coef) > 1:
        upper = np.where(np.triu(np.ones_like(gaps), 1) > 0, gaps, np.nan)
        near, far = (np.unravel_index(pick(upper), gaps.shape) for pick in (np.nanargmin, np.nanargmax))
        title = f"closest: {names[near[0]]} and {names[near[1]]}; farthest: {names[far[0]]} and {names[far[1]]}"
    ax.set(title=title)


def _from_mean(estimator: Any, ax: Any) -> None:
    away = np.linalg.norm(_coef(estimator) - estimator.mean_coef_, axis=1)
    _bars(ax, {"distance": away}, _tasks(estimator), "distance from the mean task")
    size = float(np.linalg.norm(estimator.mean_coef_))
    ax.axhline(size, linestyle="--", linewidth=1, color="black")
    t = int(np.argmax(away))
    share = f"{away[t] / size:.0%} of its size away" if size > 0 else f"{away[t]:.2g} away"
    ax.set(title=f"farthest from the mean task: {_tasks(estimator)[t]}, {share}")


def _combinations(estimator: Any, ax: Any) -> None:
    seen = np.atleast_2d(estimator.combinations_)
    if seen.shape[1] == 1:
        ax.set(title=f"one task with {len(seen)} classes: nothing to combine")
        return
    _map(ax, seen.T.astype(float), _tasks(estimator), [str(i) for i in range(len(seen))], "label", signed=False)
    title = f"{len(seen)} of {2 ** seen.shape[1]} possible combinations seen"
    ax.set(xlabel="combination", ylabel="task", title=title)


def _chain(estimator: Any, ax: Any) -> None:
    names, T = _tasks(estimator), estimator.orders_.shape[1]
    use = np.zeros((len(estimator.orders_), T, T))
    for k, (order, links) in enumerate(zip(estimator.orders_, estimator.estimators_, strict=True)):
        for place, link in enumerate(links):
            coef = np.atleast_2d(getattr(link, "coef_", np.zeros((1, place))))
            if place:
                use[k, order[:place], order[place]] = coef[0, -place:]
    mean = use.mean(axis=0)
    _map(ax, mean, names, names, "coefficient of the earlier task")
    s, t = np.unravel_index(np.argmax(np.abs(mean)), mean.shape)
    strongest = f"{names[t]} leans most on {names[s]}: {mean[s, t]:.2g}" if mean.any() else "no link uses another task"
    ax.set(xlabel="task", ylabel="earlier task", title=strongest)


#: fitted attribute: its figure; the first that an estimator has is drawn
_FIGURES: dict[str, Callable[[Any, Any], None]] = {
    "orders_": _chain,
    "combinations_": _combinations,
    "transfer_": _transfer,
    "mixing_": _mixing,
    "task_correlation_": _relationship,
    "task_groups_": _groups,
    "outlier_tasks_": _outliers,
    "coef_specific_": _parts("coef_shared_", "coef_specific_", "shared", "specific"),
    "coef_sparse_": _parts("coef_low_rank_", "coef_sparse_", "low rank", "sparse"),
    "grid_coef_": _tensor,
    "order": _progression,
    "noise_": _noise,
    "expected_error_": _expected_error,
    "patterns_": _patterns,
    "debiased_coef_": _support,
    "cap_": _capped,
    "task_loadings_": _directions,
    "feature_covariance_": _metric,
    "graph": _distances,
    "mean_coef_": _from_mean,
}
