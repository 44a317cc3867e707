"""Methods called on plain tensors: what is checked there, and what comes back."""

import numpy as np
import pytest
import torch

from polytask.balance import get_method
from polytask.balance.contract.evidence import all_move, evidence_of
from polytask.errors import MethodError, NonFiniteError

NAMES = ["mgda", "upgrad", "rgw", "krum", "imtl_g"]


def gramian(size=3, dtype=torch.float64):
    rows = torch.randn(size, 7, dtype=torch.float64)
    return (rows @ rows.T).to(dtype)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("size", [3, 120])
def test_a_gramian_of_gradients_that_are_not_finite_is_refused(name, bad, size):
    broken = gramian(size)
    broken[1] = broken[:, 1] = bad
    with pytest.raises(NonFiniteError, match="gramian must be finite"):
        get_method(name).weights(broken)


@pytest.mark.parametrize("name", sorted({*NAMES} - {"rgw"}))
@pytest.mark.parametrize("size", [3, 120])
def test_so_is_one_with_a_single_broken_entry(name, size):
    broken = gramian(size)
    broken[0, 1] = broken[1, 0] = float("nan")
    with pytest.raises(NonFiniteError, match="gramian must be finite"):
        get_method(name).weights(broken)


@pytest.mark.parametrize("name", NAMES)
def test_entries_whose_squares_overflow_are_finite(name):
    big = gramian() * 1e200
    weights = get_method(name).weights(big)
    assert torch.isfinite(weights).all()
    torch.testing.assert_close(weights, get_method(name).weights(big / 1e200), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("shape", [(3, 2), (3,), (3, 3, 3)])
def test_anything_but_a_square_matrix_is_refused_with_what_would_work(shape):
    with pytest.raises(MethodError, match=r"shape \(3, 3\), found shape .*direction"):
        evidence_of(None, torch.ones(shape))
    assert not all_move(torch.ones(shape))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_come_in_the_gramians_dtype_and_belong_to_the_caller(name, dtype):
    given = gramian(dtype=dtype).requires_grad_()
    method = get_method(name)
    first = method.weights(given)
    kept = first.clone()
    assert first.dtype == dtype
    assert not first.requires_grad
    first.fill_(-1.0)
    torch.testing.assert_close(method.weights(given), kept, rtol=0, atol=0)
    exact = method.weights(given.detach().double())
    torch.testing.assert_close(kept.double(), exact, rtol=2 * torch.finfo(dtype).eps, atol=1e-30)


@pytest.mark.parametrize("name", ["mgda", "rgw"])
def test_a_task_without_a_gradient_takes_no_part(name):
    method, inner = get_method(name), gramian()
    padded = torch.zeros(4, 4, dtype=torch.float64)
    padded[:3, :3] = inner
    weights = method.weights(padded, tasks=["a", "b", "c", "d"])
    torch.testing.assert_close(weights[:3], method.weights(inner, tasks=["a", "b", "c"]))
    assert weights[3] == 0.25


def test_losses_are_checked_and_read_as_they_are():
    losses = torch.tensor([2.0, 4.0], dtype=torch.float64)
    weights = get_method("uw").weights(losses)
    assert weights.dtype == torch.float64
    before = losses.clone()
    weights.mul_(7)
    torch.testing.assert_close(losses, before, rtol=0, atol=0)
    with pytest.raises(NonFiniteError, match="losses must be finite"):
        get_method("uw").weights(torch.tensor([1.0, float("nan")]))


def test_draws_of_different_steps_and_sizes_do_not_depend_on_the_order_of_calls():
    method = get_method("rlw")
    ones = torch.ones(5, dtype=torch.float64)
    forward = [method.weights(ones, step=step, seed=2).tolist() for step in range(200)]
    get_method("rlw").weights(torch.ones(3), step=5, seed=2)
    backward = [get_method("rlw").weights(ones, step=step, seed=2).tolist() for step in reversed(range(200))]
    assert forward == backward[::-1]
    assert len(np.unique(np.array(forward), axis=0)) == 200
