"""Methods that make equal angles with all gradients: ConFIG and IMTL."""

import numpy as np
import pytest
import torch
import torchjd.aggregation as jd

from polytask.balance import Evidence, get_method
from tests.solvers.draws import jacobian


def drawn(size, spread=0.0, seed=0, kind="plain"):
    J = torch.tensor(jacobian(kind, size, spread, seed))
    return J, J @ J.T


@pytest.mark.parametrize("size", [1, 2, 3, 8, 40])
@pytest.mark.parametrize("spread", [0.0, 4.0])
def test_config_has_equal_cosines_and_the_length_of_all_projections(size, spread):
    J, _ = drawn(size, spread)
    d = get_method("config").direction(J)
    unit = d / d.norm()
    shown = J @ unit / J.norm(dim=1)
    np.testing.assert_allclose(shown, shown[0], rtol=1e-6)
    assert float(shown[0]) > 0
    assert float(d.norm()) == pytest.approx(float((J @ unit).sum()))


@pytest.mark.parametrize("size", [2, 3, 8, 25])
@pytest.mark.parametrize("spread", [0.0, 3.0])
def test_config_agrees_with_torchjd(size, spread):
    for seed in range(3):
        J, _ = drawn(size, spread, seed)
        theirs = jd.ConFIG()(J)
        np.testing.assert_allclose(
            get_method("config").direction(J), theirs, rtol=1e-7, atol=1e-9 * float(theirs.norm())
        )


def test_config_of_two_tasks_is_the_bisector():
    J, G = drawn(2, 1.0, 4)
    a, b = J.norm(dim=1)
    rho = float(G[0, 1] / a / b)
    d = get_method("config").direction(J)
    assert float(d.norm()) == pytest.approx(float(a + b) * np.sqrt((1 + rho) / 2))
    bisector = J[0] / a + J[1] / b
    np.testing.assert_allclose(d / d.norm(), bisector / bisector.norm(), rtol=1e-9)


def test_config_vanishes_for_opposite_gradients():
    J = torch.tensor([[1.0, 0.0], [-3.0, 0.0]], dtype=torch.float64)
    assert float(get_method("config").direction(J).norm()) < 1e-12


def test_imtl_is_imtl_g_for_rows_scaled_by_imtl_l():
    hybrid, losses_part = get_method("imtl", lr=0.1), get_method("imtl_l", lr=0.1)
    tasks = ("a", "b", "c")
    for step in range(20):
        J = jacobian("plain", 3, 1.0, step)
        losses = np.random.default_rng(step).uniform(0.1, 4.0, 3)
        given = Evidence(tasks, losses, np.full(3, 1 / 3), J @ J.T, step)
        plain = Evidence(tasks, losses, np.full(3, 1 / 3), None, step)
        scale, solution = losses_part.solve(plain), hybrid.solve(given)
        rows = torch.tensor(scale.weights[:, None] * J)
        np.testing.assert_allclose(solution.weights @ J, get_method("imtl_g").direction(rows), rtol=1e-9)
        hybrid.remember(given, solution)
        losses_part.remember(plain, scale)
    assert abs(np.log(scale.weights)).min() > 0.5
