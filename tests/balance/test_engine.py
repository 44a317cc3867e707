"""The engine against autograd by hand: same gradients, whatever the architecture, evidence, policy or absences."""

from __future__ import annotations

import copy
import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from polytask.balance import Balancer, Card, GramianMethod, LossMethod, Solution, get_method
from polytask.errors import CheckpointError, MethodError, NonFiniteError, TaskError

from .models import Branched, TiedHeads, Trunk

CARD = Card("", "", "", "", "", (), ())


class Fixed(GramianMethod):
    """Given weights by position in the alphabet of tasks, so that a test knows what to expect."""

    card = CARD
    uses_preference = True

    def __init__(self, **weights: float) -> None:
        super().__init__()
        self.given = weights
        self.gramians: list[np.ndarray] = []

    def solve(self, evidence):
        self.gramians.append(evidence.gramian)
        return Solution(np.array([self.given[name] for name in evidence.tasks]))


class FixedByLoss(LossMethod):
    """The same for methods that look at losses only."""

    card = CARD
    uses_preference = True

    def __init__(self, **weights: float) -> None:
        super().__init__()
        self.given = weights

    def solve(self, evidence):
        return Solution(np.array([self.given[name] for name in evidence.tasks]))


def by_hand(model: nn.Module, losses: dict[str, Tensor], weights: dict[str, float], shared: set[str], heads: str):
    """Expected ``.grad`` of every named parameter, from one plain backward pass per task on a copy of nothing."""
    expected: dict[str, Tensor | None] = {name: None for name, _ in model.named_parameters()}
    for task, loss in losses.items():
        gradients = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True, allow_unused=True)
        for (name, _), gradient in zip(model.named_parameters(), gradients, strict=True):
            if gradient is None:
                continue
            factor = weights[task] if name in shared or heads == "weighted" else 0.0 if heads == "none" else 1.0
            if name not in shared and heads == "none":
                continue
            expected[name] = factor * gradient if expected[name] is None else expected[name] + factor * gradient
    return expected


def compare(model: nn.Module, expected: dict[str, Tensor | None]) -> None:
    for name, parameter in model.named_parameters():
        if expected[name] is None:
            assert parameter.grad is None, name
        else:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-10, atol=1e-12, msg=name)


def shared_names(model: nn.Module) -> set[str]:
    prefixes = {Trunk: ("trunk",), Branched: ("root", "branch"), TiedHeads: ("trunk", "tied")}[type(model)]
    return {name for name, _ in model.named_parameters() if name.startswith(prefixes)}


MODELS = [Trunk, Branched, TiedHeads]


def weights_for(losses: dict[str, Tensor]) -> dict[str, float]:
    return {name: 0.5 + 1.5 * i - i * i for i, name in enumerate(losses)}


@pytest.mark.parametrize("build", MODELS)
@pytest.mark.parametrize("heads", ["plain", "weighted", "none"])
@pytest.mark.parametrize("method", [Fixed, FixedByLoss])
def test_gradients_equal_those_by_hand(build, heads, method) -> None:
    model = build()
    losses, _ = model.losses(torch.randn(7, 4, dtype=torch.float64))
    weights = weights_for(losses)
    expected = by_hand(model, losses, weights, shared_names(model), heads)
    Balancer(method(**weights), heads=heads, announce=None).backward(losses)
    compare(model, expected)


@pytest.mark.parametrize("build", [Trunk, TiedHeads])
@pytest.mark.parametrize("heads", ["plain", "weighted", "none"])
def test_feature_evidence_gives_the_same_gradients_and_the_gramian_of_the_features(build, heads) -> None:
    model = build()
    losses, z = model.losses(torch.randn(7, 4, dtype=torch.float64))
    weights = weights_for(losses)
    expected = by_hand(model, losses, weights, shared_names(model), heads)
    rows = torch.stack([torch.autograd.grad(loss, z, retain_graph=True)[0].flatten() for loss in losses.values()])
    method = Fixed(**weights)
    Balancer(method, grads="features", heads=heads, announce=None).backward(losses, features=z)
    compare(model, expected)
    np.testing.assert_allclose(method.gramians[0], (rows @ rows.T).numpy(), rtol=1e-12)


@pytest.mark.parametrize("heads", ["plain", "weighted", "none"])
def test_subset_evidence_judges_by_the_subset_and_moves_everything(heads) -> None:
    model = Trunk()
    losses, _ = model.losses(torch.randn(7, 4, dtype=torch.float64))
    weights = weights_for(losses)
    last = list(model.trunk[2].parameters())
    expected = by_hand(model, losses, weights, shared_names(model), heads)
    rows = [torch.autograd.grad(loss, last, retain_graph=True) for loss in losses.values()]
    flat = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
    method = Fixed(**weights)
    Balancer(method, grads=last, heads=heads, announce=None).backward(losses)
    compare(model, expected)
    np.testing.assert_allclose(method.gramians[0], (flat @ flat.T).numpy(), rtol=1e-12)


@pytest.mark.parametrize("build", MODELS)
def test_gramian_is_that_of_the_full_jacobian_with_zero_blocks(build) -> None:
    model = build()
    losses, _ = model.losses(torch.randn(7, 4, dtype=torch.float64))
    shared = [p for name, p in model.named_parameters() if name in shared_names(model)]
    rows = []
    for loss in losses.values():
        parts = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
        rows.append(
            torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(shared, parts, strict=True)])
        )
    jacobian = torch.stack(rows)
    method = Fixed(**weights_for(losses))
    balancer = Balancer(method, announce=None)
    record = balancer.backward(losses)
    np.testing.assert_allclose(method.gramians[0], (jacobian @ jacobian.T).numpy(), rtol=1e-12, atol=1e-15)
    norms = jacobian.norm(dim=1)
    assert record.norms == pytest.approx(dict(zip(losses, norms.tolist(), strict=True)))
    names = list(losses)
    cosine = float(jacobian[0] @ jacobian[1] / norms[0] / norms[1])
    assert record.cosines[(names[0], names[1])] == pytest.approx(cosine)
    share = {n: abs(w) * s for (n, w), s in zip(weights_for(losses).items(), norms.tolist(), strict=True)}
    assert record.shares == pytest.approx({n: s / sum(share.values()) for n, s in share.items()})


def test_equal_weights_are_plain_pytorch_to_the_bit() -> None:
    model = Trunk(dtype=torch.float32)
    x = torch.randn(32, 4)
    sum(model.losses(x)[0].values()).backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    Balancer("equal", announce=None).backward(model.losses(x)[0])
    assert all(torch.equal(p.grad, e) for p, e in zip(model.parameters(), expected, strict=True))


def test_gradients_accumulate_like_backward() -> None:
    model = Trunk()
    x = torch.randn(7, 4, dtype=torch.float64)
    balancer = Balancer("upgrad", announce=None)
    balancer.backward(model.losses(x)[0])
    once = [p.grad.clone() for p in model.parameters()]
    balancer.backward(model.losses(x)[0])
    for parameter, first in zip(model.parameters(), once, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * first)


def test_an_absent_task_leaves_its_head_and_the_problem() -> None:
    model = Trunk()
    x = torch.randn(7, 4, dtype=torch.float64)
    balancer = Balancer("mgda", announce=None)
    balancer.backward(model.losses(x)[0])
    model.zero_grad()
    losses, _ = model.losses(x, ["t0", "t2"])
    record = balancer.backward(losses | {"t1": None})
    assert record.tasks == ("t0", "t2")
    assert model.heads["t1"].weight.grad is None
    fresh = copy.deepcopy(model)
    fresh.zero_grad()
    Balancer("mgda", announce=None).backward(fresh.losses(x, ["t0", "t2"])[0])
    for (name, p), (_, q) in zip(model.named_parameters(), fresh.named_parameters(), strict=True):
        if p.grad is not None:
            torch.testing.assert_close(p.grad, q.grad, msg=name)


def test_tasks_met_one_at_a_time_end_in_the_same_partition() -> None:
    model = Branched()
    x = torch.randn(5, 4, dtype=torch.float64)
    balancer = Balancer("upgrad", announce=None)
    for task in model.names:
        balancer.backward(model.losses(x, [task])[0])
    found = {id(p) for p in balancer.partition.shared}
    assert found == {id(p) for p in [*model.root.parameters(), *model.branch.parameters()]}


def test_parameters_reached_later_by_a_changing_graph_are_trained() -> None:
    trunk, extra, a, b = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1), nn.Linear(3, 1)
    balancer = Balancer("upgrad", announce=None)
    for use_extra in (False, True):
        z = trunk(torch.ones(2, 3))
        z = extra(z) if use_extra else z
        balancer.backward({"a": a(z).mean(), "b": b(z).square().mean()})
    assert extra.weight.grad is not None
    assert extra.weight.grad.abs().sum() > 0


def test_partition_is_announced_once_and_names_unreached_parameters() -> None:
    model = Branched()
    said: list[str] = []
    balancer = Balancer("equal", shared=model, announce=said.append)
    for _ in range(2):
        balancer.backward(model.losses(torch.randn(3, 4, dtype=torch.float64))[0])
    assert len(said) == 1
    assert "unused.weight" in said[0]
    assert "will not train" in said[0]


def test_single_device_rows_survive_extreme_scales() -> None:
    for scale in (1e-25, 1e25):
        p = torch.ones(3, requires_grad=True)
        losses = {"a": scale * p[0] + scale * p[1], "b": scale * (p[1] - 0.5 * p[0])}
        record = Balancer("upgrad", announce=None).backward(losses)
        assert record.cosines[("a", "b")] == pytest.approx(0.5 / np.sqrt(2 * 1.25), rel=1e-6)
        assert record.tasks == ("a", "b")


# ------------------------------------------------------------------- weights: preference, scale, every


@pytest.mark.parametrize("name", ["equal", "mgda", "upgrad", "nash_mtl"])
def test_task_weights_are_applied_exactly_once(name) -> None:
    model = Trunk(tasks=2)
    x = torch.randn(9, 4, dtype=torch.float64)
    plain = Balancer(name, announce=None).backward(model.losses(x)[0])
    method = get_method(name)
    liked = Balancer(method, task_weights={"t0": 3.0}, announce=None).backward(model.losses(x)[0])
    if method.uses_preference:
        expected = method.weights(
            torch.as_tensor(plain.gramian),
            tasks=plain.tasks,
            preference=torch.tensor([0.75, 0.25], dtype=torch.float64),
        ).numpy()
    else:
        expected = plain.raw_weights * np.array([1.5, 0.5])
    np.testing.assert_allclose(liked.raw_weights, expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["mgda", "upgrad", "nash_mtl"])
def test_a_task_without_gradient_gets_its_preference_once(name) -> None:
    p = torch.ones(2, requires_grad=True)
    losses = {"a": p.sum(), "still": (p * 0).sum(), "b": (p[0] - 2 * p[1])}
    record = Balancer(name, task_weights={"still": 2.0}, announce=None).backward(losses)
    assert record.weights["still"] == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["mgda", "upgrad", "nash_mtl"])
def test_scale_conventions(name) -> None:
    model = Trunk(tasks=3)
    x = torch.randn(9, 4, dtype=torch.float64)
    native = Balancer(name, announce=None).backward(model.losses(x)[0]).raw_weights
    summed = Balancer(name, scale="sum_to_k", announce=None).backward(model.losses(x)[0]).raw_weights
    assert summed.sum() == pytest.approx(3.0)
    np.testing.assert_allclose(summed / summed.sum(), native / native.sum(), rtol=1e-9)
    record = Balancer(name, scale="norm_of_mean", announce=None).backward(model.losses(x)[0])
    w, third = record.raw_weights, np.full(3, 1 / 3)
    assert w @ record.gramian @ w == pytest.approx(third @ record.gramian @ third)


@pytest.mark.parametrize("heads", ["plain", "weighted"])
def test_every_n_reuses_weights_by_name_and_gives_the_same_gradients(heads) -> None:
    model = Trunk()
    balancer = Balancer("upgrad", every=3, heads=heads, announce=None)
    x = torch.randn(9, 4, dtype=torch.float64)
    first = balancer.backward(model.losses(x)[0])
    model.zero_grad()
    losses, _ = model.losses(torch.randn(9, 4, dtype=torch.float64), ["t2", "t0"])
    expected = by_hand(model, losses, first.weights, shared_names(model), heads)
    second = balancer.backward(losses)
    assert second.reused
    assert second.weights == {name: first.weights[name] for name in ("t2", "t0")}
    compare(model, expected)
    assert balancer.backward(model.losses(x)[0]).reused
    assert not balancer.backward(model.losses(x)[0]).reused


def test_a_task_without_held_weight_makes_an_off_step_solve() -> None:
    model = Trunk()
    x = torch.randn(9, 4, dtype=torch.float64)
    balancer = Balancer("upgrad", every=10, announce=None)
    balancer.backward(model.losses(x, ["t0", "t1"])[0])
    assert not balancer.backward(model.losses(x)[0]).reused


# ------------------------------------------------------------------------------------- what goes wrong


def test_nonfinite_loss_raises_by_name_and_leaves_everything_alone() -> None:
    model = Trunk()
    x = torch.randn(9, 4, dtype=torch.float64)
    balancer = Balancer("uw", announce=None)
    balancer.backward(model.losses(x)[0])
    model.zero_grad()
    before = balancer.state_dict()
    losses, _ = model.losses(x)
    losses["t1"] = losses["t1"] * float("nan")
    with pytest.raises(NonFiniteError, match=r"'t1' is nan at step 1"):
        balancer.backward(losses)
    assert balancer.state_dict() == before
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("evidence", ["params", "features"])
def test_nonfinite_gradient_is_found_although_the_loss_is_finite(evidence) -> None:
    model = Trunk()
    x = torch.randn(9, 4, dtype=torch.float64)
    balancer = Balancer("upgrad", grads=evidence, announce=None)

    def broken() -> tuple[dict[str, Tensor], Tensor]:
        losses, z = model.losses(x)
        return losses | {"t1": losses["t1"] + torch.sqrt((z[0, 0] - z[0, 0].detach()).abs())}, z

    losses, z = broken()
    with pytest.raises(NonFiniteError, match="gradient of task 't1'"):
        balancer.backward(losses, features=z)
    assert all(p.grad is None for p in model.parameters())
    skipping = Balancer("upgrad", grads=evidence, nonfinite="skip", announce=None)
    losses, z = broken()
    record = skipping.backward(losses, features=z)
    assert record.tasks == ("t0", "t2")
    assert record.skipped == ("t1",)
    assert model.heads["t1"].weight.grad is None
    assert all(torch.isfinite(p.grad).all() for p in model.trunk.parameters())


def test_skipping_gives_up_after_ten_steps_in_a_row() -> None:
    p = torch.ones(1, requires_grad=True)
    balancer = Balancer("equal", nonfinite="skip", announce=None)
    for _ in range(9):
        assert balancer.backward({"a": (p * float("inf")).sum(), "b": p.sum()}).skipped == ("a",)
    with pytest.raises(NonFiniteError, match="10 times in a row"):
        balancer.backward({"a": (p * float("inf")).sum(), "b": p.sum()})
    balancer.reset()
    for i in range(30):
        scale = float("inf") if i % 5 else 1.0
        balancer.backward({"a": (p * scale).sum(), "b": p.sum()})


def test_wrong_names_shapes_and_options_are_refused() -> None:
    p = torch.ones(2, requires_grad=True)
    with pytest.raises(TaskError, match=r"'gender'.*leave it out"):
        Balancer("equal", tasks=["age", "sex"], announce=None).backward({"gender": p.sum()})
    with pytest.raises(TaskError, match=r"'a'.*shape \(2,\)"):
        Balancer("equal", announce=None).backward({"a": p * 2})
    with pytest.raises(TaskError, match="requires_grad=False"):
        Balancer("equal", announce=None).backward({"a": torch.ones(())})
    with pytest.raises(MethodError, match="did you mean 'fairgrad'"):
        Balancer("fairgard")
    with pytest.raises(MethodError, match="every"):
        Balancer("equal", every=0)
    with pytest.raises(MethodError, match="sum_to_k"):
        Balancer("uw", scale="norm_of_mean")
    with pytest.raises(MethodError, match="features=z"):
        Balancer("mgda", grads="features", announce=None).backward({"a": p.sum(), "b": p.sum()})
    with pytest.raises(MethodError, match="positive"):
        Balancer("equal", task_weights={"a": 0.0})
    model = Trunk()
    x = torch.randn(4, 4, dtype=torch.float64)
    losses, _ = model.losses(x)
    with pytest.raises(MethodError, match="computed again"):
        Balancer("mgda", grads="features", announce=None).backward(losses, features=model.trunk(x))


# ----------------------------------------------------------------------------------- state and scaling


@pytest.mark.parametrize("name", ["equal", "uw", "dwa", "rlw", "famo", "pcgrad", "nash_mtl", "upgrad"])
def test_resume_through_a_file_equals_no_interruption(name) -> None:
    def steps(balancer: Balancer, model: Trunk, start: int, stop: int) -> list[np.ndarray]:
        weights = []
        for i in range(start, stop):
            x = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(i))
            present = None if i % 3 else ["t0", "t2"]
            weights.append(balancer.backward(model.losses(x, present)[0]).raw_weights)
            if balancer.needs_after_step:
                balancer.after_step(model.losses(x + 0.1, present)[0])
            if i % 4 == 3:
                balancer.end_epoch()
        return weights

    model = Trunk()
    straight = steps(Balancer(name, every=2, announce=None), model, 0, 16)
    first = Balancer(name, every=2, announce=None)
    steps(first, model, 0, 7)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = Balancer(name, every=2, announce=None)
    second.load_state_dict(torch.load(file, weights_only=True))
    for a, b in zip(steps(second, model, 7, 16), straight[7:], strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(CheckpointError, match=type(first.method).__name__):
        Balancer("cagrad").load_state_dict(first.state_dict())


@pytest.mark.parametrize("name", ["equal", "nash_mtl", "fairgrad", "upgrad"])
@pytest.mark.parametrize("evidence", ["params", "features"])
def test_a_gradient_scaler_changes_nothing_but_the_scale(name, evidence) -> None:
    model = Trunk()
    x = torch.randn(6, 4, dtype=torch.float64)
    losses, z = model.losses(x)
    plain = Balancer(name, grads=evidence, announce=None).backward(losses, features=z)
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(torch.ones(()))
    losses, z = model.losses(x)
    scaled = Balancer(name, grads=evidence, announce=None).backward(losses, features=z, scaler=scaler)
    np.testing.assert_allclose(scaled.raw_weights, plain.raw_weights, rtol=1e-10)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, 1024.0 * gradient)


def test_an_overflow_is_the_scalers_business_and_leaves_the_state_alone() -> None:
    model = Trunk()
    x = torch.randn(6, 4, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    balancer = Balancer("upgrad", announce=None)
    scaler.scale(torch.ones(()))
    losses, _ = model.losses(x)
    trunk_before = model.trunk[0].weight.detach().clone()
    losses["t0"] = losses["t0"] + torch.sqrt((model.trunk[0].weight - trunk_before).abs()).sum()
    record = balancer.backward(losses, scaler=scaler)
    assert record.skipped == ("t0", "t1", "t2")
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(model.trunk[0].weight, trunk_before)
    assert scaler.get_scale() < 2.0**10


def test_one_hundred_tasks_and_one_task() -> None:
    model = Trunk(tasks=100)
    x = torch.randn(6, 4, dtype=torch.float64)
    record = Balancer("upgrad", announce=None).backward(model.losses(x)[0])
    norms = np.sqrt(np.diag(record.gramian))
    size = norms * (norms @ record.raw_weights)  # what the inner products would be without any cancellation
    assert (record.gramian @ record.raw_weights >= -1e-7 * size).all()
    alone = Trunk(tasks=1)
    losses, _ = alone.losses(x)
    expected = torch.autograd.grad(losses["t0"], list(alone.parameters()), retain_graph=True)
    Balancer("upgrad", announce=None).backward(losses)
    for parameter, gradient in zip(alone.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_a_number_instead_of_a_loss_is_refused_with_the_remedy() -> None:
    """In a process of its own, because in this one the types of arguments are checked before the engine sees them."""
    code = "from polytask.balance import Balancer; Balancer('equal').backward({'a': 1.5})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "TaskError: loss of task 'a' must be a tensor" in done.stderr
    assert "found float 1.5" in done.stderr
    assert ".item()" in done.stderr
