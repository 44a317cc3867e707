"""Families with structure beyond one norm: squared norms, clusters, outliers, stages, time, sources, calibration."""

import cvxpy as cp
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from polytask.errors import ConfigError
from polytask.linear import get_estimator
from polytask.linear.core.cluster_norm import ClusterNorm
from polytask.linear.families.feature_learning import normalised_root

from .draws import regression

TIGHT = {"tol": 1e-10, "max_iter": 200_000}


def _fit(name, X, Y, **options):
    return get_estimator(name)(**{**TIGHT, **options}).fit(X, Y)


def _loss(model, X, Y):
    """The squared loss as the estimators weigh it, for complete Y."""
    return 0.5 * np.sum((Y - model.predict(X)) ** 2) / len(X)


def _centred(X, Y):
    return X - X.mean(axis=0), Y - Y.mean(axis=0)


def _cvx_squares(W, X, Y):
    X, Y = _centred(X, Y)
    return cp.sum_squares(Y - X @ W) / (2 * len(X))


# ---- feature learning ----


def test_feature_learning_is_the_squared_trace_norm_and_the_trace_norm_at_its_fixed_point():
    X, Y, _ = regression()
    model = _fit("FeatureLearningRegressor", X, Y, alpha=0.1)
    size = float(np.linalg.norm(model.coef_, "nuc"))
    peer = _fit("TraceNormRegressor", X, Y, alpha=0.1 * size)
    assert model.coef_ == pytest.approx(peer.coef_, abs=1e-4)
    W = cp.Variable((12, 4))
    oracle = cp.Problem(cp.Minimize(_cvx_squares(W, X, Y) + 0.05 * cp.square(cp.normNuc(W)))).solve()
    assert model.objective_ == pytest.approx(oracle, rel=1e-4)


def test_the_metric_explains_the_penalty():
    X, Y, _ = regression()
    model = _fit("FeatureLearningRegressor", X, Y, alpha=0.1)
    D, W = model.feature_covariance_, model.coef_.T
    assert np.trace(D) == pytest.approx(1)
    assert np.trace(W.T @ np.linalg.pinv(D, rcond=1e-7) @ W) == pytest.approx(np.linalg.norm(W, "nuc") ** 2, rel=1e-5)
    assert model.objective_ == pytest.approx(_loss(model, X, Y) + 0.05 * np.linalg.norm(W, "nuc") ** 2, rel=1e-8)
    C = normalised_root(W.T)  # the same penalty through a covariance of tasks
    assert np.trace(W @ np.linalg.pinv(C, rcond=1e-7) @ W.T) == pytest.approx(np.linalg.norm(W, "nuc") ** 2, rel=1e-5)


def test_a_diagonal_metric_is_joint_feature_selection():
    X, Y, _ = regression()
    model = _fit("FeatureLearningRegressor", X, Y, alpha=0.3, metric="diagonal")
    size = float(np.linalg.norm(model.coef_, axis=0).sum())
    peer = _fit("JointFeatureRegressor", X, Y, alpha=0.3 * size)
    assert model.coef_ == pytest.approx(peer.coef_, abs=1e-4)
    assert np.diag(model.feature_covariance_) == pytest.approx(np.linalg.norm(model.coef_, axis=0) / size)
    assert np.any(model.feature_covariance_.diagonal() == 0)


# ---- robust ----


@pytest.mark.parametrize("name", ["RobustLowRankRegressor", "RobustFeatureRegressor"])
def test_robust_models_agree_with_a_conic_solver(name):
    X, Y, _ = regression()
    model = _fit(name, X, Y, alpha=0.4, outlier=0.8)
    P, Q = cp.Variable((12, 4)), cp.Variable((12, 4))
    shared = cp.normNuc(P) if "Low" in name else cp.sum(cp.norm(P, 2, axis=1))
    penalty = 0.4 * shared + 0.32 * cp.sum(cp.norm(Q, 2, axis=0))
    oracle = cp.Problem(cp.Minimize(_cvx_squares(P + Q, X, Y) + penalty)).solve()
    assert model.objective_ == pytest.approx(oracle, rel=1e-4)
    assert model.dual_gap_ <= 1e-10 * model.objective_
    parts = model.coef_outlier_ + (model.coef_low_rank_ if "Low" in name else model.coef_shared_)
    assert parts == pytest.approx(model.coef_)


def test_robust_models_between_their_two_ends():
    X, Y, _ = regression()
    low = _fit("RobustLowRankRegressor", X, Y, alpha=0.4, outlier=1.0001)
    assert not len(low.outlier_tasks_)
    assert low.coef_ == pytest.approx(_fit("TraceNormRegressor", X, Y, alpha=0.4).coef_, abs=1e-4)
    rows = _fit("RobustFeatureRegressor", X, Y, alpha=0.4, outlier=12**0.5 + 1e-4)
    assert not len(rows.outlier_tasks_)
    assert rows.coef_ == pytest.approx(_fit("JointFeatureRegressor", X, Y, alpha=0.4).coef_, abs=1e-4)
    for name in ("RobustLowRankRegressor", "RobustFeatureRegressor"):
        alone = _fit(name, X, Y, alpha=0.4, outlier=0.4999)
        for t in range(4):  # a penalty on the columns alone: one group per task
            one = _fit("TraceNormRegressor", X, Y[:, t], alpha=0.4 * 0.4999)
            assert alone.coef_[t] == pytest.approx(one.coef_, abs=1e-4)


def test_planted_outlier_tasks_are_found():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(120, 10))
    W = np.outer(rng.normal(size=10), 1 + rng.random(8))
    W[:, [2, 5]] = 2 * rng.normal(size=(10, 2))
    Y = X @ W + 0.3 * rng.normal(size=(120, 8))
    model = _fit("RobustLowRankRegressor", X, Y, alpha=0.5, tol=1e-6)
    assert model.outlier_tasks_.tolist() == [2, 5]
    W = np.zeros((10, 8))
    W[:3] = rng.normal(size=(3, 8)) + 1
    W[:, [2, 5]] = 2 * rng.normal(size=(10, 2))
    model = _fit("RobustFeatureRegressor", X, X @ W + 0.3 * rng.normal(size=(120, 8)), alpha=0.4, tol=1e-6)
    assert model.outlier_tasks_.tolist() == [2, 5]
    assert model.selected_.tolist() == [0, 1, 2]


# ---- cluster norm ----


@pytest.mark.parametrize("mean", [None, 0.6])
@pytest.mark.parametrize("shape", [(6, 4), (3, 5), (4, 1)])
@pytest.mark.parametrize("total", [0.7, 1.3, 2.2, 9.0])
def test_cluster_norm_is_a_closed_convex_function_with_its_prox_and_conjugate(shape, total, mean):
    rng = np.random.default_rng(0)
    V = rng.normal(size=shape)
    penalty = ClusterNorm(0.7, 0.1, 1.1, total, mean)
    W = penalty.prox(V, 0.4)
    G = (V - W) / 0.4  # a subgradient at W: Fenchel's inequality holds with equality there, and nowhere else below
    assert penalty.value(W) + penalty.conjugate(G) == pytest.approx(np.vdot(G, W), rel=1e-9)
    for other in rng.normal(size=(5, *shape)):
        assert penalty.value(other) + penalty.conjugate(G) >= np.vdot(G, other)


def test_cluster_norm_is_the_minimum_over_matrices_of_tasks_and_of_features():
    V = np.random.default_rng(0).normal(size=(5, 3))
    value = ClusterNorm(1.0, 0.2, 1.2, 1.5 + 0.2 * 3).value(V)
    for rows in (V, V.T):
        size = rows.shape[1]
        M = cp.Variable((size, size), symmetric=True)
        bounds = [M >> 0, M << np.eye(size), cp.trace(M) <= 1.5]
        total = sum(cp.matrix_frac(row, M + 0.2 * np.eye(size)) for row in rows)
        assert 0.5 * cp.Problem(cp.Minimize(total), bounds).solve() == pytest.approx(value, rel=1e-4)
    with pytest.raises(ConfigError, match="bounds"):
        ClusterNorm(1.0, 2.0, 1.0, 1.0)


def test_clustered_tasks_and_alternating_structure_are_one_problem():
    X, Y, _ = regression()
    tasks = _fit("ClusteredTasksRegressor", X, Y, alpha=0.2, n_clusters=2, eta=0.3, center=False)
    features = _fit("AlternatingStructureRegressor", X, Y, alpha=0.2, n_components=2, eta=0.3)
    assert tasks.coef_ == pytest.approx(features.coef_, abs=1e-8)
    W = tasks.coef_.T
    by_tasks = np.trace(W @ np.linalg.inv(0.3 * np.eye(4) + tasks.task_relation_) @ W.T)
    by_features = np.trace(W.T @ np.linalg.inv(0.3 * np.eye(12) + features.feature_relation_) @ W)
    assert by_tasks == pytest.approx(by_features)
    assert tasks.objective_ == pytest.approx(_loss(tasks, X, Y) + 0.5 * 0.2 * 1.3 * by_tasks)


def test_alternating_over_the_matrix_ends_at_the_same_coefficients():
    X, Y, _ = regression()
    model = _fit("AlternatingStructureRegressor", X, Y, alpha=0.2, n_components=2, eta=0.3)
    A, B = _centred(X, Y)
    M = np.eye(12) * 2 / 12
    for _ in range(500):
        H = A.T @ A / len(X) + 0.2 * 1.3 * np.linalg.inv(0.3 * np.eye(12) + M)
        W = np.linalg.solve(H, A.T @ B / len(X))
        left, values, _ = np.linalg.svd(W)
        low, high = 0.0, 1e6
        for _ in range(100):  # eigenvalues clip(σ ν − η, 0, 1) with the sum 2
            middle = 0.5 * (low + high)
            m = np.clip(middle * values - 0.3, 0, 1)
            low, high = (middle, high) if m.sum() < 2 else (low, middle)
        M = (left[:, :4] * m) @ left[:, :4].T
    assert model.coef_ == pytest.approx(W.T, abs=1e-5)


def test_cluster_norm_at_its_ends():
    X, Y, _ = regression()
    ridge = _fit("MeanRegularizedRegressor", X, Y, alpha=1e-9, ridge=0.2)
    for options in ({"n_clusters": 5}, {"n_clusters": 4, "center": False}, {"eta": 1e7}):
        assert _fit("ClusteredTasksRegressor", X, Y, alpha=0.2, **options).coef_ == pytest.approx(ridge.coef_, abs=1e-5)
    one = _fit("ClusteredTasksRegressor", X, Y, alpha=0.2, n_clusters=1, eta=0.1)
    mean = _fit("MeanRegularizedRegressor", X, Y, alpha=2.0, ridge=0.2)
    assert one.coef_ == pytest.approx(mean.coef_, abs=1e-5)


def _two_groups(seed=0, T=8):
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(T), 15)
    X = rng.normal(size=(len(label), 6))
    groups = np.arange(T) % 2
    W = 2 * rng.normal(size=(6, 2))[:, groups] + 0.1 * rng.normal(size=(6, T))
    return X, np.einsum("ij,ji->i", X, W[:, label]) + 0.5 * rng.normal(size=len(label)), label, groups, W


def test_planted_clusters_are_found_and_help():
    X, y, label, groups, W = _two_groups()
    model = get_estimator("ClusteredTasksRegressor")(alpha=0.05, eta=0.05).fit(X, y, task=label)
    assert model.task_groups_.tolist() == groups.tolist()
    alone = get_estimator("MeanRegularizedRegressor")(alpha=1e-6, ridge=0.05).fit(X, y, task=label)
    assert np.linalg.norm(model.coef_.T - W) < 0.8 * np.linalg.norm(alone.coef_.T - W)
    structure = get_estimator("AlternatingStructureRegressor")(alpha=0.05, eta=0.05).fit(X, y, task=label)
    angles = np.linalg.svd(structure.components_ @ np.linalg.qr(W[:, :2])[0], compute_uv=False)
    assert angles.min() > 0.9


# ---- stages ----


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_capped_features_without_a_cap_are_the_first_stage(norm):
    X, Y, _ = regression()
    first = "TaskLassoRegressor" if norm == "l1" else "JointFeatureRegressor"
    peer = _fit(first, X, Y, alpha=0.3)
    for options in ({"cap": 1e6}, {"slope": 1.0}):
        model = _fit("CappedFeatureRegressor", X, Y, alpha=0.3, norm=norm, **options)
        assert model.coef_ == pytest.approx(peer.coef_, abs=1e-5)


def test_a_vanishing_cap_leaves_least_squares():
    X, Y, _ = regression()
    model = _fit("CappedFeatureRegressor", X, Y, alpha=1e-4, cap=1e-9, slope=1e-4)
    A, B = _centred(X, Y)
    assert model.coef_ == pytest.approx(np.linalg.lstsq(A, B, rcond=None)[0].T, abs=1e-3)


def test_the_last_stage_is_a_weighted_lasso_at_its_optimum():
    X, Y, W = regression()
    model = _fit("CappedFeatureRegressor", X, Y, alpha=0.3, slope=1e-2)
    assert model.free_.tolist() == [0, 1, 2]
    assert np.all(np.diff(model.stage_objectives_) <= 0)
    assert len(model.stage_objectives_) >= 2
    A, _ = _centred(X, Y)
    G = A.T @ (Y - model.predict(X)) / len(X)
    weights = np.where(np.isin(np.arange(12), model.free_), 1e-2, 1.0)[:, None] * 0.3
    used = model.coef_.T != 0
    assert np.all(np.abs(G) <= weights + 1e-5)
    assert G[used] == pytest.approx((weights * np.sign(model.coef_.T))[used], abs=1e-5)
    sizes = np.abs(model.coef_).sum(axis=0)
    penalty = 0.3 * np.sum(np.minimum(sizes, model.cap_) + 1e-2 * np.maximum(sizes - model.cap_, 0))
    assert model.objective_ == pytest.approx(_loss(model, X, Y) + penalty)
    lasso = _fit("TaskLassoRegressor", X, Y, alpha=0.3)
    assert np.linalg.norm(model.coef_ - W.T) < 0.7 * np.linalg.norm(lasso.coef_ - W.T)


def test_too_few_stages_are_reported():
    X, Y, _ = regression()
    with pytest.warns(UserWarning, match="still falls after 2 stages"):
        _fit("CappedFeatureRegressor", X, Y, alpha=0.3, stages=2)


@pytest.mark.parametrize("assign", ["kmeans", "spectral"])
def test_task_groups_by_alternation(assign):
    X, y, label, groups, W = _two_groups()
    model = get_estimator("TaskGroupsRegressor")(alpha=1.0, assign=assign, ridge=0.01, tol=1e-8)
    model.fit(X, y, task=label)
    assert model.task_groups_.tolist() == groups.tolist()
    assert np.all(np.diff(model.stage_objectives_) <= 0)
    alone = get_estimator("MeanRegularizedRegressor")(alpha=1e-6, ridge=0.01).fit(X, y, task=label)
    assert np.linalg.norm(model.coef_.T - W) < 0.8 * np.linalg.norm(alone.coef_.T - W)
    if assign == "kmeans":  # a fixed point: the graph of these groups gives the same coefficients
        graph = (groups[:, None] == groups[None, :]) / 4.0
        peer = get_estimator("GraphRegularizedRegressor")(alpha=1.0, graph=graph, ridge=0.01, tol=1e-10)
        assert model.coef_ == pytest.approx(peer.fit(X, y, task=label).coef_, abs=1e-4)


def test_task_groups_at_their_ends():
    X, Y, _ = regression()
    for assign in ("kmeans", "spectral"):
        apart = _fit("TaskGroupsRegressor", X, Y, alpha=0.5, n_clusters=4, ridge=0.1, assign=assign)
        ridge = _fit("MeanRegularizedRegressor", X, Y, alpha=1e-9, ridge=0.1)
        assert apart.coef_ == pytest.approx(ridge.coef_, abs=1e-5)
    one = _fit("TaskGroupsRegressor", X, Y, alpha=0.5, n_clusters=1, ridge=0.1)
    mean = _fit("MeanRegularizedRegressor", X, Y, alpha=0.5, ridge=0.1)
    assert one.coef_ == pytest.approx(mean.coef_, abs=1e-5)


# ---- time ----


def _in_time(n=60, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 6))
    W = np.zeros((6, 5))
    W[0], W[3, 2:] = 1.5, -2.0
    return X, X @ W + 0.3 * rng.normal(size=(n, 5)), W


def test_temporal_group_lasso_agrees_with_a_conic_solver():
    X, Y, _ = _in_time()
    order = [3, 1, 0, 2, 4]
    model = _fit("TemporalGroupRegressor", X, Y, alpha=0.2, smooth=0.7, shrink=0.3, order=order)
    W = cp.Variable((6, 5))
    changes = cp.sum_squares(cp.diff(W[:, order], axis=1))
    penalty = cp.sum(cp.norm(W, 2, axis=1)) + 0.35 * changes + 0.15 * cp.sum_squares(W)
    oracle = cp.Problem(cp.Minimize(_cvx_squares(W, X, Y) + 0.2 * penalty)).solve()
    assert model.objective_ == pytest.approx(oracle, rel=1e-5)
    assert model.dual_gap_ <= 1e-10 * model.objective_
    equal = _fit("TemporalGroupRegressor", X, Y, alpha=0.1, smooth=1e5, tol=1e-8)
    assert np.ptp(equal.coef_, axis=0) == pytest.approx(0, abs=1e-3)
    free = _fit("TemporalGroupRegressor", X, Y, alpha=0.1, smooth=0)
    assert free.coef_ == pytest.approx(_fit("JointFeatureRegressor", X, Y, alpha=0.1).coef_, abs=1e-5)
    with pytest.raises(ConfigError, match="missing: 4"):
        _fit("TemporalGroupRegressor", X, Y, order=[3, 1, 0, 2])


@pytest.mark.parametrize("ratio", [0.0, 0.4, 1.0])
def test_fused_sparse_group_lasso_agrees_with_a_conic_solver(ratio):
    X, Y, _ = _in_time()
    order = [3, 1, 0, 2, 4]
    model = _fit("FusedSparseGroupRegressor", X, Y, alpha=0.2, fused=0.6, l1_ratio=ratio, order=order)
    W = cp.Variable((6, 5))
    changes = cp.sum(cp.abs(cp.diff(W[:, order], axis=1)))
    penalty = ratio * cp.sum(cp.abs(W)) + (1 - ratio) * cp.sum(cp.norm(W, 2, axis=1)) + 0.6 * changes
    oracle = cp.Problem(cp.Minimize(_cvx_squares(W, X, Y) + 0.2 * penalty)).solve()
    assert model.objective_ == pytest.approx(oracle, rel=1e-4)
    rough = _fit("FusedSparseGroupRegressor", X, Y, alpha=0.2, fused=0.6, l1_ratio=ratio, order=order, tol=1e-2)
    assert -1e-9 <= rough.objective_ - model.objective_ <= rough.dual_gap_


def test_fused_coefficients_change_where_they_were_planted_to():
    X, Y, W = _in_time()
    model = _fit("FusedSparseGroupRegressor", X, Y, alpha=0.2, tol=1e-8)
    assert model.n_changes_.tolist() == [0, 0, 0, 1, 0, 0]
    assert model.selected_.tolist() == [0, 3]
    for form in ("separate", "joint"):
        free = _fit("NonconvexFusedRegressor", X, Y, alpha=0.2, form=form, tol=1e-8)
        assert free.selected_.tolist() == [0, 3]
        assert np.linalg.norm(free.coef_ - W.T) < np.linalg.norm(model.coef_ - W.T)


@pytest.mark.parametrize("form", ["separate", "joint"])
def test_non_convex_fused_rows_end_at_a_stationary_point(form):
    X, Y, _ = _in_time()
    model = _fit("NonconvexFusedRegressor", X, Y, alpha=0.1, fused=0.8, form=form)
    assert np.all(np.diff(model.stage_objectives_) <= 0)
    V = model.coef_.T
    entries, changes = np.abs(V).sum(axis=1), np.abs(np.diff(V, axis=1)).sum(axis=1)
    roots = np.sqrt((entries + 0.8 * changes if form == "joint" else entries) + 1e-3) - np.sqrt(1e-3)
    value = roots.sum() + (0.8 * changes.sum() if form == "separate" else 0)
    assert model.objective_ == pytest.approx(_loss(model, X, Y) + 0.1 * value, rel=1e-8)
    # the tangent problem at the end, solved by a conic solver, does not move
    slopes = 0.5 / (roots + np.sqrt(1e-3))
    W = cp.Variable((6, 5))
    fused = 0.8 * (slopes if form == "joint" else np.ones(6))
    penalty = slopes @ cp.sum(cp.abs(W), axis=1) + fused @ cp.sum(cp.abs(cp.diff(W, axis=1)), axis=1)
    cp.Problem(cp.Minimize(_cvx_squares(W, X, Y) + 0.1 * penalty)).solve()
    assert pytest.approx(W.value, abs=1e-3) == V


# ---- calibration ----


def _noisy():
    X, Y, _ = regression()
    return X, Y + np.random.default_rng(5).normal(size=Y.shape) * [0.1, 4.0, 1.0, 0.1]


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_calibrated_regression_agrees_with_a_conic_solver(ridge):
    X, Y = _noisy()
    model = _fit("CalibratedRegressor", X, Y, alpha=0.4, ridge=ridge, tol=1e-7)
    A, B = _centred(X, Y)
    W = cp.Variable((12, 4))
    roots = sum(cp.norm2(B[:, t] - A @ W[:, t]) for t in range(4)) / np.sqrt(len(X))
    penalty = 0.4 * cp.sum(cp.norm(W, 2, axis=1)) + 0.5 * ridge * cp.sum_squares(W)
    oracle = cp.Problem(cp.Minimize(roots + penalty)).solve()
    assert model.objective_ == pytest.approx(oracle, rel=1e-5)
    rough = _fit("CalibratedRegressor", X, Y, alpha=0.4, ridge=ridge, tol=1e-2)
    assert -1e-7 <= rough.objective_ - model.objective_ <= rough.dual_gap_ <= 1e-2 * rough.objective_


def test_calibrated_coefficients_scale_with_the_targets():
    X, Y = _noisy()
    model = _fit("CalibratedRegressor", X, Y, alpha=0.4, tol=1e-7)
    larger = _fit("CalibratedRegressor", X, 1000 * Y, alpha=0.4, tol=1e-7)
    assert larger.coef_ == pytest.approx(1000 * model.coef_, rel=1e-3, abs=0.1)
    assert larger.alpha_max(X, 1000 * Y) == pytest.approx(model.alpha_max(X, Y))


def test_at_the_optimum_calibration_weighs_every_task_by_its_noise():
    X, Y = _noisy()
    model = _fit("CalibratedRegressor", X, Y, alpha=0.4, tol=1e-8)
    A, _ = _centred(X, Y)
    residual = Y - model.predict(X)
    assert model.noise_ == pytest.approx(np.sqrt(np.mean(residual**2, axis=0)))
    G = A.T @ residual / len(X) / model.noise_
    V = model.coef_.T
    norms = np.linalg.norm(V, axis=1)
    assert np.all(np.linalg.norm(G, axis=1) <= 0.4 + 1e-5)
    assert G[norms > 0] == pytest.approx(0.4 * (V / np.where(norms > 0, norms, 1)[:, None])[norms > 0], abs=1e-4)


@pytest.mark.parametrize("shape", [(40, 12), (8, 12)])
def test_tasks_that_can_be_fitted_exactly(shape):
    n, d = shape
    X, Y, _ = regression(n=n, d=d, noise=0.0)
    Y[:, 1] += np.random.default_rng(5).normal(size=n)
    model = _fit("CalibratedRegressor", X, Y, alpha=0.05, tol=1e-6)
    A, B = _centred(X, Y)
    W = cp.Variable((d, 4))
    roots = sum(cp.norm2(B[:, t] - A @ W[:, t]) for t in range(4)) / np.sqrt(n)
    oracle = cp.Problem(cp.Minimize(roots + 0.05 * cp.sum(cp.norm(W, 2, axis=1)))).solve()
    assert model.objective_ == pytest.approx(oracle, rel=1e-5)
    assert model.dual_gap_ <= 1e-6 * model.objective_
    assert model.noise_[[0, 2, 3]] == pytest.approx(0, abs=1e-4)


def test_calibration_refuses_other_losses():
    X, Y = _noisy()
    with pytest.raises(ConfigError, match="squared"):
        get_estimator("CalibratedRegressor")(loss="huber").fit(X, Y)


# ---- incomplete sources ----


def _sources(n=120, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 7))
    X[:, 6] = 3.0  # a constant feature
    y = X @ [1.5, 0.0, -2.0, 0.0, 1.0, 0.0, 0.0] + 0.2 * rng.normal(size=n)
    X[:40, 2:4] = np.nan
    X[40:70, 4:] = np.nan
    return X, y


def test_incomplete_sources_are_joint_features_of_the_patterns():
    X, y = _sources()
    model = get_estimator("IncompleteSourcesRegressor")(alpha=0.3, **TIGHT).fit(X, y)
    assert [columns.tolist() for columns in model.sources_] == [[0, 1], [2, 3], [4, 5, 6]]
    assert model.tasks_.tolist() == ["0+1", "0+1+2", "0+2"]
    assert model.patterns_.tolist() == [[True, True, False], [True, True, True], [True, False, True]]
    assert not model.coef_[0, 4:].any()
    assert not model.coef_[2, 2:4].any()
    assert model.selected_.tolist() == [0, 2, 4]
    # the conic problem over each pattern's own columns
    rows, parts = [np.arange(40, 70), np.arange(70, 120), np.arange(40)], model.patterns_
    W = cp.Variable((7, 3))
    loss, outside = 0, []
    for p in range(3):
        have = np.repeat(parts[p], [2, 2, 3])
        A, b = _centred(X[np.ix_(rows[p], np.flatnonzero(have))], y[rows[p]])
        loss += cp.sum_squares(b - A @ W[np.flatnonzero(have), p]) / (2 * 40)
        outside += [] if have.all() else [W[np.flatnonzero(~have), p] == 0]
    oracle = cp.Problem(cp.Minimize(loss + 0.3 * cp.sum(cp.norm(W, 2, axis=1))), outside).solve()
    assert model.objective_ == pytest.approx(oracle, rel=1e-5)
    assert model.dual_gap_ <= 1e-10 * model.objective_


def test_complete_rows_are_plain_joint_feature_selection():
    X, y = _sources()
    X, y = X[70:], y[70:]
    model = get_estimator("IncompleteSourcesRegressor")(alpha=0.2, **TIGHT).fit(X, y)
    assert model.coef_[0] == pytest.approx(_fit("JointFeatureRegressor", X, y, alpha=0.2).coef_, abs=1e-6)


def test_new_patterns_take_the_largest_model_they_can():
    X, y = _sources()
    model = get_estimator("IncompleteSourcesRegressor")(alpha=0.05).fit(X[:100], y[:100])
    assert model.score(X[100:], y[100:]) > 0.9
    few = get_estimator("IncompleteSourcesRegressor")(alpha=0.05).fit(X[:70], y[:70])
    whole = X[100:105]
    as_if = whole.copy()
    as_if[:, 2:4] = np.nan  # of the two fitted patterns, the one with five columns
    assert few.predict(whole) == pytest.approx(few.predict(as_if))
    as_if[:, 4:] = np.nan
    with pytest.raises(ValueError, match="sources that are there: 0"):
        few.predict(as_if)


def test_sources_by_name_and_their_mistakes():
    import pandas as pd

    X, y = _sources()
    frame = pd.DataFrame(X, columns=list("abcdefg"))
    groups = [["a", "b"], ["c", "d"], ["e", "f", "g"]]
    model = get_estimator("IncompleteSourcesRegressor")(alpha=0.3, sources=groups).fit(frame, y)
    assert model.feature_names_in_.tolist() == list("abcdefg")
    assert model.predict(frame) == pytest.approx(get_estimator("IncompleteSourcesRegressor")(0.3).fit(X, y).predict(X))
    with pytest.raises(ValueError, match="each of the 7 columns once"):
        model.set_params(sources=groups[:2]).fit(frame, y)
    with pytest.raises(ValueError, match="row 0 has some but not all columns of source 0"):
        model.set_params(sources=[[0, 1, 2], [3], [4, 5, 6]]).fit(frame, y)
    model.set_params(sources=None)
    assert not model.set_params(alpha=1.001 * model.alpha_max(X, y)).fit(X, y).coef_.any()
    assert model.path(X, y, alphas=3).coefs.shape == (3, 3, 7)


# ---- inputs so large that the penalty hardly counts ----


@pytest.mark.parametrize("name", ["CappedFeature", "ClusteredTasks", "AlternatingStructure"])
def test_separable_classes_beside_huge_inputs_end_within_max_iter_with_an_honest_gap(name):
    rng = np.random.default_rng(0)
    X, W = rng.normal(size=(60, 10)), rng.normal(size=(10, 5))
    model = get_estimator(f"{name}Classifier")(max_iter=200)
    with pytest.warns(ConvergenceWarning, match=r"scale the features \(StandardScaler\) or raise alpha") as told:
        model.fit(1e10 * X, (X @ W > 0).astype(int))
    assert len(told) == 1
    assert model.n_iter_ <= 200
    assert 0 < model.dual_gap_ <= 1.001 * model.objective_  # loss and penalty are never negative
    assert model.score(1e10 * X, (X @ W > 0).astype(int)) > 0.95
