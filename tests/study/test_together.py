"""Chains, stacks, pools and any learner as rows of a study: those of scikit-learn by hand, on the same rows."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from tests.study.test_estimators import data_of, table

import polytask as pt
from polytask.data import read_table
from polytask.data.interface import Interface
from polytask.deploy import FinishedModel
from polytask.errors import ConfigError, MissingExtraError, TaskError
from polytask.study import compare
from polytask.study.classical import find_entry, learn
from polytask.study.classical.folds import row_folds
from polytask.study.classical.rows import Encoding, read_rows
from polytask.study.classical.saved import Estimators
from polytask.study.contenders import read_contender

EVERY = {
    "price": "regression",
    "sold": "binary",
    "colour": "multiclass",
    "grade": "ordinal",
    "calls": "count",
}


def by_hand(data, seed=0):
    """Standardised inputs, standardised targets, and the folds of the study; all from the training rows."""
    rows = read_rows(data.train, data.tasks)
    encoding = Encoding.learn(rows.features, data.inputs)
    targets = {
        name: (y - np.nanmean(y)) / np.nanstd(y) if data.tasks[name].rule.affine else y
        for name, y in rows.targets.items()
    }
    groups = None if data.groups is None else data.groups["train"]
    return encoding, rows.features, targets, row_folds(data.tasks, rows.targets, seed, groups=groups)


def unseen(make, X, y, folds, predict):
    """Predictions of models that had not seen the row, of all rows; of all labels where a row has none."""
    known = ~np.isnan(y)
    found = predict(make().fit(X[known], y[known]), X)
    for train, test in folds:
        inside, outside = train[known[train]], test[known[test]]
        if len(outside):
            found[outside] = predict(make().fit(X[inside], y[inside]), X[outside])
    return found


def test_a_chain_is_the_one_that_is_written_by_hand():
    data = data_of(price="regression", sold="binary", size="regression")
    order = ["sold", "price", "size"]
    learned = learn(find_entry("ridge", {"how": "chain", "alpha": 0.1, "order": order}), data, data.tasks, 0)
    encoding, features, targets, folds = by_hand(data)
    X = new = encoding.linear(features)
    for name in order:
        y = targets[name]
        known = ~np.isnan(y)
        rows = int(known.sum())

        def make(name=name, rows=rows):
            return Ridge(0.1 * rows) if name != "sold" else LogisticRegression(C=1 / (0.1 * rows), max_iter=1000)

        def folded(name=name, X=X, y=y, known=known):
            """As above, with a penalty that goes with the rows of the fold."""
            predict = (lambda m, Z: m.predict_proba(Z)[:, 1]) if name == "sold" else (lambda m, Z: m.predict(Z))
            found = predict(make().fit(X[known], y[known]), X)
            for train, test in folds:
                inside, outside = train[known[train]], test[known[test]]
                model = make(name, len(inside)).fit(X[inside], y[inside])
                found[outside] = predict(model, X[outside])
            return found

        model = make().fit(X[known], y[known])
        head = learned.fitted.heads(encoding.linear(features), encoding.trees(features))[name]
        if name == "sold":
            expected = model.decision_function(new)
            said = expit(expected)
        else:
            expected = said = model.predict(new)
        np.testing.assert_allclose(head, expected, rtol=1e-5, atol=1e-6)
        X, new = np.column_stack([X, folded()]), np.column_stack([new, said])


def test_a_stack_of_trees_is_the_one_that_is_written_by_hand():
    data = data_of(price="regression", size="regression")
    options = {"max_iter": 20, "learning_rate": 0.2}
    learned = learn(find_entry("boosting", {"how": "stack", **options}), data, data.tasks, 0)
    encoding, features, targets, folds = by_hand(data)
    X = encoding.trees(features)

    def make(columns):
        categories = np.append(encoding.is_category, np.zeros(columns, dtype=bool))
        return HistGradientBoostingRegressor(
            max_leaf_nodes=8, early_stopping=False, categorical_features=categories, random_state=0, **options
        )

    def predict(model, Z):
        return model.predict(Z)

    first = {name: unseen(lambda: make(0), X, y, folds, predict) for name, y in targets.items()}
    full = {name: make(0).fit(X[~np.isnan(y)], y[~np.isnan(y)]).predict(X) for name, y in targets.items()}
    heads = learned.fitted.heads(encoding.linear(features), X)
    for name, y in targets.items():
        known = ~np.isnan(y)
        model = make(2).fit(np.column_stack([X, *first.values()])[known], y[known])
        np.testing.assert_allclose(heads[name], model.predict(np.column_stack([X, *full.values()])), rtol=1e-9)


def test_a_pool_is_one_model_of_all_rows():
    data = data_of(price="regression", size="regression")
    learned = learn(find_entry("ridge", {"how": "pooled", "alpha": 0.01}), data, data.tasks, 0)
    encoding, features, targets, _ = by_hand(data)
    X = encoding.linear(features)
    long = [
        (np.hstack([x, np.eye(2)[k]]), v)
        for k, y in enumerate(targets.values())
        for x, v in zip(X, y, strict=True)
        if v == v
    ]
    model = Ridge(0.01 * len(long)).fit(np.array([x for x, _ in long]), [v for _, v in long])
    for k, (name, head) in enumerate(learned.fitted.heads(X, encoding.trees(features)).items()):
        told = np.tile(np.eye(2)[k], (len(X), 1))
        np.testing.assert_allclose(head, model.predict(np.hstack([X, told])), rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("how", ["chain", "ensemble_chains", "stack", "pooled"])
@pytest.mark.parametrize("name", ["ridge", "boosting"])
def test_what_is_kept_predicts_the_same_to_the_last_bit(name, how, tmp_path):
    """Every nature of task that the entry learns, in one study, kept and opened again."""
    kinds = {"price": "regression", "sold": "binary"} if how == "pooled" else EVERY
    data = data_of(**kinds)
    few = {"max_iter": 4} if name == "boosting" else {"alpha": 0.1}
    count = {"n_chains": 2} if how == "ensemble_chains" else {}
    learned = learn(find_entry(name, {"how": how, **few, **count}), data, data.tasks, 0)
    kept = learned.plain(Interface.of(data, data.tasks.names))
    assert kept is not None
    inputs = data.test.inputs
    heads, again = learned.heads(inputs), kept.outputs(inputs)
    restored = Estimators.restore(kept.store({}), "").outputs(inputs)
    for task in data.tasks:
        np.testing.assert_allclose(again[task].numpy(), heads[task].numpy(), rtol=1e-6, atol=1e-7)
        assert torch.equal(again[task], restored[task])
        assert torch.equal(kept.outputs(inputs, [task])[task], again[task]), "a task by itself"
    model = FinishedModel([kept])
    model.save(tmp_path)
    frame = pd.DataFrame({f"x{i}": [0.1 * i] * 3 for i in range(3)} | {"place": ["east", "west", "south"]})
    pd.testing.assert_frame_equal(pt.load(tmp_path).predict(frame), model.predict(frame), check_exact=True)


@pytest.mark.filterwarnings("ignore::polytask.deploy.PredictionWarning")
def test_a_study_keeps_its_chain(tmp_path):
    data = data_of(price="regression", sold="binary")
    comparison = compare(data, methods=["ridge:how=chain,alpha=0.1"], seeds=1, out=tmp_path, progress=False)
    assert not comparison.failures, [trial.error for trial in comparison.failures]
    assert comparison.methods == ("ridge:how=chain,alpha=0.1",) or comparison.methods == ("ridge:alpha=0.1,how=chain",)
    assert comparison.trials[0].tasks == ("price", "sold"), "one trial of both tasks"
    assert set(pt.load(tmp_path).predict(table().head(3))) >= {"price"}


def test_files_of_earlier_versions_are_read():
    data = data_of(price="regression", colour="multiclass")
    learned = learn(find_entry("ridge", {"alpha": 0.1}), data, data.tasks, 0)
    kept = learned.plain(Interface.of(data, data.tasks.names))
    stored = kept.store({})
    links = stored.values.pop("links")
    for one, link in zip(stored.values["tasks"].values(), links, strict=True):
        one.pop("links")
        one["pieces"] = link["pieces"]
    again = Estimators.restore(stored, "").outputs(data.test.inputs)
    for name, head in kept.outputs(data.test.inputs).items():
        assert torch.equal(again[name], head)


@pytest.mark.parametrize("name", ["ridge", "boosting"])
def test_models_of_the_folds_leave_groups_whole(name):
    """Labels that are the same within a group, and nothing else: a fold that parts groups would know them."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(40), 6)
    place = rng.normal(size=(40, 3))[group]
    frame = pd.DataFrame({f"x{j}": place[:, j] for j in range(3)} | {"patient": group})
    frame["a"] = rng.normal(size=40)[group]
    frame["b"] = frame["a"] + 0.01 * rng.normal(size=240)
    data = read_table(frame, ["a", "b"], group="patient")
    options = {"max_iter": 60, "max_leaf_nodes": 31, "min_samples_leaf": 2} if name == "boosting" else {}
    learned = learn(find_entry(name, {"how": "chain", **options}), data, data.tasks, 0)
    _, _, targets, folds = by_hand(data)
    own = data.groups["train"]
    assert all(not set(own[train]) & set(own[test]) for train, test in folds)
    entry = learned.fitted.way.chains[0][1].models[0]
    X = np.random.default_rng(1).normal(size=(400, entry.plain.arrays["coef"].shape[1] if name == "ridge" else 4))
    moved = X.copy()
    moved[:, -1] += 1.0
    sway = np.abs(entry.head(moved) - entry.head(X)).mean()
    assert sway < 0.5, f"predictions of unseen groups tell nothing, and {sway:.2f} of them is passed on"
    assert np.isfinite(targets["a"]).all()


def test_a_fold_takes_over_what_was_chosen():
    """The number of trees and α of the full model; the models of the folds choose nothing."""
    data = data_of(price="regression", size="regression")
    for name, key in (("ridge", "alpha"), ("boosting", "trees")):
        entry = find_entry(name, {"how": "chain"})
        alone = find_entry(name, {})
        first = learn(entry, data, data.tasks, 0).fitted.facts["price"][key]
        assert first == learn(alone, data, data.tasks, 0).fitted.facts["price"][key]


def test_any_learner_is_that_of_scikit_learn(tmp_path):
    data = data_of(size="regression", colour="multiclass", sold="binary", grade="ordinal", calls="count")
    request = {
        "name": "learner",
        "estimator": "sklearn.ensemble:RandomForestRegressor",
        "options": {"n_estimators": 7, "max_depth": 4},
    }
    comparison = compare(data, methods=["ridge", request], seeds=1, out=tmp_path, progress=False)
    assert not comparison.failures, [trial.error for trial in comparison.failures]
    learned = learn(read_contender(request).estimator, data, data.tasks, 0)
    encoding, features, targets, _ = by_hand(data)
    X = encoding.linear(features)
    heads = learned.fitted.heads(X, encoding.trees(features))
    forest = {"n_estimators": 7, "max_depth": 4, "random_state": 0}
    np.testing.assert_allclose(heads["size"], RandomForestRegressor(**forest).fit(X, targets["size"]).predict(X))
    rate = RandomForestRegressor(**forest).fit(X, targets["calls"]).predict(X)
    np.testing.assert_allclose(np.exp(heads["calls"]), np.maximum(rate, 1e-12))
    shares = RandomForestClassifier(**forest).fit(X, targets["colour"].astype(int)).predict_proba(X)
    np.testing.assert_allclose(np.exp(heads["colour"]), np.maximum(shares, 1e-12))
    shares = RandomForestClassifier(**forest).fit(X, targets["grade"].astype(int)).predict_proba(X)
    above = np.stack([shares[:, k + 1 :].sum(1) for k in range(3)], axis=1)
    np.testing.assert_allclose(expit(heads["grade"]), above.clip(1e-12, 1 - 1e-12), atol=1e-12)
    assert not read_contender(request).storable


@pytest.mark.parametrize("how", ["independent", "chain", "ensemble_chains", "stack", "pooled", "joint"])
def test_a_learner_in_every_way(how, tmp_path):
    data = data_of(price="regression", size="regression", sold="binary", seen="binary")
    forest = {"name": "learner", "estimator": RandomForestRegressor(20, max_depth=6), "how": how}
    comparison = compare(
        data,
        methods=["ridge", forest | ({"n_chains": 2} if how == "ensemble_chains" else {})],
        seeds=1,
        out=tmp_path,
        progress=False,
    )
    assert not comparison.failures, [trial.error for trial in comparison.failures]
    label = comparison.methods[1]
    frame = comparison.frame[(comparison.frame["method"] == label) & (comparison.frame["split"] == "test")]
    r2 = frame[(frame["metric"] == "r2") & (frame["task"] == "size")]["value"]
    assert float(r2.iloc[0]) > 0.5


def test_objects_with_other_arguments_are_other_trials():
    data = data_of(size="regression")
    one, two = (
        read_contender({"name": "learner", "estimator": RandomForestRegressor(n)}).config(data, ("size",), 0)
        for n in (5, 6)
    )
    assert one != two
    again = read_contender({"name": "learner", "estimator": RandomForestRegressor(5)}).config(data, ("size",), 0)
    assert one == again


@pytest.mark.parametrize(
    ("asked", "error", "match"),
    [
        ("ridge:how=chian", ConfigError, "did you mean 'chain'"),
        ("boosting:how=joint", ConfigError, "RandomForestRegressor"),
        ("ridge:order=['a']", ConfigError, "belongs to how='chain'"),
        ("ridge:how=chain,n_chains=3", ConfigError, "belongs to how='ensemble_chains'"),
        ("ridge:how=ensemble_chains,n_chains=0", ConfigError, "≥ 1"),
        ("ridge:how=chain,alhpa=1", ConfigError, "did you mean 'alpha'"),
        ("ridge:how=chain,order=a", ConfigError, "list of task names"),
        ("learner:estimator=no_such_package.there:Thing", MissingExtraError, "pip install no_such_package"),
        ("learner:estimator=sklearn.ensemble", ConfigError, "package.module:Class"),
        (
            "learner:estimator=sklearn.ensemble:RandomForestRegresor",
            ConfigError,
            "did you mean 'RandomForestRegressor'",
        ),
        ("learner:estimator=sklearn.nothing:Thing", ConfigError, "cannot be imported"),
        ("learner:options={'n_estimator': 3}", ConfigError, "did you mean 'n_estimators'"),
        ("learner:inputs=images", ConfigError, "'linear' or 'trees'"),
        ("learner:estimator=collections:Counter", ConfigError, "fit, predict"),
    ],
)
def test_what_cannot_be_is_refused(asked, error, match):
    with pytest.raises(error, match=match):
        read_contender(asked)


def test_an_order_names_tasks():
    data = data_of(size="regression", price="regression")
    for order, match in ((["size", "prise"], "did you mean 'price'"), (["size"], "each of the 2 tasks once")):
        with pytest.raises(TaskError, match=match):
            read_contender({"name": "ridge", "how": "chain", "order": order}).check(data, ("size", "price"))


def test_a_pool_says_what_it_cannot_learn():
    data = data_of(size="regression", price="regression", calls="count")
    assert "'calls' (count)" in read_contender("ridge:how=pooled").cannot(data)["calls"]
