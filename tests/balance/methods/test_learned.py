"""Methods that learn from losses, against torch.optim.Adam on the published objective, and by hand."""

import numpy as np
import pytest
import torch

from polytask.balance import Evidence, LossMethod, get_method
from polytask.errors import ConfigError, MethodError

TASKS = ("a", "b", "c")


def observed(method, losses, tasks=TASKS, step=0):
    """One step: weights for these losses, then learning from them."""
    given = Evidence(tuple(tasks), np.asarray(losses, float), np.full(len(losses), 1 / len(losses)), None, step)
    solution = method.solve(given)
    method.remember(given, solution)
    return given, solution.weights


@pytest.mark.parametrize(
    ("name", "objective", "weight"),
    [
        ("uw", lambda s, L: (0.5 * torch.exp(-s) * L + 0.5 * s).sum(), lambda s: 0.5 * np.exp(-s)),
        ("imtl_l", lambda s, L: (torch.exp(s) * L - s).sum(), np.exp),
    ],
)
def test_learned_scales_follow_adam_on_the_published_objective(name, objective, weight):
    method = get_method(name, lr=0.03)
    s = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([s], lr=0.03)
    rng = np.random.default_rng(0)
    for _ in range(60):
        losses = rng.uniform(0.1, 5.0, 3)
        _, w = observed(method, losses)
        np.testing.assert_allclose(w, weight(s.detach().numpy()), rtol=1e-10)
        adam.zero_grad()
        objective(s, torch.tensor(losses)).backward()
        adam.step()


@pytest.mark.parametrize(("name", "at_rest"), [("uw", lambda L: 1 / (2 * L)), ("imtl_l", lambda L: 1 / L)])
def test_at_rest_weights_undo_the_losses_scale(name, at_rest):
    method, losses = get_method(name, lr=0.05), np.array([0.02, 1.0, 30.0])
    for _ in range(1000):
        _, w = observed(method, losses)
    np.testing.assert_allclose(w, at_rest(losses), rtol=0.02)


@pytest.mark.parametrize("name", ["uw", "imtl_l"])
def test_a_loss_of_zero_or_less_does_not_blow_up(name):
    method = get_method(name, lr=1.0)
    for _ in range(100):
        _, w = observed(method, [0.0, -1.0, 1.0])
    assert np.isfinite(w).all()
    assert w.max() <= np.exp(10) * 1.0001


def test_uw_starts_where_it_is_told():
    assert float(get_method("uw", start=-0.5).weights(torch.ones(1))) == pytest.approx(0.824, abs=1e-3)


def test_dwa_is_its_formula_from_the_third_epoch_on():
    method = get_method("dwa", temperature=2.0)
    means = []
    for epoch in range(4):
        batches = np.random.default_rng(epoch).uniform(0.5, 2.0, (5, 3))
        for losses in batches:
            _, w = observed(method, losses)
            if epoch < 2:
                np.testing.assert_allclose(w, 1.0)
            else:
                pull = np.exp(means[-1] / means[-2] / 2)
                np.testing.assert_allclose(w, 3 * pull / pull.sum(), rtol=1e-12)
        means.append(batches.mean(axis=0))
        method.end_epoch()


def test_dwa_skips_the_epochs_a_task_was_absent_from():
    method = get_method("dwa")
    for epoch, losses in enumerate([[4.0, 4.0, 4.0], [4.0, 2.0], [2.0, 2.0, 1.0]]):
        observed(method, losses, TASKS[: len(losses)], epoch)
        method.end_epoch()
    ratio = np.array([0.5, 1.0, 0.25])
    _, w = observed(method, [1.0, 1.0, 1.0])
    np.testing.assert_allclose(w, 3 * np.exp(ratio / 2) / np.exp(ratio / 2).sum())


def test_rlw_draws_a_fresh_softmax_of_normals():
    method = get_method("rlw")
    w = torch.stack([method.weights(torch.ones(4, dtype=torch.float64), step=step) for step in range(2500)]).numpy()
    np.testing.assert_allclose(w.sum(1), 1)
    np.testing.assert_allclose(w.mean(0), 0.25, atol=0.015)
    logits = np.log(w)
    # Differences of two standard normals have variance two.
    np.testing.assert_allclose((logits[:, 1:] - logits[:, :1]).var(0), 2.0, rtol=0.1)


@pytest.mark.parametrize("gamma", [0.0, 1e-3, 0.1])
def test_famo_follows_the_published_recursion(gamma):
    """The released update: logits by Adam with weight decay, along the softmax's Jacobian times the log improvement."""
    bounds = {"a": -1.0, "c": 0.2}
    low = np.array([-1.0, 0.0, 0.2])
    method = get_method("famo", gamma=gamma, minimum=bounds)
    xi = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([xi], lr=0.025, weight_decay=gamma)
    rng = np.random.default_rng(0)
    for step in range(40):
        before, after = rng.uniform(0.5, 3.0, 3), rng.uniform(0.4, 2.8, 3)
        given, w = observed(method, before, step=step)
        z = torch.softmax(xi, 0)
        expected = z.detach().numpy() / (before - low)
        np.testing.assert_allclose(w, expected / expected.sum(), rtol=1e-10)
        method.after_step(given, dict(zip(TASKS, after, strict=True)))
        delta = torch.tensor(np.log(before - low) - np.log(after - low))
        xi.grad = torch.autograd.grad(torch.softmax(xi, 0), xi, grad_outputs=delta)[0]
        adam.step()


def test_famo_takes_weight_from_the_task_that_improved_more():
    method = get_method("famo", gamma=0.0)
    given, before = observed(method, [1.0, 1.0, 1.0])
    method.after_step(given, {"a": 0.5, "b": 0.9, "c": 1.0})
    _, after = observed(method, [1.0, 1.0, 1.0])
    assert after[0] < before[0]
    assert after[2] > before[2]


def test_famo_ignores_losses_it_cannot_compare():
    method = get_method("famo")
    given, _ = observed(method, [1.0, 1.0, 1.0])
    method.after_step(given, {"b": float("nan"), "z": 1.0})
    assert method.state_dict()["logit"] == {}
    method.after_step(given, {"a": 0.5, "b": float("inf"), "c": 0.9})
    assert set(method.state_dict()["logit"]) == {"a", "c"}


def test_famo_keeps_going_at_its_bound():
    method = get_method("famo", minimum=1.0)
    given, w = observed(method, [1.0, 2.0, 0.5])
    assert np.isfinite(w).all()
    method.after_step(given, {"a": 1.0, "b": 1.0, "c": 2.0})
    assert np.isfinite(observed(method, [1.0, 2.0, 0.5])[1]).all()


@pytest.mark.parametrize("name", ["uw", "imtl_l"])
def test_a_task_that_joins_late_starts_like_any_other(name):
    late, fresh = get_method(name, lr=0.1), get_method(name, lr=0.1)
    for _ in range(30):
        observed(late, [2.0], ["a"])
    for _ in range(5):
        _, together = observed(late, [2.0, 3.0], ["a", "b"])
        _, alone = observed(fresh, [3.0], ["b"])
    assert together[1] == pytest.approx(alone[0])


def test_names_that_do_not_exist_get_the_nearest_one():
    with pytest.raises(MethodError, match="did you mean 'fairgrad'"):
        get_method("fairgard")
    with pytest.raises(ConfigError, match="did you mean 'temperature'"):
        get_method("dwa", temprature=1.0)
    assert isinstance(get_method("equal"), LossMethod)
