import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from polytask.errors import ConfigError
from polytask.linear import ESTIMATORS, get_estimator, plot, plot_coefficients, plot_path, plot_selection

from .draws import regression


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_the_map_shows_tasks_and_features_by_name():
    X, Y, _ = regression(d=12)
    names = [f"f{j}" for j in range(12)]
    model = get_estimator("JointFeatureRegressor")(alpha=0.5).fit(pd.DataFrame(X, columns=names), Y)
    ax = plot_coefficients(model, most=5)
    assert ax.images[0].get_array().shape == (4, 5)
    assert {"f0", "f1", "f2"} <= {label.get_text() for label in ax.get_xticklabels()}
    assert ax.get_title() == f"{len(model.selected_)} of 12 features in use, the 5 largest shown"
    assert len(plot_coefficients(get_estimator("JointFeatureRegressor")().fit(X, Y[:, 0])).images) == 1


def test_the_path_has_one_line_per_feature_and_starts_at_zero():
    X, Y, _ = regression()
    ax = plot_path(get_estimator("JointFeatureRegressor")().path(X, Y, alphas=6))
    assert len(ax.lines) == 12
    assert all(line.get_ydata()[0] == pytest.approx(0, abs=1e-9) for line in ax.lines)
    assert ax.xaxis_inverted()


def test_the_selection_marks_the_chosen_alpha():
    X, Y, _ = regression()
    model = get_estimator("TraceNormRegressorCV")(alphas=5, cv=3).fit(X, Y)
    ax = plot_selection(model)
    assert np.allclose(ax.lines[0].get_ydata(), model.loss_path_.mean(axis=1))
    assert ax.lines[1].get_xdata()[0] == model.alpha_
    with pytest.raises(ConfigError, match="end in CV"):
        plot_selection(get_estimator("TraceNormRegressor")().fit(X, Y))


def _fitted(name, X, Y, **options):
    estimator = get_estimator(name)(**options)
    if name.startswith("IncompleteSources"):
        X, Y = X.copy(), Y[:, 0]
        X[:15, 5:] = np.nan
    if "Classifier" in name or "Powerset" in name:
        Y = (np.median(Y, axis=0) < Y).astype(int)
    return estimator.fit(X, Y)


#: one word of the finding that the figure of a family states
FINDINGS = {
    "asymmetric": "lend",
    "calibrated": "noise from",
    "capped": "beyond the cap",
    "chains": "leans most on",
    "clustered": "group",
    "convex_aso": "direction",
    "debiased": "features kept",
    "dependence": "takes most from",
    "dirichlet_tasks": "group",
    "dirty": "is shared",
    "feature_learning": "largest weight",
    "fused_sparse_group": "change",
    "graph_regularized": "closest",
    "grouping_overlap": "direction",
    "incomplete_sources": "2 patterns of 2 sources",
    "joint_feature": "features in use",
    "label_optimal": "expected error from",
    "mean_regularized": "farthest from the mean task",
    "nonconvex_fused": "change",
    "powerset": "combinations seen",
    "robust": " task",
    "robust_feature": " task",
    "shared_groups": "group",
    "sparse_low_rank": "is low rank",
    "task_groups": "group",
    "task_lasso": "features in use",
    "task_relationship": "strongest relation",
    "temporal_group": "change",
    "tensor_tasks": "4 tasks",
    "trace_norm": "direction",
}


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if not name.endswith("CV")])
def test_every_estimator_has_a_figure_that_states_its_finding(name):
    X, Y, _ = regression()
    ax = plot(_fitted(name, X, Y))
    assert FINDINGS[ESTIMATORS[name].__module__.rpartition(".")[2]] in ax.get_title()
    assert ax.images or ax.lines or ax.patches
    ax.figure.canvas.draw()


def test_figures_of_one_task():
    X, Y, _ = regression()
    for name in ("TaskRelationshipRegressor", "GraphRegularizedRegressor", "AsymmetricRegressor", "TraceNormRegressor"):
        assert plot(get_estimator(name)().fit(X, Y[:, 0])).get_title()
    assert plot(get_estimator("LabelPowerset")().fit(X, Y[:, 0] > 0)).get_title() == (
        "one task with 2 classes: nothing to combine"
    )


def test_titles_name_what_was_planted():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 6))
    y = X @ rng.normal(size=6)
    Y = pd.DataFrame({"a": y, "b": -y + 0.1 * rng.normal(size=80), "c": X @ rng.normal(size=6)})
    related = plot(get_estimator("TaskRelationshipRegressor")(0.1).fit(X, Y))
    assert related.get_title() == "strongest relation: a and b, correlation -1.00"
    groups = plot(get_estimator("ClusteredTasksRegressor")(0.01).fit(X, Y[["a", "b"]].assign(d=y + 0.1, e=y)))
    assert groups.get_title() == "2 groups of tasks, sizes 3, 1"
    assert [tick.get_text() for tick in groups.get_yticklabels()].index("b") in (0, 3)
    noisy = Y.assign(b=Y["b"] + 9 * rng.normal(size=80))
    assert "(b)" in plot(get_estimator("CalibratedRegressor")(0.05).fit(X, noisy)).get_title()
    odd = pd.DataFrame({name: y * k for name, k in zip("pqrs", (1, 1.1, -1, 0.9), strict=True)})
    odd["z"] = 3 * X @ rng.normal(size=6)
    model = get_estimator("RobustLowRankRegressor")(1.0).fit(X, odd + 0.1 * rng.normal(size=(80, 5)))
    assert plot(model).get_title() == "1 outlier task: z"
    holes = get_estimator("TensorTasksRegressor")(0.1).fit(X, Y.set_axis(["u|x", "u|y", "v|x"], axis=1))
    assert plot(holes).get_title() == "2 × 2 tasks; 1 empty cell (×) completed"
