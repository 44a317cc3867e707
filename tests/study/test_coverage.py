"""Intervals cover the true gain on other rows as often as they say, on tables whose law is known."""

import numpy as np
import pytest

from tests.study.simulation import coverage

MEAN, PLAIN, STRONG = np.inf, 1e-6, 30.0


@pytest.mark.parametrize(("n", "splits"), [(60, 5), (300, 3), (150, 10)])
def test_corrected_hold_outs_cover_what_they_say(n, splits):
    """Least squares against the mean: 400 tables, three standard errors of the share around 93 to 97 %."""
    covered, _ = coverage(n, splits, alphas=(PLAIN, MEAN))
    assert 0.93 - 0.033 < covered < 0.97 + 0.026


def test_seeds_as_if_rows_were_independent_cover_too_seldom():
    """What the correction is for: with ten splits of the same rows, one in four intervals would miss."""
    assert coverage(150, 10, alphas=(PLAIN, MEAN), corrected=False)[0] < 0.85


def test_more_splits_of_the_same_rows_do_not_end_in_a_false_winner():
    """A strong penalty against none is better by hardly anything; verdicts stay as rare as 5 % and some."""
    assert coverage(300, 10, alphas=(STRONG, PLAIN), tables=200)[1] < 0.05 + 0.046


@pytest.mark.slow
@pytest.mark.parametrize("n", [60, 150, 300])
@pytest.mark.parametrize("splits", [3, 5, 10])
def test_coverage_of_hold_outs_is_93_to_97_per_cent(n, splits):
    covered, _ = coverage(n, splits, alphas=(PLAIN, MEAN), tables=3000)
    assert 0.93 < covered < 0.97


@pytest.mark.slow
@pytest.mark.parametrize("repetitions", [1, 2, 4])
def test_repeated_folds_cover_at_least_what_they_say(repetitions):
    """One repetition tests every row once and is better than the correction thinks."""
    covered, _ = coverage(150, 5 * repetitions, folds=5, alphas=(PLAIN, MEAN), tables=2000)
    assert 0.93 < covered < 0.995


@pytest.mark.slow
@pytest.mark.parametrize("splits", [3, 10])
def test_differences_that_are_noise_of_training_are_covered_at_least(splits):
    assert coverage(150, splits, alphas=(STRONG, PLAIN), tables=2000)[0] > 0.94
