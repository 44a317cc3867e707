"""The best worst-case gain within a ball: duality gap, an outside solver, closed form and the degenerate cases."""

import cvxpy
import numpy as np
import pytest

from polytask.solvers import max_min_in_ball, max_min_in_ball_gap

from .draws import KINDS, jacobian


def outside(J, centre, c):
    """min_i g_iᵀd at the optimum, by a conic solver."""
    small = np.linalg.norm(J, axis=1).min()
    g0 = J.T @ centre
    length = np.linalg.norm(g0)
    d, gain = cvxpy.Variable(J.shape[1]), cvxpy.Variable()
    rules = [J / small @ d >= gain, cvxpy.norm(d - g0 / length) <= c]
    options = {"tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10}
    cvxpy.Problem(cvxpy.Maximize(gain), rules).solve(cvxpy.CLARABEL, **options)
    return float(gain.value) * small * length


def shortfall(J, centre, c):
    """Attained against best worst-case gain, relative to the longest gain of the smallest row; and excess length."""
    v, _ = max_min_in_ball(J @ J.T, centre, c)
    g0, d = J.T @ centre, J.T @ (centre + v)
    assert (v >= 0).all()
    lack = (outside(J, centre, c) - (J @ d).min()) / (np.linalg.norm(g0) * np.linalg.norm(J, axis=1).min() * max(c, 1))
    return lack, np.linalg.norm(d - g0) / (c * np.linalg.norm(g0)) - 1


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [2, 3, 8, 20])
def test_an_outside_solver_finds_nothing_better(kind, size):
    for c in (0.1, 0.5, 1.5):
        for spread in (0.0, 2.0):
            J = jacobian(kind, size, spread, 0)
            centre = np.random.default_rng(size).dirichlet(np.full(size, 5.0))
            lack, excess = shortfall(J, centre, c)
            assert lack < 1e-6
            assert excess < 1e-9


@pytest.mark.parametrize("kind", ["plain", "agreeing", "duplicate"])
@pytest.mark.parametrize("size", [2, 3, 8, 40, 128])
@pytest.mark.parametrize("spread", [0.0, 4.0, 10.0])
def test_the_duality_gap_closes(kind, size, spread):
    for c in (0.1, 0.4, 1.0, 2.0):
        G = (J := jacobian(kind, size, spread, 1)) @ J.T
        centre = np.full(size, 1 / size)
        v, _ = max_min_in_ball(G, centre, c)
        assert max_min_in_ball_gap(G, centre, c, v) < 1e-8
        assert v @ G @ v == pytest.approx(c * c * (centre @ G @ centre), rel=1e-9)


def test_two_rows_agree_with_a_search():
    t = np.linspace(0, 1, 200_001)
    for seed in range(10):
        J = jacobian("plain", 2, 1.5, seed)
        G, centre, c = J @ J.T, np.array([0.3, 0.7]), 0.6
        reach = c * np.sqrt(centre @ G @ centre)
        x = np.stack([t, 1 - t])
        dual = (G @ centre) @ x + reach * np.sqrt(np.einsum("ik,ij,jk->k", x, G, x))
        v, _ = max_min_in_ball(G, centre, c)
        assert (G @ (centre + v)).min() == pytest.approx(dual.min(), rel=1e-7)


def test_no_radius_no_change_and_no_mean_no_change():
    G = (J := jacobian("plain", 5, 1.0, 0)) @ J.T
    assert (max_min_in_ball(G, np.full(5, 0.2), 0.0)[0] == 0).all()
    opposite = np.array([[1.0, -1.0], [-1.0, 1.0]])
    assert (max_min_in_ball(opposite, np.array([0.5, 0.5]), 0.4)[0] == 0).all()


def test_one_row_goes_straight_on():
    v, _ = max_min_in_ball(np.array([[4.0]]), np.array([1.0]), 0.5)
    np.testing.assert_allclose(v, [0.5])


def test_opposite_rows_within_reach_end_on_the_direction_nobody_opposes():
    J = np.array([[1.0, 0.0, 0.2], [-3.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    J[0, 2] = 0.0
    centre = np.full(3, 1 / 3)
    v, _ = max_min_in_ball(J @ J.T, centre, 2.0)
    d = J.T @ (centre + v)
    np.testing.assert_allclose(d, [0.0, 1 / 3, 0.0], atol=1e-8)


def test_one_common_factor_changes_nothing():
    J = jacobian("plain", 6, 2.0, 0)
    centre = np.full(6, 1 / 6)
    v, _ = max_min_in_ball(J @ J.T, centre, 0.4)
    for s in (1e-8, 1e8):
        np.testing.assert_allclose(max_min_in_ball(s * s * J @ J.T, centre, 0.4)[0], v, rtol=1e-8, atol=1e-12)
