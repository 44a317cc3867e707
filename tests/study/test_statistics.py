"""Signs, published values, agreement with SciPy's paired t test, coverage."""

import math

import numpy as np
import pytest
from scipy import stats

from polytask.errors import ConfigError
from polytask.study.outcome.statistics import delta_m, paired_interval, seeds_needed, transfer_gain

# NYUv2 of Navon et al., Multi-Task Learning as a Bargaining Game (ICML 2022): mIoU, pixel accuracy, absolute and
# relative depth error, mean and median angle error, share of normals within 11.25, 22.5 and 30 degrees. The paper
# prints the drop, for which lower is better: the negative of Δm here.
SIGNS = dict(zip("abcdefghi", (1, 1, -1, -1, -1, -1, 1, 1, 1), strict=True))
STL = dict(zip("abcdefghi", (38.30, 63.76, 0.6754, 0.2780, 25.01, 19.21, 30.14, 57.20, 69.15), strict=True))
PLAIN_SUM = dict(zip("abcdefghi", (39.29, 65.33, 0.5493, 0.2263, 28.15, 23.96, 22.09, 47.50, 61.08), strict=True))
MGDA = dict(zip("abcdefghi", (30.47, 59.90, 0.6070, 0.2555, 24.88, 19.45, 29.18, 56.88, 69.36), strict=True))


@pytest.mark.parametrize(("method", "published_drop"), [(PLAIN_SUM, 5.59), (MGDA, 1.38)])
def test_delta_m_gives_published_values(method, published_drop):
    assert delta_m(method, STL, SIGNS) == pytest.approx(-published_drop, abs=0.005)


@pytest.mark.parametrize(
    ("value", "reference", "direction", "gain"),
    [(0.9, 0.8, 1, 12.5), (0.9, 0.8, -1, -12.5), (3.0, 4.0, -1, 25.0), (-0.1, -0.2, 1, 50.0), (-0.3, -0.2, 1, -50.0)],
)
def test_gain_is_positive_when_better(value, reference, direction, gain):
    assert transfer_gain(value, reference, direction) == pytest.approx(gain)


def test_gain_is_undefined_without_a_scale():
    assert math.isnan(transfer_gain(1.0, 0.0, 1))
    assert math.isnan(transfer_gain(math.nan, 1.0, 1))
    assert math.isnan(delta_m({"a": 1.0, "b": math.nan}, {"a": 1.0, "b": 1.0}, {"a": 1, "b": 1}))


def test_gain_does_not_depend_on_units():
    assert transfer_gain(5.0, 4.0, -1) == pytest.approx(transfer_gain(5000.0, 4000.0, -1))


def test_delta_m_wants_the_same_tasks():
    with pytest.raises(ConfigError, match="same tasks"):
        delta_m({"a": 1.0}, {"a": 1.0, "b": 2.0}, {"a": 1})


@pytest.mark.parametrize("n", [2, 3, 5, 30])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_interval_is_that_of_the_paired_t_test(n, level):
    rng = np.random.default_rng(n)
    method, reference = rng.normal(0.4, 1, n), rng.normal(0, 1, n)
    interval = paired_interval((method - reference).tolist(), level)
    oracle = stats.ttest_rel(method, reference).confidence_interval(level)
    assert (interval.low, interval.high) == pytest.approx((oracle.low, oracle.high))
    rejected = stats.ttest_rel(method, reference).pvalue < 1 - level
    assert (interval.verdict in ("better", "worse")) == rejected


def test_interval_of_two_seeds_in_closed_form():
    # t of one degree of freedom at 0.975 is tan(0.475·π); half the difference is the standard error
    interval = paired_interval([1.0, 2.0])
    assert interval.high - interval.mean == pytest.approx(0.5 * math.tan(0.475 * math.pi))


def test_one_seed_has_no_interval():
    interval = paired_interval([3.0])
    assert math.isnan(interval.low)
    assert math.isnan(interval.sd)
    assert interval.verdict == "one seed"


def test_identical_differences_have_no_interval():
    """Two deterministic methods: the seeds repeat one number, and n of it are worth no more than one."""
    same = paired_interval([0.5, 0.5, 0.5 + 1e-13])
    assert same.verdict == "no spread"
    assert same.mean == pytest.approx(0.5)
    assert math.isnan(same.low)
    assert seeds_needed(same) is None
    assert paired_interval([0.5, 0.5, 0.5001]).verdict == "better"
    assert paired_interval([0.0, 0.0, 0.0]).verdict == "not separable"


@pytest.mark.parametrize("n", [2, 3, 5])
def test_interval_covers_the_truth_as_often_as_it_says(n):
    rng = np.random.default_rng(0)
    draws = rng.normal(1.0, 2.0, (4000, n))
    covered = np.mean([(i := paired_interval(row.tolist())).low <= 1.0 <= i.high for row in draws])
    assert abs(covered - 0.95) < 3.5 * math.sqrt(0.95 * 0.05 / 4000)


def test_pairing_narrows_the_interval():
    rng = np.random.default_rng(1)
    seed_effect = rng.normal(0, 5, 8)
    method, reference = 1 + seed_effect + rng.normal(0, 0.3, 8), seed_effect + rng.normal(0, 0.3, 8)
    paired = paired_interval((method - reference).tolist())
    shuffled = paired_interval((method - np.roll(reference, 1)).tolist())
    assert paired.verdict == "better"
    assert shuffled.verdict == "not separable"


def test_seeds_needed_is_the_smallest_number():
    interval = paired_interval([0.2, 1.4, -0.6, 0.9])
    needed = seeds_needed(interval)
    half = [stats.t.ppf(0.975, n - 1) * interval.sd / math.sqrt(n) for n in (needed - 1, needed)]
    assert half[1] < interval.mean <= half[0]
    assert seeds_needed(paired_interval([1.0])) is None
    assert seeds_needed(paired_interval([-1.0, 1.0])) is None
