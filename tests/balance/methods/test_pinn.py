"""Weights of physics-informed networks: statistics of gradient entries."""

import numpy as np
import pytest
import torch

from polytask.balance import Balancer
from polytask.balance.jacobian.inverse_dirichlet import InverseDirichlet
from polytask.balance.jacobian.lr_annealing import LRAnnealing

NAMES = ("residual", "boundary", "initial")


def drawn(seed=0, width=40):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.standard_normal((3, width)) * np.array([[30.0], [1.0], [0.01]]) + 0.1)


def loop(method, steps, J, dtypes=(torch.float64,), tasks=NAMES):
    """The engine on linear losses whose gradients are the rows of ``J`` in every step; steps taken, weights."""
    widths = [len(J[0]) // len(dtypes)] * len(dtypes)
    parts = [torch.zeros(width, dtype=dtype, requires_grad=True) for width, dtype in zip(widths, dtypes, strict=True)]
    balancer = Balancer(method, tasks=NAMES, shared=parts, announce=None)
    found = []
    for _ in range(steps):
        for part in parts:
            part.grad = None
        losses = {}
        for name, row in zip(tasks, J, strict=True):
            pieces = row.split(widths)
            losses[name] = 1.0 + sum((p * q.to(p.dtype)).sum().double() for p, q in zip(parts, pieces, strict=True))
        record = balancer.backward(losses)
        found.append((torch.cat([part.grad.double() for part in parts]), dict(record.weights)))
    return found


def test_annealing_follows_its_formula_and_its_pace():
    J, alpha = drawn(), 0.3
    aim = J[0].abs().max() / J.abs().mean(1)
    history = loop(LRAnnealing("residual", alpha, every=3), 7, J)
    weights = torch.ones(3, dtype=torch.float64)
    for step, (gradient, shown) in enumerate(history):
        if step % 3 == 0:
            weights = (1 - alpha) * weights + alpha * aim
            weights[0] = 1.0
        np.testing.assert_allclose(list(shown.values()), weights, rtol=1e-9)
        np.testing.assert_allclose(gradient, weights @ J, rtol=1e-9)


def test_annealing_ends_where_the_mean_entry_is_the_residuals_largest():
    J = drawn()
    _, weights = loop(LRAnnealing("residual", every=1), 300, J)[-1]
    for row, name in zip(J[1:], NAMES[1:], strict=True):
        assert weights[name] * float(row.abs().mean()) == pytest.approx(float(J[0].abs().max()), rel=1e-6)


def test_the_released_form_ends_at_the_square_root():
    J = drawn()
    paper = loop(LRAnnealing("residual", every=1), 300, J)[-1][1]
    released = loop(LRAnnealing("residual", every=1, released=True), 300, J)[-1][1]
    for name in NAMES[1:]:
        assert released[name] == pytest.approx(paper[name] ** 0.5, rel=1e-6)
    assert released["residual"] == 1.0


def test_annealing_without_its_residual_keeps_the_weights():
    J = drawn()
    method = LRAnnealing("residual", every=1)
    loop(method, 3, J)
    held = method.state.read("weight", NAMES)
    method.load_state_dict(method.state_dict())  # handed over to the next loop's balancer
    loop(method, 2, J[1:], tasks=NAMES[1:])
    np.testing.assert_array_equal(method.state.read("weight", NAMES), held)


@pytest.mark.parametrize("reference", [None, "boundary"])
def test_inverse_dirichlet_follows_its_formula_and_its_pace(reference):
    J = drawn()
    spread = J.std(1)
    aim = (spread.max() if reference is None else spread[1]) / spread
    weights = torch.ones(3, dtype=torch.float64)
    for step, (gradient, shown) in enumerate(loop(InverseDirichlet(reference, 0.4, every=2), 5, J)):
        if step % 2 == 0:
            weights = 0.6 * weights + 0.4 * aim
        np.testing.assert_allclose(list(shown.values()), weights, rtol=1e-9)
        np.testing.assert_allclose(gradient, weights @ J, rtol=1e-9)


def test_inverse_dirichlet_ends_at_equal_standard_deviations():
    J = drawn()
    _, weights = loop(InverseDirichlet(every=1), 60, J)[-1]
    spreads = [weights[name] * float(row.std()) for name, row in zip(NAMES, J, strict=True)]
    np.testing.assert_allclose(spreads, max(float(row.std()) for row in J), rtol=1e-9)


def test_a_gradient_without_spread_keeps_its_weight():
    J = torch.stack([torch.ones(10), torch.arange(10.0), 2 * torch.arange(10.0)]).double()
    _, weights = loop(InverseDirichlet(alpha=1.0, every=1), 3, J)[-1]
    assert weights == pytest.approx({"residual": 1.0, "boundary": 2.0, "initial": 1.0})


@pytest.mark.parametrize("method", [LRAnnealing("residual"), InverseDirichlet()], ids=repr)
def test_statistics_are_over_all_blocks(method):
    """The largest entry is in one dtype's parameters, most of the mean in the other's."""
    J = drawn()
    J[0, 3], J[1, 25:] = 500.0, 7.0
    one = loop(method, 1, J)[-1][1]
    method.reset()
    two = loop(method, 1, J, (torch.float32, torch.float64))[-1][1]
    assert two == pytest.approx(one, rel=1e-5)
