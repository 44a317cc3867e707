"""What cross-validation tunes beside α, how far its grids reach, and what it says of their ends."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV

from polytask.errors import ConfigError
from polytask.linear import ESTIMATORS, FAMILIES, get_estimator, plot_selection
from polytask.linear.core.newton import curvature
from polytask.linear.layout import read_table


def _unrelated(n=40, d=12, T=4, seed=0):
    """Tasks that share nothing, few noisy rows: a ridge per task is as good as it gets."""
    rng = np.random.default_rng(seed)
    draw = np.linalg.qr(rng.normal(size=(d, d)))[0][:, :T]

    def make(rows):
        X = rng.normal(size=(rows, d))
        return X, X @ draw + 1.5 * rng.normal(size=(rows, T))

    return make(n), make(2000)


def _curvature(model, X, Y):
    plain = get_estimator(type(model).__name__.removesuffix("CV"))()
    return curvature(plain._problem(plain._encode(read_table(plain, X, Y, None, None))))


@pytest.mark.parametrize("family", ["MeanRegularized", "JointFeature", "TraceNorm"])
def test_tasks_that_share_nothing_are_as_good_as_alone(family):
    (X, Y), (X_test, Y_test) = _unrelated()
    model = get_estimator(f"{family}RegressorCV")(alphas=10).fit(X, Y)
    alone = RidgeCV(np.logspace(-2, 4, 20), alpha_per_target=True).fit(X, Y)
    own = get_estimator(f"{family}RegressorCV")(alphas=10, ridge=get_estimator(f"{family}Regressor")().ridge).fit(X, Y)
    ours, theirs, small = (np.mean((m.predict(X_test) - Y_test) ** 2) for m in (model, alone, own))
    assert ours <= 1.03 * theirs
    assert ours <= 1.02 * small
    assert model.ridge_ in model.ridges_
    assert model.ridge_losses_.min() == model.ridge_losses_[model.ridges_ == model.ridge_]


def test_a_chosen_ridge_is_the_one_that_is_fitted():
    (X, Y), _ = _unrelated()
    model = get_estimator("MeanRegularizedRegressorCV")(alphas=[1e-9], tol=1e-10).fit(X, Y)
    # α → 0: a ridge regression per task, whose penalty counts the rows
    peer = Ridge(alpha=len(X) * model.ridge_).fit(X, Y)
    assert model.ridge_ > 1e-2
    assert model.coef_ == pytest.approx(peer.coef_, abs=1e-5)


def test_ridges_start_at_powers_of_the_curvature_and_go_on_while_their_end_wins():
    rng = np.random.default_rng(0)
    X, noise = rng.normal(size=(40, 12)), rng.normal(size=(40, 3))
    model = get_estimator("MeanRegularizedRegressorCV")(alphas=4).fit(X, noise)
    powers = np.log10(model.ridges_ / _curvature(model, X, noise))
    whole = np.isclose(powers, np.round(powers))
    assert whole.sum() == len(powers) - 1, "all but the family's own value"
    assert np.round(powers[whole]).max() >= 1, "noise asks for more and more"
    easy = X @ rng.normal(size=(12, 3))
    model = get_estimator("MeanRegularizedRegressorCV")(alphas=4).fit(X, easy)
    assert model.ridge_ <= 1e-5 * _curvature(model, X, easy), "no noise asks for less and less"


@pytest.mark.parametrize("family", ["MeanRegularized", "GraphRegularized", "TaskGroups", "Dependence", "JointFeature"])
def test_a_given_ridge_is_kept_and_values_are_chosen_from(family):
    (X, Y), _ = _unrelated(n=24, d=4, T=3)
    cls = get_estimator(f"{family}RegressorCV")
    kept = cls(alphas=[0.1], cv=2, ridge=0.3).fit(X, Y)
    assert not hasattr(kept, "ridges_")
    assert kept.coef_ == pytest.approx(get_estimator(f"{family}Regressor")(alpha=0.1, ridge=0.3).fit(X, Y).coef_)
    chosen = cls(alphas=[0.1], cv=2, ridge=[1e3, 0.3]).fit(X, Y)
    assert chosen.ridges_.tolist() == [0.3, 1e3]
    assert chosen.ridge_ == chosen.ridges_[np.argmin(chosen.ridge_losses_)]
    again = get_estimator(f"{family}Regressor")(alpha=0.1, ridge=chosen.ridge_).fit(X, Y)
    assert chosen.coef_ == pytest.approx(again.coef_)


@pytest.mark.parametrize("ridge", [[], [-1.0, 1.0], [[1.0]], [np.nan], [0.0, 1.0]])
def test_ridges_that_cannot_be_are_refused(ridge):
    (X, Y), _ = _unrelated(n=20, d=3, T=2)
    with pytest.raises(ConfigError, match="ridge"):
        get_estimator("MeanRegularizedRegressorCV")(alphas=2, ridge=ridge).fit(X, Y)
    with pytest.raises(ValueError, match="ridge"):
        get_estimator("MeanRegularizedRegressorCV")(ridge="some").fit(X, Y)


def test_every_family_with_a_ridge_tunes_it_or_says_why_not():
    own = {"GroupingOverlap", "SharedGroups"}  # α says it all
    for name in (name for names in FAMILIES.values() for name in names if name.endswith("CV")):
        plain = ESTIMATORS[name.removesuffix("CV")]().get_params().get("ridge")
        if plain is not None:
            found = ESTIMATORS[name]().get_params()["ridge"]
            assert found == (plain if any(name.startswith(family) for family in own) else "auto"), name


def test_the_grid_goes_on_while_its_end_wins_and_an_end_is_told():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 5))
    Y = X @ rng.normal(size=(5, 3)) + 1e-3 * rng.normal(size=(120, 3))
    cls = get_estimator("JointFeatureRegressorCV")
    model = cls(alphas=6, ridge=0.0).fit(X, Y)
    top = model.alpha_max(X, Y)
    assert model.alphas_[0] == pytest.approx(top)
    assert model.alpha_ < 1e-2 * top, "no noise asks for less than the first grid has"
    assert model.alphas_[-1] >= 0.99e-6 * top
    assert np.all(np.diff(model.alphas_) < 0)
    assert model.loss_path_.shape == (len(model.alphas_), 5)
    assert model.alpha_ == model.alphas_[np.argmin(model.loss_path_.mean(axis=1))]
    given = cls(alphas=[1.0, 0.5], ridge=0.0).fit(X, Y)
    assert given.alphas_.tolist() == [1.0, 0.5], "given values stay as they are"
    assert given.alpha_end_ == "smallest"
    assert plot_selection(given).get_title().endswith("the smallest of them")
    middle = cls(alphas=[10.0, 1e-2, 1e-9], ridge=0.0).fit(X, Y + rng.normal(size=(120, 3)))
    assert (middle.alpha_end_ == "") == (middle.alpha_ == 1e-2)


@pytest.mark.parametrize("best", [1e3, 1e-5, 1e-2, 1e9, 1e-12])
@pytest.mark.parametrize("name", ["MeanRegularizedRegressorCV", "JointFeatureRegressorCV"])
def test_the_grid_follows_the_minimum_as_far_as_it_may(name, best):
    def judge(alphas):
        asked.append(alphas.tolist())
        return np.stack([(np.log10(alphas / best)) ** 2 + 1] * 3, axis=1)

    asked, model = [], get_estimator(name)()
    grid = np.geomspace(10, 1e-3, 7)
    model._choose_alpha(grid, judge)
    # two extensions of two powers of ten; nothing lies beyond the alpha that makes all coefficients zero
    low, high = 1e-7, 1e5 if name.startswith("Mean") else 10.0
    assert abs(np.log10(model.alpha_ / np.clip(best, low, high))) < 0.4
    assert np.all(np.diff(model.alphas_) < 0)
    assert sorted(alpha for part in asked for alpha in part) == sorted(model.alphas_.tolist()), (
        "no alpha is judged twice"
    )
    assert model.loss_path_ == pytest.approx(judge(model.alphas_))
    assert model.alpha_end_ == ("largest" if best > high else "smallest" if best < low else "")


def test_an_end_that_wins_by_nothing_is_not_followed():
    model, flat = get_estimator("JointFeatureRegressorCV")(), []
    model._choose_alpha(np.geomspace(1, 1e-2, 7), lambda alphas: flat.append(1) or (1 + 1e-5 * alphas)[:, None])
    assert len(flat) == 1
    assert model.alpha_end_ == "smallest"


def test_paths_and_alpha_max_of_a_tuned_family_are_those_of_its_own_ridge():
    (X, Y), _ = _unrelated(n=20, d=3, T=2)
    tuned, plain = (get_estimator(name)() for name in ("TraceNormRegressorCV", "TraceNormRegressor"))
    assert tuned.alpha_max(X, Y) == plain.alpha_max(X, Y)
    again = get_estimator("MeanRegularizedRegressorCV")().path(X, Y, alphas=[1.0, 0.1])
    expected = get_estimator("MeanRegularizedRegressor")().path(X, Y, alphas=[1.0, 0.1])
    assert np.array_equal(again.coefs, expected.coefs)
