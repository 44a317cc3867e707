"""Ways that were made fast: they solve the same problems, to the same certificates, from data that were hard."""

import warnings

import numpy as np
import pytest

from polytask.linear import Logistic, Quadratic, Squared, get_estimator, shared_problem, solve, stacked_problem
from polytask.linear.core import engine
from polytask.linear.core.root_loss import residual_norms
from polytask.linear.core.root_split import rotate
from polytask.linear.procedure import single_tasks

from .draws import shared, stacked


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("rows", ["the same", "the same, missing targets", "their own", "fewer than features"])
def test_turned_rows_keep_residuals_and_gradients(rows, intercept):
    problem = {
        "the same": lambda: shared(intercept=intercept),
        "the same, missing targets": lambda: shared(missing=0.3, intercept=intercept),
        "their own": lambda: stacked(intercept=intercept),
        "fewer than features": lambda: shared(n=7, d=12, intercept=intercept),
    }[rows]()
    turned = rotate(problem)
    W = np.random.default_rng(0).normal(size=(problem.n_features, problem.n_tasks))
    residual = problem.y - problem.design.forward(W)
    left = turned.c - turned.forward(W * turned.size[:, None])
    assert np.linalg.norm(left, axis=1) == pytest.approx(residual_norms(problem, residual))
    pull = problem.design.adjoint(problem.weight * residual)
    assert turned.size[:, None] * turned.adjoint(left) == pytest.approx(pull, abs=1e-9)
    assert turned.A.shape[1] <= problem.n_features + 1
    assert len(turned.A) == (1 if rows in ("the same", "fewer than features") else problem.n_tasks)


@pytest.mark.parametrize("missing", [0.0, 0.15])
@pytest.mark.parametrize("share", [0.3, 0.03, 0.01])
def test_calibration_converges_on_columns_and_targets_in_their_own_units(share, missing):
    # counts of occupations by town: skewed, collinear, over five orders of magnitude, and targets alike
    rng = np.random.default_rng(0)
    n, d, T = 60, 50, 4
    size = np.exp(1.3 * rng.normal(size=(n, 1)) + 6)
    X = np.floor(size * np.exp(1.5 * rng.normal(size=(1, d)) - 3) * np.exp(0.6 * rng.normal(size=(n, d))))
    Y = np.floor(size * np.exp(rng.normal(size=(1, T))) * np.exp(0.4 * rng.normal(size=(n, T))))
    X[:, 0] = 0
    Y[rng.random(Y.shape) < missing] = np.nan
    model = get_estimator("CalibratedRegressor")()
    model.set_params(alpha=share * model.alpha_max(X, Y))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(X, Y)
    residual = np.where(np.isnan(Y), 0, Y - model.predict(X))
    # the objective from its definition
    per_task = np.isfinite(Y).sum() / T
    value = np.sqrt((residual**2).sum(axis=0) / per_task).sum()
    value += model.alpha * np.linalg.norm(model.coef_, axis=0).sum()
    assert model.objective_ == pytest.approx(value)
    assert 0 <= model.dual_gap_ <= 1e-4 * value
    precise = get_estimator("CalibratedRegressor")(alpha=model.alpha, tol=1e-6).fit(X, Y)
    assert precise.objective_ >= model.objective_ - model.dual_gap_ - 1e-9 * value


def test_tasks_of_one_target_and_of_no_spread_stay_finite():
    rng = np.random.default_rng(0)
    X, task = rng.normal(size=(31, 4)), np.r_[np.arange(30) % 2, 2]
    y = np.where(task == 1, 5.0, X[:, 0])
    for scale in (1e-10, 1.0, 1e10):
        model = get_estimator("CalibratedRegressor")(alpha=0.01 * scale).fit(X * scale, y, task=task)
        assert np.isfinite(model.coef_).all()
        assert model.predict(X * scale, task=task)[task > 0] == pytest.approx(y[task > 0], rel=1e-3)


@pytest.mark.parametrize("layout", ["shared", "stacked"])
@pytest.mark.parametrize("ridge", [10.0, 1e-3])
def test_newton_steps_for_logistic_ridges_end_where_the_engine_does(layout, ridge):
    problem = shared(Logistic(), missing=0.2) if layout == "shared" else stacked((30, 9, 12, 25), loss=Logistic())
    M = ridge * np.eye(4) + 0.5 * np.ones((4, 4))
    quick = solve(problem, Quadratic(M), tol=1e-9)
    slow = engine.solve(problem, Quadratic(M), tol=1e-9, max_iter=200_000)
    assert quick.converged
    assert quick.objective == pytest.approx(slow.objective, rel=1e-8)
    assert pytest.approx(slow.W, abs=1e-3 * max(1.0, np.abs(slow.W).max())) == quick.W
    slope = problem.weight * problem.loss.derivative(
        problem.y, problem.design.forward(quick.W) + problem.design.expand(quick.b)
    )
    assert problem.design.adjoint(slope) + quick.W @ M == pytest.approx(0, abs=1e-4)
    assert problem.design.task_sum(slope) == pytest.approx(0, abs=1e-8)


def test_gram_matrices_of_equal_tasks_are_those_of_single_tasks():
    rng = np.random.default_rng(0)
    X, codes, weight = rng.normal(size=(40, 3)) + 2, np.repeat(np.arange(4), 10), rng.random(40)
    problem = stacked_problem(X, rng.normal(size=40), codes, 4, weight, Squared(), intercept=True)
    from polytask.linear.core.design import StackedDesign

    shift = rng.normal(size=(3, 4))
    design = StackedDesign(problem.design.X, problem.design.starts, shift)
    for t, gram in enumerate(design.gram(problem.weight)):
        rows = codes == t
        part = problem.design.X[rows] - shift[:, t]
        assert gram == pytest.approx(part.T @ (problem.weight[rows][:, None] * part))


def test_latent_tasks_need_few_rounds_and_end_lower():
    rng = np.random.default_rng(0)
    X, task = rng.normal(size=(600, 12)), np.repeat(np.arange(20), 30)
    W = rng.normal(size=(12, 3)) @ (rng.normal(size=(3, 20)) * (rng.random((3, 20)) < 0.5))
    y = np.einsum("ij,ji->i", X, W[:, task]) + 0.5 * rng.normal(size=600)
    # objective where rounds alone ended, after 120, 463 and 500 of them
    for alpha, before in ((0.3, 10.2), (0.03, 3.86), (0.01, 2.994)):
        model = get_estimator("GroupingOverlapRegressor")(alpha=alpha).fit(X, y, task=task)
        assert model.n_iter_ < 30
        assert model.objective_ < before
        assert np.all(np.diff(model.objective_path_) <= 0)


def test_single_tasks_are_solved_once_along_a_path():
    problem = shared(missing=0.2)
    oracle = engine.make_oracle(problem)
    first = single_tasks(problem, 0.1, 1e-6, 1000, oracle)
    assert single_tasks(problem, 0.1, 1e-4, 1000, oracle) is first
    assert single_tasks(problem, 0.1, 1e-8, 1000, oracle).gap <= 1e-8 * first.objective
    assert single_tasks(problem, 0.2, 1e-4, 1000, oracle) is not first


def test_shared_rows_without_missing_targets_are_turned_once():
    X, Y = np.random.default_rng(0).normal(size=(30, 4)), np.random.default_rng(1).normal(size=(30, 500))
    assert rotate(shared_problem(X, Y, None, Squared(), intercept=True)).A.shape == (1, 5, 4)
