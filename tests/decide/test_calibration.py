"""Calibration against scikit-learn, against what distorted the probabilities, and against stationarity."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, log_loss

from polytask.decide import Isotonic, Temperature, brier, expected_calibration_error, reliability
from polytask.errors import ConfigError, DataError


def binary(n=4000, temperature=1.0, seed=0):
    rng = np.random.default_rng(seed)
    score = rng.normal(0, 2, n)
    return (rng.random(n) < expit(score)).astype(float), expit(score * temperature)


def several(n=4000, temperature=1.0, seed=0):
    rng = np.random.default_rng(seed)
    score = rng.normal(0, 2, (n, 4))
    y = [rng.choice(4, p=row) for row in softmax(score, axis=1)]
    return np.array(y, float), softmax(score * temperature, axis=1)


def test_brier_is_that_of_scikit_learn():
    y, chance = binary()
    weight = np.random.default_rng(1).random(len(y))
    assert brier(y, chance, weight) == pytest.approx(brier_score_loss(y, chance, sample_weight=weight))
    y, chances = several()
    assert brier(y, chances) == pytest.approx(brier_score_loss(y, chances, scale_by_half=False))


@pytest.mark.parametrize(("equal", "theirs"), [("width", "uniform"), ("count", "quantile")])
def test_the_curve_is_that_of_scikit_learn(equal, theirs):
    y, chance = binary()
    seen, said = calibration_curve(y, chance, n_bins=10, strategy=theirs)
    mine = reliability(y, chance, bins=10, equal=equal)
    np.testing.assert_allclose(mine.said, said, rtol=1e-9)
    np.testing.assert_allclose(mine.seen, seen, rtol=1e-9)
    assert mine.labels.sum() == len(y)
    assert ((mine.error_low <= mine.seen) & (mine.seen <= mine.error_high)).all()


def test_the_error_by_hand():
    y, chance = [1, 1, 0, 1, 0], [0.9, 0.95, 0.92, 0.2, 0.3]
    expected = 3 / 5 * abs(np.mean([0.9, 0.95, 0.92]) - 2 / 3) + 2 / 5 * abs(0.25 - 0.5)
    assert expected_calibration_error(y, chance, bins=2) == pytest.approx(expected)


def test_a_calibrated_model_has_its_bands_over_the_diagonal():
    y, chance = binary(40_000)
    table = reliability(y, chance, bins=20)
    inside = (table.error_low <= table.said) & (table.said <= table.error_high)
    assert inside.mean() >= 0.8
    assert expected_calibration_error(y, chance) < 0.01


@pytest.mark.parametrize("make", [binary, several])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_temperature_undoes_a_temperature(make, temperature):
    y, chance = make(20_000, temperature)
    found = Temperature.fit(y, chance)
    assert found.value == pytest.approx(temperature, rel=0.06)
    np.testing.assert_allclose(found.apply(chance), make(20_000, temperature / found.value)[1], atol=1e-6)
    for other in (found.value * 0.99, found.value * 1.01):
        assert log_loss(y, found.apply(chance)) <= log_loss(y, Temperature(other).apply(chance))
    np.testing.assert_array_equal(np.argsort(found.apply(chance), axis=-1), np.argsort(chance, axis=-1))


def test_the_temperature_of_rows_that_are_all_right_is_bounded():
    assert Temperature.fit([0, 1], [0.4, 0.6]).value == pytest.approx(0.01)
    assert Temperature.fit([1, 0], [0.4, 0.6]).value == pytest.approx(100.0)
    assert np.isfinite(Temperature.fit([0, 1, 1], [0.0, 1.0, 0.0]).apply([0.0, 1.0])).all()


def test_weights_are_repeated_rows():
    y, chance = binary(300)
    weight = np.random.default_rng(0).integers(1, 4, 300)
    repeated = Temperature.fit(np.repeat(y, weight), np.repeat(chance, weight))
    assert Temperature.fit(y, chance, weight).value == pytest.approx(repeated.value)


def test_isotonic_is_that_of_scikit_learn_and_mends_any_bend():
    y, chance = binary(6000)
    bent = chance**3
    mine = Isotonic.fit(y, bent)
    theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(bent, y)
    np.testing.assert_allclose(mine.apply(bent), theirs.predict(bent))
    assert brier(y, mine.apply(bent)) < brier(y, Temperature.fit(y, bent).apply(bent)) < brier(y, bent)
    assert np.abs(mine.apply(bent) - chance).mean() < 0.03
    pair = np.stack([1 - bent, bent], axis=1)
    np.testing.assert_allclose(Isotonic.fit(y, pair).apply(pair)[:, 1], mine.apply(bent))


def test_isotonic_of_several_classes_sums_to_one():
    y, chances = several(3000, 3.0)
    mended = Isotonic.fit(y, chances).apply(chances)
    np.testing.assert_allclose(mended.sum(axis=1), 1.0)
    assert brier(y, mended) < brier(y, chances)


def test_missing_labels_do_not_count():
    y, chance = binary(200)
    more = np.append(y, np.nan), np.append(chance, 0.3)
    assert Temperature.fit(*more) == Temperature.fit(y, chance)
    assert brier(*more) == brier(y, chance)


def test_what_cannot_be_is_refused():
    with pytest.raises(DataError, match="all 3 labels are 1"):
        Temperature.fit([1, 1, 1], [0.1, 0.2, 0.3])
    with pytest.raises(ConfigError, match="bins"):
        reliability([0, 1], [0.1, 0.9], bins=0)
    with pytest.raises(ConfigError, match="width"):
        reliability([0, 1], [0.1, 0.9], equal="size")


def test_one_class_calibrates_nothing():
    with pytest.raises(DataError, match="all 3 labels are 1"):
        Isotonic.fit([1, 1, 1], [0.2, 0.4, 0.9])


def test_intervals_of_shares_stay_shares():
    table = reliability(np.zeros(7), np.full(7, 0.05), bins=1)
    assert 0 <= table.error_low[0] < 1e-15
    assert 0 < table.error_high[0] < 1
