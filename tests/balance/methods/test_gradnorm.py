"""GradNorm against automatic differentiation of its published objective."""

import numpy as np
import pytest
import torch

from polytask.balance import Evidence, get_method
from tests.solvers.draws import jacobian

TASKS = ("a", "b", "c")


def step_of(method, J, losses, step=0, tasks=TASKS):
    size = len(tasks)
    given = Evidence(tasks, np.asarray(losses, float), np.full(size, 1 / size), J @ J.T, step)
    solution = method.solve_present(given)
    method.remember(given, solution)
    return solution.weights


@pytest.mark.parametrize("alpha", [0.0, 0.12, 1.5])
def test_weights_follow_adam_on_the_differentiated_objective(alpha):
    """Norms of the gradients of w_i·L_i, differentiated once more by autograd, as in the paper's algorithm."""
    method = get_method("gradnorm", alpha=alpha, lr=0.025)
    weights = torch.ones(3, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([weights], lr=0.025)
    shared = torch.zeros(12, dtype=torch.float64, requires_grad=True)
    first = None
    for step in range(40):
        J = jacobian("plain", 3, 1.0, step)
        values = np.random.default_rng(step).uniform(0.2, 3.0, 3)
        np.testing.assert_allclose(step_of(method, J, values, step), weights.detach(), rtol=1e-6)
        losses = torch.tensor(values) + torch.tensor(J) @ shared
        first = losses.detach() if first is None else first
        rows = [torch.autograd.grad(weights[i] * losses[i], shared, create_graph=True)[0] for i in range(3)]
        norms = torch.stack([row.norm() for row in rows])
        ratio = losses.detach() / first
        goal = (norms.mean() * (ratio / ratio.mean()) ** alpha).detach()
        adam.zero_grad()
        (norms - goal).abs().sum().backward()
        adam.step()
        with torch.no_grad():
            weights.mul_(3 / weights.sum())


def test_equal_norms_and_rates_are_a_fixed_point():
    method = get_method("gradnorm")
    J = np.eye(3) * 0.7
    for step in range(10):
        np.testing.assert_allclose(step_of(method, J, [1.0, 2.0, 3.0], step), 1.0)


def test_without_rates_the_weights_make_the_norms_equal():
    method = get_method("gradnorm", alpha=0.0, lr=0.01)
    J = np.diag([1.0, 3.0, 0.5])
    for step in range(2500):
        weights = step_of(method, J, [1.0, 1.0, 1.0], step)
    assert weights.sum() == pytest.approx(3)
    norms = weights * np.diag(J)
    np.testing.assert_allclose(norms, norms.mean(), rtol=0.05)


def test_a_task_that_lags_behind_gains_weight():
    method = get_method("gradnorm")
    for step in range(30):
        weights = step_of(method, np.eye(3), [1.0, 0.9**step, 0.9**step], step)
    assert weights[0] > 1.2
    assert weights[1] == pytest.approx(weights[2])


def test_first_losses_are_kept_by_task_and_a_task_without_gradient_waits():
    method = get_method("gradnorm")
    step_of(method, np.eye(2), [4.0, 2.0], 0, ("a", "b"))
    step_of(method, np.diag([1.0, 0.0]), [3.0, 9.0], 1, ("a", "c"))
    assert method.state_dict()["first_loss"] == {"a": 4.0, "b": 2.0}
    step_of(method, np.eye(2), [3.0, 8.0], 2, ("a", "c"))
    assert method.state_dict()["first_loss"] == {"a": 4.0, "b": 2.0, "c": 8.0}


def test_losses_that_reach_zero_or_start_there_keep_the_weights_finite():
    method = get_method("gradnorm", lr=0.5)
    for step, losses in enumerate(([0.0, 1.0, -1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 2.0])):
        weights = step_of(method, np.eye(3), losses, step)
        assert np.isfinite(weights).all()
        assert weights.min() > 0
