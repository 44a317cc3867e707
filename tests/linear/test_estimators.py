"""The estimators against independent solutions, limits, and planted structure."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    MultiTaskElasticNet,
    MultiTaskLasso,
    MultiTaskLassoCV,
    Ridge,
)
from sklearn.model_selection import KFold

from polytask.errors import ConfigError, TaskError
from polytask.linear import (  # type: ignore[attr-defined]
    ESTIMATORS,
    DirtyModelRegressor,
    GraphRegularizedRegressor,
    JointFeatureClassifier,
    JointFeatureRegressor,
    JointFeatureRegressorCV,
    MeanRegularizedClassifier,
    MeanRegularizedRegressor,
    SparseLowRankRegressor,
    TaskLassoClassifier,
    TaskLassoRegressor,
    TraceNormRegressor,
    TraceNormRegressorCV,
    get_estimator,
)

from .draws import regression

#: incomplete sources make their tasks themselves, chains have no alpha
PLAIN = [name for name in ESTIMATORS if not name.startswith(("IncompleteSources", "TaskChain"))]
REGRESSORS = [name for name in PLAIN if name.endswith("Regressor")]
CLASSIFIERS = [name for name in PLAIN if name.endswith("Classifier")]


def _norm(name):
    """Whether the estimator's penalty is α times a norm."""
    return getattr(get_estimator(name), "_alpha_scales_norm", False)


TIGHT = {"tol": 1e-10, "max_iter": 200_000}


def _long(n=90, d=5, T=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    task = rng.choice(["north", "south", "west"][:T], size=n)
    W = {name: rng.normal(size=d) for name in ["north", "south", "west"]}
    y = np.array([x @ W[t] for x, t in zip(X, task, strict=True)]) + 0.3 * rng.normal(size=n)
    return X, y, task


# ---- equal to scikit-learn, or to a closed form ----


@pytest.mark.parametrize("shape", [(40, 12), (30, 60), (30, 200)])
@pytest.mark.parametrize("share", [0.6, 0.05])
def test_joint_feature_is_multi_task_lasso(shape, share):
    n, d = shape
    X, Y, _ = regression(n=n, d=d, active=3)
    model = JointFeatureRegressor(**TIGHT)
    alpha = share * model.alpha_max(X, Y)
    model.set_params(alpha=alpha).fit(X, Y)
    peer = MultiTaskLasso(alpha=alpha, tol=1e-12, max_iter=100_000).fit(X, Y)
    assert model.coef_ == pytest.approx(peer.coef_, abs=1e-4)
    assert model.intercept_ == pytest.approx(peer.intercept_, abs=1e-4)


def test_joint_feature_with_ridge_is_multi_task_elastic_net():
    X, Y, _ = regression(n=30, d=50)
    model = JointFeatureRegressor(alpha=0.3, ridge=0.2, **TIGHT).fit(X, Y)
    peer = MultiTaskElasticNet(alpha=0.5, l1_ratio=0.6, tol=1e-12, max_iter=100_000).fit(X, Y)
    assert model.coef_ == pytest.approx(peer.coef_, abs=1e-5)


def test_coordinate_descent_takes_over_when_many_features_are_active(monkeypatch):
    from polytask.linear.families import joint_feature

    calls = []
    original = joint_feature._coordinate_descent
    monkeypatch.setattr(joint_feature, "_coordinate_descent", lambda *a, **k: calls.append(1) or original(*a, **k))
    X, Y, _ = regression(n=30, d=200, active=50, noise=2.0)
    model = JointFeatureRegressor(tol=1e-8)
    model.set_params(alpha=0.02 * model.alpha_max(X, Y)).fit(X, Y)
    assert calls == [1]
    assert model.dual_gap_ <= 1e-8 * model.objective_


def test_lasso_per_task_is_lasso_and_elastic_net():
    X, y, task = _long()
    model = TaskLassoRegressor(alpha=0.1, task_weight="equal", **TIGHT).fit(X, y, task=task)
    net = TaskLassoRegressor(alpha=0.1, ridge=0.3, task_weight="equal", **TIGHT).fit(X, y, task=task)
    for row, name in enumerate(model.tasks_):
        mine = task == name
        peer = Lasso(alpha=0.1, tol=1e-12, max_iter=100_000).fit(X[mine], y[mine])
        assert model.coef_[row] == pytest.approx(peer.coef_, abs=1e-6)
        assert model.intercept_[row] == pytest.approx(peer.intercept_, abs=1e-6)
        peer = ElasticNet(alpha=0.4, l1_ratio=0.25, tol=1e-12, max_iter=100_000).fit(X[mine], y[mine])
        assert net.coef_[row] == pytest.approx(peer.coef_, abs=1e-6)


def test_l1_logistic_regression_per_task():
    X, y, task = _long()
    labels = np.where(y > 0.3, "yes", "no")
    model = TaskLassoClassifier(alpha=0.02, task_weight="equal", **TIGHT).fit(X, labels, task=task)
    for row, name in enumerate(model.tasks_):
        mine = task == name
        peer = LogisticRegression(
            C=1 / (0.02 * mine.sum()), l1_ratio=1.0, solver="saga", tol=1e-10, max_iter=200_000, random_state=0
        ).fit(X[mine], labels[mine])
        assert model.coef_[row] == pytest.approx(peer.coef_[0], abs=1e-3)
        assert model.intercept_[row] == pytest.approx(peer.intercept_[0], abs=1e-3)
    assert list(model.classes_) == ["no", "yes"]


def test_trace_norm_with_orthonormal_inputs_shrinks_singular_values():
    rng = np.random.default_rng(0)
    X = np.linalg.qr(rng.normal(size=(40, 8)))[0] * np.sqrt(40)
    Y = rng.normal(size=(40, 5))
    U, s, Vt = np.linalg.svd(X.T @ Y / 40, full_matrices=False)
    alpha = float(s[2])
    model = TraceNormRegressor(alpha=alpha, fit_intercept=False, **TIGHT).fit(X, Y)
    assert pytest.approx(U @ np.diag(np.maximum(s - alpha, 0)) @ Vt, abs=1e-6) == model.coef_.T
    assert model.rank_ == 2


def test_trace_norm_of_one_task_is_one_group():
    X, Y, _ = regression()
    model = TraceNormRegressor(alpha=0.5, **TIGHT).fit(X, Y[:, 0])
    # optimality of α‖w‖_2: gradient = −α w/‖w‖
    residual = Y[:, 0] - model.predict(X)
    pull = (X - X.mean(axis=0)).T @ residual / len(X)
    assert pull == pytest.approx(0.5 * model.coef_ / np.linalg.norm(model.coef_), abs=1e-4)


def test_mean_regularised_tasks_in_closed_form():
    X, y, task = _long()
    alpha, ridge = 0.7, 0.1
    model = MeanRegularizedRegressor(alpha=alpha, ridge=ridge, fit_intercept=False, **TIGHT).fit(X, y, task=task)
    n = len(y) / 3
    A, q = [], []
    for name in model.tasks_:
        Z, z = X[task == name], y[task == name]
        A.append(np.linalg.inv(Z.T @ Z / n + (alpha + ridge) * np.eye(5)))
        q.append(Z.T @ z / n)
    mean = np.linalg.solve(
        np.eye(5) - alpha * np.mean(A, axis=0), np.mean([a @ b for a, b in zip(A, q, strict=True)], axis=0)
    )
    expected = np.stack([a @ (b + alpha * mean) for a, b in zip(A, q, strict=True)])
    assert model.coef_ == pytest.approx(expected, abs=1e-5)
    assert model.mean_coef_ == pytest.approx(mean, abs=1e-5)


def test_graph_regularised_tasks_solve_their_linear_system():
    X, y, task = _long()
    edges = [("north", "south", 2.0), ("south", "west")]
    model = GraphRegularizedRegressor(alpha=0.5, ridge=0.05, graph=edges, fit_intercept=False, **TIGHT)
    model.fit(X, y, task=task)
    lap = np.array([[2.0, -2.0, 0.0], [-2.0, 3.0, -1.0], [0.0, -1.0, 1.0]])
    n = len(y) / 3
    system = np.kron(0.5 * lap + 0.05 * np.eye(3), np.eye(5))
    rhs = np.zeros(15)
    for t, name in enumerate(model.tasks_):
        Z, z = X[task == name], y[task == name]
        system[5 * t : 5 * t + 5, 5 * t : 5 * t + 5] += Z.T @ Z / n
        rhs[5 * t : 5 * t + 5] = Z.T @ z / n
    assert model.coef_.ravel() == pytest.approx(np.linalg.solve(system, rhs), abs=1e-5)


def test_complete_graph_is_mean_regularisation():
    X, y, task = _long()
    mean = MeanRegularizedRegressor(alpha=0.8, **TIGHT).fit(X, y, task=task)
    graph = GraphRegularizedRegressor(alpha=0.8, **TIGHT).fit(X, y, task=task)
    assert graph.coef_ == pytest.approx(mean.coef_, abs=1e-6)
    plain = GraphRegularizedRegressor(alpha=0.8, l1=1e-9, **TIGHT).fit(X, y, task=task)
    assert plain.coef_ == pytest.approx(mean.coef_, abs=1e-4)


# ---- limits ----


@pytest.mark.parametrize("name", [name for name in REGRESSORS if _norm(name)])
def test_a_vanishing_penalty_leaves_least_squares_per_task(name):
    if not get_estimator(name)(alpha=1.0)._penalty(1.0, _problem()).homogeneous:
        pytest.skip("mean and graph: their ridge stays")
    X, y, task = _long()
    model = get_estimator(name)(alpha=1e-3, tol=1e-5, max_iter=200_000).fit(X, y, task=task)
    for row, label in enumerate(model.tasks_):
        peer = LinearRegression().fit(X[task == label], y[task == label])
        assert model.coef_[row] == pytest.approx(peer.coef_, abs=2e-2)


def _problem():
    X, Y, _ = regression()
    return JointFeatureRegressor()._problem(JointFeatureRegressor()._encode(_table(X, Y)))


def _table(X, Y):
    from polytask.linear.layout import read_table

    return read_table(JointFeatureRegressor(), X, Y, None, None)


@pytest.mark.parametrize("name", [name for name in REGRESSORS + CLASSIFIERS if _norm(name)])
def test_nothing_is_left_beyond_alpha_max(name):
    X, y, task = _long()
    y = y if name in REGRESSORS else (y > 0.2).astype(int)
    model = get_estimator(name)(tol=1e-8)
    top = model.alpha_max(X, y, task=task)
    model.set_params(alpha=1.0001 * top).fit(X, y, task=task)
    assert not model.coef_.any()
    for row, label in enumerate(model.tasks_):  # and the intercepts are the tasks' own
        mean = y[task == label].mean()
        expected = mean if name in REGRESSORS else np.log(mean / (1 - mean))
        assert model.intercept_[row] == pytest.approx(expected, abs=1e-6)
    assert model.set_params(alpha=0.99 * top).fit(X, y, task=task).coef_.any()


@pytest.mark.parametrize("name", ["MeanRegularizedRegressor", "GraphRegularizedRegressor"])
def test_strong_coupling_pools_the_tasks_and_no_coupling_separates_them(name):
    X, y, task = _long()
    options = {"ridge": 0.2, "fit_intercept": False, "tol": 1e-8}
    together = get_estimator(name)(alpha=1e7, **options).fit(X, y, task=task)
    pooled = Ridge(alpha=0.2 * len(y), fit_intercept=False).fit(X, y)
    assert together.coef_ == pytest.approx(np.tile(pooled.coef_, (3, 1)), abs=1e-4)
    apart = get_estimator(name)(alpha=1e-9, **options).fit(X, y, task=task)
    for row, label in enumerate(apart.tasks_):
        mine = task == label
        alone = Ridge(alpha=0.2 * len(y) / 3, fit_intercept=False).fit(X[mine], y[mine])
        assert apart.coef_[row] == pytest.approx(alone.coef_, abs=1e-4)


def test_dirty_model_between_its_two_ends():
    X, Y, _ = regression()
    only_shared = DirtyModelRegressor(alpha=0.4, specific=1.0, **TIGHT).fit(X, Y)
    assert not only_shared.coef_specific_.any()
    group = JointFeatureRegressor(alpha=0.4, norm="linf", **TIGHT).fit(X, Y)
    assert only_shared.coef_ == pytest.approx(group.coef_, abs=1e-5)
    only_specific = DirtyModelRegressor(alpha=0.4, specific=1 / 4, **TIGHT).fit(X, Y)
    assert not only_specific.coef_shared_.any()
    assert only_specific.coef_ == pytest.approx(TaskLassoRegressor(alpha=0.1, **TIGHT).fit(X, Y).coef_, abs=1e-5)
    both = DirtyModelRegressor(alpha=0.4, **TIGHT).fit(X, Y)
    assert both.coef_shared_ + both.coef_specific_ == pytest.approx(both.coef_)


def test_sparse_plus_low_rank_between_its_two_ends():
    X, Y, _ = regression()
    low = SparseLowRankRegressor(alpha=0.4, sparse=1.0, **TIGHT).fit(X, Y)
    assert low.coef_ == pytest.approx(TraceNormRegressor(alpha=0.4, **TIGHT).fit(X, Y).coef_, abs=1e-4)
    thin = SparseLowRankRegressor(alpha=0.4, sparse=1 / np.sqrt(48), **TIGHT).fit(X, Y)
    assert thin.coef_ == pytest.approx(TaskLassoRegressor(alpha=0.4 / np.sqrt(48), **TIGHT).fit(X, Y).coef_, abs=1e-4)


# ---- planted structure ----


def test_planted_features_are_selected():
    X, Y, _ = regression(n=80, d=40, T=6, active=5, noise=0.5)
    model = JointFeatureRegressorCV(alphas=15, rule="1se").fit(X, Y)
    assert model.selected_[:5].tolist() == [0, 1, 2, 3, 4]
    assert len(model.selected_) <= 20


def test_planted_rank_is_found():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 15))
    W = rng.normal(size=(15, 2)) @ rng.normal(size=(2, 10))
    model = TraceNormRegressor(alpha=0.4).fit(X, X @ W + 0.3 * rng.normal(size=(150, 10)))
    assert model.rank_ == 2
    angle = np.linalg.svd(model.components_ @ np.linalg.qr(W)[0][:, :2], compute_uv=False)
    assert angle.min() > 0.99


def test_sharing_helps_when_tasks_share():
    rng = np.random.default_rng(0)
    T, d = 20, 15
    basis = rng.normal(size=(d, 2))
    W = basis @ rng.normal(size=(2, T))
    train, test = (rng.normal(size=(T * n, d)) for n in (12, 50))
    label, label_test = np.repeat(np.arange(T), 12), np.repeat(np.arange(T), 50)

    def draw(X, task):
        return np.einsum("ij,ji->i", X, W[:, task]) + rng.normal(size=len(X))

    y, y_test = draw(train, label), draw(test, label_test)
    shared = TraceNormRegressorCV(alphas=6, cv=2, tol=1e-3).fit(train, y, task=label)
    alone = get_estimator("TaskLassoRegressorCV")(alphas=6, cv=2, tol=1e-3).fit(train, y, task=label)
    assert shared.score(test, y_test, task=label_test) > alone.score(test, y_test, task=label_test) + 0.05


# ---- missing labels, unbalanced tasks, unseen tasks ----


@pytest.mark.parametrize("name", REGRESSORS)
def test_missing_targets_are_left_out(name):
    X, Y, _ = regression(n=50)
    Y[np.random.default_rng(0).random(Y.shape) < 0.4] = np.nan
    wide = get_estimator(name)(alpha=0.2, tol=1e-7, max_iter=200_000).fit(X, Y)
    from polytask.linear import to_long

    inputs, y, task = to_long(X, Y)
    long = get_estimator(name)(alpha=0.2, tol=1e-7, max_iter=200_000).fit(inputs, y, task=task)
    assert wide.coef_ == pytest.approx(long.coef_, abs=1e-3)
    assert wide.intercept_ == pytest.approx(long.intercept_, abs=1e-3)
    assert wide.predict(X).shape == Y.shape
    assert np.isfinite(wide.score(X, Y))


def test_a_task_without_any_target_is_named():
    X, Y, _ = regression()
    Y[:, 2] = np.nan
    with pytest.raises(TaskError, match="2"):
        JointFeatureRegressor().fit(X, Y)


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_task_with_one_row(name):
    X, y, task = _long()
    task = task.astype(object)
    task[0] = "alone"
    model = get_estimator(name)(alpha=0.3).fit(X, y, task=task)
    assert model.predict(X[:1], task=["alone"])[0] == pytest.approx(y[0], abs=1e-6)  # its intercept fits it


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_task_with_one_class(name):
    X, y, task = _long()
    labels = (y > 0).astype(int)
    labels[task == "west"] = 1
    model = get_estimator(name)(alpha=0.05).fit(X, labels, task=task)
    assert model.one_class_tasks_.tolist() == ["west"]
    count = (task == "west").sum()
    probabilities = model.predict_proba(X, task=task)
    assert np.all(probabilities >= 0)
    assert probabilities.sum(axis=1) == pytest.approx(1)
    if not hasattr(model, "mean_coef_") and not name.startswith(("Graph", "Temporal", "Fused", "NonconvexFused")):
        assert probabilities[task == "west", 1] == pytest.approx((count + 0.5) / (count + 1))
    others = task != "west"
    rest = get_estimator(name)(alpha=0.05, tol=1e-8).fit(X[others], labels[others], task=task[others])
    assert np.isfinite(rest.objective_)


def test_unseen_tasks():
    X, y, task = _long()
    model = JointFeatureRegressor(alpha=0.1).fit(X, y, task=task)
    with pytest.raises(TaskError, match=r"unknown task 'norht'; did you mean 'north'\?"):
        model.predict(X[:1], task=["norht"])
    mean = MeanRegularizedRegressor(alpha=1.0, unseen="shared").fit(X, y, task=task)
    assert mean.predict(X[:3], task=["east"] * 3) == pytest.approx(X[:3] @ mean.mean_coef_ + mean.mean_intercept_)
    with pytest.raises(ConfigError, match="no mean task"):
        JointFeatureRegressor(unseen="shared").fit(X, y, task=task)


def test_classifier_probabilities_and_losses():
    X, y, task = _long()
    labels = (y > 0).astype(int)
    hinge = MeanRegularizedClassifier(alpha=0.5, loss="squared_hinge").fit(X, labels, task=task)
    assert not hasattr(hinge, "predict_proba")
    assert hinge.score(X, labels, task=task) > 0.9
    wide = JointFeatureClassifier(alpha=0.02).fit(X, np.column_stack([labels, 1 - labels]))
    assert wide.predict_proba(X).sum(axis=1) == pytest.approx(1, abs=1e-3)
    with pytest.raises(ConfigError, match="did you mean 'logistic'"):
        JointFeatureClassifier(loss="logstic").fit(X, labels)


def test_huber_resists_an_outlier():
    X, Y, W = regression(n=80, d=6, noise=0.1)
    Y[0] += 1000
    robust = JointFeatureRegressor(alpha=0.01, loss="huber").fit(X, Y)
    plain = JointFeatureRegressor(alpha=0.01).fit(X, Y)
    assert np.abs(robust.coef_ - W.T).max() < 0.2 < np.abs(plain.coef_ - W.T).max()


# ---- paths, cross-validation, warm starts ----


def test_path_agrees_with_single_fits():
    X, y, task = _long()
    for name in ("JointFeatureRegressor", "TraceNormRegressor", "SparseLowRankRegressor", "MeanRegularizedRegressor"):
        model = get_estimator(name)(tol=1e-9)
        path = model.path(X, y, task=task, alphas=5)
        assert np.all(np.diff(path.alphas) < 0)
        for alpha, coef in zip(path.alphas, path.coefs, strict=True):
            single = get_estimator(name)(alpha=float(alpha), tol=1e-9).fit(X, y, task=task)
            assert coef == pytest.approx(single.coef_, abs=1e-3)
        assert not hasattr(model, "n_features_in_"), "path must not fit the estimator"


def test_cross_validation_fits_each_fold_like_a_loop_would():
    from polytask.linear import TaskStratifiedKFold

    X, y, task = _long()
    folds = list(TaskStratifiedKFold(3).split(X, task=task))
    grid = [0.5, 0.05, 0.005]
    model = JointFeatureRegressorCV(alphas=grid, cv=folds, tol=1e-8, ridge=0.0).fit(X, y, task=task)
    for a, alpha in enumerate(grid):
        for k, (train, test) in enumerate(folds):
            single = JointFeatureRegressor(alpha=alpha, tol=1e-8).fit(X[train], y[train], task=task[train])
            errors = (single.predict(X[test], task=task[test]) - y[test]) ** 2 / 2
            by_task = [errors[task[test] == name].mean() for name in model.tasks_]
            assert model.loss_path_[a, k] == pytest.approx(np.mean(by_task), rel=1e-3)
    assert model.alpha_ == grid[int(np.argmin(model.loss_path_.mean(axis=1)))]
    again = JointFeatureRegressor(alpha=model.alpha_, tol=1e-8).fit(X, y, task=task)
    assert model.coef_ == pytest.approx(again.coef_, abs=1e-4)


def test_cross_validation_is_multi_task_lasso_cv():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(90, 40))
    Y = X[:, :6] @ rng.normal(size=(6, 5)) + 2 * rng.normal(size=(90, 5))
    folds = list(KFold(4).split(X))
    ours = JointFeatureRegressorCV(alphas=12, eps=1e-2, cv=folds, ridge=0.0).fit(X, Y)
    theirs = MultiTaskLassoCV(alphas=ours.alphas_, cv=folds, tol=1e-8).fit(X, Y)
    # its loss is the mean squared error over all targets
    assert ours.loss_path_ == pytest.approx(0.5 * theirs.mse_path_, rel=5e-3)
    assert ours.alpha_ == theirs.alpha_
    assert ours.coef_ == pytest.approx(theirs.coef_, abs=0.02)


def test_folds_with_one_class_or_no_event_use_the_odds_and_rates_of_half_an_observation():
    X = np.random.default_rng(0).normal(size=(12, 3))
    labels = np.tile(np.r_[np.zeros(8), np.ones(4)][:, None], (1, 2))
    fold = [(np.arange(8), np.arange(8, 12))]
    model = get_estimator("TraceNormClassifierCV")(alphas=3, cv=fold).fit(X, labels)
    # log odds of half an observation against eight and a half, judged on ones
    assert model.loss_path_ == pytest.approx(np.log1p(8.5 / 0.5))
    rates = get_estimator("TraceNormRegressorCV")(alphas=3, cv=fold, loss="poisson").fit(X, labels * [3.0, 1.0])
    rate = 0.5 / 8
    half_deviances = [y * np.log(y / rate) - (y - rate) for y in (3.0, 1.0)]
    assert rates.loss_path_ == pytest.approx(np.mean(half_deviances))


def test_one_standard_error_rule_never_picks_a_smaller_alpha():
    X, y, task = _long(n=60)
    least = JointFeatureRegressorCV(alphas=12).fit(X, y, task=task)
    careful = JointFeatureRegressorCV(alphas=12, rule="1se").fit(X, y, task=task)
    assert careful.alpha_ >= least.alpha_


def test_warm_start_matches_tasks_by_name():
    X, y, task = _long()
    model = TraceNormRegressor(alpha=0.05, warm_start=True, tol=1e-6).fit(X, y, task=task)
    first = model.n_iter_
    order = np.argsort(task == "south", kind="stable")
    assert model.fit(X[order], y[order], task=task[order]).n_iter_ <= first / 2
    few = task != "south"
    model.fit(X[few], y[few], task=task[few])
    assert model.tasks_.tolist() == ["north", "west"]


def test_running_out_of_iterations_warns():
    X, y, task = _long()
    with pytest.warns(ConvergenceWarning, match="duality gap"):
        TraceNormRegressor(alpha=1e-4, max_iter=3, tol=1e-10).fit(X, y, task=task)
