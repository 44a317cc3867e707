"""Methods that scale losses by what they saw of them: against the published recursions, and by hand."""

import itertools

import numpy as np
import pytest
import torch

from polytask.balance import Balancer, Evidence, get_method
from polytask.balance.loss.ntk import ntk_trace
from polytask.errors import MethodError

TASKS = ("a", "b", "c")


def observed(method, losses, tasks=TASKS, step=0, epoch=0):
    """One step: weights for these losses, then learning from them."""
    losses = np.asarray(losses, float)
    given = Evidence(tuple(tasks), losses, np.full(len(losses), 1 / len(losses)), None, step, epoch)
    solution = method.solve(given)
    method.remember(given, solution)
    return solution.weights


def draws(steps=60, seed=0):
    return np.exp(np.random.default_rng(seed).normal(0, 0.7, (steps, 3))) * [1.0, 0.01, 50.0]


def test_revised_uw_follows_adam_on_the_published_objective():
    method = get_method("revised_uw", lr=0.03)
    c = torch.ones(3, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([c], lr=0.03)
    for losses in draws():
        np.testing.assert_allclose(observed(method, losses), 0.5 / c.detach().numpy() ** 2, rtol=1e-10)
        adam.zero_grad()
        (torch.tensor(losses) / (2 * c**2) + torch.log(1 + c**2)).sum().backward()
        adam.step()


def test_revised_uw_rests_at_its_closed_form():
    losses = np.array([0.02, 2.3, 30.0])
    method = get_method("revised_uw", lr=0.02)
    for _ in range(4000):
        w = observed(method, losses)
    np.testing.assert_allclose(w, 2 / (losses + np.sqrt(losses**2 + 8 * losses)), rtol=0.01)
    assert 0.5 / w[1] == pytest.approx(1.79181, rel=0.01)


@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_revised_uw_stays_finite_at_losses_it_was_not_made_for(bad):
    method = get_method("revised_uw", lr=1.0)
    for _ in range(50):
        w = observed(method, [bad, bad, 1.0])
    assert w.max() <= 0.5 * np.exp(10) * 1.0001


def test_uw_so_is_between_equal_weights_and_the_smallest_loss():
    losses = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    np.testing.assert_allclose(get_method("uw_so", temperature=1e6).weights(losses), 1 / 3, rtol=1e-5)
    np.testing.assert_allclose(get_method("uw_so", temperature=1e-3).weights(losses), [1, 0, 0], atol=1e-12)
    w = get_method("uw_so", temperature=0.5).weights(losses)
    np.testing.assert_allclose(w, torch.softmax(2 / losses, 0), rtol=1e-12)
    assert torch.isfinite(get_method("uw_so").weights(losses * 1e-8)).all()


@pytest.mark.parametrize(("name", "rate"), [("adaloss", 0.01), ("adaloss", 0.3), ("ema_scaling", 0.1)])
def test_losses_are_divided_by_their_unbiased_exponential_mean(name, rate):
    method, history = get_method(name, rate=rate), []
    for losses in draws():
        history.append(losses)
        age = np.arange(len(history))[::-1]
        discount = (1 - rate) ** age
        mean = discount @ np.array(history) / discount.sum()
        np.testing.assert_allclose(observed(method, losses), 1 / mean, rtol=1e-10)


@pytest.mark.parametrize("name", ["adaloss", "ema_scaling"])
def test_a_constant_loss_weighs_in_at_one_and_scales_drop_out(name):
    method, scaled = get_method(name), get_method(name)
    factor = np.array([1e-6, 1.0, 1e7])
    for losses in draws(20):
        np.testing.assert_allclose(
            observed(method, losses) * losses, observed(scaled, losses * factor) * losses * factor, rtol=1e-10
        )
    constant = get_method(name)
    for _ in range(5):
        np.testing.assert_allclose(observed(constant, [2.0, 5.0, 0.1]) * [2.0, 5.0, 0.1], 1.0)


def test_ema_scaling_may_keep_the_weights_sum():
    free, kept = get_method("ema_scaling"), get_method("ema_scaling", total="k")
    for losses in draws(10):
        w, v = observed(free, losses), observed(kept, losses)
        assert v.sum() == pytest.approx(3)
        np.testing.assert_allclose(v / v[0], w / w[0])


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
def test_lbtw_follows_the_released_recursion(alpha):
    method = get_method("lbtw", alpha=alpha)
    losses = draws(24)
    for step, now in enumerate(losses):
        first = losses[step - step % 8]
        power = (now / first) ** alpha
        w = observed(method, now, step=step, epoch=step // 8)
        np.testing.assert_allclose(w, power / power.sum() * 3, rtol=1e-12)
        if step % 8 == 0:
            np.testing.assert_allclose(w, 1.0)
        if step % 8 == 7:
            method.end_epoch()


def test_lbtw_measures_a_late_task_from_its_first_loss_and_takes_zeros():
    method = get_method("lbtw", alpha=1.0)
    observed(method, [4.0, 2.0], ["a", "b"])
    np.testing.assert_allclose(observed(method, [2.0, 2.0, 9.0]), 3 * np.array([0.5, 1.0, 1.0]) / 2.5)
    np.testing.assert_allclose(observed(method, [4.0, 2.0, 0.0]), [1.5, 1.5, 0.0])
    np.testing.assert_allclose(observed(method, [0.0, 0.0, 0.0]), 1.0)
    with pytest.raises(MethodError, match="negative losses of b"):
        observed(method, [1.0, -1.0, 1.0])


def test_slaw_follows_the_authors_running_statistics():
    """Plain means up to 1/(1−β) steps, exponential ones later; s² = E[L²] − E[L]²; weights K/s over Σ1/s."""
    beta, turn = 0.9, 10
    method, mean, square = get_method("slaw", beta=beta), np.zeros(3), np.zeros(3)
    for n, losses in enumerate(draws(40), start=1):
        if n <= turn:
            mean, square = ((m * (n - 1) + x) / n for m, x in ((mean, losses), (square, losses**2)))
        else:
            mean, square = (m * beta + x * (1 - beta) for m, x in ((mean, losses), (square, losses**2)))
        w = observed(method, losses)
        if n == 1:
            np.testing.assert_allclose(w, 1.0)
            continue
        inverse = 1 / np.sqrt(square - mean**2)
        np.testing.assert_allclose(w, 3 * inverse / inverse.sum(), rtol=1e-6)


def test_slaw_equalises_deviations_whatever_the_scale():
    rng = np.random.default_rng(0)
    scale, offset = np.array([1e-8, 1.0, 1e9]), np.array([5.0, -2.0, 0.0])
    method, plain = get_method("slaw"), get_method("slaw")
    for _ in range(600):
        noise = rng.standard_normal(3)
        w, v = observed(method, scale * (noise + offset)), observed(plain, noise + offset)
    np.testing.assert_allclose(w * scale / (w * scale).mean(), v / v.mean(), rtol=1e-6)
    np.testing.assert_allclose(v, 1.0, atol=0.25)


def test_slaw_survives_losses_that_do_not_move():
    method = get_method("slaw")
    for step in range(5):
        w = observed(method, [1.0, 1.0 + 0.1 * step, 0.0])
        assert np.isfinite(w).all()
        assert w.sum() == pytest.approx(3)
    # A task seen for the first time gets the mean of the others.
    w = observed(method, [1.0, 1.2, 0.0, 7.0], [*TASKS, "late"])
    assert w[3] == pytest.approx(w[:2].mean())


def test_dtp_is_the_focal_form_of_a_running_metric():
    method, history = get_method("dtp", gamma={"a": 2.0, "b": 0.0}, rate=0.2, floor=0.01), []
    np.testing.assert_allclose(observed(method, [1.0, 5.0, 2.0]), 1.0)
    for _ in range(20):
        history.append(np.random.default_rng(len(history)).uniform(0.05, 1.0, 3))
        method.observe_metrics(dict(zip(TASKS, history[-1], strict=True)))
        discount = 0.8 ** np.arange(len(history))[::-1]
        kappa = discount @ np.array(history) / discount.sum()
        expected = -((1 - kappa) ** [2.0, 0.0, 1.0]) * np.log(kappa)
        np.testing.assert_allclose(observed(method, [1.0, 5.0, 2.0]), expected, rtol=1e-10)


def test_dtp_drops_a_mastered_task_and_keeps_a_hopeless_one_finite():
    method = get_method("dtp")
    method.observe_metrics({"a": 1.0, "b": 0.0})
    w = observed(method, [1.0, 1.0, 1.0])
    assert w[0] == 0
    assert w[1] == pytest.approx(-0.9 * np.log(0.1))
    assert w[2] == 1
    for bad in (1.2, -0.1, float("nan")):
        with pytest.raises(MethodError, match=r"metrics in \[0, 1\].*found b = "):
            method.observe_metrics({"a": 0.5, "b": bad})
    np.testing.assert_array_equal(observed(method, [1.0, 1.0, 1.0]), w)


def test_metrics_reach_the_method_through_the_engine():
    theta = torch.ones(2, requires_grad=True)
    balancer = Balancer("dtp", shared=[theta], announce=None)
    balancer.observe_metrics({"a": 0.5, "b": 0.9})
    record = balancer.backward({"a": theta.sum(), "b": theta.mean()})
    assert record.weights["a"] == pytest.approx(-0.5 * np.log(0.5))
    assert record.weights["b"] == pytest.approx(-0.1 * np.log(0.9))
    other = Balancer("dtp", shared=[theta], announce=None)
    other.load_state_dict(balancer.state_dict())
    assert other.backward({"a": theta.sum(), "b": theta.mean()}).weights == record.weights
    Balancer("equal", announce=None).observe_metrics({"a": 2.0})


def test_ntk_weights_have_inverses_that_sum_to_one():
    method = get_method("ntk")
    method.observe_metrics({"a": 3.0, "b": 20.0})
    np.testing.assert_allclose(observed(method, [1.0, 1.0, 1.0]), 1.0)
    method.observe_metrics({"c": 1e-9})
    w = observed(method, [1.0, 1.0, 1.0])
    assert (1 / w).sum() == pytest.approx(1)
    np.testing.assert_allclose(w * [3.0, 20.0, 1e-9], 23.000000001)
    with pytest.raises(MethodError, match="traces above zero, found b = 0"):
        method.observe_metrics({"a": 1.0, "b": 0.0})


def test_the_trace_is_that_of_the_explicit_kernel():
    net = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1)).double()
    unused = torch.nn.Parameter(torch.zeros(3))
    x = torch.randn(11, 2, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian
    names = [name for name, _ in net.named_parameters()]
    rows = jacobian(
        lambda *values: torch.func.functional_call(net, dict(zip(names, values, strict=True)), (x,))[:, 0],
        tuple(net.parameters()),
    )
    J = torch.cat([row.reshape(11, -1) for row in rows], 1)
    for chunk in (4, 64):
        assert ntk_trace(net(x)[:, 0], [*net.parameters(), unused], chunk) == pytest.approx(float((J @ J.T).trace()))


def test_ntk_weights_give_all_residuals_the_same_mean_speed():
    """Under gradient flow on Σ w_i·½‖r_i‖², the sum of w_i·tr K_i is shared equally."""
    theta = torch.tensor([0.2, -0.4], dtype=torch.float64, requires_grad=True)
    a, b = torch.sin(theta[0] * torch.arange(5.0)), 100 * torch.cos(theta.sum() * torch.arange(3.0))
    traces = {"a": ntk_trace(a, [theta]), "b": ntk_trace(b, [theta])}
    method = get_method("ntk")
    method.observe_metrics(traces)
    w = observed(method, [1.0, 1.0], ["a", "b"])
    assert w[0] * traces["a"] == pytest.approx(w[1] * traces["b"])


def test_igb_follows_the_released_code():
    method, base = get_method("igb_v1", base_epoch=1), []
    for step, losses in enumerate(draws(20)):
        epoch = step // 5
        w = observed(method, losses, step=step, epoch=epoch)
        if epoch <= 1:
            np.testing.assert_allclose(w, 1 / losses)
        else:
            gap = torch.tensor(losses / np.mean(base, axis=0))
            np.testing.assert_allclose(w, 3 * torch.softmax(gap, 0).numpy() / losses, rtol=1e-9)
        if epoch == 1:
            base.append(losses)


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_go4align_follows_the_released_recursion(groups):
    """p ← p·exp(−ηL), normalised; q = p·ΣL/L; each task takes the mean of its group, groups by exhaustive search."""
    method, p, eta = get_method("go4align", groups=groups, step_size=0.05), np.full(3, 1 / 3), 0.05
    for losses in np.exp(np.random.default_rng(3).normal(0, 1, (30, 3))):
        p = p * np.exp(-eta * losses)
        p /= p.sum()
        q = p * losses.sum() / losses
        best = min(
            (labels for labels in itertools.product(range(groups), repeat=3) if len(set(labels)) == groups),
            key=lambda labels: sum(np.var(q[np.equal(labels, g)]) * labels.count(g) for g in range(groups)),
        )
        expected = [q[np.equal(best, label)].mean() for label in best]
        np.testing.assert_allclose(observed(method, losses), expected, rtol=1e-9)


def test_go4align_with_more_groups_than_tasks_keeps_every_weight():
    w = get_method("go4align", groups=9, step_size=0.0).weights(torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64))
    np.testing.assert_allclose(w, [7 / 3, 7 / 6, 7 / 12])
