import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from polytask.errors import ConfigError
from polytask.linear import get_estimator, plot_coefficients, plot_path, plot_selection

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
