"""The recipe for a family of linear estimators: one file with four classes, one line in FAMILIES."""

from typing import final

import numpy as np
import pytest
from sklearn.linear_model import Lasso

from polytask.linear.alpha import CrossValidated, FixedAlpha
from polytask.linear.base import parameters
from polytask.linear.core.penalties import L1, Penalty
from polytask.linear.core.problem import Problem
from polytask.linear.penalised import RidgeFamily
from polytask.linear.registry import ESTIMATORS, FAMILIES, get_estimator
from polytask.linear.supervised import MultiTaskClassifier, MultiTaskRegressor
from polytask.study.classical import entry_names


@parameters
class HalfLasso(RidgeFamily):
    """α/2·‖W‖_1."""

    def _penalty(self, alpha: float, problem: Problem) -> Penalty:
        return L1(alpha / 2)


@final
@parameters
class HalfLassoRegressor(HalfLasso, FixedAlpha, MultiTaskRegressor):
    """Regression."""


@final
@parameters
class HalfLassoClassifier(HalfLasso, FixedAlpha, MultiTaskClassifier):
    """Binary classification."""


@final
@parameters
class HalfLassoRegressorCV(HalfLasso, CrossValidated, MultiTaskRegressor):
    """With α chosen by cross-validation."""


@final
@parameters
class HalfLassoClassifierCV(HalfLasso, CrossValidated, MultiTaskClassifier):
    """With α chosen by cross-validation."""


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    classes = (HalfLassoRegressor, HalfLassoClassifier, HalfLassoRegressorCV, HalfLassoClassifierCV)
    for one in classes:
        monkeypatch.setitem(ESTIMATORS, one.__name__, one)
    monkeypatch.setitem(FAMILIES, "half_lasso", tuple(one.__name__ for one in classes))
    entry_names.cache_clear()
    yield
    entry_names.cache_clear()


def test_it_is_scikit_learns_lasso_at_half_of_alpha():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 6))
    Y = X[:, :2] @ rng.normal(size=(2, 3)) + 0.1 * rng.normal(size=(80, 3))
    found = get_estimator("HalfLassoRegressor")(alpha=0.4, ridge=0.0, task_weight="equal", tol=1e-10).fit(X, Y)
    for task in range(3):
        expected = Lasso(alpha=0.2, tol=1e-12).fit(X, Y[:, task])
        np.testing.assert_allclose(found.coef_[task], expected.coef_, atol=1e-6)


def test_a_study_takes_it_for_numbers_and_for_yes_or_no(study):
    page = '[data]\nsource = "people.csv"\n[tasks.income]\n[tasks.sick]\n'
    result = study(page, ["ridge", {"name": "half_lasso", "alpha": 0.02}])
    assert not result.failures
    fitted = next(trial.fitted for trial in result.trials if trial.method.startswith("half_lasso"))
    assert {facts["estimator"] for facts in fitted.values()} == {"HalfLassoRegressor", "HalfLassoClassifier"}
