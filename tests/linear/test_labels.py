"""Task labels and classes as people write them: missing ones, words, dates, numbers as names, weights of zero."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import mean_squared_error, roc_auc_score
from sklearn.model_selection import cross_val_predict, cross_val_score

from polytask.errors import DataError, TaskError
from polytask.linear import (
    ESTIMATORS,
    LeaveOneTaskOut,
    TaskStratifiedKFold,
    get_estimator,
    make_task_scorer,
    task_scores,
    to_long,
)

rng = np.random.default_rng(0)
X = rng.normal(size=(20, 3))
y = X[:, 0] + 0.1 * rng.normal(size=20)
PAIR = ["a", "b"] * 10
MISSING = {
    "object with NA": pd.Series([*PAIR[:-1], pd.NA], dtype=object),
    "object with None": pd.Series([*PAIR[:-1], None], dtype=object),
    "list with None": [*PAIR[:-1], None],
    "list with NaN": [*PAIR[:-1], float("nan")],
    "string": pd.Series([*PAIR[:-1], pd.NA], dtype="string"),
    "Int64": pd.Series([1, 2] * 9 + [1, pd.NA], dtype="Int64"),
    "category": pd.Series([*PAIR[:-1], None], dtype="category"),
    "dates": pd.Series(pd.to_datetime(["2020-01-01", "2021-01-01"] * 9 + ["2020-01-01", None])),
    "float": np.array([1.0, 2.0] * 9 + [1.0, np.nan]),
}


@pytest.mark.parametrize("kind", MISSING)
def test_missing_task_labels_are_named_by_their_row(kind):
    task = MISSING[kind]
    with pytest.raises(TaskError, match=r"in row 19 and 1 rows in all; every row needs a task"):
        get_estimator("JointFeatureRegressor")().fit(X, y, task=task)
    frame = pd.DataFrame(X, columns=list("xyz")).assign(task=pd.Series(task))
    with pytest.raises(TaskError, match="every row needs a task"):
        get_estimator("JointFeatureRegressor")(task_col="task").fit(frame, y)
    for splitter in (TaskStratifiedKFold(2), LeaveOneTaskOut()):
        with pytest.raises(TaskError, match="every row needs a task"):
            list(splitter.split(X, task=task))
    with pytest.raises(TaskError, match="every row needs a task"):
        task_scores(lambda y, p, w: 0.0, y, y, task)


@pytest.mark.parametrize(
    ("task", "names"),
    [
        (pd.Series([1, 2] * 10, dtype="Int64"), [1, 2]),
        (pd.Series(PAIR, dtype="category"), ["a", "b"]),
        (pd.Series(PAIR, dtype="string"), ["a", "b"]),
        (np.array([1, 2] * 10, dtype=object), [1, 2]),
        (PAIR, ["a", "b"]),
        ([True, False] * 10, [False, True]),
    ],
)
def test_labels_of_every_type_are_tasks(task, names):
    model = get_estimator("JointFeatureRegressor")().fit(X, y, task=task)
    assert model.tasks_.tolist() == names
    assert np.array_equal(model.predict(X, task=task), model.predict(X, task=list(task)))


def test_labels_that_cannot_be_sorted_are_refused():
    with pytest.raises(TaskError, match="found int and str"):
        get_estimator("JointFeatureRegressor")().fit(X, y, task=["a", 1] * 10)
    with pytest.raises(TaskError, match="numbers, text or dates, found tuple"):
        get_estimator("JointFeatureRegressor")().fit({("a", 1): (X, y), ("b", 2): (X, y)})


def test_a_column_may_be_called_by_a_number():
    frame = pd.DataFrame(X, columns=[10, 11, 12]).assign(t=PAIR).rename(columns={"t": 2019})
    frame.columns = pd.Index([10, 11, 12, 2019], dtype=object)
    for column in (2019, -1, 3):
        model = get_estimator("JointFeatureRegressor")(task_col=column).fit(frame, y)
        assert model.tasks_.tolist() == ["a", "b"]
        folds = TaskStratifiedKFold(2, task_col=column)
        assert len(cross_val_score(model, frame, y, cv=folds, scoring=make_task_scorer(mean_squared_error))) == 2
    for wrong in (2020, -9):
        with pytest.raises(TaskError, match=rf"task_col={wrong} is not a column of X; columns: 10, 11, 12, 2019"):
            get_estimator("JointFeatureRegressor")(task_col=wrong).fit(frame, y)
    twice = pd.DataFrame(np.column_stack([X, X[:, 0]]), columns=[7, 8, 9, 9])
    with pytest.raises(TaskError, match="names 2 columns"):
        get_estimator("JointFeatureRegressor")(task_col=9).fit(twice, y)
    with pytest.raises(TaskError, match="does not fit X"):
        get_estimator("JointFeatureRegressor")(task_col=9).fit(sparse.csr_array(X), y)


def test_tasks_without_rows_or_weight_are_named():
    with pytest.raises(DataError, match="task 'b' has no rows"):
        get_estimator("JointFeatureRegressor")().fit({"a": (X, y), "b": (X[:0], y[:0])})
    with pytest.raises(DataError, match=r"task 'b': expected X \(n, d\) and y \(n,\), found shapes"):
        get_estimator("JointFeatureRegressor")().fit({"a": (X, y), "b": (X, y[:-1])})
    with pytest.raises(DataError, match="same number of columns"):
        get_estimator("JointFeatureRegressor")().fit({"a": (X, y), "b": (X[:, :2], y)})
    frame = pd.DataFrame(X, columns=list("abc"))
    with pytest.raises(DataError, match="columns differ"):
        get_estimator("JointFeatureRegressor")().fit({"a": (frame, y), "b": (frame[["c", "b", "a"]], y)})
    weight = (np.array(PAIR) == "a").astype(float)
    with pytest.raises(TaskError, match=r"no target with positive sample_weight in task\(s\) b"):
        get_estimator("JointFeatureRegressor")().fit(X, y, task=PAIR, sample_weight=weight)
    Y = np.column_stack([y, np.where(weight > 0, np.nan, y)])
    with pytest.raises(TaskError, match=r"positive sample_weight in task\(s\) 1"):
        get_estimator("JointFeatureRegressor")().fit(X, Y, sample_weight=weight)


def test_a_dict_of_sparse_inputs_is_predicted():
    data = {1: (sparse.csr_array(X), y), 2: (sparse.csr_array(X), -y)}
    model = get_estimator("JointFeatureRegressor")(alpha=0.01).fit(data)
    dense = get_estimator("JointFeatureRegressor")(alpha=0.01).fit({1: (X, y), 2: (X, -y)})
    assert model.predict({2: sparse.csr_array(X)})[2] == pytest.approx(dense.predict({2: X})[2], abs=1e-4)


def test_missing_targets_need_a_scorer_that_leaves_them_out():
    Y = np.column_stack([y, -y, X[:, 1]])
    Y[::4, 0] = np.nan
    scorer = make_task_scorer(mean_squared_error, greater_is_better=False)
    scores = cross_val_score(get_estimator("JointFeatureRegressor")(alpha=0.01), X, Y, cv=3, scoring=scorer)
    assert np.all((scores < 0) & (scores > -1))


WIDE = [name for name in ESTIMATORS if name.endswith("Classifier") or name == "LabelPowerset"]
WIDE = [name for name in WIDE if not name.startswith(("IncompleteSources", "TensorTasks"))]
QUICK = ["JointFeatureClassifier", "TaskGroupsClassifier", "TaskChainClassifier", "LabelPowerset"]


@pytest.mark.parametrize("name", [*QUICK, *[pytest.param(n, marks=pytest.mark.slow) for n in WIDE if n not in QUICK]])
def test_wide_classifiers_in_cross_validation_and_with_words(name):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 4))
    Y = (X[:, :3] + 0.5 * rng.normal(size=(90, 3)) > 0).astype(int)
    model = get_estimator(name)()
    shares = cross_val_predict(model, X, Y, cv=3, method="predict_proba")
    assert shares.shape == Y.shape
    auc = cross_val_score(model, X, Y, cv=3, scoring="roc_auc")
    assert auc.min() > 0.7
    assert roc_auc_score(Y, shares) == pytest.approx(auc.mean(), abs=0.06)
    numbers = model.fit(X, Y).predict(X)
    words = np.where(Y == 1, "yes", "no")
    for labels in (words, pd.DataFrame(words, columns=list("abc")), pd.DataFrame(words, dtype="string")):
        by_word = get_estimator(name)().fit(X, labels)
        assert np.array_equal(by_word.predict(X) == "yes", numbers == 1)
        assert by_word.predict_proba(X) == pytest.approx(model.predict_proba(X))
        assert np.ravel(by_word.classes_)[:2].tolist() == ["no", "yes"]
        hits = numbers == Y
        right = hits.all(axis=1) if name == "LabelPowerset" else hits
        assert by_word.score(X, labels) == pytest.approx(right.mean())


@pytest.mark.parametrize("gap", [None, np.nan, pd.NA])
@pytest.mark.parametrize("name", QUICK)
def test_words_may_be_missing(name, gap):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 4))
    Y = (X[:, :2] > 0).astype(float)
    hidden = rng.random(Y.shape) < 0.2
    words = np.where(Y == 1, "yes", "no").astype(object)
    words[hidden] = gap
    numbers = np.where(hidden, np.nan, Y)
    by_word = get_estimator(name)().fit(X, pd.DataFrame(words))
    model = get_estimator(name)().fit(X, numbers)
    assert np.array_equal(by_word.predict(X) == "yes", model.predict(X) == 1)
    assert by_word.score(X, words) == pytest.approx(model.score(X, numbers))
    inputs, known, task = to_long(X, pd.DataFrame(words, columns=["p", "q"]))
    assert len(known) == (~hidden).sum()
    assert get_estimator("JointFeatureClassifier")().fit(inputs, known, task=task).tasks_.tolist() == ["p", "q"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([["yes", "no"], ["no", "maybe"]] * 10, "multiclass"),
        (np.array([["yes", 1], [1, "yes"]] * 10, dtype=object), "words in some rows and numbers in others"),
        ([["yes", "yes"]] * 20, "only one class"),
    ],
)
def test_classes_that_are_not_two_are_explained(labels, message):
    with pytest.raises(ValueError, match=message):
        get_estimator("JointFeatureClassifier")().fit(X, pd.DataFrame(labels))
