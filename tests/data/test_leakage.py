import numpy as np
import pandas as pd
import pytest
import torch

from polytask.data.columns import Column
from polytask.data.encoder import TableEncoder
from polytask.data.leakage import find_leaks
from polytask.tasks import Task, TaskSet

N = 120
RNG = np.random.default_rng(0)
NUMBER = RNG.normal(size=N)
CLASS = RNG.integers(0, 3, N)


def leaks(column, target, kind, role="numeric"):
    frame = pd.DataFrame({"x": column})
    encoder = TableEncoder.fit(frame, [Column("x", role)])
    task = Task("y", kind, classes=3 if kind == "multiclass" else None)
    labels = torch.as_tensor(np.asarray(target))
    found = find_leaks(frame, encoder.encode(frame), encoder, TaskSet([task]), {"y": labels})
    return [leak.how for leak in found]


@pytest.mark.parametrize(
    ("column", "target", "kind", "role", "how"),
    [
        (NUMBER, NUMBER, "regression", "numeric", "equals"),
        (-3 * NUMBER + 7, NUMBER, "regression", "numeric", "equals"),
        (NUMBER + 0.05 * RNG.normal(size=N), NUMBER, "regression", "numeric", "has correlation 0.99"),
        (np.exp(3 * NUMBER), NUMBER, "regression", "numeric", "has rank correlation 1.0000"),
        (CLASS, CLASS, "multiclass", "numeric", "equals"),
        ((CLASS == 1) + 0.3 * RNG.random(N), (CLASS == 1).astype(int), "binary", "numeric", "determines"),
        (np.array(["a", "b", "c"])[CLASS], CLASS, "multiclass", "categorical", "determines"),
        (np.array(["a", "b", "c"])[CLASS], 2.5 * CLASS, "regression", "categorical", "determines"),
    ],
)
def test_leaks_are_found(column, target, kind, role, how):
    found = leaks(column, target, kind, role)
    assert len(found) == 1
    assert found[0].startswith(how)


@pytest.mark.parametrize(
    ("column", "target", "kind", "role"),
    [
        (NUMBER + 0.5 * RNG.normal(size=N), NUMBER, "regression", "numeric"),
        (RNG.normal(size=N), CLASS, "multiclass", "numeric"),
        (RNG.choice(["a", "b"], N), CLASS, "multiclass", "categorical"),
        ([f"level {i}" for i in range(N)], CLASS, "multiclass", "categorical"),  # every level once proves nothing
        (np.where(np.arange(N) < 15, NUMBER, np.nan), NUMBER, "regression", "numeric"),  # 15 rows prove nothing
        (NUMBER, np.where(np.arange(N) < 15, NUMBER, np.nan), "regression", "numeric"),
        (np.zeros(N), CLASS, "multiclass", "numeric"),
        (NUMBER, (np.sort(NUMBER)[-2] <= NUMBER).astype(int), "binary", "numeric"),  # nor do two rows of a class
        (["a", "b"] * (N // 2 - 1) + ["c", "d"], [0] * (N - 1) + [1], "binary", "categorical"),  # seen once
    ],
)
def test_no_false_alarm(column, target, kind, role):
    assert leaks(column, target, kind, role) == []


def test_gaps_do_not_hide_a_leak():
    column = np.where(RNG.random(N) < 0.4, np.nan, NUMBER)
    target = np.where(RNG.random(N) < 0.4, np.nan, NUMBER)
    assert leaks(column, target, "regression") == ["equals (up to shift and scale)"]


def test_many_rows_are_sampled():
    values = np.random.default_rng(0).normal(size=100_000)
    assert leaks(values, values, "regression") == ["equals (up to shift and scale)"]
