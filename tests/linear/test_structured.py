"""Families with structure beyond one norm: squared norms, clusters, outliers, stages, time, sources, calibration."""

import cvxpy as cp
import numpy as np
import pytest

from polytask.errors import ConfigError
from polytask.linear import get_estimator
from polytask.linear.cluster_norm import ClusterNorm
from polytask.linear.feature_learning import normalised_root

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
