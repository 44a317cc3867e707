"""Censored labels against scipy's normal distribution, finite differences and a brute-force count of pairs."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from polytask.errors import TaskError
from polytask.tasks import Task, TaskSet
from polytask.tasks.concordance import concordance_index
from polytask.tasks.kinds.censored import hinge, tobit

INF = math.inf
LABELS = torch.tensor(
    [[0.3, 0.3], [-INF, 0.5], [1.2, INF], [-0.2, 0.9], [2.0, 2.001], [-INF, -30.0], [30.0, INF], [20.0, 21.0]],
    dtype=torch.float64,
)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 5.0])
def test_tobit_is_the_normal_likelihood(sigma):
    mean = torch.linspace(-1, 2, len(LABELS), dtype=torch.float64)
    found = tobit(mean, torch.tensor(sigma, dtype=torch.float64), LABELS)
    for value, mu, (low, high) in zip(found.tolist(), mean.tolist(), LABELS.tolist(), strict=True):
        normal = stats.norm(mu, sigma)
        if low == high:
            expected = -normal.logpdf(low) - math.log(0.01 * math.sqrt(2 * math.pi))
        elif low == -INF:
            expected = -normal.logcdf(high)
        elif high == INF:
            expected = -normal.logsf(low)
        else:  # where both are far away, the difference of logarithms
            upper, lower = normal.logsf(low), normal.logsf(high)
            expected = -(upper + math.log(-math.expm1(lower - upper)))
        assert value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mean", [-1e10, -40.0, 0.0, 40.0, 1e10])
def test_losses_and_gradients_are_finite_far_away(dtype, mean):
    z = torch.full((len(LABELS),), mean, dtype=dtype, requires_grad=True)
    s = torch.ones(len(LABELS), dtype=dtype, requires_grad=True)
    for loss in (tobit(z, s, LABELS.to(dtype)), hinge(z, LABELS.to(dtype))):
        assert loss.isfinite().all()
        (gradient,) = torch.autograd.grad(loss.sum(), z)
        assert gradient.isfinite().all()


def test_gradients_are_finite_differences():
    z = torch.randn(len(LABELS), dtype=torch.float64).requires_grad_()
    s = (torch.rand(len(LABELS), dtype=torch.float64) + 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda z, s: tobit(z, s, LABELS), (z, s))
    assert torch.autograd.gradcheck(lambda z: hinge(z, LABELS), (z,))


def test_hinge_is_the_squared_distance_from_the_interval():
    bounds = torch.tensor([[1.0, 1.0], [-INF, 2.0], [-INF, 2.0], [3.0, INF], [0.0, 1.0]])
    assert hinge(torch.tensor([3.0, 1.0, 4.0, 1.0, -2.0]), bounds).tolist() == [4.0, 0.0, 4.0, 4.0, 4.0]


def test_known_labels_alone_are_regression():
    y, z = torch.randn(9), torch.randn(9, 1)
    same = Task("y", "censored", likelihood="hinge", shift=1.0, scale=2.0)
    torch.testing.assert_close(same.loss(z, y), Task("y", shift=1.0, scale=2.0).loss(z, y))
    torch.testing.assert_close(same.decode(z), z[:, 0] * 2 + 1)
    pair = torch.stack([y, y], 1)
    fixed = Task("y", "censored", sigma=1.0)
    (ours,) = torch.autograd.grad(fixed.loss(w := z.clone().requires_grad_(), pair), w)
    (theirs,) = torch.autograd.grad(0.5 * (w[:, 0] - y).square().mean(), w)
    torch.testing.assert_close(ours, theirs)


def test_missing_labels_have_no_gradient():
    task = Task("y", "censored")
    y = torch.tensor([[1.0, 1.0], [math.nan, math.nan], [0.0, INF]])
    z = torch.randn(3, 2, requires_grad=True)
    task.loss(z, y).backward()
    assert (z.grad[1] == 0).all()
    assert z.grad.isfinite().all()
    assert task.count(y) == 2


@pytest.mark.parametrize("wrong", [[2.0, 1.0], [-INF, INF], [INF, INF], [-INF, -INF]])
def test_impossible_bounds_are_refused(wrong):
    with pytest.raises(TaskError, match=r"bounds in order.*\[-inf, 5\]"):
        Task("y", "censored").loss(torch.zeros(1, 2), torch.tensor([wrong]))


def test_options_that_cannot_be_are_refused():
    with pytest.raises(TaskError, match="likelihood"):
        Task("y", "censored", likelihood="cox")
    with pytest.raises(TaskError, match="at least"):
        Task("y", "censored", sigma=1e-6)


def brute(prediction, bounds, weight):
    right, pairs = 0.0, 0.0
    for i, j in itertools.permutations(range(len(prediction)), 2):
        known = bounds[i][0] == bounds[i][1] and bounds[j][0] == bounds[j][1]
        if bounds[i][1] < bounds[j][0] or (bounds[i][1] == bounds[j][0] and not known):
            pairs += weight[i] * weight[j]
            right += weight[i] * weight[j] * ((prediction[i] < prediction[j]) + 0.5 * (prediction[i] == prediction[j]))
    return right / pairs if pairs else math.nan


@pytest.mark.parametrize("seed", range(12))
def test_concordance_is_that_of_all_pairs(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    y = rng.integers(0, 6, n).astype(float)  # ties abound
    bounds = np.stack([y, y + rng.integers(0, 2, n)], 1)
    bounds[rng.random(n) < 0.2, 0] = -INF
    bounds[rng.random(n) < 0.2, 1] = INF
    prediction, weight = rng.integers(0, 5, n).astype(float), rng.integers(0, 3, n).astype(float)
    assert concordance_index(prediction, bounds) == pytest.approx(brute(prediction, bounds, np.ones(n)), nan_ok=True)
    assert concordance_index(prediction, bounds, weight) == pytest.approx(
        brute(prediction, bounds, weight), nan_ok=True
    )


def test_concordance_of_yes_and_no_is_the_auroc():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, 500), rng.normal(size=500).round(1)
    assert concordance_index(p, np.stack([y, y], 1)) == pytest.approx(roc_auc_score(y, p))


def test_metrics_say_why_they_are_undefined():
    meter = TaskSet([Task("y", "censored")]).meter()
    meter.update({"y": torch.zeros(2, 2)}, {"y": torch.tensor([[0.0, INF], [1.0, INF]])})
    assert all(math.isnan(value) for value in meter.compute()["y"].values())
    assert meter.undefined["y"]["rmse"] == "no label is known, all are bounds"
    assert "order" in meter.undefined["y"]["concordance"]


def test_a_mean_below_a_detection_limit_is_found():
    """Tobit's estimate of mean and spread with a third of the labels below the limit; the known mean is biased."""
    torch.manual_seed(0)
    y = 1.0 + torch.randn(4000)
    bounds = torch.stack([y.masked_fill(y < 0.5, -INF), y.clamp_min(0.5)], 1)
    task, z = Task("y", "censored"), torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.LBFGS([z], max_iter=50)

    def closure():
        optimizer.zero_grad()
        loss = task.loss(z.expand(4000, 2), bounds)
        loss.backward()
        return loss

    optimizer.step(closure)
    sigma = 0.01 + torch.nn.functional.softplus(z[1].detach() + math.log(math.e - 1))
    assert float(z[0].detach()) == pytest.approx(1.0, abs=0.06)
    assert float(sigma) == pytest.approx(1.0, abs=0.06)
    assert float(y[y >= 0.5].mean()) > 1.4
