"""CoBa: its scores with every sum written out, and its limits."""

import math

import numpy as np
import pytest
import torch

from polytask.balance import Balancer, Evidence, get_method
from polytask.errors import ConfigError, MethodError

TASKS = ("a", "b", "c")


def weights(method, tasks=TASKS, step=0):
    size = len(tasks)
    return method.solve(Evidence(tuple(tasks), np.ones(size), np.full(size, 1 / size), None, step)).weights


def curves(count):
    """Validation losses: one falls quickly and flattens out, one slowly, one overfits; all with noise."""
    rng, t = np.random.default_rng(0), np.arange(count)
    clean = np.stack([3 * np.exp(-t / 6) + 1, 50 - 0.6 * t, 0.02 + 1e-5 * (t - 12) ** 2], axis=1)
    return clean * (1 + 0.01 * rng.standard_normal(clean.shape))


def slope(values):
    return np.polyfit(np.arange(len(values)), values, 1)[0]


def soft(values):
    total = sum(math.exp(value) for value in values)
    return [math.exp(value) / total for value in values]


@pytest.mark.parametrize("sharpen", [False, True])
@pytest.mark.parametrize(("warmup", "window", "tau"), [(3, 6, 5.0), (5, 5, 2.0), (4, 100, 0.5)])
def test_it_is_the_authors_recursion(sharpen, warmup, window, tau):
    method = get_method("coba", warmup=warmup, window=window, tau=tau, sharpen=sharpen)
    seen, history, overall, shares = [], [], [], []
    for losses in curves(30):
        seen.append(losses)
        method.observe_metrics(dict(zip(TASKS, losses, strict=True)))
        if len(seen) < warmup:  # the loss before training counts
            np.testing.assert_allclose(weights(method), 1 / 3)
            continue
        relative = (np.array(seen) / seen[0])[1:][-window:]  # and is what the others are measured by
        alpha = [slope(relative[:, i]) for i in range(3)]
        history.append(alpha)
        overall.append(slope(relative.max(1)))
        even = soft([3 * a / sum(map(abs, alpha)) for a in alpha])
        steady = []
        for i in range(3):
            own = [past[i] for past in history][-window:]
            steady.append(-len(own) * own[-1] / sum(map(abs, own)))
        steady = soft(steady)
        t = len(overall)
        share = min(1.0, t * soft([-tau * t * a / sum(map(abs, overall)) for a in overall])[-1])
        shares.append(share)
        expected = [share * r + (1 - share) * a for r, a in zip(even, steady, strict=True)]
        if sharpen:
            expected = soft([3 * w for w in expected])
            if min(expected) < 1 / 30:
                expected = [w * (1 - 3 / 30) + 1 / 30 for w in expected]
        np.testing.assert_allclose(weights(method), expected, rtol=1e-7)
    assert shares[0] == 1.0
    assert min(shares) < 0.99


def observed(method, losses):
    for row in losses:
        method.observe_metrics(dict(zip(TASKS, row, strict=True)))
    return weights(method)


def test_equal_progress_gives_equal_weights_whatever_the_scales():
    t = np.arange(12)[:, None]
    falling = np.array([1.0, 300.0, 1e-4]) * np.exp(-t / 9)
    np.testing.assert_allclose(observed(get_method("coba", warmup=4, window=8), falling), 1 / 3, rtol=1e-9)
    constant = np.full((12, 3), 2.0)
    np.testing.assert_allclose(observed(get_method("coba", warmup=4, window=8), constant), 1 / 3, rtol=1e-9)


def test_the_slow_task_gets_most_while_all_fall():
    t = np.arange(10)[:, None]
    w = observed(get_method("coba", warmup=4, window=8), 10 - t * np.array([0.5, 0.1, 0.3]))
    assert w[1] > w[2] > w[0]


def test_a_task_that_begins_to_overfit_loses_weight():
    t = np.arange(40)
    well = 1 + np.exp(-t / 30)
    overfits = np.where(t < 20, 2 - 0.02 * t, 1.6 + 0.05 * (t - 20))
    method = get_method("coba", warmup=5, window=10)
    losses = np.stack([well, overfits, well], axis=1)
    w = observed(method, losses)
    assert w[1] < min(w[0], w[2])
    # Without the turn it is the slowest, which the relative score alone would favour.
    early = observed(get_method("coba", warmup=5, window=10, tau=0.0), losses)
    assert early[1] > max(early[0], early[2])


def test_the_floor_of_the_released_code():
    t = np.arange(10)[:, None]
    names = [str(i) for i in range(20)]
    method = get_method("coba", warmup=4, window=8, sharpen=True)
    for row in 10 - t * np.r_[0.9, np.full(19, 1e-3)]:
        method.observe_metrics(dict(zip(names, row, strict=True)))
    w = weights(method, names)
    assert w.sum() == pytest.approx(1)
    assert w.min() >= 1 / 200


def test_a_task_without_validation_losses_makes_all_weights_equal():
    method = get_method("coba", warmup=2, window=4)
    for value in (3.0, 2.0, 1.9):
        method.observe_metrics({"a": value, "b": 2 * value**2})
    assert weights(method, ("a", "b"))[0] != pytest.approx(0.5)
    np.testing.assert_allclose(weights(method), 1 / 3)
    method.observe_metrics({})
    with pytest.raises(MethodError, match=r"validation losses above zero, found b = 0"):
        method.observe_metrics({"a": 1.0, "b": 0.0})
    with pytest.raises(ConfigError, match=r"at least warmup = 9, found 4"):
        get_method("coba", warmup=9, window=4)


def test_through_the_engine_and_a_file():
    theta = torch.ones(2, requires_grad=True)
    balancer = Balancer(get_method("coba", warmup=3, window=5), shared=[theta], announce=None)
    other = Balancer(get_method("coba", warmup=3, window=5), shared=[theta], announce=None)
    for step, row in enumerate(curves(9)):
        balancer.observe_metrics(dict(zip("ab", row, strict=False)))
        if step >= 4:
            other.load_state_dict(balancer.state_dict())
            one, two = (runner.backward({"a": theta.sum(), "b": theta.square().mean()}) for runner in (balancer, other))
            assert one.weights == two.weights
            assert one.weights["a"] != one.weights["b"]
