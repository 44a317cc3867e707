"""Ways that were made fast: they solve the same problems, to the same certificates, from data that were hard."""

import itertools
import pkgutil
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from polytask.linear import Logistic, Quadratic, Squared, get_estimator, shared_problem, solve, stacked_problem
from polytask.linear.core import engine
from polytask.linear.core.fused import FusedRows
from polytask.linear.core.hsic import maximise_dependence, mixing
from polytask.linear.core.root_loss import residual_norms
from polytask.linear.core.root_split import rotate
from polytask.linear.core.spectral import SquaredTraceNorm
from polytask.linear.core.subproblem import select_tasks
from polytask.linear.families.shared_groups import _Groups
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


# ---- families that are procedures ----


def _dependence(A, C, strength):
    """The criterion of the mixture A from its definition, to be minimised."""
    unit = np.sqrt(np.diag(C))
    values, vectors = np.linalg.eigh(C / np.outer(unit, unit))
    base = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    F = base @ (A * unit[:, None] / unit)
    cosine = (F / np.linalg.norm(F, axis=0)).T @ (F / np.linalg.norm(F, axis=0))
    return 0.5 * np.sum((F - base) ** 2) - strength * np.sum(np.triu(cosine**2, 1)), F


@pytest.mark.parametrize("rank", [3, 8])
@pytest.mark.parametrize("strength", [0.01, 0.3, 3.0])
def test_a_mixture_of_few_directions_is_as_dependent_as_one_of_all_predictions(rank, strength):
    rng = np.random.default_rng(0)
    predictions = rng.normal(size=(60, rank)) @ rng.normal(size=(rank, 8)) * np.geomspace(1e-2, 1e2, 8)
    predictions -= predictions.mean(axis=0)
    C = predictions.T @ predictions / 60
    A = mixing(C, strength)
    refined = maximise_dependence(predictions, strength, max_iter=5000)  # on all predictions, not on their span
    slow = np.linalg.pinv(predictions) @ (refined - predictions) + np.eye(8)
    value, F = _dependence(A, C, strength)
    assert value == pytest.approx(_dependence(slow, C, strength)[0], rel=1e-6)
    # stationary: F − F⁰ = strength · slope(F), and the slope is F times a matrix S of F'F
    G, size = F.T @ F, np.sum(F**2, axis=0)
    S = G / np.outer(size, size)
    share = G**2 / np.outer(size, size)
    np.fill_diagonal(share, 0)
    np.fill_diagonal(S, -share.sum(axis=1) / size)
    base = _dependence(np.eye(8), C, strength)[1]
    assert F - base == pytest.approx(2 * strength * F @ S, abs=1e-4)


def test_dependence_that_still_rises_is_told():
    C = np.cov(np.random.default_rng(0).normal(size=(4, 30)))
    with pytest.warns(ConvergenceWarning, match="dependence still rises after 2 iterations at alpha=1"):
        mixing(C, 1.0, max_iter=2)


@pytest.mark.parametrize(
    ("name", "place", "once"),
    [
        ("DirichletTasksRegressor", "polytask.linear.families.dirichlet_tasks.DirichletTasks._cluster", 1),
        ("DebiasedLassoRegressor", "polytask.linear.families.debiased.inverse_rows", 4),  # of every task
    ],
)
def test_what_alpha_does_not_enter_is_computed_once_along_a_path(name, place, once, monkeypatch):
    rng = np.random.default_rng(0)
    X, task = rng.normal(size=(120, 4)), np.repeat(np.arange(4), 30)
    y = X[:, 0] * np.where(task < 2, 1, -1) + 0.1 * rng.normal(size=120)
    owner, attribute = pkgutil.resolve_name(place.rpartition(".")[0]), place.rpartition(".")[2]
    calls, plain = [], getattr(owner, attribute)

    def counted(*arguments):
        calls.append(1)
        return plain(*arguments)

    monkeypatch.setattr(owner, attribute, counted)
    path = get_estimator(name)(tol=1e-8).path(X, y, task=task, alphas=[1.0, 0.1, 0.01])
    assert len(calls) == once
    for alpha, coef in zip(path.alphas, path.coefs, strict=True):
        assert coef == pytest.approx(get_estimator(name)(alpha, tol=1e-8).fit(X, y, task=task).coef_, abs=1e-4)


@pytest.mark.parametrize("loss", [Squared(), Logistic()])
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_a_task_costs_a_fixed_subspace_no_less_than_a_free_one(loss, ridge):
    problem = stacked((30, 12, 18, 25), loss=loss)
    groups = _Groups(engine.make_oracle(problem), 0.1, ridge, 1e-8, 50_000, *problem.start())
    prices, members = groups.alone((0, 1, 2)), (0, 1, 2)
    # at its own subspace a group's cost is the sum of its tasks'
    assert prices[[0, 1, 2]].sum() == pytest.approx(groups.cost(members), rel=5e-3)
    for t in members:
        assert groups.cost(members) - groups.cost(tuple(s for s in members if s != t)) >= 0.995 * prices[t] - 1e-6
    assert groups.cost((0, 1, 2, 3)) - groups.cost(members) <= prices[3] + 1e-6


def test_groups_warm_started_cost_what_they_cost_from_zero():
    problem = stacked((30, 12, 18, 25))
    groups = _Groups(engine.make_oracle(problem), 0.1, 0.0, 1e-9, 50_000, *problem.start())
    for tasks in ((0, 1, 2, 3), (0, 2), (1, 3), (1, 2, 3), (2,)):
        fresh = solve(select_tasks(problem, np.array(tasks)), SquaredTraceNorm(0.1), tol=1e-9, max_iter=50_000)
        assert groups.cost(tasks) == pytest.approx(fresh.objective, rel=1e-8)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize(("entry", "fused"), [(1.0, 0.5), (0.3, 2.0), (np.array([0.5, 1.0, 2.0]), np.ones(3))])
def test_the_gauge_of_fused_rows_is_a_maximum_over_intervals(entry, fused, scale):
    G = scale * np.cumsum(np.random.default_rng(0).normal(size=(3, 12)), axis=1)
    best = 0.0
    # the extreme points of the unit ball are intervals of equal entries: their size over their sum decides
    for j, (a, f) in enumerate(zip(np.broadcast_to(entry, 3), np.broadcast_to(fused, 3), strict=True)):
        for start, stop in itertools.combinations(range(13), 2):
            ends = (start > 0) + (stop < 12)
            best = max(best, abs(G[j, start:stop].sum()) / (a * (stop - start) + f * ends))
    assert FusedRows(entry, fused, 0.0, np.arange(12)).gauge(G) == pytest.approx(best, rel=1e-10)


@pytest.mark.parametrize("group", [0.5, 2.0])
def test_the_proximal_map_at_the_gauge_is_zero_and_not_below(group):
    G = np.random.default_rng(0).normal(size=(5, 9))
    penalty = FusedRows(0.3, 1.0, group, np.random.default_rng(1).permutation(9))
    c = penalty.gauge(G)
    assert not penalty.prox(G, c * (1 + 1e-9)).any()
    assert penalty.prox(G, c * (1 - 1e-6)).any()
    assert penalty.gauge(np.zeros_like(G)) == 0
