"""The penalty on cosines between task gradients."""

import numpy as np
import pytest
import torch

from polytask.balance.jacobian.orthogonal import gradient_orthogonality
from polytask.errors import MethodError
from tests.balance.models import Trunk


def linear(rows):
    point = torch.zeros(rows.shape[1], dtype=torch.float64, requires_grad=True)
    return {str(i): 1.0 + row @ point for i, row in enumerate(rows)}, [point]


def test_orthogonal_gradients_cost_nothing_and_parallel_ones_one_each():
    losses, parameters = linear(torch.diag(torch.tensor([1.0, 1e-9, 1e6])).double())
    assert gradient_orthogonality(losses, parameters) == 0
    losses, parameters = linear(torch.tensor([[1.0, 2.0], [-2.0, -4.0], [1e-200, 2e-200]], dtype=torch.float64))
    assert gradient_orthogonality(losses, parameters).item() == pytest.approx(3.0)
    assert gradient_orthogonality(losses, parameters, reduce="mean").item() == pytest.approx(1.0)


def test_it_is_the_sum_of_squared_cosines_whatever_the_losses_units():
    rows = torch.tensor(np.random.default_rng(0).standard_normal((4, 7)))
    units = rows / rows.norm(dim=1, keepdim=True)
    expected = (units @ units.T).square()[np.triu_indices(4, 1)].sum()
    for scale in (torch.ones(4), torch.tensor([1e-6, 1.0, 10.0, 1e5])):
        losses, parameters = linear(scale[:, None] * rows)
        assert gradient_orthogonality(losses, parameters).item() == pytest.approx(float(expected), rel=1e-9)


def test_its_gradient_is_that_of_finite_differences_in_trunk_and_heads():
    model = Trunk(tasks=3)
    x = torch.randn(6, 4, dtype=torch.float64)
    layer = [model.trunk[2].weight]

    def penalty():
        return gradient_orthogonality(model.losses(x)[0], layer)

    penalty().backward()
    for parameter in (model.trunk[2].weight, model.trunk[0].weight, model.heads["t1"].weight):
        entry = tuple(0 for _ in parameter.shape)
        found = parameter.grad[entry].item()
        with torch.no_grad():
            parameter[entry] += 1e-6
            up = penalty_value(penalty)
            parameter[entry] -= 2e-6
            down = penalty_value(penalty)
            parameter[entry] += 1e-6
        assert found == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-8)


def penalty_value(penalty):
    with torch.enable_grad():
        return penalty().item()


def test_descending_it_makes_gradients_orthogonal():
    model = Trunk(tasks=2)
    model.heads["t1"].load_state_dict(model.heads["t0"].state_dict())
    x = torch.randn(30, 4, dtype=torch.float64)
    layer = [model.trunk[2].weight]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    values = []
    for _ in range(60):
        optimizer.zero_grad()
        penalty = gradient_orthogonality(model.losses(x)[0], layer)
        penalty.backward()
        optimizer.step()
        values.append(penalty.item())
    assert values[0] > 1e-2
    assert values[-1] < 1e-2 * values[0]


def test_tasks_without_gradient_take_no_part():
    losses, parameters = linear(torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]]).double())
    losses["elsewhere"] = torch.ones((), requires_grad=True) * 2
    assert gradient_orthogonality(losses, parameters).item() == pytest.approx(0.5)
    assert gradient_orthogonality({"0": losses["0"]}, parameters) == 0
    with pytest.raises(MethodError, match="last shared layer"):
        gradient_orthogonality(losses, [])
