"""``grads="features"`` where parameters are reached past the features, too: nothing of a gradient may be lost."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from polytask.balance import Balancer, reached
from polytask.balance.engine.graph import cut_at
from polytask.errors import MethodError

from .test_engine import Fixed


class Model(nn.Module):
    """Layers by name, and losses with the features of a batch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.build()
        self.double()


class Tied(Model):
    """A language model: the output matrix is the embedding."""

    def build(self):
        self.embedding, self.layer, self.head = nn.Embedding(30, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def losses(self, number, matrix=None):
        words = torch.randint(0, 30, (16,), generator=torch.Generator().manual_seed(number))
        z = torch.tanh(self.layer(self.embedding(words)))
        logits = z @ (self.embedding.weight if matrix is None else matrix).T
        return {
            "lm": functional.cross_entropy(logits, words.roll(1)),
            "cls": functional.cross_entropy(self.head(z), words % 3),
        }, [z]


class Skip(Model):
    """One head reads an earlier layer as well; another one a layer that both tasks apply after the features."""

    def build(self):
        self.first, self.second, self.late = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 5)
        self.a, self.b = nn.Linear(11, 1), nn.Linear(5, 1)

    def losses(self, number):
        x = torch.randn(8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(number))
        early = torch.tanh(self.first(x))
        z = torch.tanh(self.second(early))
        late = torch.tanh(self.late(z))
        a = self.a(torch.cat([late, early], 1))
        return {"a": (a - 1).square().mean(), "b": self.b(late).square().mean()}, [z]


class Penalised(Model):
    """A weight decay written into a loss reaches the trunk without any input."""

    def build(self):
        self.trunk, self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 1), nn.Linear(6, 1)

    def losses(self, number):
        x = torch.randn(8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(number))
        z = torch.tanh(checkpoint(self.trunk, x, use_reentrant=False))
        decay = self.trunk.weight.square().sum()
        return {"a": self.a(z).square().mean() + 0.1 * decay, "b": (self.b(z) - 1).square().mean()}, [z]


class Pyramid(Model):
    """Two levels of features, of which the second is computed from the first."""

    def build(self):
        self.first, self.second, self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(12, 1), nn.Linear(12, 1)

    def losses(self, number):
        x = torch.randn(8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(number))
        low = torch.tanh(self.first(x))
        high = torch.tanh(self.second(low))
        both = torch.cat([low, high], 1)
        return {"a": self.a(both).square().mean(), "b": (self.b(both) - 1).square().mean()}, [low, high]


class Split(Model):
    """The features are one of two outputs of one node; the other one goes to a head beside them."""

    def build(self):
        self.trunk, self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 1), nn.Linear(4, 1)

    def losses(self, number):
        x = torch.randn(8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(number))
        z, other = torch.tanh(self.trunk(x)).chunk(2, 1)
        a = self.a(torch.cat([z, other], 1))
        return {"a": (a - 2).square().mean(), "b": (self.b(z) + 1).square().mean()}, [z]


class Recurrent(Model):
    """A deep trunk of many kinds of layers below a tied embedding; no gradient at all must be valid for each."""

    def build(self):
        self.embedding, self.lstm, self.norm = nn.Embedding(20, 8), nn.LSTM(8, 8, batch_first=True), nn.LayerNorm(8)
        self.attention = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.conv, self.batch = nn.Conv1d(8, 8, 3, padding=1), nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 3)

    def losses(self, number):
        words = torch.randint(0, 20, (4, 6), generator=torch.Generator().manual_seed(number))
        z = self.norm(self.lstm(self.embedding(words))[0])
        z = self.attention(z) + functional.scaled_dot_product_attention(z, z, z)
        z = self.batch(self.conv(z.transpose(1, 2))).transpose(1, 2).relu().clone()
        z = torch.stack(z.unbind(0))
        z[:, 0] *= 2.0
        logits = z @ self.embedding.weight.T
        lm = functional.cross_entropy(logits.flatten(0, 1), words.flatten())
        return {"lm": lm, "cls": functional.cross_entropy(self.head(z.mean(1)), words[:, 0] % 3)}, [z]


MODELS = [Tied, Skip, Penalised, Pyramid, Split, Recurrent]


@pytest.mark.parametrize("build", MODELS)
@pytest.mark.parametrize("method", ["fairgrad", "mgda", "upgrad"])
def test_the_step_is_the_weighted_sum_of_whole_gradients(build, method):
    """Σ w_k·∇L_k for every shared parameter, by one plain backward pass of the weighted sum."""
    model = build()
    balancer = Balancer(method, grads="features", announce=None)
    for number, keep in enumerate([False, True]):
        model.zero_grad()
        losses, z = model.losses(number)
        weights = balancer.backward(losses, features=z, retain_graph=keep).weights
        losses, _ = model.losses(number)
        shared = balancer.partition.shared
        total = sum(weights[task] * loss for task, loss in losses.items())
        for tensor, expected in zip(shared, torch.autograd.grad(total, shared), strict=True):
            torch.testing.assert_close(tensor.grad, expected)


@pytest.mark.parametrize("build", MODELS)
def test_the_gramian_is_of_what_reaches_each_feature_by_itself(build):
    """Features as leaves: what the heads alone give, which goes through no feature a second time."""
    model, method = build(), Fixed(**dict.fromkeys(["lm", "cls", "a", "b"], 1.0))
    losses, z = model.losses(0)
    with cut_at(z):
        rows = [torch.autograd.grad(loss, z, retain_graph=True) for loss in losses.values()]
    Balancer(method, grads="features", announce=None).backward(losses, features=z)
    flat = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
    np.testing.assert_allclose(method.gramians[0], (flat @ flat.T).numpy(), rtol=1e-10)


def test_a_cut_lets_through_what_goes_past():
    w = torch.tensor(3.0, requires_grad=True)
    low = w * 2
    high = low * low
    loss = high * 5 + low * 7 + w * 11
    with cut_at([low, high]):
        found = torch.autograd.grad(loss, [w, low, high], retain_graph=True)
    assert [float(gradient) for gradient in found] == [11.0, 7.0, 5.0]
    assert float(torch.autograd.grad(loss, w)[0]) == 11 + 7 * 2 + 5 * 2 * 6 * 2
    assert reached(low * 7 + w, past=[low]).keys() == {id(w)}
    assert reached(low * 7, past=[low]) == {}
    assert reached(low, past=[low]) == {}


def test_features_by_coordinates_add_what_goes_past_by_the_weights():
    """GradDrop mixes the features' gradients by coordinate; what reaches the matrix past them is Σ w_k·∇L_k."""
    model, untied = Tied(), Tied()
    losses, z = model.losses(0)
    with cut_at(z):
        direct = torch.autograd.grad(losses["lm"], model.embedding.weight, retain_graph=True)[0]
    record = Balancer("graddrop", grads="features", announce=None).backward(losses, features=z)
    matrix = untied.embedding.weight.detach().clone()
    shared = [untied.embedding.weight, *untied.layer.parameters()]
    losses, z = untied.losses(0, matrix)
    other = Balancer("graddrop", grads="features", shared=shared, announce=None).backward(losses, features=z)
    assert other.weights == record.weights
    torch.testing.assert_close(model.layer.weight.grad, untied.layer.weight.grad)
    expected = untied.embedding.weight.grad + record.weights["lm"] * direct
    torch.testing.assert_close(model.embedding.weight.grad, expected)


def test_a_changing_path_past_the_features_is_found_when_it_comes():
    trunk, late, a, b = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1), nn.Linear(3, 1)
    balancer = Balancer("upgrad", grads="features", announce=None)
    for direct in (False, True, False):
        z = trunk(torch.ones(2, 3)).tanh()
        y = late(z)
        losses = {"a": a(y).square().mean(), "b": (b(y) - 1).square().mean()}
        if direct:
            losses["a"] = losses["a"] + trunk.weight.square().sum()
        for layer in (trunk, late, a, b):
            layer.zero_grad()
        weights = balancer.backward(losses, features=z, retain_graph=True).weights
        total = sum(weights[task] * loss for task, loss in losses.items())
        torch.testing.assert_close(trunk.weight.grad, torch.autograd.grad(total, trunk.weight)[0])


def test_features_without_a_graph_are_refused_or_all_zero():
    trunk, a, b = nn.Linear(3, 3), nn.Linear(3, 1), nn.Linear(3, 1)
    z = trunk(torch.ones(2, 3))
    losses = {"a": a(z).square().mean(), "b": (b(z) - 1).square().mean()}
    with pytest.raises(MethodError, match=r"without detach\(\)"):
        Balancer("upgrad", grads="features", announce=None).backward(losses, features=z.detach())
    trunk.requires_grad_(False)
    z = trunk(torch.ones(2, 3))
    losses = {"a": a(z).square().mean(), "b": (b(z) - 1).square().mean()}
    record = Balancer("upgrad", grads="features", announce=None).backward(losses, features=z)
    assert record.weights == {"a": 0.5, "b": 0.5}
    assert a.weight.grad is not None
    leaf = torch.ones(2, 3, requires_grad=True)
    losses = {"a": a(leaf).square().mean(), "b": (b(leaf) - 1).square().mean()}
    expected = sum(torch.autograd.grad(loss, leaf, retain_graph=True)[0] for loss in losses.values())
    Balancer("upgrad", grads="features", announce=None).backward(losses, features=leaf)
    torch.testing.assert_close(leaf.grad, expected)
