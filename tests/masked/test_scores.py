"""Metrics and scorers against scikit-learn on the rows that are left."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from sklearn.linear_model import LinearRegression

from polytask import masked
from polytask.errors import ConfigError, TaskError

RNG = np.random.default_rng(0)
Y = np.where(RNG.random((30, 3)) < 0.3, np.nan, RNG.normal(size=(30, 3)))
P = RNG.normal(size=(30, 3))


@pytest.mark.parametrize("metric", [metrics.mean_squared_error, metrics.r2_score, metrics.mean_absolute_error])
@pytest.mark.parametrize("weighted", [False, True])
def test_each_target_on_its_rows(metric, weighted):
    w = RNG.integers(0, 3, (30, 3)).astype(float) if weighted else None
    rows = [~np.isnan(Y[:, t]) for t in range(3)]
    own = [{} if w is None else {"sample_weight": w[rows[t], t]} for t in range(3)]
    expected = [metric(Y[rows[t], t], P[rows[t], t], **own[t]) for t in range(3)]
    found = masked.masked_score(metric, Y, P, sample_weight=w, average=None)
    np.testing.assert_allclose(list(found.values()), expected)
    assert masked.masked_score(metric, Y, P, sample_weight=w) == pytest.approx(np.mean(expected))
    every = ~np.isnan(Y)
    whole = {} if w is None else {"sample_weight": w[every]}
    assert masked.masked_score(metric, Y, P, sample_weight=w, average="pooled") == pytest.approx(
        metric(Y[every], P[every], **whole)
    )


def test_weight_two_is_the_row_twice_in_every_average():
    w = RNG.integers(0, 3, 30)
    for average in ("macro", "pooled"):
        assert masked.masked_score(metrics.mean_squared_error, Y, P, sample_weight=w, average=average) == pytest.approx(
            masked.masked_score(metrics.mean_squared_error, Y.repeat(w, 0), P.repeat(w, 0), average=average)
        )


def test_a_target_of_one_class_has_no_auroc_and_is_left_out():
    y = np.array([[0, 1], [1, 1], [0, np.nan], [1, 1.0]])
    p = np.array([[0.1, 0.2], [0.9, 0.3], [0.2, 0.1], [0.8, 0.5]])
    found = masked.masked_score(metrics.roc_auc_score, pd.DataFrame(y, columns=["a", "b"]), p, average=None)
    assert found["a"] == 1.0
    assert np.isnan(found["b"])
    assert masked.masked_score(metrics.roc_auc_score, y, p) == 1.0


@pytest.mark.parametrize("average", ["macro", "n-weighted", "pooled"])
def test_a_scorer_with_weights_is_that_of_repeated_rows(average):
    X, w = RNG.normal(size=(30, 2)), RNG.integers(0, 3, 30)
    model = LinearRegression().fit(X, np.nan_to_num(Y))
    scorer = masked.make_task_scorer(metrics.mean_squared_error, average=average, greater_is_better=False)
    assert scorer(model, X, Y, sample_weight=w) == pytest.approx(scorer(model, X.repeat(w, 0), Y.repeat(w, 0)))


def test_what_does_not_fit_is_said():
    with pytest.raises(ConfigError, match="average"):
        masked.masked_score(metrics.r2_score, Y, P, average="micro")
    with pytest.raises(TaskError, match="one shape"):
        masked.masked_score(metrics.r2_score, Y, P[:, :2])
    with pytest.raises(TaskError, match="from 0 on"):
        masked.masked_score(metrics.r2_score, Y, P, sample_weight=np.full(30, -1.0))
