"""PopArt: predictions stand still while the target's statistics move."""

import pytest
import torch
from torch import nn

from polytask.errors import ConfigError, TaskError
from polytask.share import HardSharing, PopArt
from polytask.tasks import Task


def targets(steps, size=1, seed=0, scale=1.0, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(16, size, generator=generator, dtype=torch.float64) + shift for _ in range(steps)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-7, 0.0), (1e6, -3e6), (1.0, 1e4)])
def test_an_update_of_the_statistics_leaves_the_prediction_unchanged(dtype, scale, shift):
    head, z = PopArt(nn.Linear(5, 3).to(dtype), rate=0.1), torch.randn(9, 5, dtype=dtype)
    for y in targets(3, 3, 1, scale, shift):
        head.update(y.to(dtype))
    for y in targets(200, 3, 2, 3 * scale, shift + scale):
        before = head.denormalize(head(z)).detach()
        head.update(y.to(dtype))
        tolerance = 1e-11 if dtype == torch.float64 else 1e-5
        size = float(before.abs().max()) + float(head.mean.abs().max())
        assert float((head.denormalize(head(z)).detach() - before).abs().max()) <= tolerance * size


def test_it_holds_from_the_first_update_on_and_layers_are_rewritten_by_the_formula():
    head = PopArt(nn.Linear(4, 2).double(), rate=0.3)
    w, b = head.layer.weight.clone(), head.layer.bias.clone()
    y = torch.tensor([[10.0, -1.0], [14.0, -1.5]], dtype=torch.float64)
    head.update(y)
    mu, sigma = y.mean(0), y.std(0, correction=0)
    torch.testing.assert_close(head.mean, mu)
    torch.testing.assert_close(head.scale, sigma)
    torch.testing.assert_close(head.layer.weight, w / sigma[:, None])
    torch.testing.assert_close(head.layer.bias, (b - mu) / sigma)


@pytest.mark.parametrize("rate", [3e-4, 0.1, 1.0])
def test_moments_are_the_unbiased_exponential_ones(rate):
    head, batches = PopArt(nn.Linear(2, 2).double(), rate=rate), targets(30, 2, 3, 5.0, 40.0)
    for y in batches:
        head.update(y)
    discount = torch.tensor([(1 - rate) ** age for age in range(30)][::-1], dtype=torch.float64)
    first = torch.stack([y.mean(0) for y in batches]).T @ discount / discount.sum()
    second = torch.stack([y.square().mean(0) for y in batches]).T @ discount / discount.sum()
    torch.testing.assert_close(head.mean, first)
    torch.testing.assert_close(head.scale, (second - first**2).sqrt())


def test_normalised_targets_have_unit_moments_at_any_scale():
    for scale, shift in ((1e-9, 0.0), (1e8, 7e8), (1.0, -1e5)):
        head = PopArt(nn.Linear(2, 1).double(), rate=0.01)
        batches = targets(400, 1, 4, scale, shift)
        for y in batches:
            head.update(y)
        normal = head.normalize(torch.cat(batches))
        assert abs(float(normal.mean())) < 0.1
        assert float(normal.std()) == pytest.approx(1, abs=0.1)
        torch.testing.assert_close(head.denormalize(normal), torch.cat(batches))


def test_missing_targets_are_left_out_output_by_output():
    full, holes = PopArt(nn.Linear(2, 2).double(), rate=0.5), PopArt(nn.Linear(2, 2).double(), rate=0.5)
    y = targets(1, 2, 5)[0]
    full.update(y)
    holes.update(torch.cat([y, torch.full_like(y, torch.nan)]))
    torch.testing.assert_close(holes.mean, full.mean)
    y = y.clone()
    y[:, 1] = torch.nan
    before = holes.state_dict()
    frozen = {name: value[1].clone() for name, value in before.items() if "layer" not in name}
    holes.update(y + 9)
    assert all(torch.equal(holes.state_dict()[name][1], value) for name, value in frozen.items())
    assert holes.mean[0] > full.mean[0]


def test_targets_that_do_not_vary_keep_a_finite_scale():
    head = PopArt(nn.Linear(2, 1))
    head.update(torch.zeros(4))
    assert float(head.scale) == 1
    head.update(torch.full((4, 1), 50.0))
    for _ in range(50):
        head.update(torch.full((4, 1), 50.0))
    assert torch.isfinite(head.layer.weight).all()
    assert float(head.scale) >= 0.99e-6 * float(head.mean)


@pytest.mark.parametrize("value", [50.0, -3e4, 0.1])
def test_the_loss_of_targets_that_do_not_vary_yet_is_of_order_one(value):
    """A first batch of one row has no spread; its value is the only measure of size there is."""
    head, z = PopArt(nn.Linear(2, 1), rate=0.1), torch.ones(4, 2)
    for row in (torch.full((4, 1), value), torch.full((1, 1), value)):
        head.update(row)
        off = (head(z) - head.normalize(torch.full((4, 1), value))).detach().square().mean()
        assert float(off) <= 2 * (1 + 3 / abs(value)) ** 2
    assert float(head.scale) == pytest.approx(abs(value))
    for y in (2020 + torch.randn(64, 1, dtype=torch.float64) for _ in range(200)):
        head.update(y)
    assert float(head.scale) == pytest.approx(1.0, rel=0.1)


def test_gradients_of_unlike_tasks_become_alike():
    """The published purpose: a factor of 10⁶ between two tasks' targets is gone from their gradients."""
    trunk, heads = nn.Linear(3, 8), [PopArt(nn.Linear(8, 1)), PopArt(nn.Linear(8, 1))]
    heads[1].layer.load_state_dict(heads[0].layer.state_dict())
    x = torch.randn(64, 3)
    y = x.sum(1, keepdim=True) + torch.randn(64, 1)
    norms = []
    for head, scale in zip(heads, (1.0, 1e6), strict=True):
        head.update(scale * y)
        # Start from the same normalised prediction, whatever the statistics.
        head.layer.load_state_dict({"weight": torch.ones(1, 8) / 8, "bias": torch.zeros(1)})
        loss = (head(trunk(x)) - head.normalize(scale * y)).square().mean()
        norms.append(float(torch.autograd.grad(loss, trunk.weight)[0].norm()))
    assert norms[1] == pytest.approx(norms[0], rel=1e-4)


def test_statistics_travel_with_the_state():
    head, other = PopArt(nn.Linear(2, 1)), PopArt(nn.Linear(2, 1))
    for y in targets(4, 1, 6):
        head.update(y.float())
    other.load_state_dict(head.state_dict())
    z, y = torch.randn(3, 2), targets(1, 1, 7)[0].float()
    head.update(y)
    other.update(y)
    assert torch.equal(head.denormalize(head(z)), other.denormalize(other(z)))


def test_it_serves_as_a_head():
    model = HardSharing(nn.Linear(3, 4), [Task("age")], heads={"age": PopArt(nn.Linear(4, 1))}, width=4)
    assert model(torch.zeros(2, 3))["age"].shape == (2, 1)
    assert "rate=0.0003" in repr(model)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="layer without one"):
        PopArt(nn.Linear(2, 1, bias=False))
    with pytest.raises(ConfigError, match=r"rate=…\) must be a number in \(0, 1\], found 0"):
        PopArt(nn.Linear(2, 1), rate=0.0)
    head = PopArt(nn.Linear(2, 3))
    state = {name: value.clone() for name, value in head.state_dict().items()}
    for bad in (torch.zeros(4, 2), torch.zeros(3), torch.full((4, 3), torch.inf)):
        with pytest.raises(TaskError, match="PopArt"):
            head.update(bad)
    assert all(torch.equal(value, state[name]) for name, value in head.state_dict().items())
