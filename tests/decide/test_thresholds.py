"""Thresholds against a search over all of them with scikit-learn's metrics, and against the rule of known costs."""

import numpy as np
import pytest
from sklearn import metrics

from polytask.decide import Threshold, best_threshold
from polytask.decide.thresholds import check_costs
from polytask.errors import ConfigError, DataError

THEIRS = {
    "f1": lambda y, p, w: metrics.f1_score(y, p, sample_weight=w, zero_division=0),
    "accuracy": lambda y, p, w: metrics.accuracy_score(y, p, sample_weight=w),
    "balanced_accuracy": lambda y, p, w: metrics.balanced_accuracy_score(y, p, sample_weight=w),
    "mcc": lambda y, p, w: metrics.matthews_corrcoef(y, p, sample_weight=w),
}


def rows(n=60, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    chance = rng.random(n).round(1) if ties else rng.random(n)
    return (rng.random(n) < chance**2).astype(float), chance, rng.random(n) + 0.1


@pytest.mark.parametrize("metric", THEIRS)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_is_better(metric, ties, seed):
    y, chance, weight = rows(seed=seed, ties=ties)
    found = best_threshold(y, chance, metric, weight=weight)
    every = np.concatenate([[0.0], np.unique(chance), [1.1]])
    best = max(THEIRS[metric](y, chance >= value, weight) for value in every)
    assert found.score == pytest.approx(best, abs=1e-9)
    assert THEIRS[metric](y, found.decide(chance), weight) == pytest.approx(best, abs=1e-9)
    assert found.at_half == pytest.approx(THEIRS[metric](y, chance >= 0.5, weight), abs=1e-9)


def test_costs_of_calibrated_probabilities_give_the_known_threshold():
    rng = np.random.default_rng(0)
    chance = rng.random(200_000)
    y = (rng.random(len(chance)) < chance).astype(float)
    for alarm, miss in [(1.0, 1.0), (1.0, 4.0), (3.0, 1.0)]:
        found = best_threshold(y, chance, costs=(alarm, miss))
        assert found.value == pytest.approx(alarm / (alarm + miss), abs=0.03)
        assert found.metric == "cost"
        assert found.score <= found.at_half
        direct = np.mean(np.where(y == 1, miss * ~found.decide(chance), alarm * found.decide(chance)))
        assert found.score == pytest.approx(direct)


def test_missing_labels_and_zero_weights_do_not_count():
    y, chance, _ = rows()
    more_y, more_chance = np.append(y, [np.nan, 0.0]), np.append(chance, [np.nan, 0.99])
    weight = np.append(np.ones(len(y)), [1.0, 0.0])
    assert best_threshold(more_y, more_chance, weight=weight) == best_threshold(y, chance)


def test_always_and_never_are_candidates():
    assert best_threshold([1, 1, 1, 0], [0.1, 0.2, 0.3, 0.9], "accuracy").decide([0.0999]).tolist() == [True]
    never = best_threshold([0, 0, 0, 1], [1.0, 1.0, 1.0, 0.2], "accuracy")
    assert never.value > 1
    assert not never.decide([1.0]).any()
    assert not Threshold(0.5, "f1", 1, 1, 1, 1).decide([np.nan]).any()


def test_neighbours_in_floating_point_are_told_apart():
    low = 0.3
    high = np.nextafter(low, 1)
    found = best_threshold([0, 1], [low, high], "accuracy")
    assert found.decide([low, high]).tolist() == [False, True]


@pytest.mark.parametrize(
    ("y", "chance", "options", "error", "match"),
    [
        ([0, 1], [0.1, 0.2], {"metric": "f2"}, ConfigError, "f1"),
        ([0, 1], [0.1, 0.2], {"costs": (0, 1)}, ConfigError, "positive"),
        ([1, 1], [0.1, 0.2], {}, DataError, "all 2 labels are 1"),
        ([np.nan], [0.1], {}, DataError, "none of the 1 rows"),
        ([0, 2], [0.1, 0.2], {}, DataError, "0 … 1"),
        ([0, 1], [0.1, 1.2], {}, DataError, r"\[0, 1\]"),
        ([0, 1], [0.1, np.nan], {}, DataError, "not finite"),
        ([0, 1, 1], [0.1, 0.2], {}, DataError, "shapes"),
        ([0, 1], [[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]], {}, DataError, "3"),
        ([0, 1], [0.1, 0.2], {"weight": [-1, 1]}, DataError, "negative"),
    ],
)
def test_what_cannot_be_is_refused(y, chance, options, error, match):
    with pytest.raises(error, match=match):
        best_threshold(y, chance, **options)


@pytest.mark.parametrize("costs", [(1.0,), (1.0, 2.0, 3.0), (1.0, "2"), (0.0, 1.0), (1.0, np.inf)])
def test_costs_are_two_positive_numbers(costs):
    with pytest.raises(ConfigError, match="two positive numbers"):
        check_costs(costs)
