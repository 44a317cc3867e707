"""GradDrop: signs, masks, leak, and the released layer."""

import numpy as np
import pytest
import torch
import torchjd.aggregation as jd

from polytask.balance import Balancer, get_method
from polytask.balance.jacobian.graddrop import GradDrop


def rows(size=4, width=40, seed=0):
    return torch.tensor(np.random.default_rng(seed).standard_normal((size, width)))


def drops(J, steps, **options):
    method = GradDrop(**options)
    return torch.stack([method.direction(J, step=step) for step in range(steps)])


def test_entries_whose_signs_agree_are_always_kept():
    J = rows(width=100)
    agree = (J.sign().sum(0).abs() == 4).nonzero().flatten()
    assert len(agree) > 2
    J[1:, 0], J[0, 0] = 0.0, -3.0
    found = drops(J, 50)
    np.testing.assert_allclose(found[:, agree], J.sum(0)[agree].expand(50, -1), rtol=1e-12)
    assert (found[:, 0] == -3.0).all()
    both = J.abs()
    np.testing.assert_allclose(GradDrop().direction(both), jd.GradDrop()(both), rtol=1e-12)


def test_every_coordinate_keeps_one_sign():
    J = rows()
    up, down = J.clamp(min=0).sum(0), J.clamp(max=0).sum(0)
    for found in drops(J, 20):
        assert (np.isclose(found, up) | np.isclose(found, down)).all()


def test_positive_signs_are_kept_as_often_as_purity_says():
    J = torch.tensor([[3.0], [-1.0]]).double().repeat(1, 20000)
    found = GradDrop().direction(J)
    assert float((found > 0).double().mean()) == pytest.approx(0.75, abs=0.012)
    assert found.unique().tolist() == [-1.0, 3.0]


def test_the_gradient_is_right_in_the_mean_up_to_the_formula():
    """E[d_j] = P·(sum of positive) + (1 − P)·(sum of negative)."""
    J = rows(width=6)
    purity = 0.5 * (1 + J.sum(0) / J.abs().sum(0))
    expected = purity * J.clamp(min=0).sum(0) + (1 - purity) * J.clamp(max=0).sum(0)
    np.testing.assert_allclose(drops(J, 1500).mean(0), expected, atol=0.15)


def test_a_full_leak_is_the_sum_and_a_task_with_leak_one_is_never_dropped():
    J = rows()
    np.testing.assert_allclose(GradDrop(leak=1.0).direction(J), J.sum(0), rtol=1e-12)
    kept = GradDrop(leak={"1": 1.0}).direction(J, step=3)
    plain = GradDrop().direction(J, step=3)
    mask = GradDrop(leak={"1": 0.0}).direction(J, step=3)
    np.testing.assert_array_equal(plain, mask)
    difference = kept - plain
    assert all(np.isclose(float(d), float(x)) or abs(float(d)) < 1e-12 for d, x in zip(difference, J[1], strict=True))


def test_a_steep_function_follows_the_majority_and_a_flat_one_a_coin():
    J = torch.tensor([[2.0], [-1.9]]).double().repeat(1, 4000)
    assert (GradDrop(steepness=1e6).direction(J) == 2.0).all()
    assert float((GradDrop(steepness=0.0).direction(J) > 0).double().mean()) == pytest.approx(0.5, abs=0.03)


def released(gradients, z, drawn):
    """The published layer with its draws given and without its change of length; gradients (K, B, D)."""
    signed = (gradients * z.sign()).sum(1, keepdim=True)
    purity = signed.sum(0) / (2 * signed.abs().sum(0)) + 0.5
    lean = (purity > drawn).double() - 0.5
    mask = (signed.sign() * lean >= 0).double()
    return (gradients * mask).sum(0)


def test_features_as_published():
    """One mask per feature and task for the whole batch, from sign(z)·gradient summed over the batch."""
    rng = np.random.default_rng(3)
    gradients, z = torch.tensor(rng.standard_normal((3, 6, 5))), torch.tensor(rng.standard_normal((6, 5)))
    for step in range(20):
        found = GradDrop().direction(gradients.flatten(1), values=z.flatten(), batch=6, step=step).view(6, 5)
        seen = set()
        for bits in range(2**5):
            drawn = torch.tensor([0.0 if bits >> j & 1 else 1.0 - 1e-12 for j in range(5)])
            seen.add(torch.allclose(found, released(gradients, z, drawn), rtol=1e-10))
        assert seen == {True, False}
    # Signs of entries differ within the batch, yet a task is kept or dropped for all samples of a feature.
    J, values = torch.tensor([[1.0, -1.0], [-1.0, -1.0]]).double(), torch.tensor([1.0, -1.0]).double()
    J[1, 1] = -3.0
    assert GradDrop().direction(J, values=values, batch=2).tolist() == [0.0, -4.0]


def test_a_signal_of_zero_is_dropped():
    """By the paper's formula a task is kept for a positive signal or a negative one; the leak alone passes the rest."""
    J, values = torch.tensor([[1.0, -1.0], [-1.0, -1.0]]).double(), torch.tensor([1.0, -1.0]).double()
    assert GradDrop().direction(J, values=values, batch=2).tolist() == [1.0, -1.0]
    assert GradDrop(leak={"1": 0.5}).direction(J, values=values, batch=2).tolist() == [0.5, -1.5]
    silent = torch.zeros(2).double()
    assert GradDrop().direction(J, values=silent, batch=2).tolist() == [0.0, 0.0]


def test_features_and_parameters_differ():
    """Two samples of one feature whose tasks disagree in one sample, but not in the sum over the batch."""
    J, z = torch.tensor([[3.0, 3.0], [-1.0, 2.0]]).double(), torch.tensor([1.0, 1.0]).double()
    steps = range(30)
    assert {tuple(GradDrop().direction(J, values=z, batch=2, step=step).tolist()) for step in steps} == {(2.0, 5.0)}
    assert {tuple(GradDrop().direction(J, step=step).tolist()) for step in steps} == {(3.0, 5.0), (-1.0, 5.0)}


def test_the_engine_hands_over_features():
    torch.manual_seed(1)
    trunk, heads = torch.nn.Linear(3, 4).double(), [torch.nn.Linear(4, 1).double() for _ in range(2)]
    x = torch.randn(5, 3, dtype=torch.float64)
    z = trunk(x)
    losses = {str(i): head(z).square().mean() for i, head in enumerate(heads)}
    J = torch.stack([torch.autograd.grad(loss, z, retain_graph=True)[0].flatten() for loss in losses.values()])
    Balancer(get_method("graddrop"), grads="features", shared=trunk, announce=None).backward(losses, features=z)
    name = "cpu:float64"
    from polytask.balance import Block, Evidence, Solution

    method, ones = GradDrop(), np.ones(2)
    block = Block(name, J, (slice(0, 20),), z.detach().flatten(), 5)
    mixed = method.combine(block, Evidence(("0", "1"), ones, ones / 2), Solution(ones)).gradient
    expected = torch.autograd.grad(trunk(x), trunk.weight, mixed.view(5, 4))[0]
    torch.testing.assert_close(trunk.weight.grad, expected)
