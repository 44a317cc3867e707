"""Losses that contain gradients: what the engine differentiates, refuses and counts, against autograd by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from polytask.balance import Balancer, Card, Evidence
from polytask.balance.contract.penalty import PenaltyMethod
from polytask.balance.jacobian.orthogonal import OrthogonalGradients
from polytask.errors import ConfigError, MethodError

from .models import Branched, TiedHeads, Trunk

LAYERS = {
    Trunk: ["trunk.2.weight", "trunk.2.bias"],
    Branched: ["branch.weight", "root.bias"],
    TiedHeads: ["tied.weight", "trunk.weight"],
}


class Lengths(PenaltyMethod):
    """A penalty with units: half the sum of the squared gradient norms."""

    card = Card("", "", "", "", "", (), ())

    def penalty(self, rows: Tensor) -> Tensor:
        return rows.square().sum() / 2


def batch(seed: int = 1) -> Tensor:
    return torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def layer_of(model: nn.Module) -> list[Tensor]:
    return [dict(model.named_parameters())[name] for name in LAYERS[type(model)]]


def cosines(losses: dict[str, Tensor], layer: list[Tensor]) -> Tensor:
    """The sum of squared cosines of all pairs, written out."""
    flat = []
    for loss in losses.values():
        found = torch.autograd.grad(loss, layer, create_graph=True, materialize_grads=True)
        flat.append(torch.cat([part.flatten() for part in found]))
    return sum(((a @ b) / (a.norm() * b.norm())) ** 2 for a, b in itertools.combinations(flat, 2))


def gradients(model: nn.Module) -> dict[str, Tensor | None]:
    return {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}


@pytest.mark.parametrize("build", [Trunk, Branched, TiedHeads])
@pytest.mark.parametrize("alpha", [0.7, 30.0])
def test_the_step_is_autograd_of_the_written_loss_in_all_parameters(build, alpha) -> None:
    torch.manual_seed(0)
    model = build()
    losses, _ = model.losses(batch())
    (sum(losses.values()) + alpha * cosines(losses, layer_of(model))).backward()
    expected = gradients(model)
    model.zero_grad()
    losses, _ = model.losses(batch())
    record = Balancer(OrthogonalGradients(alpha), grads=layer_of(model), announce=None).backward(losses)
    for name, parameter in model.named_parameters():
        if expected[name] is None:
            assert parameter.grad is None, name
        else:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-9, atol=1e-12, msg=name)
    assert record.weights == dict.fromkeys(losses, 1.0)
    assert record.backward_passes == len(losses) + 1
    assert record.cosines is not None
    squares = sum(cosine**2 for cosine in record.cosines.values())
    again, _ = model.losses(batch())
    assert squares == pytest.approx(cosines(again, layer_of(model)).item(), rel=1e-9)


def test_the_step_is_that_of_finite_differences_of_the_total() -> None:
    torch.manual_seed(0)
    model = Trunk(tasks=3)
    layer = layer_of(model)
    Balancer(OrthogonalGradients(2.0), grads=layer, announce=None).backward(model.losses(batch())[0])

    def total() -> float:
        losses, _ = model.losses(batch())
        rows = []
        for loss in losses.values():
            parts = torch.autograd.grad(loss, layer, retain_graph=True)
            rows.append(np.concatenate([part.numpy().ravel() for part in parts]))
        units = [row / np.linalg.norm(row) for row in rows]
        return sum(loss.item() for loss in losses.values()) + 2.0 * sum(
            (a @ b) ** 2 for a, b in itertools.combinations(units, 2)
        )

    rng = np.random.default_rng(0)
    for parameter in model.parameters():
        found = parameter.grad.clone()
        at = tuple(int(rng.integers(side)) for side in parameter.shape)
        values = []
        for move in (1e-5, -2e-5):
            with torch.no_grad():
                parameter[at] += move
            values.append(total())
        with torch.no_grad():
            parameter[at] += 1e-5
        assert found[at].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("heads", ["plain", "weighted", "none"])
@pytest.mark.parametrize("liking", [None, {"t0": 3.0}])
def test_heads_policies_and_task_weights(heads, liking) -> None:
    """Task weights multiply losses, the penalty's gradient is whole, and heads get what the policy says."""
    torch.manual_seed(0)
    model = Trunk(tasks=3)
    layer = layer_of(model)
    weights = {"t0": 9 / 5, "t1": 3 / 5, "t2": 3 / 5} if liking else dict.fromkeys(model.names, 1.0)

    def expected(factors: dict[str, float]) -> dict[str, Tensor | None]:
        model.zero_grad()
        losses, _ = model.losses(batch())
        (sum(factors[name] * loss for name, loss in losses.items()) + 2 * cosines(losses, layer)).backward()
        return gradients(model)

    shared, own = expected(weights), expected(weights if heads == "weighted" else dict.fromkeys(model.names, 1.0))
    model.zero_grad()
    balancer = Balancer(OrthogonalGradients(2.0), grads=layer, heads=heads, task_weights=liking, announce=None)
    record = balancer.backward(model.losses(batch())[0])
    for name, parameter in model.named_parameters():
        if name.startswith("heads") and heads == "none":
            assert parameter.grad is None
        else:
            wanted = own[name] if name.startswith("heads") else shared[name]
            torch.testing.assert_close(parameter.grad, wanted, rtol=1e-9, atol=1e-12, msg=name)
    assert record.weights == pytest.approx(weights)


def test_alpha_zero_is_the_plain_sum() -> None:
    model = Trunk()
    Balancer("equal", announce=None).backward(model.losses(batch())[0])
    plain = gradients(model)
    model.zero_grad()
    Balancer(OrthogonalGradients(alpha=0.0), announce=None).backward(model.losses(batch())[0])
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, plain[name], rtol=1e-12, atol=1e-15)


def test_a_penalty_with_units_sees_gradients_without_the_loss_scale() -> None:
    model = Trunk()
    losses, _ = model.losses(batch())
    flat = [
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, layer_of(model), create_graph=True)])
        for loss in losses.values()
    ]
    (sum(losses.values()) + sum(row.square().sum() / 2 for row in flat)).backward()
    expected = gradients(model)
    model.zero_grad()

    class Scaler:
        def get_scale(self) -> float:
            return 256.0

    Balancer(Lengths(), grads=layer_of(model), announce=None).backward(model.losses(batch())[0], scaler=Scaler())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, 256 * expected[name], rtol=1e-10, atol=1e-10)


def test_bfloat16_autocast() -> None:
    torch.manual_seed(0)
    model = Trunk(dtype=torch.float32)
    x = batch().float()

    def stepped(*, autocast: bool) -> Tensor:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            losses, _ = model.losses(x)
        Balancer(OrthogonalGradients(1.0), announce=None).backward(losses)
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    one, two = stepped(autocast=False), stepped(autocast=True)
    assert torch.nn.functional.cosine_similarity(one, two, dim=0) > 0.98


def test_gradients_add_up_and_the_graph_can_be_kept() -> None:
    model = Trunk()
    losses, _ = model.losses(batch())
    balancer = Balancer("orthogonal_gradients", announce=None)
    balancer.backward(losses, retain_graph=True)
    once = gradients(model)
    balancer.backward(losses)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, 2 * once[name])
    assert balancer._source._rows == [], "nothing holds the graph"


class Once(torch.autograd.Function):
    """A function whose derivative has none."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


def test_what_cannot_be_differentiated_twice_is_refused_before_anything_is_written() -> None:
    model = Trunk()
    losses, _ = model.losses(batch())
    losses["t1"] = Once.apply(model.heads["t1"](model.trunk(batch()))).mean()
    with pytest.raises(
        MethodError, match=r"differentiates the tasks' gradients again.*once_differentiable.*uncompiled"
    ):
        Balancer("orthogonal_gradients", announce=None).backward(losses)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_compiled_models_are_refused() -> None:
    torch.compiler.reset()
    model = Trunk()
    trunk = torch.compile(model.trunk, backend="aot_eager")
    z = trunk(batch())
    losses = {name: model.heads[name](z).square().mean() for name in model.names}
    with pytest.raises(MethodError, match=r"double backward.*uncompiled"):
        Balancer("orthogonal_gradients", shared=model.trunk, announce=None).backward(losses)
    assert all(parameter.grad is None for parameter in model.parameters())
    torch.compiler.reset()


def test_checkpointed_models_work() -> None:
    model = Trunk()
    Balancer("orthogonal_gradients", announce=None).backward(model.losses(batch())[0])
    expected = gradients(model)
    model.zero_grad()
    z = checkpoint(model.trunk, batch(), use_reentrant=False)
    target = {name: torch.sin((1 + i) * batch()[:, 0]) for i, name in enumerate(model.names)}
    losses = {name: (model.heads[name](z).squeeze(-1) - target[name]).square().mean() for name in model.names}
    Balancer("orthogonal_gradients", announce=None).backward(losses)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name])


@pytest.mark.parametrize(
    "options", [{"grads": "features"}, {"grads": "sub_batch"}, {"low_memory": True}, {"row_dtype": torch.bfloat16}]
)
def test_evidence_without_a_graph_is_refused_up_front(options) -> None:
    with pytest.raises(MethodError, match=r"OrthogonalGradients differentiates .* grads=last_shared_block"):
        Balancer("orthogonal_gradients", announce=None, **options)


@pytest.mark.parametrize("options", [{"every": 2}, {"scale": "sum_to_k"}, {"scale": "norm_of_mean"}])
def test_conventions_for_weights_are_refused(options) -> None:
    with pytest.raises(MethodError, match="gives no weights"):
        Balancer("orthogonal_gradients", announce=None, **options)


def test_windows_and_empty_judges_are_refused() -> None:
    with pytest.raises(MethodError, match="accumulate"):
        Balancer("orthogonal_gradients", announce=None).accumulate(Trunk().losses(batch())[0])
    with pytest.raises(MethodError, match="holds no parameters"):
        Balancer("orthogonal_gradients", grads=[], announce=None)
    with pytest.raises(ConfigError, match="alpha"):
        OrthogonalGradients(alpha=-1.0)


def test_solving_gives_ones() -> None:
    evidence = Evidence(("a", "b"), np.ones(2), np.full(2, 0.5), np.eye(2))
    assert OrthogonalGradients().solve(evidence).weights.tolist() == [1.0, 1.0]
