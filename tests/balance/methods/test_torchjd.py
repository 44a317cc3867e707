"""TorchJD 0.18 as an oracle where it is right; where polytask differs on purpose, both values and which one holds."""

import numpy as np
import pytest
import torch
import torchjd.aggregation as jd

from polytask.balance import get_method
from polytask.solvers import max_min_in_ball_gap, min_norm_gap, power_residual
from tests.solvers.draws import jacobian


def drawn(size, spread=0.0, seed=0, kind="plain"):
    J = torch.tensor(jacobian(kind, size, spread, seed))
    return J, J @ J.T


sizes = pytest.mark.parametrize("size", [2, 3, 8, 25])


@sizes
@pytest.mark.parametrize(
    ("name", "options", "weighting", "rtol"),
    [
        ("upgrad", {}, jd.UPGradWeighting(), 1e-2),  # TorchJD adds 1e-4 to the normalised diagonal
        ("cagrad", {"c": 0.4}, jd.CAGradWeighting(c=0.4), 2e-2),  # a conic solver's tolerance, flat around the optimum
        ("fairgrad", {"alpha": 2.0}, jd.FairGradWeighting(alpha=2.0), 1e-6),
        ("imtl_g", {}, jd.IMTLGWeighting(), 1e-9),
        ("aligned_mtl", {}, jd.AlignedMTLWeighting(), 1e-9),
        ("aligned_mtl", {"scale_mode": "rmse"}, jd.AlignedMTLWeighting(scale_mode="rmse"), 1e-9),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_balanced_gradients_give_the_same_weights(size, name, options, weighting, rtol):
    for seed in range(3):
        _, G = drawn(size, seed=seed)
        w = get_method(name, **options).weights(G)
        theirs = weighting(G)
        if name == "imtl_g":
            theirs = theirs / theirs.abs().sum()
        np.testing.assert_allclose(w, theirs, rtol=rtol, atol=2e-3 * float(w.max()) if rtol > 1e-4 else 0)


@sizes
@pytest.mark.filterwarnings("ignore")
def test_nash_agrees_where_it_converges(size):
    J, G = drawn(size)
    theirs = jd.NashMTL(n_tasks=size, max_norm=0.0).weighting(J)
    np.testing.assert_allclose(get_method("nash_mtl").weights(G), theirs, rtol=1e-3)


def test_mgda_agrees_for_two_tasks():
    for seed in range(10):
        _, G = drawn(2, 1.0, seed)
        np.testing.assert_allclose(get_method("mgda").weights(G), jd.MGDAWeighting()(G), atol=1e-9)


def test_pcgrad_agrees_on_average_over_orders():
    _, G = drawn(4, 0.5, kind="few_columns")
    method, theirs = get_method("pcgrad"), jd.PCGradWeighting()
    ours_mean = torch.stack([method.weights(G, step=step) for step in range(1500)]).mean(0)
    theirs_mean = torch.stack([theirs(G) for _ in range(1500)]).mean(0)
    np.testing.assert_allclose(ours_mean, theirs_mean, rtol=0.04)


# ------------------------------------------------------------------------------- differences on purpose


def conflict(w, G):
    """Lowest cosine between the step and a task's gradient."""
    return float(((G @ w) / G.diag().sqrt() / (w @ G @ w).sqrt()).min())


def test_upgrad_protects_tasks_with_small_gradients():
    J = torch.tensor([[1.0, 0.0], [-0.8 * 0.01, 0.6 * 0.01]], dtype=torch.float64)
    G = J @ J.T
    assert conflict(jd.UPGradWeighting()(G), G) < -0.5
    assert conflict(get_method("upgrad").weights(G), G) > -1e-12
    for size in (2, 3, 8, 40):
        worst = {"ours": 0.0, "theirs": 0.0}
        for seed in range(10):
            _, G = drawn(size, 3.0, seed)
            worst["ours"] = min(worst["ours"], conflict(get_method("upgrad").weights(G), G))
            worst["theirs"] = min(worst["theirs"], conflict(jd.UPGradWeighting()(G), G))
        assert worst["ours"] > -1e-9
        if size >= 3:
            assert worst["theirs"] < -0.01


@pytest.mark.parametrize(
    "kind", ["plain", "agreeing", "duplicate", "few_columns", "cone", "nearly_parallel", "antiparallel"]
)
def test_upgrad_never_conflicts_whatever_the_rows(kind):
    for size in (2, 3, 8, 40):
        for spread in (0.0, 4.0, 10.0):
            _, G = drawn(size, spread, 1, kind)
            w = get_method("upgrad").weights(G)
            # Relative to what the rows put in, because where they cancel the step itself is rounding.
            opposition = (G @ w) / G.diag().sqrt() / (w @ G.diag().sqrt())
            assert float(opposition.min()) > -1e-9


def test_mgda_is_the_least_norm_point():
    _, G = drawn(40, 3.0)
    ours, theirs = get_method("mgda").weights(G), jd.MGDAWeighting()(G)
    assert min_norm_gap(G.numpy(), ours.numpy()) < 1e-9
    assert float(theirs @ G @ theirs) > 2 * float(ours @ G @ ours)


@pytest.mark.filterwarnings("ignore")
def test_nash_holds_its_equation_for_unlike_norms():
    J, G = drawn(8, 3.0)
    ours = get_method("nash_mtl").weights(G)
    theirs = jd.NashMTL(n_tasks=8, max_norm=0.0, optim_niter=20).weighting(J)
    assert power_residual(G.numpy(), ours.numpy()) < 1e-10
    assert power_residual(G.numpy(), theirs.double().numpy()) > 0.1


def test_cagrad_survives_a_zero_row_and_tiny_gradients():
    J = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    theirs, method = jd.CAGradWeighting(c=0.5), get_method("cagrad", c=0.5)
    assert (theirs(J @ J.T) == 0).all()
    np.testing.assert_allclose(method.weights(J @ J.T), [1.5, 0.5])
    J, G = drawn(3)
    assert (theirs(1e-10 * G) == 0).all()
    np.testing.assert_allclose(method.weights(1e-10 * G), method.weights(G), rtol=1e-9)
    v = method.weights(G).numpy() - 1 / 3
    assert max_min_in_ball_gap(G.numpy(), np.full(3, 1 / 3), 0.5, v) < 1e-10


def test_imtl_g_goes_downhill_and_keeps_small_rows_in_single_precision():
    flipped = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        J = torch.tensor(rng.standard_normal((3, 3)) * np.exp(rng.uniform(-2, 2, 3))[:, None])
        G = J @ J.T
        flipped += bool((G @ jd.IMTLGWeighting()(G)).max() < 0)
        assert float((G @ get_method("imtl_g").weights(G)).min()) > 0
    assert flipped > 5
    J = torch.tensor([[1.0, 0.0], [0.0, 1e-4]])
    np.testing.assert_allclose(get_method("imtl_g").weights(J @ J.T), [1e-4, 1.0], rtol=1e-3)
    assert float(jd.IMTLGWeighting()(J @ J.T)[1]) < 0.5
