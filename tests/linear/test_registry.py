"""The list of estimators: names, classes, and those of other packages."""

import numpy as np
import pytest

from polytask.errors import ConfigError
from polytask.linear import ESTIMATORS, FAMILIES, TaskLassoRegressor, get_estimator  # type: ignore[attr-defined]
from polytask.registry import Registry


def test_a_name_gives_its_class():
    assert ESTIMATORS["TaskLassoRegressor"] is TaskLassoRegressor is get_estimator("TaskLassoRegressor")
    assert set(ESTIMATORS.own) == {name for names in FAMILIES.values() for name in names}
    for name in ESTIMATORS.own:
        assert ESTIMATORS[name].__name__ == name


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(ConfigError, match="unknown estimator 'TaskLasoRegressor'; did you mean 'TaskLassoRegressor'"):
        get_estimator("TaskLasoRegressor")


def test_a_program_adds_an_estimator_and_what_is_none_is_refused():
    class Mine(TaskLassoRegressor):
        """A lasso of mine."""

    ESTIMATORS["Mine"] = Mine
    try:
        assert get_estimator("Mine") is Mine
        with pytest.raises(ConfigError, match="already"):
            ESTIMATORS["Mine"] = Mine
    finally:
        del ESTIMATORS["Mine"]
    with pytest.raises(ConfigError, match="'Other' is not an estimator: expected a class with"):
        ESTIMATORS["Other"] = np.ones


def test_a_package_adds_an_estimator(monkeypatch, tmp_path):
    info = tmp_path / "more_lassos-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: more-lassos\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[polytask.estimators]\nPlainLasso = sklearn.linear_model:Lasso\n")
    monkeypatch.syspath_prepend(tmp_path)
    package = "polytask.linear.families"
    fresh = Registry("estimator", ESTIMATORS.own, package=package, group=ESTIMATORS.group, fits=ESTIMATORS.fits)
    assert fresh["PlainLasso"].__module__.startswith("sklearn")
    assert set(fresh) == {*ESTIMATORS.own, "PlainLasso"}
