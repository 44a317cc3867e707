"""Every registered estimator passes scikit-learn's checks; exemptions are data, with a reason."""

import warnings

import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from polytask.linear import ESTIMATORS, get_estimator

#: parameters that keep the suite short; defaults otherwise
PARAMETERS: dict[str, dict[str, object]] = {}

#: estimator: {check: reason}
EXEMPT: dict[str, dict[str, str]] = {}


def _instances():
    for name in ESTIMATORS:
        options = dict(PARAMETERS.get(name, {}))
        if name.endswith("CV"):
            options = {"alphas": 3, "cv": 2, **options}
        yield get_estimator(name)(**options)


def _expected_failures(estimator):
    return EXEMPT.get(type(estimator).__name__, {})


@parametrize_with_checks(list(_instances()), expected_failed_checks=_expected_failures)
def test_scikit_learn_checks(estimator, check):
    with warnings.catch_warnings():
        # scikit-learn's own checks feed data that warn on purpose (column vectors, unscaled features)
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", ConvergenceWarning)
        check(estimator)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_every_estimator_documents_itself(name):
    cls = get_estimator(name)
    assert cls.__doc__.strip()
    assert not cls.__doc__.startswith(f"{name}("), "a dataclass without a docstring"
