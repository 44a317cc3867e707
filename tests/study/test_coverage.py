"""Intervals cover the true gain on other rows as often as they say, on tables whose law is known."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "verdicts.py"


@pytest.fixture(scope="module")
def script():
    """The benchmark as a module."""
    spec = importlib.util.spec_from_file_location("verdicts_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("n", "splits"), [(60, 5), (300, 3), (150, 10)])
def test_corrected_hold_outs_cover_what_they_say(script, n, splits):
    """Least squares against the mean: 400 tables, three standard errors of the share around 93 to 97 %."""
    covered, _ = script.coverage(n, splits, alphas=(script.PLAIN, script.MEAN))
    assert 0.93 - 0.033 < covered < 0.97 + 0.026


def test_splits_as_if_they_shared_no_rows_cover_too_seldom(script):
    """What the correction is for: with ten splits of the same rows, one in four intervals would miss."""
    assert script.coverage(150, 10, alphas=(script.PLAIN, script.MEAN), corrected=False)[0] < 0.85


def test_equal_methods_are_not_told_apart(script):
    """Two halves of the features with the same signal: one split finds a winner as a rule, splits hardly ever."""
    found = script.false_winners(150, 10, tables=200)
    assert found["splits"] < 0.05 + 0.046  # three standard errors
    assert found["splits, uncorrected"] > 0.15
    assert found["one split"] > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("n", [60, 150, 300])
@pytest.mark.parametrize("splits", [3, 5, 10])
def test_coverage_of_hold_outs_is_93_to_97_per_cent(script, n, splits):
    covered, _ = script.coverage(n, splits, alphas=(script.PLAIN, script.MEAN), tables=3000)
    assert 0.93 < covered < 0.97


@pytest.mark.slow
@pytest.mark.parametrize("repetitions", [1, 2, 4])
def test_repeated_folds_cover_at_least_what_they_say(script, repetitions):
    """One repetition tests every row once and is better than the correction thinks."""
    covered, _ = script.coverage(150, 5 * repetitions, folds=5, alphas=(script.PLAIN, script.MEAN), tables=2000)
    assert 0.93 < covered < 0.995


@pytest.mark.slow
@pytest.mark.parametrize("splits", [3, 10])
def test_differences_that_are_noise_of_training_are_covered_at_least(script, splits):
    assert script.coverage(150, splits, alphas=(script.STRONG, script.PLAIN), tables=2000)[0] > 0.94
