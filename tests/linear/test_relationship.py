"""Learned task covariances and tensors of tasks: oracles, limits, planted structure."""

import cvxpy as cp
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from polytask.errors import ConfigError, TaskError
from polytask.linear import get_estimator
from polytask.linear.core.tensor_grid import Grid, UnfoldedTraceNorm

from .draws import regression

TIGHT = {"tol": 1e-9, "max_iter": 200_000}


def _unbalanced(sizes=(30, 12, 20), d=5, seed=0):
    rng = np.random.default_rng(seed)
    task = np.repeat([f"t{k}" for k in range(len(sizes))], sizes)
    X = rng.normal(size=(len(task), d)) + 1
    W = {name: rng.normal(size=d) for name in np.unique(task)}
    y = np.array([x @ W[t] for x, t in zip(X, task, strict=True)]) + rng.normal(size=len(task))
    return X, y, task


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_relationship_learning_solves_its_convex_problem(ridge):
    X, y, task = _unbalanced()
    model = get_estimator("TaskRelationshipRegressor")(alpha=0.4, ridge=ridge, **TIGHT).fit(X, y, task=task)
    W, b = cp.Variable((5, 3)), cp.Variable(3)
    loss = sum(
        cp.sum_squares(y[task == name] - X[task == name] @ W[:, t] - b[t]) for t, name in enumerate(model.tasks_)
    ) / (2 * len(y) / 3)
    problem = cp.Problem(cp.Minimize(loss + 0.2 * cp.square(cp.normNuc(W)) + 0.5 * ridge * cp.sum_squares(W)))
    optimum = problem.solve(solver="CLARABEL")
    assert model.objective_ == pytest.approx(optimum, rel=1e-6)
    assert pytest.approx(W.value, abs=1e-3) == model.coef_.T
    rough = get_estimator("TaskRelationshipRegressor")(alpha=0.4, ridge=ridge, tol=1e-2).fit(X, y, task=task)
    assert rough.objective_ - optimum <= rough.dual_gap_ + 1e-8


def test_the_covariance_attains_the_minimum_of_its_own_problem():
    X, y, task = _unbalanced()
    model = get_estimator("TaskRelationshipRegressor")(alpha=0.2, **TIGHT).fit(X, y, task=task)
    W, C = model.coef_.T, model.task_covariance_
    assert np.trace(C) == pytest.approx(1)
    best = np.trace(W @ np.linalg.pinv(C, rcond=1e-9) @ W.T)
    assert best == pytest.approx(np.linalg.norm(W, "nuc") ** 2, rel=1e-5)
    rng = np.random.default_rng(0)
    for _ in range(20):
        A = rng.normal(size=(3, 3))
        other = A @ A.T + 1e-3 * np.eye(3)
        assert np.trace(W @ np.linalg.solve(other / np.trace(other), W.T)) >= best - 1e-8


def test_relationship_and_feature_learning_are_one_problem():
    X, y, task = _unbalanced()
    ours = get_estimator("TaskRelationshipRegressor")(alpha=0.2, ridge=0.1, **TIGHT).fit(X, y, task=task)
    theirs = get_estimator("FeatureLearningRegressor")(alpha=0.2, ridge=0.1, **TIGHT).fit(X, y, task=task)
    assert ours.coef_ == pytest.approx(theirs.coef_, abs=1e-4)


def test_one_task_is_ridge_regression():
    X, Y, _ = regression()
    model = get_estimator("TaskRelationshipRegressor")(alpha=0.5, **TIGHT).fit(X, Y[:, 0])
    assert model.coef_ == pytest.approx(Ridge(alpha=0.5 * len(X)).fit(X, Y[:, 0]).coef_, abs=1e-4)
    assert model.task_correlation_.tolist() == [[1.0]]


@pytest.mark.parametrize("kind", ["Regressor", "Classifier"])
def test_relations_have_their_signs(kind):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(400, 8))
    w, other = np.linalg.qr(rng.normal(size=(8, 2)))[0].T
    Y = 2 * X @ np.stack([w, w, -w, other], axis=1) + 0.3 * rng.normal(size=(400, 4))
    Y = Y if kind == "Regressor" else (Y > 0).astype(int)
    R = get_estimator(f"TaskRelationship{kind}")(alpha=0.01).fit(X, Y).task_correlation_
    assert R[0, 1] > 0.9
    assert R[0, 2] < -0.9
    assert np.abs(R[3, :3]).max() < 0.35


def test_duplicated_tasks_are_fully_correlated_and_stay_equal():
    X, Y, _ = regression(T=2)
    model = get_estimator("TaskRelationshipRegressor")(alpha=0.3, **TIGHT).fit(X, np.stack([Y[:, 0], Y[:, 0]], 1))
    assert model.coef_[0] == pytest.approx(model.coef_[1], abs=1e-5)
    assert model.task_correlation_[0, 1] == pytest.approx(1, abs=1e-4)


# ---- tensors ----


def test_one_index_is_the_trace_norm():
    X, Y, _ = regression()
    ours = get_estimator("TensorTasksRegressor")(alpha=0.3, **TIGHT).fit(X, Y)
    theirs = get_estimator("TraceNormRegressor")(alpha=0.3, **TIGHT).fit(X, Y)
    assert ours.coef_ == pytest.approx(theirs.coef_, abs=1e-6)


def test_tensor_tasks_solve_their_convex_problem():
    X, Y, _ = regression(n=30, d=4, T=6, active=4)
    alpha = 0.5
    model = get_estimator("TensorTasksRegressor")(alpha=alpha, shape=(2, 3), **TIGHT).fit(X, Y)
    V = [cp.Variable((4, 6)) for _ in range(3)]
    first = cp.vstack([cp.hstack([V[1][:, 3 * a + c] for c in range(3)]) for a in range(2)])
    second = cp.vstack([cp.hstack([V[2][:, 3 * a + c] for a in range(2)]) for c in range(3)])
    centred = X - X.mean(axis=0)
    loss = cp.sum_squares(Y - Y.mean(axis=0) - centred @ sum(V)) / (2 * len(X))
    penalty = alpha * (cp.normNuc(V[0]) + cp.normNuc(first) + cp.normNuc(second))
    assert model.objective_ == pytest.approx(cp.Problem(cp.Minimize(loss + penalty)).solve(solver="CLARABEL"), rel=1e-6)
    assert model.mode_coefs_.sum(axis=0) == pytest.approx(model.coef_)


def test_unfoldings_shrink_by_moreau():
    index, shape = Grid.of(np.arange(12), (2, 3, 2), "|").places(np.arange(12)), (2, 3, 2)
    rng = np.random.default_rng(0)
    V = rng.normal(size=(4, 12))
    for mode in range(3):
        penalty = UnfoldedTraceNorm(0.7, index, shape, mode)
        P = penalty.prox(V, 1.3)
        assert penalty.gauge((V - P) / 1.3) == pytest.approx(1)
        assert np.vdot((V - P) / 1.3, P) == pytest.approx(penalty.value(P))
        tensor = V.reshape(4, 2, 3, 2)
        unfolded = np.moveaxis(tensor, 1 + mode, 0).reshape(shape[mode], -1)
        assert penalty.value(V) == pytest.approx(0.7 * np.linalg.norm(unfolded, "nuc"))


def test_an_index_of_rank_one_is_worth_knowing():
    rng = np.random.default_rng(0)
    W = np.einsum("a,jb->jab", rng.normal(size=6), rng.normal(size=(8, 8))).reshape(8, 48)
    X = rng.normal(size=(14, 8))
    Y = X @ W + 2 * rng.normal(size=(14, 48))
    errors = {}
    for name, options in (("TensorTasksRegressor", {"shape": (6, 8)}), ("TraceNormRegressor", {})):
        path = get_estimator(name)(tol=1e-3, **options).path(X, Y, alphas=10, eps=0.03)
        errors[name] = min(np.linalg.norm(coef.T - W) for coef in path.coefs)
    assert errors["TensorTasksRegressor"] < 0.9 * errors["TraceNormRegressor"]


def _holes():
    """A 3 × 4 grid of tasks with rank one in both indices, rows of their own, two cells without a task."""
    rng = np.random.default_rng(0)
    W = np.einsum("a,b,j->abj", [1.0, 2.0, -1.5], [1.0, -1.0, 0.5, 2.0], rng.normal(size=4)).reshape(12, 4)
    levels = np.add.outer([0.0, 3.0, -2.0], [1.0, 0.0, 5.0, -1.0]).ravel()
    names = np.array([f"{a}|{b}" for a in "abc" for b in "wxyz"])
    task = np.repeat(np.setdiff1d(np.arange(12), [1, 10]), 25)
    X = rng.normal(size=(250, 4))
    y = np.einsum("ij,ij->i", X, W[task]) + levels[task] + 0.1 * rng.normal(size=250)
    return X, y, names, task, W, levels


@pytest.mark.parametrize(("layout", "features"), [("long", None), ("long", True), ("wide", None)])
def test_an_incomplete_grid_is_completed_by_its_convex_problem(layout, features):
    X, y, names, task, _, _ = _holes()
    alpha, seen = 0.4, np.unique(task)
    V = [cp.Variable((4, 12)) if features or k else np.zeros((4, 12)) for k in range(3)]
    first = cp.vstack([cp.hstack([V[1][:, 4 * a + c] for c in range(4)]) for a in range(3)])
    second = cp.vstack([cp.hstack([V[2][:, 4 * a + c] for a in range(3)]) for c in range(4)])
    loss = 0
    if layout == "wide":
        X, Y = X[:25], y.reshape(10, 25).T
    for k, t in enumerate(seen):
        inputs, targets = (X, Y[:, k]) if layout == "wide" else (X[task == t], y[task == t])
        loss += cp.sum_squares(targets - targets.mean() - (inputs - inputs.mean(axis=0)) @ sum(V)[:, t]) / 50
    penalty = alpha * (cp.normNuc(first) + cp.normNuc(second) + (cp.normNuc(V[0]) if features else 0))
    oracle = cp.Problem(cp.Minimize(loss + penalty)).solve(solver="CLARABEL")
    model = get_estimator("TensorTasksRegressor")(alpha, feature_part=features, tol=1e-8, max_iter=100_000)
    if layout == "wide":
        import pandas as pd

        model.fit(X, pd.DataFrame(Y, columns=names[seen]))
    else:
        model.fit(X, y, task=names[task])
    assert model.objective_ == pytest.approx(oracle, rel=1e-6)
    assert model.grid_coef_.shape == (3, 4, 4)
    assert model.grid_coef_[tuple(model.task_indices_.T)] == pytest.approx(model.coef_)
    if layout == "long":
        assert (
            not model.set_params(alpha=1.001 * model.alpha_max(X, y, task=names[task]))
            .fit(X, y, task=names[task])
            .coef_.any()
        )


def test_new_combinations_of_indices_are_predicted():
    X, y, names, task, W, levels = _holes()
    model = get_estimator("TensorTasksRegressor")(alpha=0.05, unseen="shared").fit(X, y, task=names[task])
    for cell in (1, 10):
        truth = X @ W[cell] + levels[cell]
        found = model.predict(X, task=np.full(len(X), names[cell]))
        assert np.mean((found - truth) ** 2) < 0.1 * np.var(truth)
    numbered = get_estimator("TensorTasksRegressor")(alpha=0.05, unseen="shared", shape=(3, 4)).fit(X, y, task=task)
    assert numbered.predict(X, task=np.full(len(X), 10)) == pytest.approx(found, abs=1e-2)
    with pytest.raises(TaskError, match="unknown index value 'q'"):
        model.predict(X[:1], task=["q|w"])
    with pytest.raises(TaskError, match="must have 2 indices"):
        model.predict(X[:1], task=["a"])
    with pytest.raises(TaskError, match=r"unseen='shared' predicts it by completing the tensor"):
        model.set_params(unseen="error").predict(X[:1], task=["a|x"])
    lonely = get_estimator("TensorTasksRegressor")(unseen="shared", shape=(4, 4)).fit(X, y, task=task)
    with pytest.raises(TaskError, match="shares its index 0"):
        lonely.predict(X[:1], task=[13])
    with pytest.raises(ConfigError, match="scale_y"):
        model.set_params(scale_y=True, unseen="shared").fit(X, y, task=names[task])
    chosen = get_estimator("TensorTasksRegressorCV")(alphas=3, cv=3, tol=1e-3, unseen="shared")
    assert chosen.fit(X, y, task=names[task]).score(X, y, task=names[task]) > 0.9


def test_labels_must_fit_the_grid():
    X, Y, _ = regression(T=3)
    with pytest.raises(TaskError, match="task labels 0"):
        get_estimator("TensorTasksRegressor")(shape=(1, 2)).fit(X, Y)
    with pytest.raises(TaskError, match="as many indices"):
        get_estimator("TensorTasksRegressor")().fit(X[:2], Y[:2, 0], task=["a|x", "b"])


@pytest.mark.parametrize("kind", ["one class", "constant"])
def test_a_task_that_has_learnt_nothing_lends_nothing(kind):
    """Its coefficients shrink to nothing, and whatever multiple of them it lends costs nothing."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(50, 6))
    Z = X @ rng.normal(size=(6, 3)) + 0.5 * rng.normal(size=(50, 3))
    Y = (Z > 0).astype(float) if kind == "one class" else Z
    Y[:, 1] = 1
    Y[rng.random(Z.shape) < 0.1] = np.nan
    role = "Classifier" if kind == "one class" else "Regressor"
    model = get_estimator(f"Asymmetric{role}CV")(alphas=4, cv=3).fit(X, Y)
    assert not model.transfer_[1].any()
    assert np.abs(model.transfer_).max() < 10
    others = get_estimator(f"Asymmetric{role}")(model.alpha_).fit(X, Y[:, [0, 2]])
    ends = model.predict_proba(X) if kind == "one class" else model.predict(X)
    alone = others.predict_proba(X) if kind == "one class" else others.predict(X)
    assert ends[:, [0, 2]] == pytest.approx(alone, abs=0.15)
