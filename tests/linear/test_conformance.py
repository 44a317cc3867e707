"""Every registered estimator passes scikit-learn's checks; exemptions are data, with a reason."""

import contextlib
import functools
import warnings
from unittest import mock

import jaxtyping
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._testing import assert_allclose_dense_sparse
from sklearn.utils.estimator_checks import parametrize_with_checks

from polytask.linear import ESTIMATORS, get_estimator

#: parameters that keep the suite short; defaults otherwise
PARAMETERS: dict[str, dict[str, object]] = {
    "LabelPowersetCV": {"param_grid": {"C": [1.0]}, "cv": 2},
}

_WEIGHTS = ("check_sample_weight_equivalence_on_dense_data", "check_sample_weight_equivalence_on_sparse_data")
_STANDARD_ERRORS = dict.fromkeys(_WEIGHTS, "standard errors count rows: a row of weight 2 is not two observations")
_LEAVE_ONE_OUT = dict.fromkeys(_WEIGHTS, "leave-one-out scores leave out one copy of a repeated row")
#: estimator: {check: reason}
EXEMPT: dict[str, dict[str, str]] = {
    **dict.fromkeys([name for name in ESTIMATORS if name.startswith("DebiasedLasso")], _STANDARD_ERRORS),
    "LabelOptimalClassifier": _LEAVE_ONE_OUT,
    "LabelOptimalClassifierCV": _LEAVE_ONE_OUT,
}


def _instance(name):
    default: dict[str, object] = {"alphas": [0.1], "cv": 2} if name.endswith("CV") else {}
    if name.endswith("CV") and name not in PARAMETERS and "ridge" in get_estimator(name)().get_params():
        # copies of a row fall into folds of their own: what folds choose is not the same for rows of weight 2
        default["ridge"] = get_estimator(name.removesuffix("CV"))().ridge
    return get_estimator(name)(**PARAMETERS.get(name, default))


#: variants of a family share their code: one family stands for them in the quick suite, elsewhere the regressor does;
#: all others run with the slow tests
QUICK = [name for name in ESTIMATORS if name.startswith("JointFeature") or name.endswith("Regressor")]
SLOW = [name for name in ESTIMATORS if name not in QUICK]


def _expected_failures(estimator):
    return EXEMPT.get(type(estimator).__name__, {})


@pytest.fixture(autouse=True)
def _no_shape_checks():
    """scikit-learn's checks call thousands of tiny fits; shapes are checked in the other tests."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


def _run(estimator, check):
    with warnings.catch_warnings(), contextlib.ExitStack() as stack:
        # scikit-learn's own checks feed data that warn on purpose (column vectors, conversions)
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", ConvergenceWarning)
        if "sample_weight_equivalence" in str(check) and "tol" in estimator.get_params():
            # weighted rows and repeated rows share their minimum, but steps that adapt do not share their iterates: the
            # check compares predictions to 1e-7 of their size, and a gap of 1e-12 certifies about 1e-6
            estimator = clone(estimator).set_params(tol=1e-12)
            near = functools.partial(assert_allclose_dense_sparse, rtol=1e-5, atol=1e-6)
            stack.enter_context(mock.patch("sklearn.utils.estimator_checks.assert_allclose_dense_sparse", near))
        check(estimator)


@parametrize_with_checks([_instance(name) for name in QUICK], expected_failed_checks=_expected_failures)
def test_scikit_learn_checks(estimator, check):
    _run(estimator, check)


@pytest.mark.slow
@parametrize_with_checks([_instance(name) for name in SLOW], expected_failed_checks=_expected_failures)
def test_scikit_learn_checks_of_the_other_variants(estimator, check):
    _run(estimator, check)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_every_estimator_documents_itself(name):
    cls = get_estimator(name)
    assert cls.__doc__.strip()
    assert not cls.__doc__.startswith(f"{name}("), "a dataclass without a docstring"
