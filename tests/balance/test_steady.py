"""Graphs that are known are not walked in every step; what a step does is what ``backward`` of the sum does."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import nn

from polytask.balance import Balancer
from polytask.balance.engine import partition as seen_by
from polytask.balance.engine.gradients import stacked
from polytask.balance.engine.graph import walked
from polytask.errors import NonFiniteError


class Routed(nn.Module):
    """A trunk, an expert of two that are the same size, and two heads."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Linear(3, 4)
        self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in "ab")
        self.heads = nn.ModuleDict({name: nn.Linear(4, 1) for name in "ab"})

    def losses(self, expert: int = 0, factor: float = 1.0) -> dict[str, torch.Tensor]:
        z = self.experts[expert](self.trunk(torch.ones(2, 3))).tanh()
        return {name: head(z).square().mean() * factor for name, head in self.heads.items()}

    def wanted(self, expert: int = 0) -> list[torch.Tensor | None]:
        """What ``backward`` of the sum gives."""
        parameters = list(self.parameters())
        return list(torch.autograd.grad(sum(self.losses(expert).values()), parameters, allow_unused=True))


def same(model: nn.Module, wanted: list[torch.Tensor | None]) -> bool:
    """Whether ``.grad`` is what is wanted, bit for bit."""
    found = [parameter.grad for parameter in model.parameters()]
    return all(a is b is None or torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every walk."""
    made: list[int] = []

    def counting(*losses: torch.Tensor, **given: object) -> object:
        made.append(len(losses))
        return walked(*losses, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(seen_by, "walked", counting)
    return made


@pytest.mark.parametrize("method", ["equal", "uw"])
def test_a_known_graph_is_walked_now_and_then(walks: list[int], method: str) -> None:
    model, balancer = Routed(), Balancer(method, announce=None)
    for _ in range(200):
        model.zero_grad()
        balancer.backward(model.losses())
    assert len(walks) < 25
    if method == "equal":
        assert same(model, model.wanted())


def test_gradient_methods_walk_every_graph(walks: list[int]) -> None:
    """They differentiate by what they know, so all has to be known."""
    model, balancer = Routed(), Balancer("upgrad", announce=None)
    for _ in range(50):
        balancer.backward(model.losses())
    assert len(walks) >= 50


@pytest.mark.parametrize("shown", [True, False])
def test_an_expert_that_comes_late_gets_its_gradient_at_once(shown: bool) -> None:
    model, balancer = Routed(), Balancer("equal", announce=None)
    if shown:
        balancer.know(model)
    for step in range(60):
        model.zero_grad()
        balancer.backward(model.losses(expert=int(step >= 30)))
        assert same(model, model.wanted(expert=int(step >= 30)))
    assert any(leaf is model.experts[1].weight for leaf in balancer.partition.shared)


def test_a_gradient_that_is_not_finite_is_found_in_a_model_that_was_shown() -> None:
    """Also in a parameter that no graph has reached before, and although all other gradients are finite."""
    model, balancer = Routed(), Balancer("equal", announce=None)
    balancer.know(model)
    for _ in range(30):
        model.zero_grad()
        balancer.backward(model.losses())
    before = [parameter.grad.clone() for parameter in model.heads.parameters()]
    model.experts[1].bias.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(NonFiniteError):
        balancer.backward(model.losses(expert=1))
    assert model.experts[1].bias.grad is None
    found = [parameter.grad for parameter in model.heads.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(found, before, strict=True))


def test_gradients_that_were_there_are_added_to_and_hooks_wait() -> None:
    model, balancer = Routed(), Balancer("equal", announce=None)
    heard: list[bool] = []
    model.trunk.weight.register_post_accumulate_grad_hook(lambda p: heard.append(p.grad is not None))
    for number in range(1, 41):
        balancer.backward(model.losses())
        assert len(heard) == number
    wanted = model.wanted()[0]
    assert wanted is not None
    torch.testing.assert_close(model.trunk.weight.grad, 40 * wanted, rtol=1e-5, atol=0)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))])
def test_a_copy_goes_on_with_the_copied_model(copied: object) -> None:
    model, balancer = Routed(), Balancer("equal", announce=None)
    for _ in range(30):
        balancer.backward(model.losses())
    model.zero_grad()
    assert callable(copied)
    other, theirs = copied((model, balancer))
    for _ in range(20):
        other.zero_grad()
        theirs.backward(other.losses())
        assert same(other, other.wanted())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_other_tasks_and_a_new_head_are_new() -> None:
    model, balancer = Routed(), Balancer("equal", announce=None)
    for _ in range(30):
        balancer.backward(model.losses())
    model.heads["b"] = nn.Linear(4, 1)
    model.zero_grad()
    with_hole = {name: loss for name, loss in model.losses().items() if name == "b"}
    balancer.backward(with_hole)
    assert any(leaf is model.heads["b"].weight for leaf in balancer.partition.owned["b"])


def test_losses_that_were_one_vector_are_that_vector_again() -> None:
    weight = torch.arange(1.0, 5.0, requires_grad=True)
    vector = weight.square()
    ((found, at),) = stacked(vector.unbind())
    assert found is vector
    assert at == [0, 1, 2, 3]
    mixed = [vector.unbind()[2], vector.unbind()[0]]
    ((part, places),) = stacked(mixed)
    assert torch.equal(part, torch.stack(mixed))
    assert places == slice(None)


def test_vectors_are_weighed_in_the_order_of_the_tasks() -> None:
    """Against each loss by itself; the two vectors' entries come by turns, and one task is absent now and then."""
    method = {"a": 1.0, "b": 2.0, "c": 5.0, "d": 7.0}
    for absent in (None, "b"):
        grads = []
        for apart in (False, True):
            x = torch.tensor([0.5, -1.0, 2.0, 3.0], requires_grad=True)
            (a, c), (b, d) = x[:2].exp().unbind(), x[2:].square().unbind()
            losses = {"a": a, "b": b, "c": c, "d": d}
            if apart:
                losses = {name: loss * 1.0 for name, loss in losses.items()}
            losses = {name: loss for name, loss in losses.items() if name != absent}
            Balancer("equal", task_weights=method, announce=None).backward(losses)
            grads.append(x.grad)
        assert torch.equal(grads[0], grads[1])
        assert grads[0] is not None
        assert grads[0].count_nonzero() == (4 if absent is None else 3)
    torch.testing.assert_close(grads[0][0].item(), 3 * (1 / 13) * math.exp(0.5), rtol=1e-6, atol=0)


def test_a_hook_on_a_loss_is_heard() -> None:
    x = torch.ones(2, requires_grad=True)
    a, b = (x * 3).unbind()
    a.register_hook(lambda gradient: gradient * 10)
    Balancer("equal", announce=None).backward({"a": a, "b": b})
    assert x.grad is not None
    assert x.grad.tolist() == [30.0, 3.0]
