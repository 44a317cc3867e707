"""Chains of tasks and label powersets against scikit-learn, with and without missing labels."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.multioutput import ClassifierChain, RegressorChain
from sklearn.neighbors import KNeighborsRegressor

from polytask.errors import TaskError
from polytask.linear import LabelPowerset, LabelPowersetCV, TaskChainClassifier, TaskChainRegressor  # type: ignore[attr-defined]


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 4))
    Y = X @ rng.normal(size=(4, 3))
    Y[:, 2] = Y[:, 0] * Y[:, 1] + Y[:, 0]
    return X, Y + 0.3 * rng.normal(size=Y.shape)


@pytest.mark.parametrize("order", [None, [2, 0, 1]])
@pytest.mark.parametrize("cv", [None, KFold(3)])
def test_with_all_labels_a_chain_is_scikit_learns(data, order, cv):
    X, Y = data
    base = KNeighborsRegressor(7)  # not linear: with linear links the order would not matter
    ours = TaskChainRegressor(base, order=order, cv=cv).fit(X, Y)
    peer = RegressorChain(base, order=order, cv=cv).fit(X, Y)
    assert ours.predict(X) == pytest.approx(peer.predict(X))
    B = (np.median(Y, axis=0) < Y).astype(int)
    ours = TaskChainClassifier(order=order, cv=cv).fit(X, B)
    peer = ClassifierChain(LogisticRegression(max_iter=1000), order=order, cv=cv).fit(X, B)
    assert ours.predict_proba(X) == pytest.approx(peer.predict_proba(X))
    assert np.array_equal(ours.predict(X), peer.predict(X))


def test_missing_labels_leave_rows_out_of_their_link_and_are_predicted_for_the_next(data):
    X, Y = data
    Y[:60, 0] = np.nan
    Y[100:, 1] = np.nan
    model = TaskChainRegressor(LinearRegression(), order=[0, 2, 1]).fit(X, Y)
    first = LinearRegression().fit(X[60:], Y[60:, 0])
    fed = np.where(np.isnan(Y[:, 0]), first.predict(X), Y[:, 0])
    second = LinearRegression().fit(np.column_stack([X, fed]), Y[:, 2])
    last = LinearRegression().fit(np.column_stack([X, fed, Y[:, 2]])[:100], Y[:100, 1])
    p0 = first.predict(X)
    p2 = second.predict(np.column_stack([X, p0]))
    p1 = last.predict(np.column_stack([X, p0, p2]))
    assert model.predict(X) == pytest.approx(np.column_stack([p0, p1, p2]))
    assert 0.4 < model.score(X, Y) <= 1


def test_several_chains_average_random_orders(data):
    X, Y = data
    model = TaskChainRegressor(KNeighborsRegressor(5), n_chains=4, random_state=3).fit(X, Y)
    assert len({tuple(order) for order in model.orders_.tolist()}) > 1
    chains = [TaskChainRegressor(KNeighborsRegressor(5), order=order).fit(X, Y) for order in model.orders_]
    assert model.predict(X) == pytest.approx(np.mean([chain.predict(X) for chain in chains], axis=0))
    again = clone(model).fit(X, Y)
    assert np.array_equal(again.orders_, model.orders_)
    B = (Y > 0).astype(float)
    B[::3, 1] = np.nan
    chance = TaskChainClassifier(n_chains=3, random_state=0).fit(X, B).predict_proba(X)
    assert chance.shape == (150, 3)
    assert np.all((chance >= 0) & (chance <= 1))


def test_tasks_of_one_class_and_named_tasks(data):
    X, Y = data
    frame = pd.DataFrame({"sick": np.ones(150), "old": (Y[:, 0] > 0).astype(float)})
    frame.loc[:20, "sick"] = np.nan
    model = TaskChainClassifier(order=["old", "sick"]).fit(X, frame)
    assert model.tasks_.tolist() == ["sick", "old"]
    assert np.all(model.predict(X)[:, 0] == 1)
    assert np.all(model.predict_proba(X)[:, 0] == 1)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    with pytest.raises(TaskError, match="unknown task 'ol'; did you mean 'old'"):
        clone(model).set_params(order=["ol", "sick"]).fit(X, frame)
    with pytest.raises(TaskError, match="missing or repeated"):
        clone(model).set_params(order=["old", "old"]).fit(X, frame)
    with pytest.raises(TaskError, match="random orders"):
        clone(model).set_params(n_chains=2).fit(X, frame)
    with pytest.raises(TaskError, match=r"no observed target.*sick"):
        clone(model).fit(X, frame.assign(sick=np.nan))
    with pytest.raises(ValueError, match="multiclass"):
        clone(model).fit(X, frame.assign(old=np.arange(150) % 3))


@pytest.mark.parametrize("pair", [(1, 2), (-1.0, 1.0), (0.5, 2.5)])
@pytest.mark.parametrize("make", [TaskChainClassifier, LabelPowerset])
def test_the_classes_may_be_any_two_numbers(data, make, pair):
    X, Y = data
    B = (Y[:, :2] > 0).astype(float)
    B[::7, 1] = np.nan
    coded = np.where(np.isnan(B), np.nan, np.where(B == 1, pair[1], pair[0]))
    model, plain = make().fit(X, coded), make().fit(X, B)
    assert model.classes_.tolist() == [list(pair)] * 2
    assert np.array_equal(model.predict(X), np.array(pair)[plain.predict(X)])
    assert np.array_equal(model.predict_proba(X), plain.predict_proba(X))
    assert model.score(X, coded) == plain.score(X, B)


def test_links_can_be_tuned_by_a_grid_search(data):
    X, Y = data
    Y[::4, 0] = np.nan
    search = GridSearchCV(TaskChainRegressor(Ridge()), {"estimator__alpha": [1e-3, 1e6]}, cv=3).fit(X, Y)
    assert search.best_params_ == {"estimator__alpha": 1e-3}
    assert search.predict(X).shape == (150, 3)


def test_the_powerset_chooses_its_classifiers_parameters(data):
    X, Y = data
    B = (Y[:, :2] > 0).astype(int)
    model = LabelPowersetCV(param_grid={"C": [1e-6, 1.0]}, cv=3).fit(X, B)
    codes = 2 * B[:, 0] + B[:, 1]
    folds = KFold(3, shuffle=True, random_state=0)
    peer = GridSearchCV(LogisticRegression(max_iter=1000), {"C": [1e-6, 1.0]}, cv=folds).fit(X, codes)
    assert model.estimator_.best_params_ == peer.best_params_
    assert np.array_equal(2 * model.predict(X)[:, 0] + model.predict(X)[:, 1], peer.predict(X))
