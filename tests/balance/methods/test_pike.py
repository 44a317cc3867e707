"""PiKE: one update by hand, its estimates against gradients of single samples, where it rests."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.func import functional_call, grad, vmap

from polytask.balance import Balancer, Evidence, get_method

NAMES = ("depth", "age", "sex")


def given(one, two, step=0, names=NAMES):
    mean = (one + two) / 2
    size = len(names)
    return Evidence(names, np.ones(size), np.full(size, 1 / size), mean @ mean.T, step, 0, 0, cross=one @ two.T)


def drawn(step):
    return np.random.default_rng([step, 1]).standard_normal((2, 3, 7))


def test_it_is_the_published_recursion():
    """With b = 10 samples in two halves of 5: σ²/5 is half of E‖g − g'‖², so σ² = 5/2·‖g − g'‖²."""
    method, weights = get_method("pike", zeta1=0.3, zeta2=0.7, every=3), [1 / 3] * 3
    moved = 0
    for step in range(10):
        one, two = drawn(step)
        if step % 3 == 0:
            moved += 1
            for k in range(3):
                squared_norm = sum(one[k] * two[k])
                variance = 5 / 2 * sum((one[k] - two[k]) ** 2)
                weights[k] *= math.exp(0.3 * squared_norm - 0.7 * variance / (2 * 10))
            weights = [weight / sum(weights) for weight in weights]
        evidence = given(one, two, step)
        solution = method.solve_present(evidence)
        np.testing.assert_allclose(solution.weights, weights, rtol=1e-12)
        method.remember(evidence, solution)
    assert moved == 4


def samples():
    """Gradients of every single sample of a small network's squared error, (N, P), and of their mean."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)).double()
    x, y = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 1, dtype=torch.float64)

    def loss(parameters, one, target):
        return (functional_call(model, parameters, (one[None],)) - target).square().mean()

    parameters = dict(model.named_parameters())
    single = vmap(grad(loss), (None, 0, 0))({name: p.detach() for name, p in parameters.items()}, x, y)
    whole = torch.autograd.grad((model(x) - y).square().mean(), list(model.parameters()))
    return torch.cat([single[name].flatten(1) for name in parameters], dim=1), torch.cat([g.flatten() for g in whole])


@pytest.mark.parametrize("half", [1, 2])
def test_estimates_are_unbiased_against_gradients_of_single_samples(half):
    """Over all pairs of halves drawn with replacement, the log of the weights' ratio has the exact exponent as mean."""
    rows, whole = samples()
    truth = float(whole @ whole)
    variance = float((rows - whole).square().sum(1).mean())
    batches = [rows[list(picked)].mean(0) for picked in itertools.product(range(5), repeat=half)]
    # The second task's gradient is always e₁, so the log ratio of the weights shows the first one's exponent.
    steady = torch.zeros_like(whole)
    steady[0] = 1.0
    for zeta1, zeta2 in ((1.0, 0.0), (0.0, 1.0), (0.4, 2.0)):
        method = get_method("pike", zeta1=zeta1, zeta2=zeta2)
        found = []
        for a, b in itertools.product(batches, repeat=2):
            one, two = torch.stack([a, steady]), torch.stack([b, steady])
            mean = (one + two) / 2
            weights = method.weights(mean @ mean.T, cross=one @ two.T)
            found.append(float(weights[0].log() - weights[1].log()) + zeta1)
        assert np.mean(found) == pytest.approx(zeta1 * truth - zeta2 * variance / (2 * 2 * half), rel=1e-9)
        assert np.std(found) > 0.01


def test_tasks_with_the_same_exponent_keep_their_weights():
    """Longer but noisier: with ζ₁ = 1 and ζ₂ = 2, ‖∇L‖² − σ²/b is one for both tasks."""
    method = get_method("pike", zeta1=1.0, zeta2=2.0)
    quiet, loud = np.array([1.0, 0.0]), np.array([2.0, math.sqrt(3.0)])
    one, two = np.stack([quiet, loud]), np.stack([quiet, loud * [1.0, -1.0]])
    # The second task: ⟨g, g'⟩ = 4 − 3 = 1 and ¼‖g − g'‖² = 3, so scale its first coordinate for 1 + 3.
    one[1, 0] = two[1, 0] = math.sqrt(7.0)
    for step in range(5):
        evidence = given(one, two, step, NAMES[:2])
        solution = method.solve_present(evidence)
        np.testing.assert_allclose(solution.weights, [0.5, 0.5], rtol=1e-12)
        method.remember(evidence, solution)


def test_one_batch_counts_as_free_of_noise():
    one = drawn(0)[0]
    noise_blind = get_method("pike", zeta1=0.2, zeta2=99.0).weights(torch.tensor(one @ one.T)).numpy()
    expected = np.exp(0.2 * (one**2).sum(1))
    np.testing.assert_allclose(noise_blind, expected / expected.sum(), rtol=1e-12)


def test_present_tasks_keep_their_total_and_nothing_is_lost_to_underflow():
    method = get_method("pike")
    one = np.diag([60.0, 1.0, 0.1])
    evidence = given(one, one)
    solution = method.solve_present(evidence)
    np.testing.assert_allclose(solution.weights, [1.0, 0.0, 0.0], atol=1e-300)
    method.remember(evidence, solution)
    held = method.state.read("log_weight", NAMES)
    assert np.isfinite(held).all()
    assert np.exp(held).sum() == pytest.approx(3.0)
    part = evidence.subset([1, 2])
    weights = method.solve_present(part).weights
    assert weights[0] / weights[1] == pytest.approx(math.exp(2 * (1.0 - 0.01)))
    method.remember(part, method.solve_present(part))
    after = method.state.read("log_weight", NAMES)
    assert after[0] == held[0]
    assert np.logaddexp.reduce(after[1:]) == pytest.approx(np.logaddexp.reduce(held[1:]), rel=1e-12)


def test_through_the_engine_it_is_the_method_on_the_jacobians():
    theta = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    balancer, alone = Balancer("pike", shared=[theta], announce=None), get_method("pike")
    for step in range(3):
        theta.grad = None
        one, two = drawn(step)
        first, second = (
            {n: torch.tensor(r) @ theta + 9 for n, r in zip(NAMES, rows, strict=True)} for rows in (one, two)
        )
        balancer.backward(first, twin=second)
        expected = alone.direction(torch.tensor(one), torch.tensor(two), tasks=NAMES, step=step)
        torch.testing.assert_close(theta.grad, expected)
        evidence = given(one, two, step)
        alone.remember(evidence, alone.solve(evidence))
