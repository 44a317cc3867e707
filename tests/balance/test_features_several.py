"""``grads="features"`` at several tensors: experts that all tasks read, parts of one task below them, one alone."""

import inspect

import numpy as np
import pytest
import torch
from torch import nn

from polytask.balance import Balancer
from polytask.balance.engine.sources import feature_tensors
from polytask.errors import MethodError

from .test_engine import Fixed


class Experts(nn.Module):
    """A mixture of experts: every task mixes the experts' outputs by a gate of its own; task b has one to itself."""

    def __init__(self, experts=3):
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Linear(4, 6)
        self.experts = nn.ModuleList(nn.Linear(6, 5) for _ in range(experts))
        self.private = nn.Linear(6, 5)
        self.gates = nn.ModuleDict({name: nn.Linear(6, experts + (name == "b")) for name in "ab"})
        self.heads = nn.ModuleDict({name: nn.Linear(5, 1) for name in "ab"})
        self.double()

    def encode(self, x):
        z = torch.tanh(self.trunk(x))
        shared = {f"expert {i}": torch.tanh(expert(z)) for i, expert in enumerate(self.experts)}
        return {"input": z, **shared, "expert of b": torch.tanh(self.private(z))}

    def losses(self, features, target=1.0):
        z, *experts = features.values()
        found = {}
        for name in "ab":
            mine = torch.stack(experts if name == "b" else experts[:-1], 1)
            mixed = (self.gates[name](z).softmax(1)[:, :, None] * mine).sum(1)
            found[name] = (self.heads[name](mixed) - (target if name == "a" else -target)).square().mean()
        return found


def rows(number=0, n=16):
    return torch.randn(n, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(number))


def gradients(model, x):
    """Each task's whole gradient, by a plain backward pass of its own."""
    found = {}
    for name in "ab":
        model.zero_grad()
        model.losses(model.encode(x))[name].backward()
        found[name] = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def test_the_gramian_is_the_sum_of_those_at_the_tensors():
    model, method = Experts(), Fixed(a=1.0, b=1.0)
    features = model.encode(rows())
    Balancer(method, grads="features", announce=None).backward(model.losses(features), features=features)
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in features.items()}
    losses = model.losses(leaves)
    jacobians = {
        name: torch.stack(
            [
                torch.autograd.grad(loss, leaf, retain_graph=True, materialize_grads=True, allow_unused=True)[0]
                for loss in losses.values()
            ]
        ).flatten(1)
        for name, leaf in leaves.items()
    }
    gramians = {name: (jacobian @ jacobian.T).numpy() for name, jacobian in jacobians.items()}
    np.testing.assert_allclose(method.gramians[0], sum(gramians.values()), rtol=1e-12)
    assert gramians["expert of b"][0].tolist() == [0, 0]  # nobody else reads it: no inner product but its own
    assert min(gramian[0, 1] ** 2 for name, gramian in gramians.items() if name != "expert of b") > 0


@pytest.mark.parametrize(
    "form",
    [
        dict,
        lambda named: tuple(named.values()),
        lambda named: dict(reversed(named.items())),
        lambda named: [*named.values(), named["input"]],
    ],
    ids=["dictionary", "tuple", "another order", "one twice"],
)
def test_a_sequence_and_a_dictionary_are_the_same(form):
    found = []
    for make in (lambda named: list(named.values()), form):
        model = Experts()
        features = model.encode(rows())
        balancer = Balancer("upgrad", grads="features", announce=None)
        record = balancer.backward(model.losses(features), features=make(features))
        found.append((record.weights, [p.grad for p in model.parameters()]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("heads", ["plain", "weighted", "none"])
@pytest.mark.parametrize("method", ["mgda", "upgrad", "graddrop"])
@pytest.mark.parametrize("scaler", [False, True])
def test_every_parameter_gets_all_that_is_its_own(method, heads, scaler):
    """Σ w_k·∇L_k for shared parameters, the task's own gradient times what heads= says for its own, also below."""
    model, x = Experts(), rows()
    expected = gradients(model, x)
    amp = torch.amp.GradScaler("cpu", init_scale=8.0) if scaler else None
    if amp is not None:
        amp.scale(torch.zeros(()))
    balancer = Balancer(method, grads="features", heads=heads, announce=None)
    features = model.encode(x)
    weights = balancer.backward(model.losses(features), features=features, scaler=amp).weights
    for name, parameter in model.named_parameters():
        tasks = [task for task in "ab" if name in expected[task]]
        if len(tasks) == 2:
            if method != "graddrop":  # which mixes by coordinate
                want = sum(weights[task] * expected[task][name] for task in tasks)
                torch.testing.assert_close(parameter.grad, want * (8 if scaler else 1))
        elif heads == "none":
            assert parameter.grad is None
        else:
            factor = (weights[tasks[0]] if heads == "weighted" else 1.0) * (8 if scaler else 1)
            torch.testing.assert_close(parameter.grad, factor * expected[tasks[0]][name])
    assert any(name.startswith("private") for name in expected["b"])


@pytest.mark.parametrize("retain", [False, True])
def test_a_task_alone_is_plain_training(retain):
    """With one task, nothing is shared; what lies below the features is then that task's own."""
    model, x = Experts(), rows()
    expected = gradients(model, x)["b"]
    features = model.encode(x)
    balancer = Balancer("upgrad", grads="features", announce=None)
    record = balancer.backward({"b": model.losses(features)["b"]}, features=features, retain_graph=retain)
    assert record.weights == {"b": 1.0}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected.get(name))


def test_tasks_that_take_turns_train_the_trunk_from_the_first_step():
    model, balancer = Experts(), Balancer("upgrad", grads="features", announce=None)
    for number, task in enumerate("abba"):
        x = rows(number)
        expected = gradients(model, x)[task]
        features = model.encode(x)
        balancer.backward({task: model.losses(features)[task]}, features=features)
        torch.testing.assert_close(model.trunk.weight.grad, expected["trunk.weight"])


def test_an_own_parameter_on_both_sides_of_the_features_gets_both():
    trunk, own, a, b = (nn.Linear(3, 3).double() for _ in range(4))
    x = torch.ones(2, 3, dtype=torch.float64)

    def losses(z):
        extra = own(z) if own in layers else 0
        return {"a": (a(z) + extra).square().mean(), "b": (b(z) - 1).square().mean()}

    layers = [own]

    def encode():
        return trunk(x) + own(x)

    partition = [*trunk.parameters()]
    z = encode()
    loss = losses(z)["a"]
    want = torch.autograd.grad(loss, own.weight)[0]
    for layer in (trunk, own, a, b):
        layer.zero_grad()
    z = encode()
    balancer = Balancer("upgrad", grads="features", shared=partition, announce=None)
    found = losses(z)
    balancer.backward(found, features=z)
    rest = torch.autograd.grad(losses(encode())["b"], own.weight)[0]  # declared unshared, so each task's own
    torch.testing.assert_close(own.weight.grad, want + rest)


def test_a_task_with_nothing_past_the_features_gets_what_is_below():
    trunk, own, b = (nn.Linear(3, 3).double() for _ in range(3))
    x = torch.ones(2, 3, dtype=torch.float64)
    z, mine = trunk(x), own(x)
    losses = {"a": (z + mine).square().mean(), "b": (b(z) - 1).square().mean()}
    want = torch.autograd.grad(losses["a"], own.weight, retain_graph=True)[0]
    weights = Balancer("upgrad", grads="features", announce=None).backward(losses, features=[z, mine]).weights
    torch.testing.assert_close(own.weight.grad, want)
    z = trunk(x)
    total = weights["a"] * (z + own(x)).square().mean() + weights["b"] * (b(z) - 1).square().mean()
    torch.testing.assert_close(trunk.weight.grad, torch.autograd.grad(total, trunk.weight)[0])


def test_a_leaf_below_the_features_gets_each_tasks_gradient():
    model = Experts()
    x = rows().requires_grad_()
    features = model.encode(x)
    want = sum(torch.autograd.grad(loss, x, retain_graph=True)[0] for loss in model.losses(features).values())
    Balancer("upgrad", grads="features", announce=None).backward(model.losses(features), features=features)
    torch.testing.assert_close(x.grad, want)


@pytest.mark.parametrize("given", [(), {}, None])
def test_no_features_are_refused(given):
    model = Experts()
    features = model.encode(rows())
    with pytest.raises(MethodError, match="the tensor the heads were applied to, or all of them"):
        Balancer("upgrad", grads="features", announce=None).backward(model.losses(features), features=given)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(("given", "found"), [({"z": 3.0}, "float at 'z'"), ([None], "NoneType at 0")])
def test_what_is_no_tensor_is_refused(given, found):
    with pytest.raises(MethodError, match=f"a sequence or dictionary of tensors; found {found}"):
        inspect.unwrap(feature_tensors)(given)
