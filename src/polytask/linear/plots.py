"""Figures of fitted estimators; every function draws on given or new axes and returns them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from polytask.errors import ConfigError
from polytask.linear.alpha import fold_means
from polytask.linear.penalised import PathResult

__all__ = ["feature_names", "new_axes", "plot_coefficients", "plot_path", "plot_selection"]


def new_axes(ax: Any) -> Any:
    """The axes given, or new ones."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots()[1]


def feature_names(estimator: Any) -> list[str]:
    """Names of the columns of ``coef_``: those of the frame of the fit without the task column, or numbers."""
    width = np.atleast_2d(estimator.coef_).shape[1]
    names = [str(n) for n in getattr(estimator, "feature_names_in_", []) if n != getattr(estimator, "task_col", None)]
    return names if len(names) == width else [str(j) for j in range(width)]


def plot_coefficients(estimator: Any, ax: Any = None, *, most: int = 40) -> Any:
    """Coefficients as a map, tasks by features: shared features are columns, related tasks are similar rows.

    Args:
        estimator: Fitted estimator with ``coef_``.
        ax: Axes; new ones by default.
        most: Number of features shown, those with the largest coefficients first.

    Returns:
        The axes.

    Examples:
        >>> import numpy as np
        >>> from polytask.linear import JointFeatureRegressor
        >>> model = JointFeatureRegressor(0.1).fit(np.eye(4), np.eye(4)[:, :2])
        >>> plot_coefficients(model).get_ylabel()
        'task'
    """
    check_is_fitted(estimator, "coef_")
    ax = new_axes(ax)
    coef = np.atleast_2d(estimator.coef_)
    order = np.argsort(-np.linalg.norm(coef, axis=0), kind="stable")[:most]
    order = np.sort(order)
    limit = float(np.abs(coef).max(initial=0.0)) or 1.0
    image = ax.imshow(coef[:, order], cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    ax.figure.colorbar(image, ax=ax, label="coefficient")
    names = feature_names(estimator)
    labels = [names[j] for j in order]
    ax.set_xticks(np.arange(len(order)), labels, rotation=90)
    if len(estimator.tasks_) <= most:
        ax.set_yticks(np.arange(len(estimator.tasks_)), estimator.tasks_)
    used = int(np.any(coef != 0, axis=0).sum())
    shown = "" if len(order) == coef.shape[1] else f", the {len(order)} largest shown"
    ax.set(xlabel="feature", ylabel="task", title=f"{used} of {coef.shape[1]} features in use{shown}")
    return ax


def plot_path(path: PathResult, ax: Any = None) -> Any:
    """Size ‖W_j‖_2 of every feature's coefficients along the path.

    Args:
        path: Result of ``estimator.path``.
        ax: Axes; new ones by default.

    Returns:
        The axes.

    Examples:
        >>> import numpy as np
        >>> from polytask.linear import JointFeatureRegressor
        >>> path = JointFeatureRegressor().path(np.eye(4), np.eye(4)[:, :2], alphas=5)
        >>> len(plot_path(path).lines)
        4
    """
    ax = new_axes(ax)
    ax.plot(path.alphas, np.linalg.norm(path.coefs, axis=1), linewidth=1)
    ax.set_xscale("log")
    ax.invert_xaxis()
    final = int(np.any(path.coefs[-1] != 0, axis=0).sum())
    ax.set(xlabel="alpha", ylabel="size of a feature's coefficients", title=f"{final} features enter along the path")
    return ax


def plot_selection(estimator: Any, ax: Any = None) -> Any:
    """Loss on the rows left out for every α, with one standard error over the folds.

    Args:
        estimator: Fitted cross-validated estimator.
        ax: Axes; new ones by default.

    Returns:
        The axes.

    Raises:
        ConfigError: The estimator was not cross-validated.

    Examples:
        >>> import numpy as np
        >>> from polytask.linear import JointFeatureRegressorCV
        >>> X = np.random.default_rng(0).normal(size=(20, 3))
        >>> plot_selection(JointFeatureRegressorCV(alphas=4, cv=2).fit(X, X[:, :2])).get_xlabel()
        'alpha'
    """
    if not hasattr(estimator, "loss_path_"):
        raise ConfigError(f"{type(estimator).__name__} has no loss_path_: fit one of the estimators that end in CV")
    ax = new_axes(ax)
    losses = estimator.loss_path_
    mean, error = fold_means(losses)
    ax.plot(estimator.alphas_, mean)
    ax.fill_between(estimator.alphas_, mean - error, mean + error, alpha=0.25, linewidth=0)
    ax.axvline(estimator.alpha_, linestyle="--", linewidth=1)
    ax.set_xscale("log")
    end = f", the {estimator.alpha_end_} of them" if estimator.alpha_end_ else ""
    ax.set(
        xlabel="alpha",
        ylabel="loss on the rows left out",
        title=f"alpha = {estimator.alpha_:.3g} chosen by {losses.shape[1]} folds{end}",
    )
    return ax
