"""Censored labels as laboratories write them, from cells to a study."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from polytask.data import read_table
from polytask.data.bounds import bounds_of, looks_bounded
from polytask.errors import DataError

INF = math.inf


@pytest.mark.parametrize(
    ("cell", "bounds"),
    [
        ("<5", (-INF, 5.0)),
        ("< 0.5", (-INF, 0.5)),
        ("<=1e-3", (-INF, 1e-3)),
        ("≤5", (-INF, 5.0)),
        (">10", (10.0, INF)),
        ("≥ 1,5", (1.5, INF)),
        ("> -2", (-2.0, INF)),
        ("3-7", (3.0, 7.0)),
        ("3 – 7.5", (3.0, 7.5)),
        ("-3--1", (-3.0, -1.0)),
        ("3..7", (3.0, 7.0)),
        ("3 to 7", (3.0, 7.0)),
        ("[3, 7]", (3.0, 7.0)),
        ("4.25", (4.25, 4.25)),
        ("−4", (-4.0, -4.0)),
        ("1e-5", (1e-5, 1e-5)),
        (4, (4.0, 4.0)),
        (np.float32(0.5), (0.5, 0.5)),
        ("high", None),
        ("<", None),
        ("5 mg", None),
        (True, None),
    ],
)
def test_a_cell_says_its_bounds(cell, bounds):
    assert bounds_of(cell) == bounds


def test_a_column_looks_bounded_only_with_signs_and_numbers():
    assert looks_bounded(pd.Series(["<5", "7", "8.5"]))
    assert not looks_bounded(pd.Series(["18-24", "25-34", "35-44"]))  # a scale
    assert not looks_bounded(pd.Series(["<5", ">5"]))  # two classes
    assert not looks_bounded(pd.Series(["<5", "7", "none"]))
    assert not looks_bounded(pd.Series([5.0, 7.0]))


def table():
    rng = np.random.default_rng(0)
    y = rng.normal(5, 2, 100).round(2)
    cells = ["<3" if v < 3 else ">7" if v > 7 else str(v) for v in y]
    cells[0], cells[1] = None, "4-6"
    return pd.DataFrame({"x": y + rng.normal(size=100), "conc": cells, "other": rng.normal(size=100)})


@pytest.mark.parametrize("form", ["frame", "csv"])
@pytest.mark.parametrize("asked", [None, {"conc": "censored"}])
def test_a_table_reads_them(tmp_path, form, asked):
    frame = table()
    source = frame
    if form == "csv":
        source = tmp_path / "lab.csv"
        frame.to_csv(source, index=False)
    data = read_table(source, ["conc", "other"], kinds=asked, stratify=True)
    task = data.tasks["conc"]
    assert task.kind == "censored"
    assert data.counts().loc["conc"].sum() == 99
    found = torch.cat([source.targets["conc"] for source in data.splits.values()])
    assert found.shape == (100, 2)
    assert int((found[:, 0] == -INF).sum()) == (frame.conc == "<3").sum()
    assert int((found[:, 1] == INF).sum()) == (frame.conc == ">7").sum()
    own = data.train.targets["conc"].double()
    known = own[own[:, 0] == own[:, 1], 0].numpy()
    assert (task.shift, task.scale) == pytest.approx((known.mean(), known.std()), rel=1e-5)


def test_a_cell_without_bounds_names_its_row():
    frame = table()
    frame.loc[4, "conc"] = "much"
    with pytest.raises(DataError, match="row 5 holds 'much'"):
        read_table(frame, ["conc"], kinds={"conc": "censored"})


def test_bounds_in_the_wrong_order_are_refused():
    frame = table()
    frame.loc[4, "conc"] = "7-3"
    with pytest.raises(DataError, match="row 5 holds '7-3'"):
        read_table(frame, ["conc"], kinds={"conc": "censored"})
