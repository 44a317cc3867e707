"""RotoGrad: lengths in the method, directions in the module."""

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn

from polytask.balance import Balancer, get_method
from polytask.errors import ConfigError, MethodError, TaskError
from polytask.share import Rotations
from tests.balance.models import Trunk


def rotation(size, seed):
    """A random element of SO(m)."""
    q, _ = torch.linalg.qr(torch.tensor(np.random.default_rng(seed).standard_normal((size, size))))
    q[:, 0] *= torch.linalg.det(q).sign()
    return q


class Planted:
    """Tasks whose gradients at z are u_b seen through fixed rotations Q_k, with unlike lengths."""

    def __init__(self, size=4, batch=8, names=("a", "b", "c"), **options):
        torch.manual_seed(0)
        self.z = torch.randn(batch, size, dtype=torch.float64, requires_grad=True)
        u = torch.randn(batch, size, dtype=torch.float64)
        self.pull = {name: 3.0**index * u @ rotation(size, index).T for index, name in enumerate(names)}
        self.module = Rotations(names, size, **{"lr": 0.02, **options}).double()

    def losses(self):
        views = self.module(self.z)
        return {name: (views[name] * pull).sum() for name, pull in self.pull.items()}

    def cosines(self):
        """Between the tasks' gradients at z."""
        grads = [torch.autograd.grad(loss, self.z, retain_graph=True)[0].flatten() for loss in self.losses().values()]
        units = torch.stack([g / g.norm() for g in grads])
        self.module._passes = []
        return (units @ units.T)[np.triu_indices(len(units), 1)]


# --------------------------------------------------------------------------------------------- the lengths


def test_all_feature_gradients_get_the_same_length():
    rng = np.random.default_rng(0)
    J = torch.tensor(np.exp(rng.uniform(-4, 4, (4, 1))) * rng.standard_normal((4, 10)))
    method = get_method("rotograd")
    norms = J.norm(dim=1)
    found = method.direction(J)
    # In the first step all ratios are one: the common length is the mean length.
    np.testing.assert_allclose(found, norms.mean() * (J / norms[:, None]).sum(0), rtol=1e-12)


def test_lengths_follow_the_authors_formulas_step_by_step():
    method = get_method("rotograd", burn_in=3)
    weight = torch.zeros(2, 5, dtype=torch.float64, requires_grad=True)
    balancer = Balancer(method, shared=[weight], grads="features", announce=None)
    first = None
    for step in range(7):
        rng = np.random.default_rng(step)
        J = torch.tensor(np.exp(rng.uniform(-1, 1, (3, 1))) * rng.standard_normal((3, 10)))
        weight.grad = None
        z = weight + 1.0
        point = (z - z.detach()).flatten()
        record = balancer.backward({n: 1.0 + row @ point for n, row in zip("abc", J, strict=True)}, features=z)
        norms = J.norm(dim=1)
        if step in (0, 3):
            first = norms
        ratio = norms / first
        length = (ratio / ratio.sum() * norms).sum()
        np.testing.assert_allclose(weight.grad.flatten(), length * (J / norms[:, None]).sum(0), rtol=1e-9)
        np.testing.assert_allclose(torch.tensor(list(record.weights.values())).double() * norms, length, rtol=1e-6)


def test_it_needs_features():
    with pytest.raises(MethodError, match="features"):
        Balancer("rotograd")


# ----------------------------------------------------------------------------------------- the directions


def assert_rotations(module, atol):
    for name in module.names:
        r = module.rotation(name).detach()
        np.testing.assert_allclose(r @ r.T, np.eye(len(r)), atol=atol)
        assert float(torch.linalg.det(r)) == pytest.approx(1.0, abs=10 * atol)


def test_rotations_start_at_the_identity_and_stay_rotations():
    planted = Planted(lr=0.5)
    assert_rotations(planted.module, 0)
    for _ in range(30):
        sum(planted.losses().values()).backward()
        planted.module.step()
    assert_rotations(planted.module, 1e-12)
    assert all((planted.module.rotation(name) - torch.eye(4)).norm() > 0.1 for name in planted.pull)
    rough = Rotations(["a"], 16)
    nn.init.normal_(rough.angles[0], std=2.0)
    assert_rotations(rough, 1e-5)


def test_a_view_is_the_rotated_representation_and_its_length_is_kept():
    planted = Planted()
    nn.init.normal_(planted.module.angles[1])
    view = planted.module(planted.z)["b"]
    torch.testing.assert_close(view, planted.z @ planted.module.rotation("b").detach().T)
    torch.testing.assert_close(view.norm(dim=1), planted.z.norm(dim=1))


def test_planted_rotations_are_found():
    """Gradients that differ by a rotation only are made parallel."""
    planted = Planted()
    before = planted.cosines()
    history = []
    for _ in range(400):
        planted.z.grad = None
        sum(planted.losses().values()).backward()
        history.append(planted.module.step())
    assert before.min() < 0.5
    assert planted.cosines().min() > 0.999
    total = [sum(losses.values()) for losses in history]
    assert total[-1] < 0.8 * total[0]


def test_the_rotations_loss_is_the_authors():
    planted = Planted()
    for angles in planted.module.angles:
        nn.init.normal_(angles, std=0.3)
    before = {name: planted.module.rotation(name).detach() for name in planted.pull}
    sum(planted.losses().values()).backward()
    found = planted.module.step()
    g = {name: planted.pull[name] @ r for name, r in before.items()}
    mean = sum(g.values()) / 3
    mean = sum(x * mean.norm() / x.norm() for x in g.values()) / 3
    for name, r in before.items():
        expected = (mean @ r.T - planted.pull[name]).square().sum(1).mean()
        assert found[name] == pytest.approx(float(expected), rel=1e-9)


def test_a_step_goes_down_the_gradient_of_the_loss_in_the_rotations_alone():
    planted = Planted(optimizer=lambda parameters, lr: torch.optim.SGD(parameters, lr=lr), lr=1e-6)
    sum(planted.losses().values()).backward()
    start = {name: planted.module.rotation(name).detach().clone() for name in planted.pull}
    first = planted.module.step()
    for name in planted.pull:
        assert not torch.equal(start[name], planted.module.rotation(name).detach())
    common = planted  # the same z, the same pull
    sum(common.losses().values()).backward()
    second = common.module.step()
    assert sum(second.values()) < sum(first.values())


def test_losses_and_rotations_do_not_see_each_other():
    planted = Planted()
    losses = planted.losses()
    sum(losses.values()).backward()
    grad = planted.z.grad.clone()
    assert all(angles.grad is None for angles in planted.module.angles)
    planted.module.step()
    assert all(angles.grad is None for angles in planted.module.angles)
    assert torch.equal(planted.z.grad, grad)
    assert planted.module.step() == {}


def test_with_the_balancer_it_is_the_whole_method():
    model = Trunk(tasks=3)
    rotations = Rotations(model.names, 5, lr=0.01).double()
    balancer = Balancer("rotograd", grads="features", announce=None)
    x = torch.randn(20, 4, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    values = []
    for _ in range(60):
        z = model.trunk(x)
        views = rotations(z)
        losses = {
            name: (model.heads[name](views[name]).squeeze(-1) - torch.sin((1 + i) * x[:, 0])).square().mean()
            for i, name in enumerate(model.names)
        }
        optimizer.zero_grad()
        record = balancer.backward(losses, features=z)
        lengths = [record.weights[name] * record.norms[name] for name in model.names]
        np.testing.assert_allclose(lengths, lengths[0], rtol=1e-9)
        optimizer.step()
        assert len(rotations.step()) == 3
        values.append(sum(losses.values()).item())
    assert values[-1] < values[0]
    assert_rotations(rotations, 1e-10)
    owned = {id(p) for group in [balancer.partition.shared, *balancer.partition.owned.values()] for p in group}
    assert not owned & {id(angles) for angles in rotations.angles}


def test_absent_tasks_keep_their_rotation():
    planted = Planted()
    for _ in range(3):
        losses = planted.losses()
        (losses["a"] + losses["c"]).backward()
        assert sorted(planted.module.step()) == ["a", "c"]
    assert torch.equal(planted.module.rotation("b").detach(), torch.eye(4, dtype=torch.float64))


def test_channels_are_rotated_at_every_pixel():
    module = Rotations(["a", "b"], 3, dim=1, lr=0.1)
    nn.init.normal_(module.angles[0])
    z = torch.randn(2, 3, 4, 5, requires_grad=True)
    views = module(z)
    torch.testing.assert_close(views["a"], torch.einsum("ij,bjhw->bihw", module.rotation("a").detach(), z))
    (views["a"].square().sum() + views["b"].sum()).backward()
    assert sorted(module.step()) == ["a", "b"]


def test_a_loss_scale_changes_nothing_and_an_overflow_moves_nothing():
    plain, scaled = Planted(), Planted()
    for _ in range(5):
        sum(plain.losses().values()).backward()
        (256 * sum(scaled.losses().values())).backward()
        assert plain.module.step() == pytest.approx(scaled.module.step(256.0))
    torch.testing.assert_close(plain.module.rotation("a"), scaled.module.rotation("a"))
    before = plain.module.rotation("a").detach()
    (float("inf") * sum(plain.losses().values())).backward()
    plain.module.step()
    assert torch.equal(plain.module.rotation("a").detach(), before)


def test_two_micro_batches_are_two_terms():
    one, two = Planted(), Planted()
    sum(one.losses().values()).backward()
    single = one.module.step()
    for _ in range(2):
        sum(two.losses().values()).backward()
    assert two.module.step() == pytest.approx({name: 2 * value for name, value in single.items()})


def test_evaluation_catches_nothing():
    planted = Planted()
    planted.module.eval()
    sum(planted.losses().values()).backward()
    assert planted.module.step() == {}
    planted.module.train()
    with torch.no_grad():
        planted.module(planted.z)
    assert planted.module.step() == {}


def test_saved_with_its_optimizer_and_copied_with_it():
    planted = Planted()

    def train(module, steps):
        planted.module = module
        for _ in range(steps):
            sum(planted.losses().values()).backward()
            module.step()
        return module.rotation("a").detach()

    first = planted.module
    train(first, 4)
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    loaded = Rotations(["a", "b", "c"], 4, lr=0.02).double()
    loaded.load_state_dict(torch.load(buffer, weights_only=True))
    copied = copy.deepcopy(first)
    expected = train(first, 3)
    assert torch.equal(train(loaded, 3), expected)
    assert torch.equal(train(copied, 3), expected)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="width 0"):
        Rotations(["a"], 0)
    with pytest.raises(ConfigError, match="expected 4 features"):
        Rotations(["a"], 4)(torch.zeros(2, 3))
    with pytest.raises(TaskError, match="did you mean 'left'"):
        Rotations(["left", "right"], 4).rotation("lift")
