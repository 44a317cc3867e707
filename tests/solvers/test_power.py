"""Bargaining weights: their defining equation, closed forms, scale laws and the infeasible case."""

import numpy as np
import pytest

from polytask.solvers import newton_power, power_residual

from .draws import SOLVABLE, jacobian


@pytest.mark.parametrize("kind", SOLVABLE)
@pytest.mark.parametrize("size", [1, 2, 3, 8, 40, 128])
@pytest.mark.parametrize(
    ("power", "spread"), [(1.0, 0.0), (1.0, 4.0), (1.0, 10.0), (0.5, 0.0), (0.5, 4.0), (0.2, 3.0), (2.0, 3.0)]
)
def test_the_defining_equation_holds(kind, size, power, spread):
    for seed in range(3 if size < 40 else 1):
        J = jacobian(kind, size, spread, seed)
        a, iterations = newton_power(J @ J.T, None, power)
        assert (a > 0).all()
        assert power_residual(J @ J.T, a, None, power) < (1e-10 if kind in ("plain", "agreeing") else 3e-5)
        assert iterations < 60


def test_a_preference_sets_the_shares():
    rng = np.random.default_rng(0)
    for size in (2, 3, 10):
        G = (J := jacobian("plain", size, 2.0, size)) @ J.T
        p = rng.uniform(0.1, 3.0, size)
        a, _ = newton_power(G, p)
        np.testing.assert_allclose(a * (G @ a), p, rtol=1e-10)
        a, _ = newton_power(G, p, 0.5)
        np.testing.assert_allclose(a**0.5 * (G @ a), p, rtol=1e-10)


def test_orthogonal_rows_have_a_closed_form():
    g = np.array([1e-6, 1.0, 3.0, 1e5])
    for power in (0.25, 0.5, 1.0, 2.0):
        np.testing.assert_allclose(newton_power(np.diag(g), None, power)[0], g ** (-1 / (1 + power)), rtol=1e-10)


def test_two_rows_have_a_closed_form():
    for rho in (-0.99, -0.3, 0.0, 0.7, 1.0):
        d = np.array([0.01, 3.0])
        G = np.outer(d, d) * np.array([[1, rho], [rho, 1]])
        np.testing.assert_allclose(newton_power(G)[0], 1 / (d * np.sqrt(1 + rho)), rtol=1e-12)
        # The same through Newton's method, with a preference that is a rounding away from one.
        np.testing.assert_allclose(
            newton_power(G, np.array([1.0, 1.0 + 1e-12]))[0], 1 / (d * np.sqrt(1 + rho)), rtol=1e-9
        )


def test_the_bargain_has_a_fixed_length_and_ignores_the_rows_norms():
    J = jacobian("plain", 7, 0.0, 1)
    a, _ = newton_power(J @ J.T)
    assert np.linalg.norm(J.T @ a) ** 2 == pytest.approx(7)
    s = np.exp(np.random.default_rng(0).uniform(-10, 10, 7))
    scaled = J * s[:, None]
    np.testing.assert_allclose(newton_power(scaled @ scaled.T)[0] * s, a, rtol=1e-9)


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_without_a_common_direction_weights_are_finite_and_the_step_vanishes(power):
    for kind in ("antiparallel", "few_columns"):
        for size in (2, 4, 10):
            J = jacobian(kind, size, 0.0, 0)
            if kind == "few_columns" and size == 2 and J[0, 0] * J[1, 0] > 0:
                continue
            a, _ = newton_power(J @ J.T, None, power)
            assert np.isfinite(a).all()
            assert (a > 0).all()
    J = np.array([[1.0, 0.0], [-2.0, 0.0]])
    a, _ = newton_power(J @ J.T, None, power)
    assert np.linalg.norm(J.T @ a) < 1e-3 * (a @ np.linalg.norm(J, axis=1))


def test_newtons_steps_stay_few():
    counts = [newton_power((J := jacobian("plain", 20, 3.0, seed)) @ J.T)[1] for seed in range(20)]
    assert np.median(counts) <= 8
    assert max(counts) <= 14
