"""The two-dimensional problem of the CAGrad, Nash-MTL and FAMO papers: where each method ends from which start.

The problem is that of the figure in the documentation (docs/figures/two_valleys.py), of which this also checks points.
The papers run Adam with a rate of 1e-3 for 35 to 100 thousand steps; larger rates with as many steps fewer reach the
same points, and all starts run side by side.
"""

import numpy as np
import pytest
from two_valleys import OPTIMUM, STARTS, gradients, losses

from polytask.balance import Evidence, GramianMethod, get_method
from polytask.balance.contract.asks import LOSSES_AFTER_STEP


def descend(name, starts, *, steps, lr, first=1.0, **options):
    """Where Adam ends from every start, when each has a method of its own; (N, 2)."""
    methods = [get_method(name, **options) for _ in starts]
    x = np.array(starts)
    mean, square, preference = np.zeros_like(x), np.zeros_like(x), np.array([0.5, 0.5])
    for step in range(steps):
        values, J = losses(x, first), gradients(x, first)
        seen = [Evidence(("one", "two"), values[n], preference, J[n] @ J[n].T, step) for n in range(len(x))]
        direction = np.array([_weights(m, e) @ rows for m, e, rows in zip(methods, seen, J, strict=True)])
        mean = 0.9 * mean + 0.1 * direction
        square = 0.999 * square + 0.001 * direction**2
        x = x - lr * mean / (1 - 0.9 ** (step + 1)) / (np.sqrt(square / (1 - 0.999 ** (step + 1))) + 1e-8)
        if LOSSES_AFTER_STEP in methods[0].asks:
            for method, given, after in zip(methods, seen, losses(x, first).tolist(), strict=True):
                method.after_step(given, {"one": after[0], "two": after[1]})
    return x


def _weights(method, evidence):
    solution = method.solve_present(evidence) if isinstance(method, GramianMethod) else method.solve(evidence)
    method.remember(evidence, solution)
    return solution.weights


NASH_STARTS = [(-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0)]


def test_the_problem_is_the_published_one():
    x = np.array([*NASH_STARTS, OPTIMUM])
    expected = [(0.65524, 7.90080), (0, 0), (0.79440, 6.69150), (0.03888, -4.75448), (-0.88311, 2.81429)]
    np.testing.assert_allclose(losses(x, 0.1)[:5], expected, atol=1e-4)
    np.testing.assert_allclose(losses(x)[5], [-15.0916, -15.0916], atol=1e-3)


def test_the_sum_gets_stuck_on_the_ridge_from_two_starts():
    end = descend("equal", STARTS, steps=6000, lr=3e-3)
    values = losses(end).mean(axis=1)
    assert values[0] > 0
    assert values[2] > 0
    np.testing.assert_allclose(end[1], OPTIMUM, atol=0.05)


def test_cagrad_reaches_the_optimum_of_the_mean_from_all_starts():
    end = descend("cagrad", STARTS, steps=9000, lr=0.02, c=0.5)
    np.testing.assert_allclose(end, [OPTIMUM] * 3, atol=0.05)
    assert (losses(end).mean(axis=1) < -15.09).all()


def test_ol_aux_ends_at_the_primary_tasks_optimum_where_no_ridge_is_in_the_way():
    """L_1 is least at (7, −8), where it is −20; the auxiliary task drives there too until the two part."""
    end = descend("ol_aux", STARTS[1:2], steps=3000, lr=0.02, primary="one")
    assert losses(end)[0, 0] == pytest.approx(-20, abs=0.02)


def test_mgda_stops_at_different_pareto_points():
    end = descend("mgda", STARTS, steps=3000, lr=0.02)
    assert (abs(end[:, 1] + 8.4) < 0.3).all()
    assert (abs(end[:, 0]) > 2).all()
    assert end[0, 0] < 0 < end[2, 0]


def test_nash_reaches_the_pareto_set_from_all_starts_although_one_loss_is_ten_times_smaller():
    end = descend("nash_mtl", NASH_STARTS, steps=5000, lr=5e-3, first=0.1)
    assert (abs(end[:, 1] + 8.4) < 0.06).all()
    np.testing.assert_allclose(end[:, 0], [-3.7, 0.0, 3.7, -3.7, 5.3], atol=0.5)


FAMO = {"first": 0.1, "minimum": {"one": -2.1, "two": -21.0}}


@pytest.mark.slow
def test_famo_balances_the_two_hard_starts():
    end = descend("famo", NASH_STARTS[0:3:2], steps=15_000, lr=3e-3, gamma=0.0, **FAMO)
    np.testing.assert_allclose(end, [OPTIMUM] * 2, atol=0.4)


@pytest.mark.slow
def test_famo_stays_on_the_ridge_with_decay():
    end = descend("famo", NASH_STARTS[0:3:2], steps=15_000, lr=3e-3, gamma=0.01, **FAMO)
    assert (end[:, 1] > 1).all()


@pytest.mark.slow
def test_cagrad_with_the_papers_rate_and_number_of_steps():
    end = descend("cagrad", STARTS[2:], steps=100_000, lr=1e-3, c=0.5, rescale="1+c")
    np.testing.assert_allclose(end, [OPTIMUM], atol=0.01)


@pytest.mark.slow
def test_nash_with_the_papers_rate_and_number_of_steps():
    end = descend("nash_mtl", NASH_STARTS, steps=35_000, lr=1e-3, first=0.1)
    assert (abs(end[:, 1] + 8.4) < 0.06).all()
    np.testing.assert_allclose(end[:, 0], [-2.94, 0.0, 2.94, -3.30, 4.91], atol=0.01)
