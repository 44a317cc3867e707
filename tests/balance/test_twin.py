"""Two batches in one step: what the engine collects, mixes, refuses and leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polytask.balance import Balancer, Card, GramianMethod, LossMethod, Solution
from polytask.balance.compose.inner import resolve
from polytask.balance.contract.asks import TWIN_BATCH
from polytask.errors import ConfigError, MethodError, NonFiniteError, TaskError

from .models import Branched, TiedHeads, Trunk
from .test_engine import by_hand, compare, shared_names, weights_for


class Twins(GramianMethod):
    """Given weights; remembers the evidence."""

    card = Card("", "", "", "", "", (), ())
    uses_preference = True
    asks = frozenset({TWIN_BATCH})

    def __init__(self, **weights: float) -> None:
        super().__init__()
        self.given = weights
        self.seen = []

    def solve(self, evidence):
        self.seen.append(evidence)
        return Solution(np.array([self.given[name] for name in evidence.tasks]))


class ByLosses(LossMethod):
    card = Twins.card
    asks = frozenset({TWIN_BATCH})

    def solve(self, evidence):
        return Solution(evidence.preference)


def batch(seed, rows=7):
    return torch.randn(rows, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def jacobian(model, losses):
    names = shared_names(model)
    shared = [parameter for name, parameter in model.named_parameters() if name in names]
    rows = [torch.autograd.grad(loss, shared, retain_graph=True, materialize_grads=True) for loss in losses.values()]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows]).numpy()


@pytest.mark.parametrize("build", [Trunk, Branched, TiedHeads])
@pytest.mark.parametrize("heads", ["plain", "weighted", "none"])
@pytest.mark.parametrize("together", [False, True])
def test_gradients_are_the_mean_over_both_batches_and_evidence_is_of_both(build, heads, together):
    """``together``: one forward pass for both batches, whose graphs overlap."""
    torch.manual_seed(0)
    model = build()
    first, _ = model.losses(batch(1))
    second, _ = model.losses(batch(2, 5))
    if together:
        first, second = first, {name: 2 * loss + first[name] for name, loss in second.items()}
    weights = weights_for(first)
    mean = {name: (loss + second[name]) / 2 for name, loss in first.items()}
    expected = by_hand(model, mean, weights, shared_names(model), heads)
    one, two = jacobian(model, first), jacobian(model, second)
    method = Twins(**weights)
    record = Balancer(method, heads=heads, announce=None).backward(first, twin=second)
    compare(model, expected)
    (seen,) = method.seen
    np.testing.assert_allclose(seen.cross, one @ two.T, rtol=1e-10)
    np.testing.assert_allclose(seen.gramian, (one + two) @ (one + two).T / 4, rtol=1e-10)
    np.testing.assert_allclose(seen.losses, [loss.item() for loss in mean.values()], rtol=1e-12)
    assert record.backward_passes == 2 * len(first)


def test_an_absent_task_is_absent_from_both_and_the_order_of_the_twin_does_not_matter():
    model = Trunk()
    first, _ = model.losses(batch(1))
    second, _ = model.losses(batch(2), ["t2", "t0"])
    method = Twins(t0=0.3, t2=0.9)
    mean = {name: (first[name] + second[name]) / 2 for name in ("t0", "t2")}
    expected = by_hand(model, mean, {"t0": 0.3, "t2": 0.9}, shared_names(model), "plain")
    one, two = (jacobian(model, {n: losses[n] for n in ("t0", "t2")}) for losses in (first, second))
    record = Balancer(method, tasks=model.names, announce=None).backward(first, twin=second)
    assert record.tasks == ("t0", "t2")
    compare(model, expected)
    assert model.heads["t1"].weight.grad is None
    np.testing.assert_allclose(method.seen[0].cross, one @ two.T, rtol=1e-10)


def test_no_common_task_is_no_step():
    model = Trunk()
    first, _ = model.losses(batch(1), ["t0"])
    second, _ = model.losses(batch(2), ["t1"])
    record = Balancer(Twins(), announce=None).backward(first, twin=second)
    assert record.tasks == ()
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("where", ["first", "twin"])
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_in_either_batch_raises_or_is_skipped(where, what):
    model = Trunk()
    losses = {"first": model.losses(batch(1))[0], "twin": model.losses(batch(2))[0]}
    bad = losses[where]["t1"]
    # The square root's slope at zero is infinite; its value is not.
    losses[where]["t1"] = bad * float("nan") if what == "loss" else bad + (bad - bad.detach()).abs().sqrt()
    good = {name: (losses["first"][name] + losses["twin"][name]) / 2 for name in ("t0", "t2")}
    expected = by_hand(model, good, {"t0": 1.0, "t2": 0.5}, shared_names(model), "plain")
    method = Twins(t0=1.0, t1=9.0, t2=0.5)
    balancer = Balancer(method, announce=None)
    with pytest.raises(NonFiniteError, match="'t1' is nan"):
        balancer.backward(losses["first"], twin=losses["twin"], retain_graph=True)
    assert all(parameter.grad is None for parameter in model.parameters())
    skipping = Balancer(method, nonfinite="skip", announce=None)
    record = skipping.backward(losses["first"], twin=losses["twin"])
    assert (record.tasks, record.skipped) == (("t0", "t2"), ("t1",))
    compare(model, expected)


def test_held_weights_use_both_batches():
    model = Trunk()
    balancer = Balancer(Twins(t0=1.0, t1=2.0, t2=0.5), every=2, announce=None)
    for seed in (1, 3):
        model.zero_grad()
        first, second = model.losses(batch(seed))[0], model.losses(batch(seed + 1))[0]
        mean = {name: (first[name] + second[name]) / 2 for name in first}
        expected = by_hand(model, mean, {"t0": 1.0, "t1": 2.0, "t2": 0.5}, shared_names(model), "plain")
        balancer.backward(first, twin=second)
        compare(model, expected)
    assert len(balancer.method.seen) == 1


def test_a_loss_scale_is_not_seen():
    model = Trunk()
    first, second = model.losses(batch(1))[0], model.losses(batch(2))[0]
    method = Twins(t0=1.0, t1=2.0, t2=0.5)
    balancer = Balancer(method, announce=None)
    balancer.backward(first, twin=second, retain_graph=True)
    plain = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()

    class Scaler:
        def get_scale(self) -> float:
            return 1024.0

    balancer.backward(first, twin=second, scaler=Scaler())
    for parameter, gradient in zip(model.parameters(), plain, strict=True):
        assert torch.equal(parameter.grad, 1024 * gradient)
    for field in ("cross", "gramian", "losses"):
        np.testing.assert_array_equal(getattr(method.seen[0], field), getattr(method.seen[1], field))


def test_needs_are_checked_up_front_and_say_what_would_work():
    model = Trunk()
    first, second = model.losses(batch(1))[0], model.losses(batch(2))[0]
    for options in ({"grads": "features"}, {"low_memory": True}, {"grads": [model.trunk[0].weight]}):
        with pytest.raises(MethodError, match=r"Twins compares .* use grads='params' without low_memory"):
            Balancer(Twins(), announce=None, **options)
    with pytest.raises(MethodError, match="only methods on Gramians"):
        Balancer(ByLosses(), announce=None)
    with pytest.raises(MethodError, match=r"twin=other_losses.*looks at one batch \(mgda, sdmgrad\)"):
        Balancer(Twins(), announce=None).backward(first)
    with pytest.raises(MethodError, match="UPGrad looks at one batch: leave twin= out"):
        Balancer("upgrad", announce=None).backward(first, twin=second)
    with pytest.raises(MethodError, match="a method that looks at one batch"):
        Balancer(Twins(), announce=None).accumulate(first)
    with pytest.raises(TaskError, match="did you mean 't1'"):
        Balancer(Twins(), tasks=model.names, announce=None).backward(first, twin={**second, "t11": second["t1"]})
    with pytest.raises(
        ConfigError,
        match=r"MoDo asks for .* independent batch .* part of another one does not",
    ):
        resolve("modo")
