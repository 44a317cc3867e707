"""Points of the simplex: projection and least norm, against their optimality conditions and outside solvers."""

import numpy as np
import pytest
from scipy.optimize import minimize

from polytask.solvers import min_norm, min_norm_gap, project_simplex, simplex_qp

from .draws import KINDS, jacobian


@pytest.mark.parametrize("total", [1.0, 3.5])
def test_the_projection_satisfies_its_variational_inequality(total):
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 50):
        point = 3 * rng.standard_normal(size)
        w = project_simplex(point, total)
        assert (w >= 0).all()
        assert w.sum() == pytest.approx(total)
        corners = total * np.eye(size)
        assert ((corners - w) @ (point - w)).max() < 1e-12


@pytest.mark.parametrize("scale", [1e-17, 1e-10, 1e10, 1e17, 1e150])
@pytest.mark.parametrize("total", [1.0, 3.5])
def test_the_projection_stays_on_the_simplex_at_every_scale(scale, total):
    rng = np.random.default_rng(1)
    for size in (1, 2, 7, 50):
        for shift in (0.0, -1.0, 1.0):
            point = scale * (rng.standard_normal(size) + shift)
            w = project_simplex(point, total)
            assert (w >= 0).all()
            assert w.sum() == pytest.approx(total, rel=1e-12)
            # What is inside has one common distance from the point, and nothing outside is nearer.
            gap = (point - point.max()) - w
            assert gap[w > 0].max() - gap[w > 0].min() <= 1e-12 * total
            assert (gap[w == 0] <= gap[w > 0].max() + 1e-12 * total).all()


def test_ties_share_and_infinities_are_limits():
    assert project_simplex(np.array([-1e17, -2e17])).tolist() == [1.0, 0.0]
    assert project_simplex(np.array([1e17, 1e17, -1e17])).tolist() == [0.5, 0.5, 0.0]
    assert project_simplex(np.full(4, -3e200)).tolist() == [0.25] * 4
    assert project_simplex(np.array([np.inf, 0.0, np.inf])).tolist() == [0.5, 0.0, 0.5]
    assert project_simplex(np.array([-np.inf, 0.25, 0.75])).tolist() == [0.0, 0.25, 0.75]
    assert np.isnan(project_simplex(np.array([np.nan, 0.0]))).all()


def test_a_point_of_the_simplex_is_its_own_projection():
    w = np.random.default_rng(0).dirichlet(np.ones(9))
    np.testing.assert_allclose(project_simplex(w), w, atol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2, 3, 8, 40, 128])
@pytest.mark.parametrize("spread", [0.0, 4.0, 10.0])
def test_no_convex_combination_is_shorter(kind, size, spread):
    for seed in range(4 if size < 40 else 1):
        J = jacobian(kind, size, spread, seed)
        w, _ = min_norm(J @ J.T)
        assert (w >= 0).all()
        assert w.sum() == pytest.approx(1)
        # Where the hull holds zero only the length matters, next to the rows that take part.
        gap, length = min_norm_gap(J @ J.T, w), np.linalg.norm(J.T @ w) / (w @ np.linalg.norm(J, axis=1))
        assert gap < 3e-10 or length < 1e-5


def test_an_outside_solver_agrees():
    for seed in range(10):
        J = jacobian("plain", 4, 1.0, seed)[:, :5]
        G = J @ J.T
        rule = {"type": "eq", "fun": lambda w: w.sum() - 1}
        other = minimize(
            lambda w, G=G: w @ G @ w,
            np.full(4, 0.25),
            jac=lambda w, G=G: 2 * G @ w,
            bounds=[(0, 1)] * 4,
            constraints=rule,
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 500},
        )
        w, _ = min_norm(G)
        assert w @ G @ w <= other.fun * (1 + 1e-9)
        np.testing.assert_allclose(w, other.x, atol=1e-5)


def test_two_rows_have_a_closed_form():
    for a, b, c in [(1.0, 0.0, 4.0), (1.0, 2.0, 9.0), (9.0, 2.0, 1.0), (2.0, -1.0, 3.0), (1.0, 1.0, 1.0)]:
        w, _ = min_norm(np.array([[a, b], [b, c]]))
        apart = a + c - 2 * b
        expected = 0.5 if apart == 0 else np.clip((c - b) / apart, 0, 1)
        np.testing.assert_allclose(w, [expected, 1 - expected], atol=1e-15)


def test_the_general_path_agrees_with_the_closed_form():
    # A third row far away changes nothing.
    for seed in range(20):
        J = jacobian("plain", 2, 2.0, seed)
        far = np.zeros((1, J.shape[1] + 1))
        far[0, -1] = 1e9
        J3 = np.vstack([np.hstack([J, np.zeros((2, 1))]), far])
        np.testing.assert_allclose(min_norm(J3 @ J3.T)[0][:2], min_norm(J @ J.T)[0], rtol=1e-9, atol=1e-12)


def test_one_common_factor_changes_nothing():
    J = jacobian("plain", 6, 2.0, 0)
    w, _ = min_norm(J @ J.T)
    for s in (1e-8, 1e8):
        np.testing.assert_allclose(min_norm(s * s * J @ J.T)[0], w, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2, 3, 8, 40])
@pytest.mark.parametrize("spread", [0.0, 4.0])
def test_the_simplex_program_satisfies_its_conditions(kind, size, spread):
    J = jacobian(kind, size, spread, 0)
    G = J @ J.T
    for lam in (0.0, 0.3, 5.0):
        f = lam * G.mean(axis=1)
        w, _ = simplex_qp(G, f)
        assert (w >= 0).all()
        assert w.sum() == pytest.approx(1)
        slope = G @ w + f
        size_of_slope = np.sqrt(np.diag(G)) @ w * np.sqrt(np.diag(G)).max() + abs(f).max()
        # Frank–Wolfe gap: how far any vertex could still lower the objective.
        assert w @ slope - slope.min() < 1e-9 * size_of_slope
