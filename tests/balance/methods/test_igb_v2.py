"""IGB v2: the learner against formulas and a problem with a known answer, and what the method makes of it."""

import copy
import io

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from polytask.balance import Balancer, Evidence, get_method
from polytask.balance.compose.chain import Chain
from polytask.balance.toolbox.sac import Replay, Settings, SoftActorCritic, weights_of
from polytask.errors import MethodError
from tests.balance.models import Trunk

SMALL = Settings(batch=16, capacity=50, width=8)
QUICK = {"base_epoch": 0, "learn_epoch": 1, "start_epoch": 2, "every": 4, "lr": 0.01, "batch": 8, "capacity": 6}


def forward(network, inputs):
    """A multi-layer perceptron in NumPy."""
    layers = [module for module in network if isinstance(module, nn.Linear)]
    for i, layer in enumerate(layers):
        inputs = inputs @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        if i < len(layers) - 1:
            inputs = np.maximum(inputs, 0)
    return inputs


def filled(size=3, count=20, settings=SMALL, seed=0):
    generator = torch.Generator().manual_seed(seed)
    replay = Replay(size, settings.capacity)
    for _ in range(count):
        state, logits, following = torch.randn(3, size, generator=generator)
        replay.add(state.exp(), weights_of(logits), float(torch.randn((), generator=generator)), following.exp())
    return replay


# ------------------------------------------------------------------------------------------------ the learner


def density_by_hand(mean, log_std, u):
    """log density of w = K·softmax(u): with v_j = u_j − u_K normal, and dv/dw of determinant K/Π w_i."""
    size = mean.shape[-1]
    found = []
    for m, s, x in zip(mean, np.exp(log_std), u, strict=True):
        covariance = np.diag(s[:-1] ** 2) + s[-1] ** 2
        w = size * np.exp(x - np.logaddexp.reduce(x))
        normal = scipy.stats.multivariate_normal(m[:-1] - m[-1], covariance).logpdf(x[:-1] - x[-1])
        found.append(normal + np.log(size) - np.log(w).sum())
    return np.array(found)


def test_density_is_that_of_a_logistic_normal():
    learner = SoftActorCritic(3, SMALL, 0)
    with torch.no_grad():
        learner.policy[-1].weight.mul_(5)
    states, noise = torch.randn(5, 3), torch.randn(5, 3)
    logits, density = learner.draw(states, noise)
    mean, log_std = np.split(forward(learner.policy, states.numpy()), 2, axis=1)
    np.testing.assert_allclose(logits.detach().numpy(), mean + np.exp(log_std) * noise.numpy(), rtol=1e-5, atol=1e-6)
    expected = density_by_hand(mean, log_std, mean + np.exp(log_std) * noise.numpy())
    np.testing.assert_allclose(density.detach().numpy(), expected, rtol=1e-4, atol=1e-4)


def test_the_density_of_two_weights_integrates_to_one():
    """Over w₁ in (0, 2), from noise that reaches each of them in two ways: one normal moved, the other at rest."""
    learner = SoftActorCritic(2, SMALL, 3)
    state = torch.tensor([[0.7, -0.4]])
    mean, log_std = np.split(forward(learner.policy, state.numpy())[0], 2)
    first = np.linspace(1e-4, 2 - 1e-4, 4001)
    logit = np.log(first / (2 - first))
    for moved in (0, 1):
        noise = np.zeros((4001, 2))
        rest = mean[1 - moved]
        noise[:, moved] = (rest + (logit if moved == 0 else -logit) - mean[moved]) / np.exp(log_std[moved])
        _, density = learner.draw(state.expand(4001, 2), torch.tensor(noise, dtype=torch.float32))
        assert np.trapezoid(density.detach().exp().numpy(), first) == pytest.approx(1.0, abs=2e-3)


def test_soft_value_by_hand():
    learner = SoftActorCritic(2, Settings(discount=0.9, temperature=0.3, width=8), 1)
    reward, states, noise = torch.tensor([0.5, -1.0]), torch.rand(2, 2), torch.randn(2, 2)
    with torch.no_grad():
        for parameter in learner.slow.parameters():
            parameter.mul_(-1.3)
    found = learner.target(reward, states, noise).numpy()
    mean, log_std = np.split(forward(learner.policy, states.numpy()), 2, axis=1)
    u = mean + np.exp(log_std) * noise.numpy()
    density = density_by_hand(mean, log_std, u)
    action = 2 * np.exp(u) / np.exp(u).sum(1, keepdims=True)
    inputs = np.concatenate([states.numpy(), action], axis=1)
    q = np.minimum(*(forward(critic, inputs)[:, 0] for critic in learner.slow))
    np.testing.assert_allclose(found, reward.numpy() + 0.9 * (q - 0.3 * density), rtol=1e-4)


def test_slow_critics_are_exponential_averages():
    learner = SoftActorCritic(2, Settings(lr=0.0, batch=4, polyak=0.1, width=8), 0)
    with torch.no_grad():
        for parameter in learner.slow.parameters():
            parameter.zero_()
    replay = filled(2)
    for _ in range(7):
        learner.learn(replay, 4, torch.Generator().manual_seed(0))
    for slow, quick in zip(learner.slow.parameters(), learner.critics.parameters(), strict=True):
        torch.testing.assert_close(slow, (1 - 0.9**7) * quick)


@pytest.mark.parametrize(("log_std", "direction"), [(-3.0, 1), (-1.5, -1)])
def test_the_temperature_rises_where_entropy_is_below_its_aim(log_std, direction):
    """The entropy of three weights near (1, 1, 1) is that of v, log(2πe·σ²·√3), minus log 3; its aim is −2."""
    learner = SoftActorCritic(3, SMALL, 0)
    entropy = np.log(2 * np.pi * np.e * np.exp(2 * log_std) * np.sqrt(3)) - np.log(3)
    assert np.sign(-2 - entropy) == direction
    with torch.no_grad():
        for parameter in learner.policy[-1].parameters():
            parameter.zero_()
        learner.policy[-1].bias[3:] = log_std
    before = learner.log_temperature.item()
    learner.learn(filled(), 500, torch.Generator().manual_seed(0))
    assert learner.log_temperature.item() - before == pytest.approx(direction * SMALL.lr, rel=1e-3)


def test_one_update_is_the_published_one():
    """Critics towards the soft value, then the policy up the critics, written out with optimizers of their own."""
    settings = Settings(lr=0.01, discount=0.8, batch=16, capacity=50, width=8, temperature=0.4)
    learner, replay = SoftActorCritic(3, settings, 5), filled(settings=settings)
    critics, policy = nn.ModuleList(learner.critics), learner.policy
    twin = SoftActorCritic(3, settings, 5)
    draws = torch.Generator().manual_seed(9)
    state, action, reward, following = replay.sample(16, draws)
    noise = torch.randn(2, 16, 3, generator=draws)

    def policy_of(network, states, drawn):
        mean, log_std = network(states).chunk(2, -1)
        u = mean + log_std.exp() * drawn
        w = 3 * torch.softmax(u, -1)
        covariance = torch.diag_embed(log_std[:, :2].exp() ** 2) + log_std[:, 2, None, None].exp() ** 2
        normal = torch.distributions.MultivariateNormal(mean[:, :2] - mean[:, 2:], covariance)
        return w, normal.log_prob(u[:, :2] - u[:, 2:]) + np.log(3) - w.log().sum(1)

    with torch.no_grad():
        w, density = policy_of(twin.policy, following, noise[0])
        slow = torch.minimum(*(critic(torch.cat([following, w], 1))[:, 0] for critic in twin.slow))
        goal = reward + 0.8 * (slow - 0.4 * density)
    adam = torch.optim.Adam(twin.critics.parameters(), lr=0.01)
    joint = torch.cat([state, action], 1)
    sum(torch.nn.functional.mse_loss(critic(joint)[:, 0], goal) for critic in twin.critics).backward()
    adam.step()
    w, density = policy_of(twin.policy, state, noise[1])
    q = torch.minimum(*(critic(torch.cat([state, w], 1))[:, 0] for critic in twin.critics))
    adam = torch.optim.Adam(twin.policy.parameters(), lr=0.01)
    (0.4 * density - q).mean().backward()
    adam.step()

    learner.learn(replay, 16, torch.Generator().manual_seed(9))
    for mine, theirs in ((critics, twin.critics), (policy, twin.policy)):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_it_learns_the_best_weights_of_a_bandit_with_two_contexts():
    """The reward −‖w − w*(s)‖² has its best weights at w*(s), other ones in each context."""
    best = torch.tensor([[2.0, 0.5, 0.5], [0.4, 1.2, 1.4]])
    contexts = torch.tensor([[1.0, 0.2, 0.3], [0.1, 0.9, 0.6]])
    settings = Settings(lr=3e-3, discount=0.0, batch=64, capacity=600, width=32, temperature=0.1)
    learner, replay = SoftActorCritic(3, settings, 0), Replay(3, 600)
    generator = torch.Generator().manual_seed(0)

    def play(step, logits):
        weights, context = weights_of(logits), step % 2
        reward = -float((weights - best[context]).square().sum())
        replay.add(contexts[context], weights, reward, contexts[1 - context])

    for step in range(200):
        play(step, torch.randn(3, generator=generator))
    start = [weights_of(learner.act(context, torch.zeros(3))) for context in contexts]
    for step in range(450):
        play(step, learner.act(contexts[step % 2], torch.randn(3, generator=generator)))
        learner.learn(replay, 64, generator)
    for context, goal, first in zip(contexts, best, start, strict=True):
        found = weights_of(learner.act(context, torch.zeros(3)))
        assert (found - goal).norm() < 0.2
        assert (first - goal).norm() > 0.5


def test_the_ring_forgets_the_oldest_and_survives_saving():
    replay = Replay(1, 3)
    for value in range(5):
        replay.add(torch.tensor([float(value)]), torch.ones(1), value / 2, torch.tensor([value + 1.0]))
    assert (replay.filled, replay.fullness) == (3, 1.0)
    state, _, reward, following = replay.sample(200, torch.Generator().manual_seed(0))
    assert set(state.flatten().tolist()) == {2.0, 3.0, 4.0}
    torch.testing.assert_close(reward, state[:, 0] / 2)
    torch.testing.assert_close(following, state + 1)
    other = Replay(1, 3)
    other.load_state_dict(replay.state_dict())
    for ring in (replay, other):
        ring.add(torch.tensor([9.0]), torch.ones(1), 4.5, torch.tensor([10.0]))
    drawn = (ring.sample(50, torch.Generator().manual_seed(1))[0] for ring in (replay, other))
    assert torch.equal(*drawn)


def test_losses_beyond_single_precision_leave_the_networks_finite():
    learner, replay = SoftActorCritic(2, SMALL, 0), Replay(2, 5)
    replay.add(torch.tensor([1e25, 1.0]), torch.ones(2), 1.0, torch.tensor([1e30, 2.0]))
    learner.learn(replay, 8, torch.Generator().manual_seed(0))
    assert all(torch.isfinite(parameter).all() for parameter in learner.critics.parameters())
    assert torch.isfinite(learner.act(torch.ones(2), torch.zeros(2))).all()


# ------------------------------------------------------------------------------------------------- the method


def given(losses, step, epoch, seed=0):
    size = len(losses)
    return Evidence(tuple(losses), np.array(list(losses.values())), np.full(size, 1 / size), None, step, epoch, seed)


def drawn(step, names=("b", "a", "c")):
    return {name: float(np.exp(np.random.default_rng([step, ord(name)]).normal())) for name in names}


def run(method, steps, per_epoch=5, names=("b", "a", "c"), seed=0):
    found = []
    for step in steps:
        evidence = given(drawn(step, names), step, step // per_epoch, seed)
        solution = method.solve(evidence)
        found.append(solution.weights)
        method.remember(evidence, solution)
    return found


def test_weights_of_the_random_epochs_have_the_stated_distribution():
    logs = []
    for step in range(1500):
        evidence = given({"x": 2.0, "y": 0.5}, step, 4)
        weights = get_method("igb_v2").solve(evidence).weights * evidence.losses
        assert weights.sum() == pytest.approx(2.0)
        logs.append(np.log(weights[0] / weights[1]))
    assert np.mean(logs) == pytest.approx(0.0, abs=0.1)
    assert np.var(logs) == pytest.approx(2.0, rel=0.1)


def test_transitions_by_hand():
    """States, weights and rewards of consecutive steps, from the end of the base epoch on, tasks by name."""
    method = get_method("igb_v2", **QUICK)
    weights = run(method, range(9), per_epoch=3)
    losses = [drawn(step) for step in range(9)]
    base = {name: np.mean([losses[step][name] for step in range(3)]) for name in "abc"}
    rows = method.state_dict()["agent"]["replay"]["rows"].numpy()
    assert len(rows) == 6
    for row, step in zip(rows, range(3, 9), strict=True):
        before, now = losses[step - 1], losses[step]
        lam = dict(zip("bac", weights[step - 1] * [before[name] for name in "bac"], strict=True))
        reward = min((before[name] - now[name]) / base[name] for name in "abc")
        expected = [*(before[n] for n in "abc"), *(lam[n] for n in "abc"), reward, *(now[n] for n in "abc")]
        np.testing.assert_allclose(row, expected, rtol=1e-5)


@pytest.mark.parametrize(("capacity", "updates"), [(100, 5), (8, 8), (4, 10)])
def test_rounds_of_learning_grow_with_the_replay(capacity, updates):
    """Steps 5 … 8 make four transitions; the round at step 10 sees six."""
    method = get_method("igb_v2", base_epoch=0, learn_epoch=2, every=10, batch=4, capacity=capacity)
    run(method, range(11))
    filled = min(6, capacity)
    assert updates == int(10 * (1 + filled / capacity) / 2)
    adam = method.state_dict()["agent"]["learner"]["optimizers"][0]
    assert {float(state["step"]) for state in adam["state"].values()} == {updates}


def test_the_agent_takes_over_and_its_weights_follow_its_policy():
    method = get_method("igb_v2", **QUICK)
    run(method, range(12))
    evidence = given(drawn(12), 12, 2, seed=4)
    found = method.solve(evidence).weights * evidence.losses
    saved = method.state_dict()["agent"]
    learner = SoftActorCritic(3, Settings(), 0)
    learner.load_state_dict(saved["learner"])
    noise = evidence.rng.standard_normal(3)
    mean, log_std = np.split(forward(learner.policy, np.array([drawn(12)[name] for name in "abc"])), 2)
    u = dict(zip("abc", mean + np.exp(np.clip(log_std, -20, 2)) * noise, strict=True))
    expected = np.exp([u[name] for name in "bac"])
    np.testing.assert_allclose(found, 3 * expected / expected.sum(), rtol=1e-5)


def test_absent_tasks_share_their_part_and_make_no_transitions():
    method = get_method("igb_v2", **QUICK)
    run(method, range(12))
    before = method.state_dict()["agent"]["replay"]["rows"]
    whole = given({**drawn(12), "c": drawn(11)["c"]}, 12, 2)
    part = given(drawn(12, ("b", "a")), 12, 2)
    all_three, two = (method.solve(e).weights * e.losses for e in (whole, part))
    assert two.sum() == pytest.approx(2.0)
    assert two[0] / two[1] == pytest.approx(all_three[0] / all_three[1], rel=1e-6)
    run(method, range(12, 14), names=("b", "a"))
    run(method, range(14, 15))
    assert torch.equal(method.state_dict()["agent"]["replay"]["rows"], before)
    run(method, range(15, 16))
    assert not torch.equal(method.state_dict()["agent"]["replay"]["rows"], before)


def test_a_new_task_restarts_the_agent():
    method = get_method("igb_v2", **QUICK)
    run(method, range(12), names=("a", "b"))
    assert method.state_dict()["agent"]["replay"]["rows"].shape == (6, 7)
    weights = run(method, range(12, 14), names=("a", "b", "c"))
    agent = method.state_dict()["agent"]
    assert agent["tasks"] == ["a", "b", "c"]
    assert agent["replay"]["rows"].shape == (1, 10)
    assert all(np.isfinite(row).all() for row in weights)


def test_nothing_is_drawn_from_global_generators_and_default_dtypes_do_not_matter():
    plain = run(get_method("igb_v2", **QUICK), range(16))
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - the global one is meant
    torch.set_default_dtype(torch.float64)
    try:
        wide = run(get_method("igb_v2", **QUICK), range(16))
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    for a, b in zip(plain, wide, strict=True):
        np.testing.assert_array_equal(a, b)


def test_resume_through_a_file_equals_no_interruption():
    def train(balancer, model, optimizer, steps):
        record = []
        for step in steps:
            x = torch.randn(8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            record.append(balancer.backward(model.losses(x)[0]).raw_weights)
            optimizer.step()
            if step % 5 == 4:
                balancer.end_epoch()
        return record

    def fresh():
        torch.manual_seed(0)
        model = Trunk()
        return (
            Balancer(get_method("igb_v2", **QUICK), announce=None),
            model,
            torch.optim.SGD(model.parameters(), lr=0.05),
        )

    whole = train(*fresh(), range(24))
    balancer, model, optimizer = fresh()
    train(balancer, model, optimizer, range(14))
    buffer = io.BytesIO()
    torch.save(balancer.state_dict(), buffer)
    parameters = copy.deepcopy(model.state_dict())
    train(balancer, model, optimizer, range(14, 16))
    model.load_state_dict(parameters)
    buffer.seek(0)
    other = Balancer(get_method("igb_v2", **QUICK), announce=None)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    for a, b in zip(whole[14:], train(other, model, optimizer, range(14, 24)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_inside_a_chain_the_agent_is_saved_and_reset_with_it():
    chain = Chain(get_method("igb_v2", **QUICK), "mgda")
    evidence = Evidence(("a", "b"), np.array([1.0, 2.0]), np.full(2, 0.5), np.eye(2))
    chain.remember(evidence, chain.solve(evidence))
    assert chain.state_dict()["0.agent"]["tasks"] == ["a", "b"]
    other = Chain(get_method("igb_v2", **QUICK), "mgda")
    other.load_state_dict(chain.state_dict())
    assert other.state_dict()["0.agent"]["tasks"] == ["a", "b"]
    chain.reset()
    assert chain.state_dict()["0.agent"] == {}


def test_losses_have_to_be_positive():
    with pytest.raises(MethodError, match="IGBv2 needs every loss above zero"):
        get_method("igb_v2").solve(given({"a": 0.0, "b": 1.0}, 0, 0))
