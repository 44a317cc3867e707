"""Ways to gather gradient evidence against the plain exact one: windows, low memory, narrow rows, coordinates."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from polytask.balance import Balancer, Card, Combined, JacobianMethod, Solution
from polytask.balance.engine.cheap_sources import _blocks
from polytask.errors import MethodError

from .models import Branched, TiedHeads, Trunk

CARD = Card("", "", "", "", "", (), ())


class SignVote(JacobianMethod):
    """Keeps the coordinates in which all rows agree in sign, plus a running mean of past rows, by task."""

    card = CARD

    def __init__(self):
        super().__init__()
        self.memory.declare("past", reduce="mean")

    def solve(self, evidence):
        return Solution(np.ones(evidence.size))

    def combine(self, block, evidence, solution):
        past = self.memory.read("past", block.name, evidence.tasks, block.rows)
        agree = (block.rows.sign().sum(0).abs() == len(block.rows)).to(block.rows.dtype)
        return Combined(agree * block.rows.sum(0) + past.sum(0), {"past": 0.5 * past + 0.5 * block.rows})


def gradients(model: nn.Module) -> dict[str, Tensor | None]:
    return {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}


def assert_same(left: dict[str, Tensor | None], right: dict[str, Tensor | None], **tolerance: float) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert (left[name] is None) == (right[name] is None), name
        if left[name] is not None:
            torch.testing.assert_close(
                left[name], right[name], msg=name, **(tolerance or {"rtol": 1e-9, "atol": 1e-12})
            )


def one_step(model: nn.Module, batches: list[Tensor], tasks: list[list[str] | None], **options):
    """Gradients after one step whose losses are the sums over the batches."""
    model.zero_grad()
    balancer = Balancer(announce=None, **options)
    balancer.prepare(model.losses(batches[0])[0])
    for x, present in zip(batches[:-1], tasks[:-1], strict=True):
        balancer.accumulate(model.losses(x, present)[0])
    record = balancer.backward(model.losses(batches[-1], tasks[-1])[0])
    return record, gradients(model)


@pytest.mark.parametrize("build", [Trunk, Branched, TiedHeads])
@pytest.mark.parametrize("method", ["equal", "uw", "mgda", "nash_mtl", "upgrad"])
@pytest.mark.parametrize("heads", ["plain", "weighted"])
def test_a_window_equals_one_step_on_the_summed_losses(build, method, heads) -> None:
    model = build()
    names = list(model.losses(torch.zeros(1, 4, dtype=torch.float64))[0])
    batches = [torch.randn(5, 4, dtype=torch.float64) for _ in range(3)]
    tasks = [None, names[:2], [names[2], names[0]]]
    record, found = one_step(model, batches, tasks, method=method, heads=heads)
    model.zero_grad()
    total: dict[str, Tensor] = {}
    for x, present in zip(batches, tasks, strict=True):
        for name, loss in model.losses(x, present)[0].items():
            total[name] = total[name] + loss if name in total else loss
    expected = Balancer(method, heads=heads, announce=None).backward(total)
    assert record.weights == pytest.approx(expected.weights, rel=1e-8)
    assert record.losses == pytest.approx(expected.losses)
    assert_same(found, gradients(model), rtol=1e-7, atol=1e-10)


def test_a_window_may_end_on_a_batch_without_labels_and_is_forgotten_on_reset() -> None:
    model = Trunk()
    x = torch.randn(5, 4, dtype=torch.float64)
    balancer = Balancer("upgrad", announce=None)
    balancer.prepare(model.losses(x)[0])
    balancer.accumulate(model.losses(x)[0])
    balancer.backward({})
    found = gradients(model)
    model.zero_grad()
    balancer.accumulate(model.losses(10 * x)[0])
    balancer.reset()
    balancer.backward(model.losses(x)[0])
    assert_same(found, gradients(model))


def test_a_new_task_inside_a_window_is_refused_with_the_remedy() -> None:
    model = Trunk()
    x = torch.randn(5, 4, dtype=torch.float64)
    balancer = Balancer("upgrad", announce=None)
    balancer.accumulate(model.losses(x, ["t0"])[0])
    with pytest.raises(MethodError, match="prepare"):
        balancer.backward(model.losses(x)[0])
    with pytest.raises(MethodError, match="grads='params'"):
        Balancer("upgrad", grads="features").accumulate(model.losses(x)[0])


@pytest.mark.parametrize("build", [Trunk, Branched, TiedHeads])
@pytest.mark.parametrize("heads", ["plain", "weighted", "none"])
@pytest.mark.parametrize("tasks", [None, 1, 2])
def test_low_memory_is_exact(build, heads, tasks) -> None:
    model = build()
    x = torch.randn(6, 4, dtype=torch.float64)
    names = list(model.losses(x)[0])[:tasks]
    results = []
    for low in (False, True):
        model.zero_grad()
        balancer = Balancer("upgrad", heads=heads, low_memory=low, announce=None)
        balancer.prepare(model.losses(x)[0])
        record = balancer.backward(model.losses(x, names)[0])
        results.append((record, gradients(model)))
    np.testing.assert_allclose(results[0][0].gramian, results[1][0].gramian, rtol=1e-12)
    assert_same(results[0][1], results[1][1])


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_low_memory_holds_one_gradient_not_k(count) -> None:
    tensors = [torch.zeros(n) for n in (100, 30, 30, 40, 100, 100)]
    groups = _blocks(tensors, count)
    assert [id(t) for group in groups for t in group] == [id(t) for t in tensors]
    assert max(sum(t.numel() for t in group) for group in groups) <= max(400 / count, 100)


def test_rows_in_bfloat16_give_nearly_the_same_step() -> None:
    model = Trunk(tasks=3, dtype=torch.float32)
    x = torch.randn(64, 4)
    exact = Balancer("upgrad", announce=None).backward(model.losses(x)[0])
    expected = torch.cat([p.grad.flatten() for p in model.trunk.parameters()])
    model.zero_grad()
    narrow = Balancer("upgrad", row_dtype=torch.bfloat16, announce=None).backward(model.losses(x)[0])
    found = torch.cat([p.grad.flatten() for p in model.trunk.parameters()])
    np.testing.assert_allclose(narrow.gramian, exact.gramian, atol=0.02 * np.abs(exact.gramian).max())
    assert nn.functional.cosine_similarity(found, expected, dim=0) > 0.999
    assert not torch.equal(found, expected)


@pytest.mark.parametrize("evidence", ["params", "features"])
def test_coordinate_methods_mix_rows_and_remember_by_task(evidence) -> None:
    model = Trunk()
    x = torch.randn(6, 4, dtype=torch.float64)

    def rows() -> Tensor:
        losses, z = model.losses(x)
        targets = list(model.trunk.parameters()) if evidence == "params" else [z]
        grads = [torch.autograd.grad(loss, targets, retain_graph=True) for loss in losses.values()]
        return torch.stack([torch.cat([g.flatten() for g in row]) for row in grads])

    balancer = Balancer(SignVote(), grads=evidence, announce=None)
    past = 0.0
    for _ in range(3):
        model.zero_grad()
        jacobian = rows()
        agree = (jacobian.sign().sum(0).abs() == 3).double()
        expected = agree * jacobian.sum(0) + (past.sum(0) if torch.is_tensor(past) else 0.0)
        past = 0.5 * past + 0.5 * jacobian
        losses, z = model.losses(x)
        balancer.backward(losses, features=z)
        if evidence == "features":
            model_copy = copy.deepcopy(model)
            model_copy.zero_grad()
            z = model_copy.trunk(x)
            z.backward(expected.view_as(z))
            expected = torch.cat([p.grad.flatten() for p in model_copy.trunk.parameters()])
        found = torch.cat([p.grad.flatten() for p in model.trunk.parameters()])
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_coordinate_methods_say_what_they_need() -> None:
    model = Trunk()
    with pytest.raises(MethodError, match="SignVote mixes coordinates"):
        Balancer(SignVote(), low_memory=True)
    with pytest.raises(MethodError, match="SignVote mixes coordinates"):
        Balancer(SignVote(), grads=list(model.trunk[2].parameters()))
    with pytest.raises(MethodError, match="every and scale do not apply"):
        Balancer(SignVote(), every=2)
    with pytest.raises(MethodError, match="row_dtype"):
        Balancer("upgrad", grads="features", row_dtype=torch.bfloat16)


def test_tasks_with_inputs_of_their_own_need_no_shared_graph() -> None:
    """Multi-domain batches: every task's loss has its own graph, and the passes add up to one."""
    model = Trunk()
    domains = {name: torch.randn(4, 4, dtype=torch.float64) for name in model.names}
    losses = {name: model.losses(x, [name])[0][name] for name, x in domains.items()}
    jacobian = torch.stack(
        [
            torch.cat(
                [g.flatten() for g in torch.autograd.grad(loss, list(model.trunk.parameters()), retain_graph=True)]
            )
            for loss in losses.values()
        ]
    )
    record = Balancer("upgrad", announce=None).backward(losses)
    np.testing.assert_allclose(record.gramian, (jacobian @ jacobian.T).numpy(), rtol=1e-12)
    combined = torch.as_tensor(record.raw_weights) @ jacobian
    found = torch.cat([p.grad.flatten() for p in model.trunk.parameters()])
    torch.testing.assert_close(found, combined)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_trunks_give_the_same_step(reentrant) -> None:
    from torch.utils.checkpoint import checkpoint

    model = Trunk()
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=reentrant)
    expected = Balancer("upgrad", announce=None).backward(model.losses(x)[0])
    plain = gradients(model)
    model.zero_grad()
    z = checkpoint(model.trunk, x, use_reentrant=reentrant)
    losses = {
        name: (model.heads[name](z).squeeze(-1) - torch.sin((1 + i) * x[:, 0])).square().mean()
        for i, name in enumerate(model.names)
    }
    if reentrant:
        with pytest.raises((MethodError, RuntimeError)):
            Balancer("upgrad", announce=None).backward(losses)
        return
    record = Balancer("upgrad", announce=None).backward(losses)
    np.testing.assert_allclose(record.raw_weights, expected.raw_weights, rtol=1e-9)
    assert_same(gradients(model), plain)


def test_frozen_parts_stay_frozen() -> None:
    model = Trunk()
    for parameter in model.trunk[0].parameters():
        parameter.requires_grad_(False)
    Balancer("upgrad", announce=None).backward(model.losses(torch.randn(5, 4, dtype=torch.float64))[0])
    assert model.trunk[0].weight.grad is None
    assert model.trunk[2].weight.grad is not None


@pytest.mark.parametrize("evidence", ["params", "features"])
def test_compiled_trunks_give_the_same_step(evidence) -> None:
    model = Trunk()
    x = torch.randn(5, 4, dtype=torch.float64)
    losses, z = model.losses(x)
    Balancer("upgrad", grads=evidence, announce=None).backward(losses, features=z)
    expected = gradients(model)
    model.zero_grad()
    plain, model.trunk = model.trunk, torch.compile(model.trunk, backend="aot_eager")
    losses, z = model.losses(x)
    Balancer("upgrad", grads=evidence, announce=None).backward(losses, features=z)
    model.trunk = plain
    assert_same(gradients(model), expected)


def test_compiled_trunks_with_batches_of_several_sizes() -> None:
    """From the second size on, a compiled graph reuses its buffers in the first backward pass unless told not to."""
    model = Trunk()
    balancer = Balancer("upgrad", announce=None)

    def stepped(trunk, size: int) -> dict[str, Tensor]:
        model.zero_grad()
        z = trunk(torch.randn(size, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(size)))
        balancer.backward({name: model.heads[name](z).square().mean() for name in model.names})
        return gradients(model)

    try:
        torch.compiler.reset()
        trunk = torch.compile(model.trunk, backend="aot_eager")
        stepped(trunk, 7)
        with pytest.raises(MethodError, match="donated_buffer = False and"):
            stepped(trunk, 5)
        torch.compiler.reset()
        with torch._functorch.config.patch(donated_buffer=False):
            trunk = torch.compile(model.trunk, backend="aot_eager")
            for size in (7, 5, 3):
                found = stepped(trunk, size)
                assert_same(found, stepped(model.trunk, size))
    finally:
        torch.compiler.reset()


def test_a_model_compiled_as_one_needs_shared_and_is_then_exact() -> None:
    model = Trunk(tasks=2)
    x = torch.randn(5, 4, dtype=torch.float64)

    def losses_of(predictions: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: (p.squeeze(-1) - torch.sin(x[:, 0])).square().mean() for name, p in predictions.items()}

    def forward(inputs: Tensor) -> dict[str, Tensor]:
        z = model.trunk(inputs)
        return {name: head(z) for name, head in model.heads.items()}

    compiled = torch.compile(forward, backend="aot_eager")
    with pytest.raises(MethodError, match="pass shared="):
        Balancer("upgrad", announce=None).backward(losses_of(compiled(x)))
    expected = Balancer("upgrad", announce=None).backward(losses_of(forward(x)))
    plain = gradients(model)
    model.zero_grad()
    found = Balancer("upgrad", shared=model.trunk, announce=None).backward(losses_of(compiled(x)))
    np.testing.assert_allclose(found.gramian, expected.gramian, rtol=1e-10)
    assert_same(gradients(model), plain)


@pytest.mark.parametrize("method", ["mgda", "upgrad", "nash_mtl"])
@pytest.mark.parametrize("heads", ["plain", "weighted", "none"])
def test_a_sub_batch_gives_the_weights_and_the_whole_batch_the_step(method, heads) -> None:
    model = Trunk()
    x = torch.randn(12, 4, dtype=torch.float64)
    judged = Balancer(method, announce=None).backward(model.losses(x[:4])[0])
    model.zero_grad()
    losses, _ = model.losses(x)
    expected: dict[str, Tensor | None] = {}
    for name, parameter in model.named_parameters():
        factors = judged.weights if name.startswith("trunk") or heads == "weighted" else dict.fromkeys(losses, 1.0)
        parts = [
            (factors[task], torch.autograd.grad(loss, parameter, retain_graph=True, allow_unused=True)[0])
            for task, loss in losses.items()
        ]
        kept = [factor * part for factor, part in parts if part is not None]
        expected[name] = None if heads == "none" and not name.startswith("trunk") else sum(kept[1:], kept[0])
    record = Balancer(method, grads="sub_batch", heads=heads, announce=None).backward(
        losses, judge=model.losses(x[:4])[0]
    )
    assert record.weights == pytest.approx(judged.weights, rel=1e-9)
    assert_same(gradients(model), expected)


def test_a_task_without_labels_in_the_sub_batch_keeps_its_preference() -> None:
    model = Trunk()
    x = torch.randn(12, 4, dtype=torch.float64)
    among = Balancer("mgda", announce=None).backward(model.losses(x[:4], ["t0", "t2"])[0]).weights
    record = Balancer("mgda", grads="sub_batch", announce=None).backward(
        model.losses(x)[0], judge=model.losses(x[:4], ["t0", "t2"])[0]
    )
    assert record.weights == pytest.approx(among | {"t1": 1 / 3})


def test_sub_batches_and_their_losses_belong_together() -> None:
    model = Trunk()
    x = torch.randn(12, 4, dtype=torch.float64)
    with pytest.raises(MethodError, match="judge=those"):
        Balancer("mgda", grads="sub_batch", announce=None).backward(model.losses(x)[0])
    with pytest.raises(MethodError, match="sub_batch"):
        Balancer("mgda", announce=None).backward(model.losses(x)[0], judge=model.losses(x)[0])
