"""Masked losses against PyTorch's own on the rows that are left when others are dropped."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from polytask import masked
from polytask.errors import TaskError

NAN = float("nan")
READY = {
    "mse": (masked.mse, functional.mse_loss, torch.randn),
    "mae": (masked.mae, functional.l1_loss, torch.randn),
    "huber": (masked.huber, functional.huber_loss, torch.randn),
    "bce": (masked.bce, functional.binary_cross_entropy_with_logits, torch.rand),
    "poisson": (masked.poisson, functional.poisson_nll_loss, torch.rand),
}


@pytest.mark.parametrize("name", READY)
@pytest.mark.parametrize("fill", [NAN, 1e30])
def test_a_loss_is_that_of_the_rows_left(name, fill):
    ours, theirs, draw = READY[name]
    torch.manual_seed(0)
    z = torch.randn(9, 4, dtype=torch.float64, requires_grad=True)
    y, keep = draw(9, 4, dtype=torch.float64), torch.rand(9, 4) < 0.6
    kept = z.detach()[keep].requires_grad_()
    value, expected = ours(z, y.masked_fill(~keep, fill), mask=keep), theirs(kept, y[keep])
    value.backward()
    expected.backward()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(z.grad[keep], kept.grad)
    assert (z.grad[~keep] == 0).all()


@pytest.mark.parametrize("name", READY)
def test_weight_two_is_the_row_twice_and_zero_none(name):
    ours, theirs, draw = READY[name]
    torch.manual_seed(1)
    z, y = torch.randn(6, dtype=torch.float64), draw(6, dtype=torch.float64)
    weight = torch.tensor([2.0, 0.0, 1.0, 3.0, 0.0, 1.0])
    twice = torch.tensor([0, 0, 2, 3, 3, 3, 5])
    y[1] = NAN
    torch.testing.assert_close(ours(z, y, weight=weight), theirs(z[twice], y[twice]))
    torch.testing.assert_close(ours(z, y, weight=torch.ones(6)), ours(z, y))


def test_cross_entropy_of_several_tasks():
    torch.manual_seed(2)
    z, y = torch.randn(8, 3, 5, dtype=torch.float64), torch.randint(0, 5, (8, 3))
    y[torch.rand(8, 3) < 0.4] = -100
    columns = [functional.cross_entropy(z[:, t], y[:, t]) for t in range(3)]  # which drops −100 itself
    torch.testing.assert_close(masked.cross_entropy(z, y, reduction="tasks"), torch.stack(columns))
    torch.testing.assert_close(masked.cross_entropy(z, y), functional.cross_entropy(z.flatten(0, 1), y.flatten()))


def test_none_keeps_the_shape_and_zeros():
    y = torch.tensor([[1.0, NAN], [NAN, 2.0]])
    found = masked.mse(torch.zeros(2, 2), y, weight=torch.tensor([3.0, 1.0]), reduction="none")
    assert found.tolist() == [[3.0, 0.0], [0.0, 4.0]]


@pytest.mark.parametrize("reduction", ["mean", "tasks", "none"])
def test_no_label_is_a_zero_of_the_graph(reduction):
    z = torch.randn(3, 2, requires_grad=True)
    masked.mse(z, torch.full((3, 2), NAN), reduction=reduction).sum().backward()
    assert (z.grad == 0).all()


def test_a_column_without_labels_gives_zero_and_leaves_the_others():
    z = torch.randn(3, 2, requires_grad=True)
    y = torch.zeros(3, 2)
    y[:, 1] = NAN
    found = masked.mse(z, y, reduction="tasks")
    found.sum().backward()
    torch.testing.assert_close(found[0], z[:, 0].square().mean())
    assert found[1] == 0
    assert (z.grad[:, 1] == 0).all()


def test_a_loss_of_means_will_do_without_weights_only():
    z, y = torch.tensor([[1.0], [2.0]]), torch.tensor([0.0, NAN])
    assert masked.masked_loss(nn.MSELoss(), z, y) == 1.0
    with pytest.raises(TaskError, match="reduction='none'"):
        masked.masked_loss(nn.MSELoss(), z, y, weight=torch.ones(2))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mask": torch.ones(2)}, "mask of dtype bool"),
        ({"mask": torch.ones(3, dtype=torch.bool)}, "mask of shape"),
        ({"weight": torch.tensor([1.0, -1.0])}, "from 0 on"),
        ({"weight": torch.tensor([1.0, NAN])}, "from 0 on"),
        ({"weight": torch.ones(2, 2)}, "weight of shape"),
        ({"reduction": "sum"}, "reduction"),
    ],
)
def test_what_does_not_fit_is_said(options, said):
    with pytest.raises(TaskError, match=said):
        masked.mse(torch.zeros(2), torch.zeros(2), **options)


def test_a_prediction_is_never_broadcast():
    with pytest.raises(TaskError, match="first dimensions"):
        masked.mse(torch.zeros(2, 1), torch.zeros(2, 2))
