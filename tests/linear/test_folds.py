"""Choosing α: folds that judge little or nothing, tasks that are left out, folds that cannot be."""

import numpy as np
import pytest
from sklearn.model_selection import PredefinedSplit

from polytask.errors import DataError, NonFiniteError, TaskError
from polytask.linear import LeaveOneTaskOut, TaskStratifiedKFold, get_estimator, plot_selection
from polytask.linear.alpha import fold_means

GRID = [3.0, 0.3, 0.03]


def _wide(n=60, T=3, d=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, X @ rng.normal(size=(d, T)) + 0.1 * rng.normal(size=(n, T))


def _long(n=80, T=4, seed=0):
    rng = np.random.default_rng(seed)
    X, task = rng.normal(size=(n, 3)), np.arange(n) % T
    slopes = np.array([1.0, -1.0, 0.5]) + 0.3 * rng.normal(size=(T, 3))
    return X, (X * slopes[task]).sum(axis=1) + 0.1 * rng.normal(size=n), task


@pytest.mark.parametrize("name", ["JointFeatureRegressorCV", "TaskGroupsRegressorCV", "CalibratedRegressorCV"])
def test_a_fold_without_labels_does_not_decide(name):
    X, Y = _wide()
    Y[:12] = np.nan
    fold = np.repeat(np.arange(5), 12)
    model = get_estimator(name)(alphas=GRID, cv=PredefinedSplit(fold)).fit(X, Y)
    assert np.isnan(model.loss_path_).tolist() == [[True, *[False] * 4]] * 3
    judging = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(1, 5)]
    without = get_estimator(name)(alphas=GRID, cv=judging).fit(X, Y)
    assert model.alpha_ == without.alpha_ < GRID[0]
    assert np.any(model.coef_ != 0)
    assert model.loss_path_[:, 1:] == pytest.approx(without.loss_path_)
    title = plot_selection(model).get_title()
    assert f"{model.alpha_:.3g}" in title


def test_training_rows_without_any_label_do_not_decide():
    X, Y = _wide()
    Y[30:] = np.nan
    folds = [(np.arange(30, 60), np.arange(30)), (np.arange(20), np.arange(20, 30))]
    model = get_estimator("JointFeatureRegressorCV")(alphas=GRID, cv=folds).fit(X, Y)
    assert np.isnan(model.loss_path_[:, 0]).all()
    assert model.alpha_ == GRID[int(np.argmin(model.loss_path_[:, 1]))]


@pytest.mark.parametrize("scale_y", [False, True])
def test_tasks_left_out_are_judged_by_the_mean_task(scale_y):
    X, y, task = _long()
    y = y * np.array([1.0, 10.0, 0.1, 1.0])[task]
    options = {"scale_y": scale_y, "tol": 1e-8, "ridge": 1e-3}
    model = get_estimator("MeanRegularizedRegressorCV")(alphas=GRID, cv=LeaveOneTaskOut(), **options).fit(X, y, task)
    assert np.isfinite(model.loss_path_).all()
    spread = model.target_scale_ if scale_y else np.ones(4)
    for a, alpha in enumerate(GRID):
        for k in range(4):
            train = task != k
            # targets in the scale that the whole table gave them: the scale is no part of a fold
            single = get_estimator("MeanRegularizedRegressor")(alpha=alpha, tol=1e-8)
            single.fit(X[train], (y / spread[task])[train], task[train])
            mean = (single.coef_ * spread[np.arange(4) != k][:, None]).mean(axis=0)
            level = (single.intercept_ * spread[np.arange(4) != k]).mean()
            errors = (X[~train] @ mean + level - y[~train]) / spread[k]
            assert model.loss_path_[a, k] == pytest.approx(0.5 * np.mean(errors**2), rel=1e-3)


def test_a_model_without_a_mean_task_cannot_leave_tasks_out():
    X, y, task = _long()
    with pytest.raises(
        DataError, match=r"none of the 4 folds.*JointFeatureRegressorCV has no mean task.*TaskStratified"
    ):
        get_estimator("JointFeatureRegressorCV")(alphas=GRID, cv=LeaveOneTaskOut()).fit(X, y, task)
    with pytest.raises(TaskError, match="every row serves all tasks"):
        get_estimator("JointFeatureRegressorCV")(alphas=GRID, cv=LeaveOneTaskOut()).fit(*_wide())


@pytest.mark.parametrize("name", ["JointFeatureRegressorCV", "MeanRegularizedRegressorCV"])
def test_a_task_that_one_fold_lacks_is_left_out_of_it_or_judged_by_the_mean(name):
    X, y, task = _long()
    train, test = np.flatnonzero(task != 3), np.arange(0, 80, 3)
    train = np.setdiff1d(train, test)
    both = get_estimator(name)(alphas=GRID, cv=[(train, test)]).fit(X, y, task)
    known = get_estimator(name)(alphas=GRID, cv=[(train, test[task[test] != 3])]).fit(X, y, task)
    assert np.isfinite(both.loss_path_).all()
    same = both.loss_path_ == pytest.approx(known.loss_path_)
    assert same == (name == "JointFeatureRegressorCV")


@pytest.mark.parametrize("cv", [7, TaskStratifiedKFold(7)])
def test_more_folds_than_rows_are_refused(cv):
    X, y, task = _long(n=6, T=2)
    with pytest.raises(DataError, match=r"7 folds.*n_samples=6"):
        get_estimator("JointFeatureRegressorCV")(alphas=GRID, cv=cv).fit(X, y, task)


def test_empty_folds_are_refused_and_masks_are_folds():
    X, y, task = _long()
    everything = np.arange(80)
    for fold in ((everything, everything[:0]), (everything[:0], everything)):
        with pytest.raises(DataError, match="every fold needs both"):
            get_estimator("JointFeatureRegressorCV")(alphas=GRID, cv=[fold]).fit(X, y, task)
    mask = everything % 3 == 0
    model = get_estimator("JointFeatureRegressorCV")
    by_mask = model(alphas=GRID, cv=[(~mask, mask)]).fit(X, y, task)
    by_number = model(alphas=GRID, cv=[(np.flatnonzero(~mask), np.flatnonzero(mask))]).fit(X, y, task)
    assert np.array_equal(by_mask.loss_path_, by_number.loss_path_)


def test_means_over_folds_skip_the_silent_and_fear_the_overflown():
    mean, error = fold_means(np.array([[1.0, np.nan, 2.0, 6.0], [1.0, np.nan, np.nan, 6.0], [1.0, np.nan, 1.0, 1.0]]))
    assert mean.tolist() == [3.0, np.inf, 1.0]
    assert error == pytest.approx([np.std([1, 2, 6], ddof=1) / np.sqrt(3), 0, 0])


def test_losses_that_all_overflow_choose_nothing():
    X, y, task = _long()
    counts, test = np.round(np.abs(y)), task == 0
    X[test] *= 1e200
    fold = [(np.flatnonzero(np.arange(80) % 2 == 1), np.flatnonzero(np.arange(80) % 2 == 0))]
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="overflow"):
        get_estimator("JointFeatureRegressorCV")(alphas=[1e-3], cv=fold).fit(
            np.where(test[:, None], X, X), np.where(test, 1e200, counts), task * 0
        )
