"""MultiTask against scikit-learn's own meta-estimators, closed forms, and the limits of each way."""

import pickle

import jaxtyping
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_linnerud
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_val_predict, cross_val_score
from sklearn.multioutput import ClassifierChain, MultiOutputRegressor, RegressorChain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from polytask.errors import ConfigError, TaskError
from polytask.tables import MultiTask
from polytask.tables.ways import WAYS

HOWS = list(WAYS)
FOLDS = KFold(4)


def table(rows=120, missing=0.0, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 4))
    Y = np.column_stack([X[:, 0] + X[:, 1], (X[:, 0] + X[:, 1]) ** 2, X[:, 2] - 3.0]) + 0.1 * rng.normal(size=(rows, 3))
    Y[rng.random(Y.shape) < missing] = np.nan
    return X, Y


def test_independent_models_are_those_of_scikit_learn():
    X, Y = table()
    mine = MultiTask(DecisionTreeRegressor(random_state=0)).fit(X, Y).predict(X)
    np.testing.assert_array_equal(
        mine, MultiOutputRegressor(DecisionTreeRegressor(random_state=0)).fit(X, Y).predict(X)
    )


@pytest.mark.parametrize("cv", [None, FOLDS])
@pytest.mark.parametrize("order", [None, [2, 0, 1]])
def test_a_chain_of_regressors_is_that_of_scikit_learn(cv, order):
    X, Y = table()
    mine = MultiTask(Ridge(0.1), "chain", cv=cv, order=order).fit(X, Y).predict(X)
    theirs = RegressorChain(Ridge(0.1), cv=cv, order=order).fit(X, Y).predict(X)
    np.testing.assert_allclose(mine, theirs, rtol=1e-9)


@pytest.mark.parametrize("cv", [None, FOLDS])
def test_a_chain_of_classifiers_is_that_of_scikit_learn(cv):
    X, Y = table()
    labels = np.greater(Y, np.median(Y, 0)).astype(int)
    mine = MultiTask(LogisticRegression(), "chain", cv=cv).fit(X, labels)
    theirs = ClassifierChain(LogisticRegression(), cv=cv, chain_method="predict_proba").fit(X, labels)
    chances = np.column_stack([mine.predict_proba(X)[task][:, 1] for task in range(3)])
    np.testing.assert_allclose(chances, theirs.predict_proba(X), rtol=1e-6)


def test_an_ensemble_is_the_mean_of_its_chains():
    X, Y = table(missing=0.2)
    ensemble = MultiTask(Ridge(0.1), "ensemble_chains", n_chains=5, cv=FOLDS, random_state=3).fit(X, Y)
    assert len({tuple(order) for order in ensemble.orders_}) > 1
    alone = [MultiTask(Ridge(0.1), "chain", order=order, cv=FOLDS).fit(X, Y).predict(X) for order in ensemble.orders_]
    np.testing.assert_allclose(ensemble.predict(X), np.mean(alone, axis=0), rtol=1e-12)


def test_stacking_by_hand():
    X, Y = table()
    first = np.column_stack([cross_val_predict(Ridge(), X, Y[:, k], cv=FOLDS) for k in range(3)])
    new = np.random.default_rng(9).normal(size=(7, 4))
    fed = np.column_stack([Ridge().fit(X, Y[:, k]).predict(new) for k in range(3)])
    expected = [Ridge().fit(np.hstack([X, first]), Y[:, k]).predict(np.hstack([new, fed])) for k in range(3)]
    mine = MultiTask(Ridge(), "stack", cv=FOLDS).fit(X, Y).predict(new)
    np.testing.assert_allclose(mine, np.column_stack(expected), rtol=1e-10)


def test_a_pool_by_hand():
    X, Y = table(missing=0.3)
    mean, spread = np.nanmean(Y, 0), np.nanstd(Y, 0)
    rows = [
        (x, np.eye(3)[k], (y - mean[k]) / spread[k])
        for k in range(3)
        for x, y in zip(X, Y[:, k], strict=True)
        if y == y
    ]
    long = np.array([np.hstack([x, e]) for x, e, _ in rows])
    model = Ridge(2.0).fit(long, [y for *_, y in rows])
    expected = [
        model.predict(np.hstack([X, np.tile(np.eye(3)[k], (len(X), 1))])) * spread[k] + mean[k] for k in range(3)
    ]
    np.testing.assert_allclose(
        MultiTask(Ridge(2.0), "pooled").fit(X, Y).predict(X), np.column_stack(expected), rtol=1e-9
    )


def test_a_joint_forest_is_that_of_scikit_learn_with_units_taken_out():
    X, Y = table()
    forest = RandomForestRegressor(5, max_depth=3, random_state=0)
    mean, spread = Y.mean(0), Y.std(0)
    expected = forest.fit(X, (Y - mean) / spread).predict(X) * spread + mean
    mine = MultiTask(clone(forest), "joint").fit(X, Y)
    # standard deviations differ in the last digit, which may turn a tie of two splits
    assert np.isclose(mine.predict(X), expected, rtol=1e-9).mean() > 0.95
    scaled = MultiTask(clone(forest), "joint").fit(X, Y * [1e3, 1.0, 1e-3])
    assert np.isclose(scaled.predict(X) / [1e3, 1.0, 1e-3], expected, rtol=1e-6).mean() > 0.95
    with pytest.raises(ConfigError, match="one weight for each row"):
        mine.fit(X, Y, sample_weight=np.random.default_rng(0).random(Y.shape))


def test_a_joint_model_of_classes_fills_what_is_missing():
    X, _ = table()
    labels = pd.DataFrame({"a": np.where(X[:, 0] > 0, "x", "y"), "b": np.digitize(X[:, 1], [-1, 1]).astype(str)})
    tree = DecisionTreeClassifier(max_depth=4, random_state=0)
    mine = MultiTask(tree, "joint").fit(X, labels).predict_proba(X)
    codes = np.column_stack([np.unique(labels[name], return_inverse=True)[1] for name in "ab"])
    for name, theirs in zip("ab", tree.fit(X, codes).predict_proba(X), strict=True):
        np.testing.assert_allclose(mine[name], theirs)
    alone = DecisionTreeClassifier(max_depth=4, random_state=0).fit(X[40:], labels["a"][40:]).predict(X[:40])
    filled, gone = labels.copy(), labels.copy()
    filled.loc[:39, "a"], gone.loc[:39, "a"] = alone, None
    np.testing.assert_array_equal(
        MultiTask(tree, "joint").fit(X, gone).predict(X), MultiTask(tree, "joint").fit(X, filled).predict(X)
    )


@pytest.mark.parametrize("how", ["independent", "pooled"])
def test_a_missing_label_is_a_row_left_out(how):
    X, Y = table(missing=0.3)
    full, one = MultiTask(Ridge(), how).fit(X, Y), Y[:, :1]
    rows = ~np.isnan(one[:, 0])
    if how == "pooled":
        full = MultiTask(Ridge(), how).fit(X, one)
    np.testing.assert_allclose(full.predict(X)[:, 0], MultiTask(Ridge(), how).fit(X[rows], one[rows]).predict(X)[:, 0])


@pytest.mark.parametrize("how", HOWS)
def test_one_target_is_the_learner_itself(how):
    X, Y = table()
    y = Y[:, 0]
    plain = LinearRegression().fit(X, y)
    mine = MultiTask(LinearRegression(), how, cv=FOLDS).fit(X, y)
    assert mine.predict(X).shape == y.shape
    if how != "stack":  # which fits on its own predictions too
        np.testing.assert_allclose(mine.predict(X), plain.predict(X), rtol=1e-9)
        assert mine.score(X, y) == pytest.approx(plain.score(X, y))


@pytest.mark.parametrize("how", HOWS)
def test_weight_zero_is_a_missing_label(how):
    X, Y = table()
    gone = np.random.default_rng(1).random(Y.shape) < 0.3
    by_weight = MultiTask(Ridge(), how, random_state=0).fit(X, Y, sample_weight=(~gone).astype(float))
    by_nan = MultiTask(Ridge(), how, random_state=0).fit(X, np.where(gone, np.nan, Y))
    np.testing.assert_allclose(by_weight.predict(X), by_nan.predict(X), rtol=1e-9)


@pytest.mark.parametrize("how", HOWS)
def test_weights_that_are_all_the_same_change_nothing(how):
    X, Y = table(missing=0.2)
    frame = pd.DataFrame(Y, columns=["a", "b", "c"])
    plain = MultiTask(Ridge(), how, random_state=0).fit(X, frame)
    weights = {name: np.full(len(Y), 7.0) for name in (frame if how == "joint" else "b")}
    weighted = MultiTask(Ridge(), how, random_state=0).fit(X, frame, sample_weight=weights)
    if how != "pooled":
        np.testing.assert_allclose(plain.predict(X), weighted.predict(X), rtol=1e-9)
    else:
        assert not np.allclose(plain.predict(X), weighted.predict(X)), "b counts seven times in the pool"


def test_weights_of_one_target_are_its_own():
    X, Y = table()
    weight = np.random.default_rng(0).random(len(Y)) + 0.1
    mine = MultiTask(Ridge()).fit(X, pd.DataFrame(Y), sample_weight={1: weight}).predict(X).to_numpy()
    np.testing.assert_allclose(mine[:, 1], Ridge().fit(X, Y[:, 1], sample_weight=weight).predict(X))
    np.testing.assert_allclose(mine[:, 0], Ridge().fit(X, Y[:, 0]).predict(X))


@pytest.mark.parametrize("how", ["chain", "stack"])
def test_no_label_reaches_its_own_row(how):
    """A learner that remembers its rows would pass labels on; with folds a label changes nothing but other rows."""
    rng = np.random.default_rng(0)
    X, noise = rng.normal(size=(200, 3)), rng.normal(size=200)
    Y = np.column_stack([noise, noise])  # the first target gives the second away, and nothing predicts either
    model = MultiTask(DecisionTreeRegressor(random_state=0), how, cv=5, random_state=0).fit(X, Y)
    assert model.score(rng.normal(size=(200, 3)), rng.normal(size=(200, 2))) < 0.0
    in_sample = MultiTask(DecisionTreeRegressor(random_state=0, max_depth=3), "chain", cv=None).fit(X, Y)
    last = in_sample.fitted_.chains[0][1].estimator
    assert last.feature_importances_[3] > 0.99, "labels in place of predictions: the chain trusts them"
    honest = MultiTask(DecisionTreeRegressor(random_state=0, max_depth=3), "chain", cv=5, random_state=0).fit(X, Y)
    assert honest.fitted_.chains[0][1].estimator.feature_importances_[3] < 0.8


@pytest.mark.parametrize("how", HOWS)
def test_numbers_beside_classes_in_a_frame(how):
    X, Y = table(missing=0.1)
    frame = pd.DataFrame({"size": Y[:, 0], "colour": np.where(X[:, 1] > 0, "red", "blue"), "late": Y[:, 2] > -3})
    frame["colour"] = frame["colour"].where(~np.isnan(Y[:, 1]), None)
    frame["kind"] = pd.Categorical(np.digitize(np.nan_to_num(Y[:, 0]), [-1, 1]).astype(str))
    classifier = DecisionTreeClassifier(max_depth=3, random_state=0) if how == "joint" else LogisticRegression()
    model = MultiTask(Ridge(), how, classifier=classifier, random_state=0).fit(X, frame)
    found = model.predict(X)
    assert list(found) == ["size", "colour", "late", "kind"]
    assert set(found["colour"]) == {"blue", "red"}
    assert found["late"].dtype == bool
    known = frame["colour"].notna()
    assert (found["colour"][known] == frame["colour"][known]).mean() > 0.7
    assert model.score(X, frame) > 0.7
    chances = model.predict_proba(X)
    assert set(chances) == {"colour", "late", "kind"}
    for name, values in chances.items():
        assert values.shape == (len(X), len(model.classes_[name]))
        np.testing.assert_allclose(values.sum(1), 1.0, rtol=1e-9)
    np.testing.assert_array_equal(model.classes_["kind"][chances["kind"].argmax(1)], found["kind"])


def test_nullable_columns_are_those_with_nan():
    X, Y = table(missing=0.2)
    size, late = pd.array(Y[:, 0], dtype="Float64"), np.where(np.isnan(Y[:, 2]), None, Y[:, 2] > -3)
    plain = pd.DataFrame({"size": Y[:, 0], "late": pd.Series(late, dtype=object)})
    learners = {"estimator": Ridge(), "how": "chain", "classifier": LogisticRegression(), "random_state": 0}
    expected = MultiTask(**learners).fit(X, plain)
    found = MultiTask(**learners).fit(X, plain.assign(size=size, late=pd.array(late, dtype="boolean")))
    pd.testing.assert_frame_equal(found.predict(X), expected.predict(X))
    assert found.predict(X)["late"].dtype == bool


def test_a_column_may_be_called_like_a_prediction():
    X, Y = table()
    frame = pd.DataFrame(X, columns=["p", "q", "predicted a", "predicted a'"])
    found = MultiTask(Ridge(), "chain", cv=FOLDS).fit(frame, pd.DataFrame(Y, columns=list("abc"))).predict(frame)
    np.testing.assert_allclose(found, MultiTask(Ridge(), "chain", cv=FOLDS).fit(X, Y).predict(X))


def test_a_learner_of_one_target_cannot_be_joint():
    with pytest.raises(ConfigError, match="takes one target"):
        MultiTask(HistGradientBoostingRegressor(max_iter=2), "joint").fit(*table())


def test_classes_by_number_are_named():
    X, Y = table()
    levels = np.digitize(Y[:, 0], [-1, 1]).astype(float)
    both = np.column_stack([Y[:, 0], levels])
    model = MultiTask(Ridge(), classifier=LogisticRegression(), classes=[1]).fit(X, both)
    assert set(model.predict(X)[:, 1]) <= {0.0, 1.0, 2.0}
    assert set(MultiTask(Ridge(), classifier=LogisticRegression()).fit(X, both).predict(X)[:, 1]) - {0.0, 1.0, 2.0}


@pytest.mark.parametrize("how", HOWS)
def test_inputs_as_they_are(how):
    """Data frames with categories reach the learner, sparse matrices stay sparse."""
    X, Y = table(missing=0.1)
    frame = pd.DataFrame(X, columns=list("pqrs")).assign(group=pd.Categorical(np.where(X[:, 3] > 0, "u", "v")))
    frame.index = frame.index + 1000
    learner = HistGradientBoostingRegressor(max_iter=3, categorical_features="from_dtype")
    if how == "joint":
        learner = make_pipeline(
            OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
            RandomForestRegressor(2, random_state=0),
        )
    found = MultiTask(learner, how, random_state=0).fit(frame, pd.DataFrame(Y, columns=list("abc"))).predict(frame)
    assert found.index.equals(frame.index)
    dense = MultiTask(Ridge(solver="sparse_cg", tol=1e-10), how, random_state=0).fit(X, Y).predict(X)
    thin = MultiTask(Ridge(solver="sparse_cg", tol=1e-10), how, random_state=0).fit(sparse.csr_matrix(X), Y)
    np.testing.assert_allclose(thin.predict(sparse.csr_matrix(X)), dense, rtol=1e-4, atol=1e-5)


def test_copies_pickles_and_second_fits():
    X, Y = table(missing=0.2)
    model = MultiTask(Ridge(), "ensemble_chains", n_chains=3, random_state=0).fit(X, Y)
    before = model.predict(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), before)
    np.testing.assert_array_equal(clone(model).fit(X, Y).predict(X), before)
    labels = (np.nan_to_num(Y) > 0).astype(str)
    model.set_params(estimator=LogisticRegression()).fit(X, labels)
    model.set_params(estimator=Ridge(), how="independent").fit(X, Y)
    assert not hasattr(model, "classes_"), "left from an earlier fit"
    assert not hasattr(model, "orders_"), "left from an earlier fit"


def test_in_a_pipeline_and_a_search():
    X, Y = table(missing=0.2)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), MultiTask(Ridge(), random_state=0)),
        {"multitask__how": ["independent", "chain", "pooled"], "multitask__estimator__alpha": [0.1, 10.0]},
        cv=3,
    ).fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_score_ > 0.5
    data = load_linnerud()
    assert np.isfinite(cross_val_score(MultiTask(Ridge(), "stack"), data.data, data.target, cv=4)).all()


def test_groups_stay_together():
    X, Y = table()
    groups = np.arange(len(X)) // 10
    model = MultiTask(Ridge(), "stack", cv=GroupKFold(3)).fit(X, Y, groups=groups)
    first = np.column_stack([cross_val_predict(Ridge(), X, Y[:, k], cv=GroupKFold(3), groups=groups) for k in range(3)])
    again = Ridge().fit(np.hstack([X, first]), Y[:, 0])
    np.testing.assert_allclose(model.fitted_.second[0].estimator.coef_, again.coef_, rtol=1e-8)


def test_a_target_whose_labels_lie_in_one_fold():
    X, Y = table()
    Y[30:, 1] = np.nan
    found = MultiTask(Ridge(), "chain", cv=FOLDS, order=[1, 0, 2]).fit(X, Y).predict(X)
    assert np.isfinite(found).all()
    Y[1:, 1] = np.nan
    with pytest.raises(TaskError, match="one label only"):
        MultiTask(Ridge(), "chain", cv=FOLDS, order=[1, 0, 2]).fit(X, Y)
    assert np.isfinite(MultiTask(Ridge(), "chain", cv=None, order=[1, 0, 2]).fit(X, Y).predict(X)).all()


def test_a_class_that_a_fold_lacks():
    X, Y = table()
    rare = np.where(np.arange(len(X)) < 3, "rare", np.where(Y[:, 0] > 0, "up", "down"))
    model = MultiTask(DecisionTreeClassifier(random_state=0), "stack", cv=FOLDS)
    frame = pd.DataFrame({"rare": rare, "constant": "same"})
    found = model.fit(X, frame).predict(X)
    assert (found["constant"] == "same").all()
    assert set(found["rare"]) == {"rare", "up", "down"}


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"y": np.full((120, 2), np.nan)}, TaskError, "target 0 has no label"),
        ({"y": np.full(120, np.inf)}, TaskError, "infinity"),
        ({"y": np.zeros((120, 0))}, TaskError, r"T ≥ 1"),
        ({"y": np.zeros(3)}, TaskError, "120 and 3"),
        ({"y": np.array(["x"] * 120)}, TaskError, "'x', which is no number"),
        ({"how": "chian"}, ValueError, "how"),
        ({"how": "chain", "order": [0, 1]}, TaskError, "3 targets once"),
        ({"how": "chain", "order": [0, 1, 7]}, TaskError, "7"),
        ({"how": "ensemble_chains", "order": [0, 1, 2]}, ConfigError, "random orders"),
        ({"how": "stack", "cv": None}, ConfigError, "cv=5"),
        ({"estimator": LogisticRegression(), "classifier": LogisticRegression()}, ConfigError, "already"),
        ({"sample_weight": np.ones(3)}, TaskError, "120 weights"),
        ({"sample_weight": -np.ones(120)}, TaskError, "not negative"),
        ({"sample_weight": {"a": np.ones(120)}}, TaskError, "'a'"),
        ({"classes": [1]}, TaskError, "no classifier"),
        ({"classes": ["b"], "classifier": LogisticRegression()}, TaskError, "'b'"),
        ({"how": "stack", "cv": [(np.arange(60), np.arange(60, 120))]}, ConfigError, "once, found 60"),
    ],
)
def test_what_cannot_be_is_refused(change, error, match):
    X, Y = table()
    change = dict(change)
    y, weight = change.pop("y", Y), change.pop("sample_weight", None)
    with pytest.raises(error, match=match):
        MultiTask(**{"estimator": Ridge(), **change}).fit(X, y, sample_weight=weight)


def test_the_default_learner_knows_numbers_and_words():
    data = load_diabetes(as_frame=True)
    y = pd.DataFrame({"progression": data.target, "high": np.where(data.target > 150, "yes", "no")})
    model = MultiTask(how="stack", random_state=0).fit(data.data[:300], y[:300])
    assert model.score(data.data[300:], y[300:]) > 0.45


def test_a_hundred_targets_and_one_row():
    X, Y = table()
    many = np.tile(Y, (1, 34))
    assert MultiTask(Ridge(), "stack", cv=2).fit(X, many).predict(X[:1]).shape == (1, 102)
    assert (
        MultiTask(RandomForestRegressor(2), "chain", cv=None).fit(X[:1], Y[:1]).predict(X[:1]).tolist()
        == Y[:1].tolist()
    )


@pytest.fixture
def _no_shape_checks():
    """scikit-learn's checks give options of wrong types on purpose; types are checked in the other tests."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


def _expected(one):
    """Check: reason."""
    found = {"check_classifier_multioutput": "several targets have their probabilities by name, not by position"}
    if one.how == "stack" and isinstance(one.estimator, Ridge):
        found["check_sample_weight_equivalence_on_sparse_data"] = "a row that is repeated lies in two folds"
    return found


@parametrize_with_checks(
    [MultiTask(Ridge(), how, cv=2, n_chains=2, random_state=0) for how in HOWS]
    + [
        MultiTask(
            LogisticRegression() if how != "joint" else DecisionTreeClassifier(random_state=0),
            how,
            cv=2,
            n_chains=2,
            random_state=0,
        )
        for how in HOWS
    ],
    expected_failed_checks=_expected,
)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("_no_shape_checks")
def test_scikit_learn_checks(estimator, check):
    check(estimator)
