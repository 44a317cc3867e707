"""Nonnegative quadratic programs: optimality conditions, brute force over active sets, an outside solver."""

import itertools

import numpy as np
import pytest
from scipy.optimize import nnls

from polytask.solvers import correlation, definite, nnqp, nnqp_many, nnqp_residual

from .draws import KINDS, jacobian


def problem(kind, size, seed):
    H = definite(correlation((J := jacobian(kind, size, 0.0, seed)) @ J.T)[0])
    f = np.random.default_rng(seed).standard_normal(size)
    return H, H @ f if kind in ("duplicate", "antiparallel", "few_columns", "cone") else f


def by_enumeration(H, f):
    """The minimiser over all splits into zero and positive entries."""
    best, value = np.zeros(len(f)), 0.0
    for count in range(1, len(f) + 1):
        for inside in map(list, itertools.combinations(range(len(f)), count)):
            x = np.zeros(len(f))
            x[inside] = np.linalg.solve(H[np.ix_(inside, inside)], -f[inside])
            if (x >= 0).all() and x @ H @ x / 2 + f @ x < value:
                best, value = x, x @ H @ x / 2 + f @ x
    return best


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2, 3, 8, 25, 60])
def test_the_optimality_conditions_hold(kind, size):
    for seed in range(8 if size < 25 else 2):
        H, f = problem(kind, size, seed)
        x, iterations = nnqp(H, f)
        assert (x >= 0).all()
        assert nnqp_residual(H, f, x) < 1e-9
        assert iterations <= size + 20


def test_the_minimiser_is_that_of_enumeration():
    for size, seed in itertools.product([1, 2, 3, 5, 6], range(10)):
        H, f = problem("plain", size, seed)
        np.testing.assert_allclose(nnqp(H, f)[0], by_enumeration(H, f), atol=1e-12)


def test_an_outside_solver_agrees():
    for seed in range(5):
        H, f = problem("plain", 30, seed)
        L = np.linalg.cholesky(H)
        np.testing.assert_allclose(nnqp(H, f)[0], nnls(L.T, -np.linalg.solve(L, f))[0], atol=1e-10)


def test_any_start_leads_to_the_same_minimiser():
    rng = np.random.default_rng(0)
    H, f = problem("plain", 12, 0)
    x, _ = nnqp(H, f)
    for _ in range(10):
        np.testing.assert_allclose(nnqp(H, f, rng.random(12) < 0.5)[0], x, atol=1e-13)


def test_a_linear_term_without_negative_entries_is_solved_by_zero_at_no_cost():
    H, f = problem("plain", 5, 0)
    x, iterations = nnqp(H, abs(f))
    assert (x == 0).all()
    assert iterations == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [2, 5, 24, 40])
def test_many_columns_at_once_are_each_solved(kind, size):
    H, _ = problem(kind, size, 0)
    F = H @ np.random.default_rng(1).standard_normal((size, 2 * size))
    X, _ = nnqp_many(H, F)
    for column in range(F.shape[1]):
        assert nnqp_residual(H, F[:, column], X[:, column]) < 1e-9
        np.testing.assert_allclose(H @ X[:, column], H @ nnqp(H, F[:, column])[0], atol=1e-8)


def test_the_least_squares_way_out_finds_the_same_minimiser():
    from polytask.solvers.nnqp import _by_least_squares

    H, f = problem("plain", 10, 3)
    np.testing.assert_allclose(_by_least_squares(H, f), nnqp(H, f)[0], atol=1e-10)


def test_the_residual_sees_each_kind_of_violation():
    H, f = np.eye(2), np.array([-1.0, 1.0])
    assert nnqp_residual(H, f, np.array([1.0, 0.0])) == 0
    assert nnqp_residual(H, f, np.array([0.9, 0.0])) == pytest.approx(0.1)
    assert nnqp_residual(H, f, np.array([1.0, -0.2])) == pytest.approx(0.2)
    assert nnqp_residual(H, f, np.array([1.0, 0.3])) == pytest.approx(0.3)


def test_a_ridge_is_added_only_to_dependent_rows_and_is_enough_for_single_precision():
    for seed in range(20):
        J = jacobian("duplicate", 9, 3.0, seed).astype(np.float32)
        C, _ = correlation((J @ J.T).astype(float))
        np.linalg.cholesky(definite(C))
        assert abs(definite(C) - C).max() < 1e-5
    C, norms = correlation((J := jacobian("plain", 9, 10.0, 0)) @ J.T)
    assert definite(C) is C
    np.testing.assert_allclose(norms, np.linalg.norm(J, axis=1))
    assert (C.diagonal() == 1).all()
