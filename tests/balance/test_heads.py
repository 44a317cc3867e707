"""Parameters of one task: each policy against autograd, and each method's default against what was published."""

import inspect

import numpy as np
import pytest
import torch
from torch import nn

from polytask.balance import METHODS, Balancer, get_method
from polytask.errors import MethodError

NAMES = ("a", "b", "c")
PUBLISHED = {
    # The authors' code, or the paper where there is none, descends the weighted sum with all parameters.
    **dict.fromkeys(("nash_mtl", "mgda", "excess_mtl", "gradnorm", "ol_aux", "pike"), "weighted"),
    **dict.fromkeys(("lr_annealing", "inverse_dirichlet"), "weighted"),
    # Heads descend another loss than the one given.
    **dict.fromkeys(("db_mtl", "imtl"), "transformed"),
    # The authors' code leaves every task's backward pass in its head.
    **dict.fromkeys(("cagrad", "fairgrad", "aligned_mtl", "moco", "modo", "sdmgrad", "imtl_g", "pcgrad"), "plain"),
}
NEEDED = {"primary": "a", "residual": "a"}


def made(name, **options):
    needed = {key: NEEDED[key] for key in inspect.signature(METHODS[name]).parameters if key in NEEDED}
    return get_method(name, **needed, **options)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Linear(4, 5).double()
        self.heads = nn.ModuleDict({name: nn.Linear(5, 1).double() for name in NAMES})

    def losses(self, x):
        z = torch.tanh(self.trunk(x))
        return {name: 3**i * (head(z) - i).square().mean() for i, (name, head) in enumerate(self.heads.items())}


def rows(seed, count=8):
    return torch.tensor(np.random.default_rng(seed).standard_normal((count, 4)))


def own_gradients(net, x):
    losses = net.losses(x)
    return {name: torch.autograd.grad(losses[name], net.heads[name].weight, retain_graph=True)[0] for name in NAMES}


def head_factors(method, steps=2, **options):
    """Gradient of each head over its plain gradient, and the record, in the last of a few steps."""
    net = Net()
    balancer = Balancer(method, tasks=NAMES, shared=net.trunk, announce=None, **options)
    for step in range(steps):
        net.zero_grad()
        x = rows(step)
        plain = own_gradients(net, x)
        more = {}
        if balancer.needs_twin:
            more["twin"] = net.losses(rows(step + 50))
            other = own_gradients(net, rows(step + 50))
            plain = {name: (plain[name] + other[name]) / 2 for name in NAMES}
        record = balancer.backward(net.losses(x), **more)
    factors = {name: net.heads[name].weight.grad / plain[name] for name in NAMES}
    for factor in factors.values():
        torch.testing.assert_close(factor, factor[0, :1].expand_as(factor), rtol=1e-9, atol=1e-9)
    return {name: float(factor[0, 0]) for name, factor in factors.items()}, record


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_default_is_what_was_published(name):
    method = made(name)
    assert method.heads == PUBLISHED[name]
    assert METHODS[name].card.heads or PUBLISHED[name] == "plain"
    found, record = head_factors(method)
    if method.heads == "plain":
        assert found == pytest.approx(dict.fromkeys(NAMES, 1.0))
    elif method.heads == "weighted":
        assert found == pytest.approx(dict(record.weights))


@pytest.mark.parametrize("name", [n for n in METHODS if METHODS[n].needs != "features"])
def test_every_policy_does_what_it_says(name):
    for heads in ("plain", "weighted", "none"):
        net = Net()
        balancer = Balancer(made(name), tasks=NAMES, shared=net.trunk, announce=None, heads=heads)
        plain = own_gradients(net, rows(0))
        if balancer.needs_twin:
            other = own_gradients(net, rows(1))
            plain = {task: (plain[task] + other[task]) / 2 for task in NAMES}
        more = {"twin": net.losses(rows(1))} if balancer.needs_twin else {}
        record = balancer.backward(net.losses(rows(0)), **more)
        for task in NAMES:
            grad = net.heads[task].weight.grad
            if heads == "none":
                assert grad is None
            elif name != "orthogonal_gradients":  # its penalty reaches the heads, too
                expected = plain[task] * (1.0 if heads == "plain" else record.weights[task])
                torch.testing.assert_close(grad, expected, rtol=1e-9, atol=1e-12)


def test_heads_of_db_mtl_descend_the_logarithm():
    for beta in (0.0, 0.9):
        net, x = Net(), rows(0)
        Balancer(get_method("db_mtl", beta=beta), shared=net.trunk, announce=None).backward(net.losses(x))
        losses = net.losses(x)
        for name in NAMES:
            expected = torch.autograd.grad(losses[name].log(), net.heads[name].weight, retain_graph=True)[0]
            torch.testing.assert_close(net.heads[name].weight.grad, expected)


def test_heads_of_imtl_descend_the_scaled_loss():
    method = get_method("imtl", lr=0.1)
    found, _ = head_factors(method, steps=1)
    assert found == pytest.approx(dict.fromkeys(NAMES, 1.0))
    method.reset()  # it belongs to one balancer at a time
    found, record = head_factors(method, steps=4)
    scales = {name: float(np.exp(method.state.read("log_scale", [name])[0])) for name in NAMES}
    # The scales have learned once more since.
    assert all(abs(np.log(found[name] / scales[name])) < 0.2 for name in NAMES)
    assert any(abs(np.log(found[name])) > 0.1 for name in NAMES)
    assert found != pytest.approx(dict(record.weights))


def test_a_chain_of_logarithms_gives_heads_the_logarithm_or_the_weights():
    chain = get_method("chain", stages="log", inner="cagrad")
    assert chain.heads == "transformed"
    found, record = head_factors(chain, steps=1)
    assert found == pytest.approx({name: 1 / loss for name, loss in record.losses.items()})
    assert get_method("chain", stages="log", inner="mgda").heads == "weighted"
    assert get_method("chain", stages="l2", inner="cagrad").heads == "plain"
    for wrapped in ("cr_mogm", "subset", "per_group"):
        assert get_method(wrapped, inner="mgda").heads == "weighted"
        assert get_method(wrapped, inner="pcgrad").heads == "plain"
    found, record = head_factors(get_method("cr_mogm", inner="imtl"), steps=1)
    assert found == pytest.approx(dict.fromkeys(NAMES, 1.0))


def test_reused_weights_keep_the_heads_policy():
    """``every=``: one pass for the weighted sum, and the heads still get what the policy says."""
    for method, expected in (
        (get_method("chain", stages="log", inner="pcgrad"), None),
        (get_method("mgda"), "weights"),
    ):
        found, record = head_factors(method, steps=2, every=2)
        assert record.reused
        wanted = record.weights if expected else {name: 1 / loss for name, loss in record.losses.items()}
        assert found == pytest.approx(dict(wanted))


def test_a_window_is_one_batch_for_transformed_heads():
    whole, parts = Net(), Net()
    x = rows(3)
    Balancer(get_method("imtl"), shared=whole.trunk, announce=None).backward(whole.losses(x))
    balancer = Balancer(get_method("imtl"), shared=parts.trunk, announce=None)
    halves = [{name: loss / 2 for name, loss in parts.losses(half).items()} for half in (x[:4], x[4:])]
    balancer.accumulate(halves[0])
    balancer.backward(halves[1])
    for name in NAMES:
        torch.testing.assert_close(parts.heads[name].weight.grad, whole.heads[name].weight.grad)


def test_a_method_without_a_transformed_loss_refuses_the_policy():
    for name in ("mgda", "equal", "orthogonal_gradients", "graddrop"):
        with pytest.raises(MethodError, match=r"takes losses as they are; use 'plain', 'weighted' or 'none'"):
            Balancer(made(name), heads="transformed", announce=None, grads="params")
