"""Bargaining weights: their defining equation, closed forms, scale laws and the infeasible case."""

import mpmath
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
        assert power_residual(J @ J.T, a, None, power) < 1e-10
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


def exact(J, preference, power, digits=120):
    """The solution's logarithms by Newton's method on log((Ga)_i) + β·log a_i = log p_i in log a, from another start.

    From β = 1 to the power asked for in small steps, with step halving, in as many digits.
    """
    size = len(J)
    with mpmath.workdps(digits):
        rows = mpmath.matrix(J.tolist())
        G = rows * rows.T
        aim = [mpmath.log(mpmath.mpf(p)) for p in preference]
        x = mpmath.matrix([-mpmath.log(G[i, i]) / 2 for i in range(size)])

        def off(x, beta):
            a = x.apply(mpmath.exp)
            pull = G * a
            if min(pull) <= 0:
                return None, a, pull
            return mpmath.matrix([mpmath.log(pull[i]) + beta * x[i] - aim[i] for i in range(size)]), a, pull

        ladder = [mpmath.mpf(power) ** (mpmath.mpf(i) / 12) for i in range(13)]
        for beta in ladder:
            for _ in range(200):
                e, a, pull = off(x, beta)
                assert e is not None
                error = mpmath.norm(e, mpmath.inf)
                if error < mpmath.mpf(10) ** (-40 if beta == ladder[-1] else -3):
                    break
                slope = mpmath.matrix(size, size)
                for i in range(size):
                    for j in range(size):
                        slope[i, j] = G[i, j] * a[j] / pull[i] + (beta if i == j else 0)
                step, size_of_step = mpmath.lu_solve(slope, -e), mpmath.mpf(1)
                while (tried := off(x + size_of_step * step, beta)[0]) is None or (
                    mpmath.norm(tried, mpmath.inf) > error and size_of_step > 1e-12
                ):
                    size_of_step /= 2
                x = x + size_of_step * step
            else:
                raise AssertionError("no convergence")
        return np.array([float(value) for value in x])


@pytest.mark.parametrize(("kind", "spread"), [("plain", 10.0), ("agreeing", 10.0), ("cone", 10.0), ("duplicate", 4.0)])
@pytest.mark.parametrize("power", [0.2, 0.1])
def test_small_powers_agree_with_many_digits(kind, spread, power):
    """FairGrad with α = 5 and 10 where norms differ by eight orders of magnitude and weights by sixty."""
    for size, seed in ((2, 0), (4, 1), (5, 2)):
        J = jacobian(kind, size, spread, seed)
        p = np.random.default_rng(seed).uniform(0.5, 2.0, size)
        a, _ = newton_power(J @ J.T, p, power)
        logs = exact(J, p, power)
        # An error of ε in the pull is one of ε/β in the logarithm of a weight that is otherwise negligible.
        np.testing.assert_allclose(np.log(a), logs, rtol=0, atol=1e-6)
        step, true = a @ J, np.exp(logs) @ J
        assert np.linalg.norm(step - true) < 1e-8 * np.linalg.norm(true)


@pytest.mark.parametrize("kind", SOLVABLE)
@pytest.mark.parametrize("power", [0.2, 0.1])
def test_small_powers_converge_whatever_the_norms(kind, power):
    for size in (2, 3, 8, 40, 128):
        for seed in range(3 if size < 100 else 1):
            G = (J := jacobian(kind, size, 10.0, seed)) @ J.T
            a, iterations = newton_power(G, None, power)
            assert power_residual(G, a, None, power) < 1e-7
            assert iterations < 80


@pytest.mark.parametrize("alpha", [1e-3, 0.01, 0.05, 0.1, 0.12, 0.5, 2.0])
def test_at_a_pareto_stationary_point_nobody_gains_or_loses(alpha):
    """Some convex combination of the rows is zero: no direction helps all, and the step is next to nothing."""
    J = np.array([[-1.5, -0.1], [1.1, 0.0], [0.3, 1.1]])
    a, _ = newton_power(J @ J.T, None, 1 / alpha)
    assert (a > 0).all()
    assert abs(J @ (a @ J)).max() < 2e-5 * (np.linalg.norm(J, axis=1) @ a)


@pytest.mark.parametrize("kind", ["few_columns", "antiparallel", "duplicate", "cone"])
@pytest.mark.parametrize("alpha", [0.02, 0.1, 0.5, 2.0, 10.0])
def test_dependent_rows_are_never_opposed(kind, alpha):
    """Gains are those of α-fairness, or rounding; no warning asks for another alpha."""
    for size in (2, 3, 5, 12):
        for spread in (0.0, 2.0):
            for seed in range(3):
                J = jacobian(kind, size, spread, seed)
                a, _ = newton_power(J @ J.T, None, 1 / alpha)
                norms = np.linalg.norm(J, axis=1)
                assert (J @ (a @ J) / norms).min() > -1e-6 * (norms @ a)


def test_what_float64_cannot_resolve_is_said():
    J = jacobian("plain", 40, 25.0, 0)
    with pytest.warns(RuntimeWarning, match="found a relative error of .*rescale the losses"):
        a, _ = newton_power(J @ J.T, None, 0.1)
    assert np.isfinite(a).all()
    assert (a > 0).all()
