"""Promises of the balancer that every method keeps, each with a try to break it: all of a step happens, or nothing.

One list of all registered methods, from the three conformance lists; one step that goes wrong in every way known.
"""

import contextlib
import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from polytask.balance import METHODS, Balancer, MethodState, get_method
from polytask.balance.contract.options import task_names
from polytask.errors import MethodError, NonFiniteError

from .drive import NAMES
from .entries import ENTRIES
from .entries_jacobian import JACOBIAN_ENTRIES
from .entries_penalty import PENALTY_ENTRIES


def fits(entry):
    """Whether the tasks that its options name are among these."""
    named = task_names(get_method(entry.name, **entry.options))
    return all(task in NAMES for _, task, _ in named)


ALL = [entry for entry in (*ENTRIES, *JACOBIAN_ENTRIES, *PENALTY_ENTRIES) if fits(entry)]
every_method = pytest.mark.parametrize("entry", ALL, ids=str)
ONE_OF_A_KIND = ["equal", "uw", "imtl_l", "mgda", "gradnorm", "upgrad", "graddrop", "moco", "orthogonal_gradients"]
some_methods = pytest.mark.parametrize("name", ONE_OF_A_KIND)
BAD = "sex"


def test_every_registered_method_is_tried():
    assert {entry.name for entry in ALL} == set(METHODS)


class Net(nn.Module):
    """A trunk and a head per task, which can be broken in one place: finite losses, gradients that are not."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.trunk = nn.Linear(4, 6)
        self.heads = nn.ModuleDict({name: nn.Linear(6, 1) for name in NAMES})
        self.double()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 2)

    def losses(self, step, tasks=NAMES, broken=None, task=BAD, rows=6):
        x = torch.randn(rows, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        z = torch.tanh(self.trunk(x))
        found = {}
        for name in tasks:
            offset = NAMES.index(name)
            loss = (self.heads[name](z) - torch.sin(offset + x[:, :1])).square().mean() + 0.1
            if name == task and broken is not None:
                loss = loss + self.trap(broken, z, name)
            found[name] = loss
        return found, z

    def trap(self, broken, z, name):
        if broken == "raises":
            return Refusing.apply(z).sum() * 0
        where = {"head": self.heads[name].bias, "trunk": self.trunk.weight, "features": z}[broken]
        return (where - where.detach()).abs().sqrt().sum()


class Refusing(torch.autograd.Function):
    """Fails in its backward pass, as a machine that runs out of memory half-way."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("half-way")


def frozen(state):
    """State as comparable plain values."""
    if isinstance(state, dict):
        return {key: frozen(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [frozen(value) for value in state]
    return state.tolist() if torch.is_tensor(state) else state


class Loop:
    """A net, a balancer of this method, and the calls of one step."""

    def __init__(self, method, **options):
        self.net = Net()
        if isinstance(method, str):
            method = get_method(method)
        elif not hasattr(method, "solve"):
            if getattr(method, "features", False):
                options = {"grads": "features", "heads": "plain"} | options
            method = get_method(method.name, **method.options)
        self.balancer = Balancer(method, tasks=NAMES, announce=None, **options)

    def backward(self, step, tasks=NAMES, broken=None, *, scaler=None, **more):
        balancer = self.balancer
        losses, z = self.net.losses(step, tasks, broken, **more)
        twin = self.net.losses(step + 50, tasks)[0] if balancer.needs_twin else None
        features = z if balancer.needs_features else None
        record = balancer.backward(losses, features, twin=twin, scaler=scaler)
        if balancer.needs_after_step and scaler is None:
            balancer.after_step({name: loss * 0.9 for name, loss in losses.items()})
        return record

    def warm(self):
        for step in range(3):
            self.net.zero_grad()
            self.backward(step)
        return self  # with the third step's .grad in place, as in a loop that accumulates

    def gradients(self):
        return {name: None if p.grad is None else p.grad.clone() for name, p in self.net.named_parameters()}

    def learned(self):
        state = self.balancer.state_dict()
        return frozen({key: state[key] for key in ("state", "step", "epoch", "held", "skips")})


def same(one, two, exactly=True, rtol=1e-8):
    assert one.keys() == two.keys()
    for name, gradient in one.items():
        if gradient is None or two[name] is None:
            assert gradient is two[name], name
        else:
            tolerance = {"rtol": 0, "atol": 0} if exactly else {"rtol": rtol, "atol": 1e-3 * rtol}
            torch.testing.assert_close(two[name], gradient, **tolerance)


@contextlib.contextmanager
def nothing_happens(loop, error):
    """The block raises, and neither ``.grad`` nor anything learned is another than before."""
    before, learned = loop.gradients(), loop.learned()
    tensors = {name: p.grad for name, p in loop.net.named_parameters()}
    with pytest.raises(error) as caught:
        yield caught
    same(before, loop.gradients())
    assert loop.learned() == learned
    assert all(p.grad is tensors[name] for name, p in loop.net.named_parameters())


def places(loop):
    """Where to break a task: gradients at features judge what goes through them."""
    return ("head", "features") if loop.balancer.needs_features else ("head", "trunk", "features")


@every_method
def test_a_gradient_that_is_not_finite_raises_and_nothing_happens(entry):
    loop = Loop(entry).warm()
    for place in places(loop):
        for _ in ("accumulating", "no .grad"):
            with nothing_happens(loop, NonFiniteError) as caught:
                loop.backward(3, broken=place)
            assert BAD in str(caught.value)
            assert "at step 3" in str(caught.value)
            loop.net.zero_grad()


@every_method
@pytest.mark.parametrize("place", ["head", "features"])
def test_a_task_whose_gradient_is_not_finite_is_skipped_as_if_it_were_absent(entry, place):
    skipping, absent = Loop(entry, nonfinite="skip").warm(), Loop(entry, nonfinite="skip").warm()
    record = skipping.backward(3, broken=place)
    absent.backward(3, [name for name in NAMES if name != BAD])
    assert record.skipped == (BAD,)
    assert BAD not in record.tasks
    same(absent.gradients(), skipping.gradients(), exactly=False)
    one, two = skipping.learned(), absent.learned()
    assert one.pop("skips") == {BAD: 1}
    assert two.pop("skips") == {}
    assert near(one, two)


def near(one, two):
    """Equal up to rounding."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(near(one[key], two[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(near, one, two))
    return one == pytest.approx(two, rel=1e-8, abs=1e-11, nan_ok=True) if isinstance(one, float) else one == two


@every_method
def test_a_pass_that_fails_half_way_leaves_everything_alone(entry):
    loop = Loop(entry).warm()
    with nothing_happens(loop, (RuntimeError, MethodError)):
        loop.backward(3, broken="raises", task=NAMES[-1])


@every_method
def test_an_overflow_under_a_gradient_scaler_stops_the_step_and_changes_no_state(entry):
    loop = Loop(entry)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    optimizer = torch.optim.SGD(loop.net.parameters(), lr=0.1)
    loop.backward(0, scaler=scaler)
    loop.net.zero_grad()
    before, learned = copy.deepcopy(loop.net.state_dict()), loop.learned()
    record = loop.backward(1, broken="head", scaler=scaler)
    assert set(record.skipped) == set(NAMES)
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 512.0
    same(before, dict(loop.net.state_dict()))
    after = loop.learned()
    assert after.pop("step") == learned.pop("step") + 1
    assert after == learned


@every_method
def test_a_fresh_scaler_and_one_that_is_switched_off(entry):
    fresh, plain = Loop(entry), Loop(entry)
    plain.backward(0)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    fresh.backward(0, scaler=scaler)
    scaler.unscale_(torch.optim.SGD(fresh.net.parameters(), lr=0.1))
    same(plain.gradients(), fresh.gradients(), exactly=False)
    off = torch.amp.GradScaler("cpu", enabled=False)
    with nothing_happens(plain, NonFiniteError):
        plain.backward(1, broken="head", scaler=off)


@every_method
def test_a_method_that_fails_while_it_learns_takes_back_what_it_wrote(entry, monkeypatch):
    """The last of what it wants remembered cannot be: all that was written before, for every part of it, is undone."""
    loop = Loop(entry).warm()
    method = loop.balancer.method
    loop.balancer._same = None  # a constant method solves again
    method.state.declare("one too many", 0.0, reduce="same")
    solve, asked = method.solve, []

    def fails(evidence):
        solution = solve(evidence)
        asked.append(dict(solution.remember))
        count = evidence.size if solution.tasks is None else len(solution.tasks)
        return dataclasses.replace(solution, remember={**solution.remember, "one too many": np.full(count, np.inf)})

    monkeypatch.setattr(method, "solve", fails)
    written = []
    monkeypatch.setattr(MethodState, "write", spied(MethodState.write, written))
    with nothing_happens(loop, NonFiniteError) as caught:
        loop.backward(3)
    assert "one too many" in str(caught.value)
    numbers = [name for name, value in asked[-1].items() if isinstance(value, np.ndarray)]
    assert set(numbers) <= set(written)


def spied(write, names):
    """The same function, which leaves the names it was called with."""

    def spy(self, name, tasks, values):
        names.append(name)
        write(self, name, tasks, values)

    return spy


@some_methods
@pytest.mark.parametrize("heads", ["plain", "weighted", "none"])
@pytest.mark.parametrize("place", ["head", "trunk"])
def test_every_policy_for_heads(name, heads, place):
    loop = Loop(name, heads=heads).warm()
    if heads == "none" and place == "head":  # that gradient is not asked for
        loop.backward(3, broken=place)
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in loop.net.parameters())
        return
    with nothing_happens(loop, NonFiniteError):
        loop.backward(3, broken=place)
    skipping, absent = (Loop(name, heads=heads, nonfinite="skip").warm() for _ in "12")
    assert skipping.backward(3, broken=place).skipped == (BAD,)
    absent.backward(3, [task for task in NAMES if task != BAD])
    same(absent.gradients(), skipping.gradients(), exactly=False)


WAYS = {
    "features": {"grads": "features"},
    "low_memory": {"low_memory": True},
    "half rows": {"row_dtype": torch.bfloat16},
    "every": {"every": 5},
    "sum_to_k": {"scale": "sum_to_k"},
    "preference": {"task_weights": {"age": 3.0, BAD: 2.0}},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["equal", "uw", "upgrad", "mgda"])
@pytest.mark.parametrize("place", ["head", "shared"])
def test_every_way_of_collecting_gradients(name, way, place):
    options = WAYS[way]
    if place == "shared":
        place = "features" if way == "features" else "trunk"
    loop = Loop(name, **options).warm()
    with nothing_happens(loop, NonFiniteError):
        loop.backward(3, broken=place)
    skipping, absent = (Loop(name, nonfinite="skip", **options).warm() for _ in "12")
    assert skipping.backward(3, broken=place).skipped == (BAD,)
    absent.backward(3, [task for task in NAMES if task != BAD])
    same(absent.gradients(), skipping.gradients(), exactly=False, rtol=1e-3 if way == "half rows" else 1e-8)


@pytest.mark.parametrize("policy", ["raise", "skip"])
@pytest.mark.parametrize("place", ["head", "trunk"])
def test_part_of_the_batch_and_part_of_the_parameters(policy, place):
    """What is judged by may be finite although the whole gradient is not."""
    for sub_batch in (True, False):
        loop = Loop("upgrad", nonfinite=policy, grads="sub_batch" if sub_batch else [Net().trunk.bias])
        if not sub_batch:
            loop.balancer = Balancer("upgrad", grads=[loop.net.trunk.bias], nonfinite=policy, announce=None)
        judge = loop.net.losses(7, rows=2)[0] if sub_batch else None
        losses = loop.net.losses(3, broken=place)[0]
        if policy == "raise":
            with nothing_happens(loop, NonFiniteError):
                loop.balancer.backward(losses, judge=judge)
        else:
            assert loop.balancer.backward(losses, judge=judge).skipped == (BAD,)
            assert all(p.grad is None or torch.isfinite(p.grad).all() for p in loop.net.parameters())
            assert loop.net.heads[BAD].weight.grad is None


@pytest.mark.parametrize("name", ["equal", "uw", "upgrad", "graddrop"])
@pytest.mark.parametrize("place", ["head", "trunk"])
@pytest.mark.parametrize("first", [True, False], ids=["first micro-batch", "last micro-batch"])
def test_windows(name, place, first):
    """In a window that is gathered, a task is broken as a whole; a plain sum leaves out the broken part of it."""
    raising, skipping, absent = (Loop(name, nonfinite=policy) for policy in ("raise", "skip", "skip"))
    rest = [task for task in NAMES if task != BAD]
    losses = [raising.net.losses(step, broken=place if first == (step == 0) else None)[0] for step in range(2)]
    with pytest.raises(NonFiniteError):  # noqa: PT012 - it may come in either call
        raising.balancer.accumulate(losses[0])
        raising.balancer.backward(losses[1])
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in raising.net.parameters())
    for loop in (skipping, absent):
        for step in range(2):
            here = first == (step == 0)
            gone = loop is absent and (here or name != "equal")
            losses = loop.net.losses(step, rest if gone else NAMES, place if here and loop is skipping else None)[0]
            loop.balancer.accumulate(losses) if step == 0 else loop.balancer.backward(losses)
    same(absent.gradients(), skipping.gradients(), exactly=False)


@pytest.mark.parametrize("name", ["modo"])
def test_twins(name):
    for place in ("head", "trunk"):
        for second in (False, True):
            loop = Loop(name)
            good, bad = loop.net.losses(0)[0], loop.net.losses(1, broken=place)[0]
            with nothing_happens(loop, NonFiniteError):
                loop.balancer.backward(good if second else bad, twin=bad if second else good)
            loop = Loop(name, nonfinite="skip")
            good, bad = loop.net.losses(0)[0], loop.net.losses(1, broken=place)[0]
            record = loop.balancer.backward(good if second else bad, twin=bad if second else good)
            assert record.skipped == (BAD,)
            assert all(p.grad is None or torch.isfinite(p.grad).all() for p in loop.net.parameters())


@some_methods
def test_all_tasks_broken_and_the_tenth_skip(name):
    loop = Loop(name, nonfinite="skip")
    for step in range(9):
        losses, _ = loop.net.losses(step)
        broken = {task: loss + loop.net.trap("trunk", None, task) for task, loss in losses.items()}
        assert set(loop.balancer.backward(broken).skipped) == set(NAMES)
        assert all(p.grad is None for p in loop.net.parameters())
    losses, _ = loop.net.losses(9)
    with nothing_happens(loop, NonFiniteError) as caught:
        loop.balancer.backward({task: loss + loop.net.trap("trunk", None, task) for task, loss in losses.items()})
    assert "10 times in a row" in str(caught.value)


@pytest.mark.parametrize("policy", ["raise", "skip"])
def test_finite_gradients_whose_sum_is_not(policy):
    """Neither task is at fault, so nobody is skipped."""
    p = torch.full((3,), 1e-3, requires_grad=True)
    for name, before in (("equal", None), ("equal", torch.full_like(p, 3e38)), ("upgrad", torch.full_like(p, 3e38))):
        p.grad = before
        balancer = Balancer(name, nonfinite=policy, task_weights={"a": 1.0, "b": 1e-6}, announce=None)
        losses = {"a": (p * 3e38).sum(), "b": (p * 1e-3).sum()}
        with pytest.raises(NonFiniteError, match="combined gradient of tasks a, b"):
            balancer.backward(losses)
        assert p.grad is before
        assert before is None or (before == torch.tensor(3e38)).all()
