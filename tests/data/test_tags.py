"""Several labels in a cell, against scikit-learn's binarizer."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.preprocessing import MultiLabelBinarizer

from polytask.data import inspect_table, read_table
from polytask.data.split_strata import strata
from polytask.data.tags import read_tags, tag_separator
from polytask.data.targets import guess_kind, read_target
from polytask.errors import DataError

ROWS = 240
DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(ROWS, 3))
BORNE = X + 0.3 * DRAW.normal(size=(ROWS, 3)) > 0.2
SETS = [[name for name, there in zip(["red", "green", "light blue"], row, strict=True) if there] for row in BORNE]


def column(mark, name="tags"):
    return pd.Series([mark.join(parts) or mark for parts in SETS], name=name)


@pytest.mark.parametrize("mark", ["|", ";", ",", ", ", " | "])
def test_labels_are_those_of_the_binarizer(mark):
    series = column(mark)
    expected = MultiLabelBinarizer()
    matrix = expected.fit_transform(SETS)
    assert tag_separator(series) == mark.strip()
    tags = read_tags(series)
    assert list(tags.names) == list(expected.classes_)
    assert (tags.present == matrix).all()
    assert tags.known.all()
    task, target, guess = read_target(series, np.arange(ROWS))
    assert (task.kind, guess.kind, task.labels, task.classes) == ("multilabel", "multilabel", tags.names, 3)
    assert (target.numpy() == matrix).all()


@pytest.mark.parametrize(
    "texts",
    [
        ["Lyon, France", "Nice, France", "Rome, Italy"] * 20,
        ["Smith, John", "Doe, Jane", "Smith, Ann"] * 20,
        ["a|b", "c|d"] * 20,  # pairs that never come apart: two classes
        ["red", "green"] * 20,
        [f"word{i}|word{i + 1}" for i in range(60)],  # as many labels as rows
        ["good; " + "very " * 9 + "long", "good", "bad; good", "bad"] * 10,  # sentences
        ["a|a", "a", "b|a", "b"] * 10,  # twice in a cell
    ],
)
def test_what_only_contains_marks_is_no_set_of_labels(texts):
    assert tag_separator(pd.Series(texts)) == ""
    assert guess_kind(pd.Series(texts, name="y")).kind != "multilabel"


def test_a_kind_overrules_the_guess_both_ways():
    assert read_target(column("|"), np.arange(ROWS), "multiclass")[0].kind == "multiclass"
    pairs = pd.Series(["a|b", "c|b", None] * 20, name="tags")
    task, target, _ = read_target(pairs, np.arange(60), "multilabel")
    assert task.labels == ("a", "b", "c")
    assert target[:3].tolist() == [[1, 1, 0], [0, 1, 1], [-100, -100, -100]]


@pytest.mark.parametrize(
    ("texts", "words"),
    [(["a|b", "b|a"] * 20, "is constant"), ([f"a{i}|b{i}" for i in range(40)], "has 80 labels in 40 labelled rows")],
)
def test_labels_that_cannot_be_learned_are_refused(texts, words):
    with pytest.raises(DataError, match=words):
        read_target(pd.Series(texts, name="tags"), np.arange(40), "multilabel")


def test_every_split_gets_its_share_of_every_label():
    rows = pd.DataFrame(X, columns=list("abc")).assign(tags=column("|"))
    shares = {name: members.sum() for (_, name), members in strata({"tags": rows["tags"]}).items()}
    assert list(shares.values()) == MultiLabelBinarizer().fit_transform(SETS).sum(axis=0).tolist()
    data = read_table(rows, ["tags"], stratify=True)
    for name, share in (("test", 0.2), ("val", 0.2), ("train", 0.6)):
        borne = data.splits[name].targets["tags"].sum(0).numpy()
        assert (np.abs(borne - share * np.array(list(shares.values()))) <= 1).all()


def test_leaks_into_one_label_and_absent_labels_are_told():
    rows = pd.DataFrame(X, columns=list("abc")).assign(tags=column("|"))
    rows["leak"] = np.where(BORNE[:, 1], 2.0, 1.0) + 0.001 * X[:, 0]
    assert any("'leak' determines target 'tags'" in words for words in inspect_table(rows, ["tags"]).surprises)
    quiet = rows.drop(columns="leak")
    assert not any("determines" in words for words in inspect_table(quiet, ["tags"]).surprises)


@pytest.mark.parametrize("medium", ["csv", "parquet"])
def test_a_file_is_read_like_its_frame(tmp_path, medium):
    rows = pd.DataFrame(X.round(6), columns=list("abc")).assign(tags=column(";"))
    rows.loc[5, "tags"] = None
    rows.loc[7, "tags"] = "red"
    path = tmp_path / f"t.{medium}"
    rows.to_csv(path, index=False) if medium == "csv" else rows.to_parquet(path)
    one, two = read_table(rows, ["tags", "a"]), read_table(path, ["tags", "a"])
    for split in one.splits:
        assert torch.equal(one.splits[split].targets["tags"], two.splits[split].targets["tags"])
