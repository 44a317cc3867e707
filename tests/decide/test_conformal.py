"""Conformal prediction: the exact law of its coverage, known limits, and coverage on real tables."""

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, QuantileRegressor, Ridge
from sklearn.model_selection import train_test_split

from polytask.decide import AroundValue, BetweenQuantiles, ClassSets, conformal_quantile
from polytask.errors import ConfigError, DataError


@pytest.mark.parametrize(("n", "coverage"), [(19, 0.9), (50, 0.8), (99, 0.95)])
def test_coverage_has_its_exact_distribution(n, coverage):
    """Of n distinct scores the share of new ones below the k-th smallest is Beta(k, n + 1 − k)."""
    rng = np.random.default_rng(0)
    place = int(np.ceil((n + 1) * coverage - 1e-9))
    # the scores are uniform, so that a quantile is the coverage that it has
    reached = [conformal_quantile(rng.random(n), coverage) for _ in range(3000)]
    assert stats.kstest(reached, stats.beta(place, n + 1 - place).cdf).pvalue > 0.001
    assert np.mean(reached) >= coverage - 3 * np.std(reached) / np.sqrt(3000)


def test_the_quantile_at_its_ends():
    assert conformal_quantile(np.arange(9), 0.9) == 8
    assert conformal_quantile(np.arange(8), 0.9) == np.inf
    assert conformal_quantile([], 0.5) == np.inf
    assert conformal_quantile(np.ones(100), 0.9) == 1
    for coverage in (0.0, 1.0, np.nan):
        with pytest.raises(ConfigError, match="share"):
            conformal_quantile([1.0], coverage)


def _shares(judge, X, y, draws=40):
    """Coverage over random splits: fitted on 50 %, calibrated on 25 %, judged on 25 %."""
    found = []
    for seed in range(draws):
        train, rest = train_test_split(np.arange(len(y)), test_size=0.5, random_state=seed)
        held, test = train_test_split(rest, test_size=0.5, random_state=seed)
        found.append(judge(train, held, test))
    return float(np.mean(found)), float(np.std(found) / np.sqrt(draws))


def test_intervals_hold_on_diabetes():
    X, y = load_diabetes(return_X_y=True)

    def judge(train, held, test):
        model = Ridge(0.1).fit(X[train], y[train])
        spread = Ridge(10).fit(X[train], np.abs(y[train] - model.predict(X[train])))
        scale = lambda rows: spread.predict(X[rows]).clip(1)  # noqa: E731
        plain = AroundValue.fit(y[held], model.predict(X[held]), coverage=0.8)
        own = AroundValue.fit(y[held], model.predict(X[held]), coverage=0.8, scale=scale(held))
        ends = plain.apply(model.predict(X[test])), own.apply(model.predict(X[test]), scale(test))
        return [np.mean((low <= y[test]) & (y[test] <= high)) for low, high in ends]

    for place in range(2):
        mean, error = _shares(lambda *rows: judge(*rows)[place], X, y)  # noqa: B023
        assert abs(mean - 0.8) < 0.02 + 2 * error


def test_quantiles_that_are_too_narrow_are_widened():
    X, y = load_diabetes(return_X_y=True)

    def judge(train, held, test):
        low, high = (QuantileRegressor(quantile=level, alpha=0).fit(X[train], y[train]) for level in (0.35, 0.65))
        found = BetweenQuantiles.fit(y[held], low.predict(X[held]), high.predict(X[held]), coverage=0.8)
        bottom, top = found.apply(low.predict(X[test]), high.predict(X[test]))
        assert found.shift > 0
        return np.mean((bottom <= y[test]) & (y[test] <= top))

    mean, error = _shares(judge, X, y, draws=12)
    assert abs(mean - 0.8) < 0.02 + 2 * error


def test_quantiles_that_are_too_wide_are_narrowed_and_never_cross():
    y = np.random.default_rng(0).normal(size=999)
    found = BetweenQuantiles.fit(y, np.full(999, -10.0), np.full(999, 10.0), coverage=0.9)
    bottom, top = found.apply(np.array([-10.0, 0.0]), np.array([10.0, 0.1]))
    assert top[0] == pytest.approx(np.quantile(np.abs(y), 0.9), abs=0.1)
    assert bottom[1] == top[1] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("load", "model"),
    [
        (load_breast_cancer, LogisticRegression(max_iter=5000)),
        (load_digits, RandomForestClassifier(20, random_state=0)),
    ],
)
def test_sets_hold_on_real_classes(load, model):
    X, y = load(return_X_y=True)
    X = (X - X.mean(0)) / (X.std(0) + 1e-9)

    def judge(train, held, test):
        fitted = model.fit(X[train], y[train])
        sets = ClassSets.fit(y[held], fitted.predict_proba(X[held]), coverage=0.99)
        inside = sets.apply(fitted.predict_proba(X[test]))
        assert inside.any(axis=1).all()
        return inside[np.arange(len(test)), y[test]].mean()

    mean, error = _shares(judge, X, y, draws=10)
    assert mean > 0.99 - 2 * error - 0.005


def test_the_probability_of_one_is_enough_for_two_classes():
    rng = np.random.default_rng(0)
    chance = rng.random(500)
    y = (rng.random(500) < chance).astype(float)
    one, two = ClassSets.fit(y, chance), ClassSets.fit(y, np.stack([1 - chance, chance], axis=1))
    assert one == two
    np.testing.assert_array_equal(one.apply(chance), two.apply(np.stack([1 - chance, chance], axis=1)))


def test_missing_labels_do_not_count_and_too_few_promise_nothing():
    assert AroundValue.fit([1.0, np.nan, 3.0], [1.5, 9.0, 2.0], coverage=0.5).half == 1.0
    few = AroundValue.fit([1.0], [1.0], coverage=0.9)
    assert few.half == np.inf
    assert few.apply([0.0]) == (-np.inf, np.inf)
    with pytest.raises(DataError, match="positive"):
        AroundValue.fit([1.0], [1.0], scale=[0.0])
    with pytest.raises(DataError, match="none of the 1 rows"):
        AroundValue.fit([np.nan], [1.0])


@pytest.mark.parametrize("chance", [0.3, 0.7, 0.1, 0.6, 1 / 3, 0.05])
def test_rows_at_the_very_edge_are_inside(chance):
    """1 − (1 − p) may be above p: among equal probabilities, as forests give, every row would fall out."""
    sets = ClassSets.fit(np.ones(20), np.full(20, chance), coverage=0.8)
    assert sets.least == chance
    assert sets.apply(np.full(3, chance))[:, 1].all()


def test_intervals_hold_rows_whose_error_is_the_quantile_whatever_the_rounding():
    random = np.random.default_rng(0)
    for _ in range(300):
        value, y, scale = random.normal(size=3) * 10.0 ** random.integers(-3, 4)
        scale = abs(scale) + 1e-3
        found = AroundValue.fit([y] * 9, [value] * 9, coverage=0.9, scale=[scale] * 9)
        low, high = found.apply([value], [scale])
        assert low[0] <= y <= high[0]
        ends = BetweenQuantiles.fit([y] * 9, [value] * 9, [value + scale] * 9).apply([value], [value + scale])
        assert ends[0][0] <= y <= ends[1][0]


def test_a_score_that_is_no_number_is_no_score():
    with pytest.raises(DataError, match="1 of 2 scores are NaN"):
        conformal_quantile([0.1, np.nan], 0.5)


def test_quantiles_of_few_rows_have_no_end():
    low, high = BetweenQuantiles.fit([1.0, 2.0], [0.0, 1.0], [2.0, 3.0]).apply([0.0, 5.0], [1.0, 4.0])
    assert low.tolist() == [-np.inf, -np.inf]
    assert high.tolist() == [np.inf, np.inf]
