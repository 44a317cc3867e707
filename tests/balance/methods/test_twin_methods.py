"""MoDo and stochastic SDMGrad: their recursions by hand, their expectations, and their limits."""

import itertools

import numpy as np
import pytest
import torch

from polytask.balance import Balancer, Evidence, get_method

RNG = np.random.default_rng(5)


def simplex(point):
    """The projection by bisection on the threshold."""
    low, high = point.min() - 1, point.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(point - middle, 0).sum() > 1 else (low, middle)
    return np.maximum(point - low, 0)


def problem(size=4, columns=6, seed=0):
    """A mean Jacobian and equally likely noises that cancel."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((3, size, columns)) * np.array([0.1, 0.5, 1.0, 2.0])[:, None]
    return rng.standard_normal((size, columns)), np.concatenate([noise, -noise])


def given(one, two, step=0, preference=None):
    size = len(one)
    mean = (one + two) / 2
    liking = np.full(size, 1 / size) if preference is None else preference
    names = tuple("abcdefgh"[:size])
    return Evidence(names, np.ones(size), liking, mean @ mean.T, step, 0, 0, cross=one @ two.T)


def test_modo_is_the_published_recursion():
    method, weights, empty = get_method("modo", gamma=0.3, rho=0.2), np.full(4, 0.25), 0
    mean, noise = problem()
    for step in range(20):
        one, two = mean + noise[step % 6], mean + noise[(step * 5 + 1) % 6]
        weights = simplex(weights - 0.3 * (one @ (two.T @ weights) + 0.2 * weights))
        evidence = given(one, two, step)
        solution = method.solve_present(evidence)
        np.testing.assert_allclose(solution.weights, weights, atol=1e-12)
        method.remember(evidence, solution)
        empty += np.count_nonzero(weights == 0)
    assert empty > 0, "the projection took part"


def test_modo_estimates_the_slope_of_the_mean_problem_without_bias_and_one_batch_does_not():
    """The mean of λ's move over all pairs of batches is −γ(E[J]E[J]ᵀλ); with one batch, noise adds to the diagonal."""
    mean, noise = problem()
    gamma, start = 1e-3, np.full(4, 0.25)
    method = get_method("modo", gamma=gamma, rho=0.0)
    along = lambda move: move - move.mean()  # noqa: E731 - inside the simplex, moves are known up to a constant
    exact = along(-gamma * mean @ (mean.T @ start))
    pairs = [method.solve(given(mean + a, mean + b)).weights - start for a, b in itertools.product(noise, repeat=2)]
    np.testing.assert_allclose(np.mean(pairs, axis=0), exact, atol=1e-15)
    single = np.mean([method.solve(given(mean + a, mean + a)).weights - start for a in noise], axis=0)
    extra = np.mean([a @ a.T for a in noise], axis=0)
    np.testing.assert_allclose(single, exact + along(-gamma * extra @ start), atol=1e-15)
    assert abs(single - exact).max() > 1e-4


def test_modo_with_equal_batches_comes_to_the_min_norm_weights():
    mean, _ = problem(seed=3)
    method = get_method("modo", gamma=0.02, rho=0.0)
    for step in range(4000):
        evidence = given(mean, mean, step)
        method.remember(evidence, method.solve(evidence))
    found = method.solve(given(mean, mean)).weights
    exact = get_method("mgda").weights(torch.tensor(mean @ mean.T)).numpy()
    np.testing.assert_allclose(found, exact, atol=1e-6)


def test_stochastic_sdmgrad_is_its_recursion():
    method, held = get_method("stochastic_sdmgrad", lam=0.4, lr=0.7, momentum=0.3, iterations=5), np.full(4, 0.25)
    mean, noise = problem(seed=1)
    liking = np.array([0.4, 0.3, 0.2, 0.1])
    for step in range(8):
        one, two = mean + noise[step % 6], mean + noise[(step + 2) % 6]
        cross = one @ two.T
        scale = np.mean([np.sqrt(max(x, 0)) for x in np.diag(cross)])
        speed = np.zeros(4)
        for _ in range(5):
            speed = 0.3 * speed + cross @ (held + 0.4 * liking) / scale**2
            held = simplex(held - 0.7 * speed)
        evidence = given(one, two, step, liking)
        solution = method.solve_present(evidence)
        np.testing.assert_allclose(solution.weights, (held + 0.4 * liking) / 1.4, atol=1e-11)
        method.remember(evidence, solution)


@pytest.mark.parametrize("lam", [0.0, 0.3, 3.0])
def test_stochastic_sdmgrad_with_equal_batches_and_small_steps_is_the_deterministic_method(lam):
    mean, _ = problem(seed=2)
    method = get_method("stochastic_sdmgrad", lam=lam, lr=0.1, iterations=3000)
    found = method.solve(given(mean, mean)).weights
    exact = get_method("sdmgrad", lam=lam).weights(torch.tensor(mean @ mean.T)).numpy()
    np.testing.assert_allclose(found, exact, atol=1e-7)


def test_batches_that_disagree_about_every_task_leave_w():
    one = np.eye(3)
    method = get_method("stochastic_sdmgrad")
    np.testing.assert_array_equal(method.solve(given(one, -0.5 * one)).weights, np.full(3, 1 / 3))


@pytest.mark.parametrize("name", ["modo", "stochastic_sdmgrad"])
def test_absent_tasks_keep_their_part_and_starved_tasks_come_back(name):
    method = get_method(name)
    one = np.diag([3.0, 2.0, 0.1])
    for step in range(50):
        evidence = given(one, one, step)
        method.remember(evidence, method.solve_present(evidence))
    before = method.state.read("mass", ["a", "b", "c"])
    assert before.sum() == pytest.approx(3.0)
    part = given(one, one).subset([0, 2])
    method.remember(part, method.solve_present(part))
    after = method.state.read("mass", ["a", "b", "c"])
    assert after[1] == before[1]
    assert after.sum() == pytest.approx(3.0)
    method.state.write("mass", ["a", "b"], np.zeros(2))
    lone = given(one, one).subset([0, 1])
    weights = method.solve_present(lone).weights
    assert np.isfinite(weights).all()
    method.remember(lone, method.solve_present(lone))
    assert method.state.read("mass", ["a", "b"]).sum() > 0


def test_a_direction_from_two_jacobians():
    mean, noise = problem()
    one, two = torch.tensor(mean + noise[0]), torch.tensor(mean + noise[1])
    method = get_method("modo")
    weights = method.weights((one + two) @ (one + two).T / 4, cross=one @ two.T)
    torch.testing.assert_close(method.direction(one, two), weights @ (one + two) / 2)
    assert not torch.allclose(method.direction(one, two), method.direction((one + two) / 2))


@pytest.mark.parametrize("name", ["modo", "stochastic_sdmgrad"])
def test_through_the_engine_it_is_the_method_on_the_jacobians(name):
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(5, dtype=torch.float64, generator=generator, requires_grad=True)
    one, two = torch.randn(2, 3, 5, dtype=torch.float64, generator=generator)
    balancer, alone = Balancer(name, shared=[theta], announce=None), get_method(name)
    for step in range(4):
        theta.grad = None
        first, second = ({str(i): row @ theta + 9 for i, row in enumerate(rows)} for rows in (one, two))
        balancer.backward(first, twin=second)
        torch.testing.assert_close(theta.grad, alone.direction(one, two, step=step))
        mean = (one + two) / 2
        evidence = Evidence(
            ("0", "1", "2"),
            np.ones(3),
            np.full(3, 1 / 3),
            (mean @ mean.T).numpy(),
            step,
            0,
            0,
            cross=(one @ two.T).numpy(),
        )
        alone.remember(evidence, alone.solve(evidence))
