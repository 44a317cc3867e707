"""Methods that look for a short vector in a convex hull: MGDA's normalisations, EDM, SDMGrad, CAGrad-Fast."""

import numpy as np
import pytest
import torch
import torchjd.aggregation as jd

from polytask.balance import get_method
from polytask.errors import MethodError
from polytask.solvers import min_norm
from tests.solvers.draws import jacobian


def drawn(kind, size, spread=0.0, seed=0):
    J = torch.tensor(jacobian(kind, size, spread, seed))
    return J, J @ J.T


def cosines(G, w):
    return (G @ w) / G.diag().sqrt() / (w @ G @ w).sqrt()


# ---------------------------------------------------------------------------------------- MGDA's normalisations


@pytest.mark.parametrize("normalise", ["l2", "loss", "loss+"])
def test_a_normalised_mgda_is_mgda_of_the_rescaled_rows(normalise):
    for size in (2, 3, 9):
        J, G = drawn("plain", size, 2.0)
        losses = torch.tensor(np.random.default_rng(size).uniform(0.1, 5.0, size))
        scale = {"l2": 1 / J.norm(dim=1), "loss": 1 / losses, "loss+": 1 / losses / J.norm(dim=1)}[normalise]
        w = get_method("mgda", normalise=normalise).weights(G, losses=losses)
        d = get_method("mgda").direction(scale[:, None] * J)
        np.testing.assert_allclose(w @ J, d, rtol=1e-8, atol=1e-12)
        assert float((J @ d).min()) > 0


def test_dividing_by_a_loss_of_zero_says_which_task():
    with pytest.raises(MethodError, match=r"needs positive ones, found \{'b': 0.0\}"):
        get_method("mgda", normalise="loss").weights(torch.eye(2), losses=torch.tensor([1.0, 0.0]), tasks=["a", "b"])


def test_a_task_at_its_optimum_does_not_break_a_normalised_mgda():
    w = get_method("mgda", normalise="loss+").weights(
        torch.diag(torch.tensor([1.0, 0.0])), losses=torch.tensor([2.0, 0])
    )
    np.testing.assert_allclose(w, [0.5, 0.5])


# ------------------------------------------------------------------------------------------------------- EDM


@pytest.mark.parametrize("kind", ["plain", "agreeing", "cone", "duplicate"])
@pytest.mark.parametrize("size", [2, 3, 8, 40])
@pytest.mark.parametrize("spread", [0.0, 4.0])
def test_edm_has_equal_cosines_on_its_support_and_larger_ones_off_it(kind, size, spread):
    _, G = drawn(kind, size, spread)
    w = get_method("edm").weights(G)
    assert float(w.sum()) == pytest.approx(1)
    assert float(w.min()) >= 0
    shown = cosines(G, w)
    least = float(shown.min())
    assert least > 0
    support = w * G.diag().sqrt() > 1e-9 * (w * G.diag().sqrt()).max()
    np.testing.assert_allclose(shown[support], least, rtol=1e-6)


def test_edm_is_the_released_two_task_formula():
    for seed in range(5):
        J, _ = drawn("plain", 2, 2.0, seed)
        a, b = J.norm(dim=1)
        np.testing.assert_allclose(get_method("edm").direction(J), (J[0] * b + J[1] * a) / (a + b), rtol=1e-9)


def test_edm_is_a_normalised_mgda_with_weights_summing_to_one():
    _, G = drawn("plain", 7, 3.0)
    other = get_method("mgda", normalise="l2").weights(G)
    np.testing.assert_allclose(get_method("edm").weights(G), other / other.sum(), rtol=1e-9)


# --------------------------------------------------------------------------------------------------- SDMGrad


def test_without_a_pull_sdmgrad_is_mgda():
    for size in (2, 3, 8, 40):
        for spread in (0.0, 3.0):
            _, G = drawn("plain", size, spread)
            w = get_method("sdmgrad", lam=0.0).weights(G)
            np.testing.assert_allclose(w, get_method("mgda").weights(G), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("lam", [0.1, 0.3, 3.0])
def test_sdmgrad_is_mgda_of_rows_shifted_towards_the_mean(lam):
    for size in (2, 3, 8):
        J, G = drawn("plain", size, 1.0)
        preference = torch.tensor(np.random.default_rng(size).dirichlet(np.ones(size)))
        mix = torch.eye(size, dtype=torch.float64) + lam * preference
        shares, _ = min_norm((mix @ G @ mix.T).numpy())
        w = get_method("sdmgrad", lam=lam).weights(G, preference=preference)
        np.testing.assert_allclose(w @ J, torch.tensor(shares) @ mix @ J / (1 + lam), rtol=1e-7, atol=1e-9)


def test_sdmgrad_tends_to_the_mean():
    _, G = drawn("plain", 6, 1.0)
    np.testing.assert_allclose(get_method("sdmgrad", lam=1e7).weights(G), np.full(6, 1 / 6), atol=1e-6)


def test_public_code_for_sdmgrad_stops_above_the_minimum():
    """TorchJD's 20 steps of projected gradient descent against the exact minimiser of the same problem."""
    excess = []
    for seed in range(5):
        _, G = drawn("plain", 40, 3.0, seed)
        ours, theirs = get_method("sdmgrad", lam=0.01).weights(G), jd.SDMGradWeighting(lambda_=0.01)(G)
        assert float(theirs.sum()) == pytest.approx(1)
        assert float(ours.min()) >= 0.01 / 1.01 / 40 - 1e-12
        excess.append(float(theirs @ G @ theirs) / float(ours @ G @ ours))
    assert min(excess) > 1 - 1e-9
    assert max(excess) > 1.3


# ----------------------------------------------------------------------------------------------- CAGrad-Fast


def test_cagrad_fast_is_cagrad_over_some_tasks_and_the_mean_of_the_rest():
    _, G = drawn("plain", 6, 0.5)
    method = get_method("cagrad", c=0.4, subset=3)
    seen = set()
    for step in range(40):
        w = method.weights(G, step=step)
        values = w.numpy().round(9)
        rest = [i for i in range(6) if (values == values[i]).sum() >= 4]
        assert len(rest) == 4
        single = [i for i in range(6) if i not in rest]
        groups = torch.zeros(3, 6, dtype=torch.float64)
        groups[[0, 1], single] = 1.0
        groups[2, rest] = 1 / 4
        centre = torch.tensor([1 / 6, 1 / 6, 4 / 6])
        expected = get_method("cagrad", c=0.4).weights(groups @ G @ groups.T, preference=centre) @ groups
        np.testing.assert_allclose(w, expected, rtol=1e-5)
        seen.add(tuple(single))
    assert len(seen) > 8


def test_cagrad_fast_with_as_many_tasks_is_cagrad():
    _, G = drawn("plain", 4)
    for subset in (4, 9):
        torch.testing.assert_close(get_method("cagrad", subset=subset).weights(G), get_method("cagrad").weights(G))


def test_cagrad_fast_survives_others_that_cancel():
    u = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    for step in range(12):
        w = get_method("cagrad", subset=2).weights(u @ u.T, step=step)
        assert torch.isfinite(w).all()
        assert float((w @ u)[0]) > 0
